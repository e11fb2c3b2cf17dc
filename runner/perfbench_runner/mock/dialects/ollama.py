"""Ollama: /api/chat and /api/generate. A stream is lines of JSON, the last of them with the counts."""

from collections.abc import Iterator
from dataclasses import replace
from typing import Any

import orjson

from perfbench_runner.mock import words
from perfbench_runner.mock.dialects import openai
from perfbench_runner.mock.plan import BadRequestError, Call, Plan

_CHAT = "/api/chat"
_LINES = "application/x-ndjson"


class Ollama:
    paths = (_CHAT, "/api/generate")

    def plan(self, call: Call) -> Plan:
        options = call.body.get("options") or {}
        if not isinstance(options, dict):
            raise BadRequestError("options must be an object")
        tokens, cut = replace(call, body=options).length("num_predict")
        prompt_tokens = self._prompt_tokens(call)
        end = {
            "done": True,
            "done_reason": "length" if cut else "stop",
            **({"prompt_eval_count": prompt_tokens, "eval_count": tokens} if call.settings.usage != "never" else {}),
        }
        if call.body.get("stream", True):
            return Plan.stream(
                _content(call, tokens),
                prompt_tokens=prompt_tokens,
                tokens=tokens,
                tail=(orjson.dumps(_line(call, "") | end) + b"\n",),
                error=orjson.dumps({"error": openai.SPOILT}) + b"\n",
                content_type=_LINES,
            )
        return Plan.json(_line(call, words.text(tokens)) | end, prompt_tokens=prompt_tokens, tokens=tokens)

    def error(self, status: int, message: str) -> bytes:
        return orjson.dumps({"error": message})

    def _prompt_tokens(self, call: Call) -> int:
        if call.path != _CHAT:
            prompt = call.body.get("prompt")
            if not isinstance(prompt, str):
                raise BadRequestError("prompt must be a string")
            return words.count_tokens(prompt)
        messages = call.body.get("messages")
        if not isinstance(messages, list) or not all(isinstance(message, dict) for message in messages):
            raise BadRequestError("messages must be a list of objects")
        return sum(words.count_tokens(str(message.get("content") or "")) for message in messages)


def _line(call: Call, text: str) -> dict[str, Any]:
    said: dict[str, Any] = {"message": {"role": "assistant", "content": text}}
    named = {"model": call.body.get("model") or call.settings.model, "created_at": "2026-01-01T00:00:00Z"}
    return named | (said if call.path == _CHAT else {"response": text}) | {"done": False}


def _content(call: Call, tokens: int) -> Iterator[bytes]:
    before, after = orjson.dumps(_line(call, "\0")).split(b"\\u0000")
    for word in words.pieces(tokens):
        yield before + word + after + b"\n"
