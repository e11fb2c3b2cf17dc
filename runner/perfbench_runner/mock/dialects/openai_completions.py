"""OpenAI completions: /v1/completions. A list of prompts is answered as if it were one."""

from typing import Any

import orjson

from perfbench_runner.mock import words
from perfbench_runner.mock.dialects import openai
from perfbench_runner.mock.plan import BadRequestError, Call, Plan


class OpenAICompletions:
    paths = ("/v1/completions",)

    def plan(self, call: Call) -> Plan:
        prompt = call.body.get("prompt")
        if not isinstance(prompt, (str, list)):
            raise BadRequestError("prompt must be a string, a list of strings, or token ids")
        tokens, cut = call.length("max_tokens")
        make = _stream if call.body.get("stream") else _document
        return make(call, words.count_tokens(prompt), tokens, "length" if cut else "stop")

    def error(self, status: int, message: str) -> bytes:
        return openai.error_body(status, message)


def _envelope(call: Call, choices: list[dict[str, Any]]) -> dict[str, Any]:
    return {
        "id": call.id("cmpl-"),
        "object": "text_completion",
        "created": call.created,
        "model": call.model,
        "choices": choices,
    }


def _stream(call: Call, prompt_tokens: int, tokens: int, reason: str) -> Plan:
    envelope = _envelope(call, [])
    start = b"data: " + orjson.dumps(envelope)[: -len("]}")] + b'{"index":0,"text":"'
    end = b'","logprobs":null,"finish_reason":null}]}\n\n'
    tail = [start + b'","logprobs":null,"finish_reason":"' + reason.encode() + b'"}]}\n\n']
    if call.usage_wanted:
        tail.append(openai.event(envelope | {"usage": openai.usage(prompt_tokens, tokens)}))
    tail.append(openai.DONE)
    return Plan.stream(
        (start + word + end for word in words.pieces(tokens)),
        prompt_tokens=prompt_tokens,
        tokens=tokens,
        tail=tuple(tail),
        error=openai.error_event(),
    )


def _document(call: Call, prompt_tokens: int, tokens: int, reason: str) -> Plan:
    choice = {"index": 0, "text": words.text(tokens), "logprobs": None, "finish_reason": reason}
    document = _envelope(call, [choice])
    if call.usage_wanted:
        document["usage"] = openai.usage(prompt_tokens, tokens)
    return Plan.json(document, prompt_tokens=prompt_tokens, tokens=tokens)
