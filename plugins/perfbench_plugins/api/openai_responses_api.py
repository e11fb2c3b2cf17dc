"""API `openai_responses`: OpenAI's Responses API (/v1/responses), also as vLLM and others serve it."""

from typing import Any

import orjson

from perfbench_plugins.api.chat import Message, as_messages, image_of
from perfbench_plugins.api.default_api import NOTHING, UNKNOWN, DefaultApiPlugin, TokenCount, error_text
from perfbench_plugins.api.openai_api import template_of
from perfbench_plugins.arguments import Arguments
from perfbench_plugins.content import content_text
from perfbench_plugins.reading import Piece
from perfbench_plugins.registry import register_api
from perfbench_plugins.tokens import Tokenizer
from perfbench_plugins.urls import CHAT, ENDPOINTS, redirected

TEXTS = ("response.output_text.delta", "response.refusal.delta", "response.function_call_arguments.delta")
REASONINGS = ("response.reasoning_text.delta", "response.reasoning_summary_text.delta")
ENDS = ("response.completed", "response.incomplete")
"""An answer that its limit cut short is incomplete to OpenAI, and complete to a benchmark."""


@register_api(["openai_responses", "openai_response", "responses"])
class OpenAIResponsesPlugin(DefaultApiPlugin):
    """Messages become input items; reasoning and its summaries count for TTFT and are no part of the answer."""

    suffix = "responses"
    endpoints = ENDPOINTS
    takes_template = True
    fields = {
        "max_output_tokens": "max_tokens",
        "temperature": "temperature",
        "top_p": "top_p",
        "stream": "stream",
    }

    @classmethod
    def complete_url(cls, url: str, param: Arguments) -> str:
        """Also for the URL of chat completions, which EvalScope's users give here."""
        return redirected(super().complete_url(url, param), CHAT, cls.suffix)

    def build_request(self, messages: Any, param: Arguments | None = None) -> dict[str, Any]:
        """The body for chat messages or a text; a whole body from the dataset is completed, not changed."""
        param = param or self.param
        body = {**template_of(param), "model": param.model, **self.parameters(param), **(param.extra_args or {})}
        if isinstance(messages, dict):
            return {**body, **messages}
        if isinstance(messages, str):
            return {"input": messages, **body}
        items = [item for message in as_messages(messages, "openai_responses") for item in _items(message)]
        return {"input": items, **body}

    def read_message(self, message: Any) -> Piece:
        """An event by its type, or the whole response."""
        if not isinstance(message, dict):
            return UNKNOWN
        kind = message.get("type") or ""
        if kind in TEXTS:
            return Piece(message.get("delta") or "")
        if kind in REASONINGS:
            return Piece(reasoning=message.get("delta") or "")
        if kind in ENDS:
            return Piece(is_last=True)
        if kind == "response.output_item.added":
            item = message.get("item") or {}
            return Piece(item.get("name") or "" if item.get("type") == "function_call" else "")
        if kind == "response.failed" or message.get("error"):
            return Piece(error=_failure(message))
        if kind == "error":
            return Piece(error=error_text(message))
        return _whole(message) if "output" in message else NOTHING if kind.startswith("response.") else UNKNOWN

    def parse_responses(self, responses: list[Any], request: str | None = None, **kwargs: Any) -> tuple[int, int]:
        """Tokens as the last event or the response reports them, else by the tokenizer, else one for each delta."""
        for message in reversed(responses):
            if isinstance(message, dict):
                usage = (message.get("response") or message).get("usage")
                if usage:
                    return _usage(usage)
        return self.estimate(responses, request)

    def count_prompt(self, tokenizer: Tokenizer, body: dict[str, Any]) -> int:
        """Tokens of the input items' text."""
        given = body.get("input") or ""
        if isinstance(given, str):
            return tokenizer.count(given)
        return tokenizer.count_messages([{"role": "user", **item} for item in given])


def _items(message: Message) -> list[Message]:
    """A chat message as input items: its content, the calls it makes, or the output of a call."""
    role, content = message.get("role", "user"), message.get("content")
    if role == "tool":
        output = content_text(content)
        return [{"type": "function_call_output", "call_id": message.get("tool_call_id") or "", "output": output}]
    calls = [_call(call) for call in message.get("tool_calls") or ()]
    if content is None:
        return calls
    if isinstance(content, list):
        kind = "output_text" if role == "assistant" else "input_text"
        content = [_part(part, kind) for part in content]
    return [{"role": role, "content": content}, *calls]


def _call(call: dict[str, Any]) -> Message:
    function = call.get("function") or {}
    arguments = function.get("arguments") or "{}"
    text = arguments if isinstance(arguments, str) else orjson.dumps(arguments).decode()
    return {
        "type": "function_call",
        "call_id": call.get("id") or "",
        "name": function.get("name") or "",
        "arguments": text,
    }


def _part(part: Any, text_kind: str) -> Any:
    url = image_of(part)
    if url is not None:
        return {"type": "input_image", "image_url": url}
    if isinstance(part, dict) and part.get("type") == "text":
        return {"type": text_kind, "text": part.get("text") or ""}
    return part


def _failure(message: dict[str, Any]) -> str:
    error = message.get("error") or (message.get("response") or {}).get("error")
    return error_text(error or "the response failed")


def _whole(response: dict[str, Any]) -> Piece:
    if response.get("status") == "failed":
        return Piece(error=_failure(response))
    text = reasoning = ""
    for item in response["output"]:
        kind = item.get("type")
        if kind == "message":
            text += "".join(part.get("text") or part.get("refusal") or "" for part in item.get("content") or ())
        elif kind == "function_call":
            text += (item.get("name") or "") + (item.get("arguments") or "")
        elif kind == "reasoning":
            parts = [*(item.get("summary") or ()), *(item.get("content") or ())]
            reasoning += "".join(part.get("text") or "" for part in parts)
    return Piece(text, reasoning, "", True)


def _usage(usage: dict[str, Any]) -> TokenCount:
    details = usage.get("input_tokens_details") or {}
    prompt, completion = (usage.get(name, 0) for name in ("input_tokens", "output_tokens"))
    return TokenCount(prompt, completion, "usage", details.get("cached_tokens"))
