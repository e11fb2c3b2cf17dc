"""Anthropic messages: /v1/messages. Reasoning tokens are a thinking block before the text."""

from collections.abc import Iterator
from typing import Any

import orjson

from perfbench_runner.mock import words
from perfbench_runner.mock.dialects import openai
from perfbench_runner.mock.plan import BadRequestError, Call, Plan

_TYPES = {
    401: "authentication_error",
    403: "permission_error",
    404: "not_found_error",
    413: "request_too_large",
    429: "rate_limit_error",
    529: "overloaded_error",
}
_END = b'"}}\n\n'


class Anthropic:
    paths = ("/v1/messages",)

    def plan(self, call: Call) -> Plan:
        messages = call.body.get("messages")
        if "anthropic-version" not in call.headers:
            raise BadRequestError("anthropic-version: header is required")
        if not isinstance(messages, list) or not messages:
            raise BadRequestError("messages: at least one message is required")
        if any(message.get("role") not in ("user", "assistant") for message in messages):
            raise BadRequestError("messages: roles must be user or assistant; give system at the top")
        if call.positive("max_tokens") is None:
            raise BadRequestError("max_tokens: Field required")
        tokens, cut = call.length("max_tokens")
        prompt_tokens = words.count_tokens(messages) + words.count_tokens(call.body.get("system") or "")
        reason = "max_tokens" if cut else "end_turn"
        make = _stream if call.body.get("stream") else _document
        return make(call, prompt_tokens, tokens, reason)

    def error(self, status: int, message: str) -> bytes:
        return orjson.dumps(
            _error(_TYPES.get(status, "invalid_request_error" if status < 500 else "api_error"), message)
        )


def _error(kind: str, message: str) -> dict[str, Any]:
    return {"type": "error", "error": {"type": kind, "message": message}, "request_id": None}


def _event(value: dict[str, Any]) -> bytes:
    return b"event: %b\n" % value["type"].encode() + openai.event(value)


def _envelope(call: Call, content: list[dict[str, Any]], reason: str | None) -> dict[str, Any]:
    return {
        "id": call.id("msg_"),
        "type": "message",
        "role": "assistant",
        "model": call.model,
        "content": content,
        "stop_reason": reason,
        "stop_sequence": None,
    }


def _usage(call: Call, prompt_tokens: int, tokens: int) -> dict[str, Any]:
    if call.settings.usage == "never":
        return {}
    counts = {"input_tokens": prompt_tokens, "cache_creation_input_tokens": 0, "cache_read_input_tokens": 0}
    return {"usage": {**counts, "output_tokens": tokens}}


def _stream(call: Call, prompt_tokens: int, tokens: int, reason: str) -> Plan:
    reasoning = min(call.settings.reasoning_tokens, tokens)
    message = _envelope(call, [], None) | _usage(call, prompt_tokens, 1)
    delta = {"type": "message_delta", "delta": {"stop_reason": reason, "stop_sequence": None}}
    head = _event({"type": "message_start", "message": message}) + _start(0, is_thinking=bool(reasoning))
    end = _stop(1 if 0 < reasoning < tokens else 0, is_thinking=reasoning == tokens)
    end += _event(delta | ({"usage": {"output_tokens": tokens}} if call.settings.usage != "never" else {}))
    return Plan.stream(
        _content(tokens, reasoning),
        prompt_tokens=prompt_tokens,
        tokens=tokens,
        head=(head + _event({"type": "ping"}),),
        tail=(end + _event({"type": "message_stop"}),),
        error=_event(_error("overloaded_error", openai.SPOILT)),
    )


def _content(tokens: int, reasoning: int) -> Iterator[bytes]:
    if reasoning:
        yield from _deltas(0, "thinking_delta", "thinking", reasoning)
    index = 1 if reasoning else 0
    change = _stop(0, is_thinking=True) + _start(1, is_thinking=False) if reasoning else b""
    for delta in _deltas(index, "text_delta", "text", tokens - reasoning):
        yield change + delta
        change = b""


def _deltas(index: int, kind: str, field: str, tokens: int) -> Iterator[bytes]:
    start = b'event: content_block_delta\ndata: {"type":"content_block_delta","index":%d,' % index
    start += b'"delta":{"type":"%b","%b":"' % (kind.encode(), field.encode())
    for word in words.pieces(tokens):
        yield start + word + _END


def _start(index: int, is_thinking: bool) -> bytes:
    block = {"type": "thinking", "thinking": "", "signature": ""} if is_thinking else {"type": "text", "text": ""}
    return _event({"type": "content_block_start", "index": index, "content_block": block})


def _stop(index: int, is_thinking: bool) -> bytes:
    signature = {"type": "signature_delta", "signature": "bW9jaw=="}
    signed = _event({"type": "content_block_delta", "index": index, "delta": signature}) if is_thinking else b""
    return signed + _event({"type": "content_block_stop", "index": index})


def _document(call: Call, prompt_tokens: int, tokens: int, reason: str) -> Plan:
    reasoning = min(call.settings.reasoning_tokens, tokens)
    content: list[dict[str, Any]] = []
    if reasoning:
        content.append({"type": "thinking", "thinking": words.text(reasoning), "signature": "bW9jaw=="})
    if tokens > reasoning:
        content.append({"type": "text", "text": words.text(tokens - reasoning)})
    document = _envelope(call, content, reason) | _usage(call, prompt_tokens, tokens)
    return Plan.json(document, prompt_tokens=prompt_tokens, tokens=tokens)
