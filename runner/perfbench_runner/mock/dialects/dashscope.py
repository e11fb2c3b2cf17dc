"""DashScope's native protocol: text and multimodal generation, streamed when the header X-DashScope-SSE says so."""

from collections.abc import Iterator
from dataclasses import replace
from typing import Any

import orjson

from perfbench_runner.mock import words
from perfbench_runner.mock.dialects import openai
from perfbench_runner.mock.plan import BadRequestError, Call, Plan

_SERVICE = "/api/v1/services/aigc/{}-generation/generation"
_CODES = {401: "InvalidApiKey", 404: "ModelNotFound", 429: "Throttling.RateQuota"}


class DashScope:
    paths = (_SERVICE.format("text"), _SERVICE.format("multimodal"))

    def plan(self, call: Call) -> Plan:
        given = call.body.get("input")
        prompt = (given.get("messages") or given.get("prompt")) if isinstance(given, dict) else None
        if not prompt:
            raise BadRequestError("input must be an object with messages or prompt")
        parameters = call.body.get("parameters") or {}
        if not isinstance(parameters, dict):
            raise BadRequestError("parameters must be an object")
        tokens, cut = replace(call, body=parameters).length("max_tokens")
        reply = _Reply(call, parameters, words.count_tokens(prompt), tokens, "length" if cut else "stop")
        if call.headers.get("x-dashscope-sse", "").lower() != "enable":
            return Plan.json(reply.whole(), prompt_tokens=reply.prompt_tokens, tokens=tokens)
        return Plan.stream(
            reply.content(),
            prompt_tokens=reply.prompt_tokens,
            tokens=tokens,
            tail=(reply.tail(),),
            error=_event(1, "error", 500, orjson.dumps(_error("InternalError", openai.SPOILT))),
        )

    def error(self, status: int, message: str) -> bytes:
        return orjson.dumps(
            _error(_CODES.get(status, "InvalidParameter" if status < 500 else "InternalError"), message)
        )


def _error(code: str, message: str) -> dict[str, Any]:
    return {"code": code, "message": message, "request_id": "mock"}


def _event(number: int, kind: str, status: int, data: bytes) -> bytes:
    return b"id:%d\nevent:%b\n:HTTP_STATUS/%d\ndata:%b\n\n" % (number, kind.encode(), status, data)


class _Reply:
    """One answer, as `result_format` has it: message or text; each event as much as `incremental_output` says."""

    def __init__(self, call: Call, parameters: dict[str, Any], prompt_tokens: int, tokens: int, reason: str) -> None:
        self.call, self.prompt_tokens, self.tokens, self.reason = call, prompt_tokens, tokens, reason
        self.reasoning = min(call.settings.reasoning_tokens, tokens)
        self.is_incremental = bool(parameters.get("incremental_output"))
        self.is_multimodal = "multimodal" in call.path
        self.is_message = self.is_multimodal or parameters.get("result_format") == "message"

    def whole(self) -> dict[str, Any]:
        texts = words.text(self.tokens - self.reasoning), words.text(self.reasoning)
        return self._answer(*texts, self.reason, self.tokens)

    def content(self) -> Iterator[bytes]:
        text = thought = ""
        parts = [*words.pieces(self.reasoning), *words.pieces(self.tokens - self.reasoning)]
        for number, word in enumerate(parts, 1):
            part, is_thought = word.decode(), number <= self.reasoning
            if self.is_incremental:
                text = thought = ""
            text, thought = (text, thought + part) if is_thought else (text + part, thought)
            yield _event(number, "result", 200, orjson.dumps(self._answer(text, thought, "null", number)))

    def tail(self) -> bytes:
        whole = self.whole() if not self.is_incremental else self._answer("", "", self.reason, self.tokens)
        return _event(self.tokens + 1, "result", 200, orjson.dumps(whole))

    def _answer(self, text: str, thought: str, reason: str, tokens: int) -> dict[str, Any]:
        answer: dict[str, Any] = {"output": self._output(text, thought, reason), "request_id": self.call.id("")}
        if self.call.settings.usage != "never":
            total = self.prompt_tokens + tokens
            answer["usage"] = {"input_tokens": self.prompt_tokens, "output_tokens": tokens, "total_tokens": total}
        return answer

    def _output(self, text: str, thought: str, reason: str) -> dict[str, Any]:
        if not self.is_message:
            return {"text": text, "finish_reason": reason}
        content = [{"text": text}] if self.is_multimodal else text
        message: dict[str, Any] = {"role": "assistant", "content": content}
        if self.reasoning:
            message["reasoning_content"] = thought
        return {"choices": [{"finish_reason": reason, "message": message}]}
