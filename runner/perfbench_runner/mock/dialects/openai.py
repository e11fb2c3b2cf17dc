"""What the OpenAI dialects share: errors, usage, events."""

from typing import Any

import orjson

_TYPES = {401: "authentication_error", 404: "not_found_error", 429: "rate_limit_error"}

DONE = b"data: [DONE]\n\n"
SPOILT = "mock: the stream fails here, as asked by stream_error_rate"


def error_body(status: int, message: str) -> bytes:
    kind = _TYPES.get(status, "invalid_request_error" if status < 500 else "server_error")
    return orjson.dumps({"error": {"message": message, "type": kind, "param": None, "code": status}})


def event(value: Any) -> bytes:
    return b"data: " + orjson.dumps(value) + b"\n\n"


def error_event() -> bytes:
    return b"data: " + error_body(500, SPOILT) + b"\n\n"


def usage(prompt_tokens: int, tokens: int, reasoning_tokens: int = 0) -> dict[str, Any]:
    counts: dict[str, Any] = {
        "prompt_tokens": prompt_tokens,
        "completion_tokens": tokens,
        "total_tokens": prompt_tokens + tokens,
    }
    if reasoning_tokens:
        counts["completion_tokens_details"] = {"reasoning_tokens": reasoning_tokens}
    return counts
