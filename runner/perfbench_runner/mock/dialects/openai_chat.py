"""OpenAI chat completions: /v1/chat/completions."""

from collections.abc import Iterator
from itertools import islice
from typing import Any

import orjson

from perfbench_runner.mock import words
from perfbench_runner.mock.dialects import openai
from perfbench_runner.mock.plan import BadRequestError, Call, Plan

_TOOL = "say"
_END = b'"},"logprobs":null,"finish_reason":null}]}\n\n'
_TOOL_END = b'"}}]},"logprobs":null,"finish_reason":null}]}\n\n'


class OpenAIChat:
    paths = ("/v1/chat/completions",)

    def plan(self, call: Call) -> Plan:
        messages = call.body.get("messages")
        if not isinstance(messages, list) or not messages:
            raise BadRequestError("messages must be a list with at least one message")
        tokens, cut = call.length("max_completion_tokens", "max_tokens")
        prompt_tokens = words.count_tokens(messages)
        reason = "length" if cut else "tool_calls" if call.settings.tool_call else "stop"
        make = _stream if call.body.get("stream") else _document
        return make(call, prompt_tokens, tokens, reason)

    def error(self, status: int, message: str) -> bytes:
        return openai.error_body(status, message)


def _envelope(call: Call, kind: str, choices: list[dict[str, Any]]) -> dict[str, Any]:
    return {
        "id": call.id("chatcmpl-"),
        "object": kind,
        "created": call.created,
        "model": call.model,
        "choices": choices,
    }


def _stream(call: Call, prompt_tokens: int, tokens: int, reason: str) -> Plan:
    envelope = _envelope(call, "chat.completion.chunk", [])
    start = b"data: " + orjson.dumps(envelope)[: -len("]}")] + b'{"index":0,"delta":{'
    reasoning = min(call.settings.reasoning_tokens, tokens)
    head = [start + b'"role":"assistant","content":"' + _END]
    if call.settings.tool_call:
        content = _tool_content(start, tokens, reasoning)
        opening = {"index": 0, "id": call.id("call_"), "type": "function", "function": {"name": _TOOL, "arguments": ""}}
        head.append(start + b'"tool_calls":[' + orjson.dumps(opening) + b"]" + _END[1:])
    else:
        content = _text_content(start, tokens, reasoning)
    tail = [start + b'},"logprobs":null,"finish_reason":"' + reason.encode() + b'"}]}\n\n']
    if call.usage_wanted:
        tail.append(openai.event(envelope | {"usage": openai.usage(prompt_tokens, tokens, reasoning)}))
    tail.append(openai.DONE)
    return Plan.stream(
        content,
        prompt_tokens=prompt_tokens,
        tokens=tokens,
        head=tuple(head),
        tail=tuple(tail),
        error=openai.error_event(),
    )


def _text_content(start: bytes, tokens: int, reasoning: int) -> Iterator[bytes]:
    yield from _reasoning(start, reasoning)
    start += b'"content":"'
    for word in words.pieces(tokens - reasoning):
        yield start + word + _END


def _tool_content(start: bytes, tokens: int, reasoning: int) -> Iterator[bytes]:
    yield from _reasoning(start, reasoning)
    start += b'"tool_calls":[{"index":0,"function":{"arguments":"'
    for part in _arguments(tokens - reasoning):
        yield start + orjson.dumps(part.decode())[1:-1] + _TOOL_END


def _reasoning(start: bytes, tokens: int) -> Iterator[bytes]:
    start += b'"reasoning_content":"'
    for word in words.pieces(tokens):
        yield start + word + _END


def _arguments(tokens: int) -> Iterator[bytes]:
    """Pieces of a JSON object that is whole after the last of them."""
    if tokens == 1:
        yield b"{}"
    elif tokens > 1:
        yield b'{"text": "'
        yield from islice(words.pieces(tokens), tokens - 2)
        yield b'"}'


def _document(call: Call, prompt_tokens: int, tokens: int, reason: str) -> Plan:
    reasoning = min(call.settings.reasoning_tokens, tokens)
    message: dict[str, Any] = {"role": "assistant", "content": words.text(tokens - reasoning)}
    if call.settings.tool_call:
        arguments = b"".join(_arguments(tokens - reasoning)).decode()
        function = {"name": _TOOL, "arguments": arguments}
        message |= {
            "content": None,
            "tool_calls": [{"id": call.id("call_"), "type": "function", "function": function}],
        }
    if reasoning:
        message["reasoning_content"] = words.text(reasoning)
    choice = {"index": 0, "message": message, "logprobs": None, "finish_reason": reason}
    document = _envelope(call, "chat.completion", [choice])
    if call.usage_wanted:
        document["usage"] = openai.usage(prompt_tokens, tokens, reasoning)
    return Plan.json(document, prompt_tokens=prompt_tokens, tokens=tokens)
