"""API `dashscope`: the native protocol of Alibaba Cloud's Model Studio, plain or as server-sent events."""

from typing import Any, Literal

from perfbench_plugins.api.base import BaseApiArgs
from perfbench_plugins.api.chat import Message, as_messages, image_of
from perfbench_plugins.api.default_api import (
    NOTHING,
    UNKNOWN,
    DefaultApiPlugin,
    TokenCount,
    add_extra_args,
    error_text,
    read_delta,
)
from perfbench_plugins.arguments import Arguments
from perfbench_plugins.reading import Piece
from perfbench_plugins.registry import register_api
from perfbench_plugins.tokens import Tokenizer

BASE = "/api/v1"


class DashscopeArgs(BaseApiArgs):
    """Options of the API dashscope."""

    service: Literal["text", "multimodal"] = "text"
    """Service to call: text-generation, or multimodal-generation for models that take images."""


@register_api("dashscope")
class DashScopeApiPlugin(DefaultApiPlugin):
    """Chat messages; a stream is asked for by header and always incremental."""

    args_schema = DashscopeArgs
    chats = True
    fields = {
        "max_tokens": "max_tokens",
        "temperature": "temperature",
        "top_p": "top_p",
        "top_k": "top_k",
        "repetition_penalty": "repetition_penalty",
        "logprobs": "logprobs",
        "n": "n_choices",
        "seed": "seed",
        "stop": "stop",
    }

    @classmethod
    def path(cls, param: Arguments) -> str:
        """By the service."""
        return f"{BASE}/services/aigc/{cls.read_args(param).service}-generation/generation"

    @classmethod
    def complete_url(cls, url: str, param: Arguments) -> str:
        """Also for the URL that the vendor's own SDK is given, which ends in /api/v1."""
        return super().complete_url(url.rstrip("/").removesuffix(BASE) or url, param)

    def headers(self, api_key: str | None) -> dict[str, str]:
        """The key, and whether the answer is to be a stream."""
        own = {"X-DashScope-SSE": "enable", "Accept": "text/event-stream"} if self.param.stream else {}
        return {**super().headers(api_key), **own}

    def build_request(self, messages: Any, param: Arguments | None = None) -> dict[str, Any]:
        """The body for chat messages or a text; a whole body from the dataset is completed, not changed."""
        param = param or self.param
        parameters = {**self.parameters(param), "result_format": "message"}
        if param.stream:
            parameters["incremental_output"] = True
        if isinstance(messages, dict):
            return {"model": param.model, **messages, "parameters": {**parameters, **messages.get("parameters", {})}}
        is_plain = self.api_args.service == "text"
        chat = [_plain(message) if is_plain else _of_parts(message) for message in as_messages(messages, "dashscope")]
        body = {"model": param.model, "input": {"messages": chat}, "parameters": parameters}
        return add_extra_args(body, param.extra_args)

    def read_message(self, message: Any) -> Piece:
        """An event or the whole answer: text or choices in `output`, or an error's code and message."""
        if not isinstance(message, dict):
            return UNKNOWN
        output = message.get("output")
        if not output:
            is_error = message.get("code") or message.get("error")
            return Piece(error=error_text(message.get("error") or message)) if is_error else UNKNOWN
        choices = output.get("choices")
        choice = choices[0] if choices else output
        is_last = choice.get("finish_reason") not in (None, "null", "")
        if not choices:
            return Piece(output.get("text") or "", output.get("reasoning_content") or "", "", is_last)
        if choice.get("index"):  # of several answers, the first is timed
            return NOTHING
        return read_delta(choice.get("message") or {}, is_last)

    def parse_responses(self, responses: list[Any], request: str | None = None, **kwargs: Any) -> tuple[int, int]:
        """Tokens as the last event reports them (each reports what there is so far), else estimated."""
        for message in reversed(responses):
            usage = message.get("usage") if isinstance(message, dict) else None
            if usage and usage.get("output_tokens") is not None:
                cached = (usage.get("prompt_tokens_details") or {}).get("cached_tokens")
                return TokenCount(usage.get("input_tokens", 0), usage["output_tokens"], "usage", cached)
        return self.estimate(responses, request)

    def count_prompt(self, tokenizer: Tokenizer, body: dict[str, Any]) -> int:
        """Tokens of the messages in `input`."""
        given = body.get("input") or {}
        return tokenizer.count_messages(given.get("messages") or given.get("prompt") or "")


def _plain(message: Message) -> Message:
    if any(image_of(part) is not None for part in _parts(message)):
        raise ValueError("dashscope's service text takes no images; give target.apiArgs.service: multimodal")
    return message


def _of_parts(message: Message) -> Message:
    """A message as the multimodal service has it: parts {text} and {image}."""
    return {**message, "content": [_part(part) for part in _parts(message)]}


def _parts(message: Message) -> list[Any]:
    content = message.get("content") or ""
    return content if isinstance(content, list) else [{"text": content}]


def _part(part: Any) -> Any:
    url = image_of(part)
    if url is not None:
        return {"image": url}
    return {"text": part.get("text") or ""} if isinstance(part, dict) and part.get("type") == "text" else part
