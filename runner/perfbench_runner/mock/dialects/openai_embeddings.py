"""OpenAI embeddings: /v1/embeddings, answered after ttft. All vectors are alike: nobody measures their meaning."""

import base64
import struct
from typing import Any

from perfbench_runner.mock import words
from perfbench_runner.mock.dialects import openai
from perfbench_runner.mock.plan import BadRequestError, Call, Plan

_DIMENSIONS = 64
_MAX_DIMENSIONS = 65_536


class OpenAIEmbeddings:
    paths = ("/v1/embeddings",)

    def plan(self, call: Call) -> Plan:
        given = call.body.get("input")
        if not isinstance(given, (str, list)) or not given:
            raise BadRequestError("input must be a string, a list of strings, or token ids, and not empty")
        vector = _vector(call)
        tokens = words.count_tokens(given)
        document: dict[str, Any] = {
            "object": "list",
            "data": [
                {"object": "embedding", "index": index, "embedding": vector} for index in range(_count_inputs(given))
            ],
            "model": call.model,
        }
        if call.settings.usage != "never":
            document["usage"] = {"prompt_tokens": tokens, "total_tokens": tokens}
        return Plan.json(document, prompt_tokens=tokens, tokens=0)

    def error(self, status: int, message: str) -> bytes:
        return openai.error_body(status, message)


def _count_inputs(given: str | list[Any]) -> int:
    """A list of token ids is one input, a list of anything else is as many as it is long."""
    return 1 if isinstance(given, str) or isinstance(given[0], int) else len(given)


def _vector(call: Call) -> list[float] | str:
    size = call.positive("dimensions") or _DIMENSIONS
    if size > _MAX_DIMENSIONS:
        raise BadRequestError(f"dimensions must be at most {_MAX_DIMENSIONS}, not {size}")
    values = [1 / 8 if i % 2 else -1 / 8 for i in range(size)]
    if call.body.get("encoding_format") == "base64":
        return base64.b64encode(struct.pack(f"<{size}f", *values)).decode()
    return values
