"""API `openai`: chat and text completions of any OpenAI-compatible server."""

from functools import cached_property
from typing import Any

import orjson

from perfbench_plugins.api.default_api import DefaultApiPlugin, TokenCount
from perfbench_plugins.arguments import Arguments
from perfbench_plugins.registry import register_api
from perfbench_plugins.tokens import Tokenizer, load_tokenizer

PARAMETERS = {
    "max_tokens": "max_tokens",
    "min_tokens": "min_tokens",
    "frequency_penalty": "frequency_penalty",
    "repetition_penalty": "repetition_penalty",
    "logprobs": "logprobs",
    "n": "n_choices",
    "seed": "seed",
    "stop": "stop",
    "stop_token_ids": "stop_token_ids",
    "stream": "stream",
    "temperature": "temperature",
    "top_p": "top_p",
    "top_k": "top_k",
}
"""Field of the body: field of Arguments."""


@register_api(["openai", "local", "local_vllm"])
class OpenaiPlugin(DefaultApiPlugin):
    """Chat completions for messages, text completions for text or token ids; a whole body is completed, not changed."""

    suffix = "chat/completions"

    def build_request(self, messages: Any, param: Arguments | None = None) -> dict[str, Any]:
        """The body for chat messages, a text, token ids, or a whole body from the dataset."""
        param = param or self.param
        if isinstance(messages, dict):
            body, given = dict(messages), True
        elif isinstance(messages, str) or (messages and isinstance(messages[0], int)):
            body, given = {"prompt": messages}, False
        else:
            body, given = {"messages": messages}, False
        for name, value in self._parameters(param).items():
            if not (given and name in body):
                body[name] = value
        return body

    def _parameters(self, param: Arguments) -> dict[str, Any]:
        values = {name: getattr(param, field) for name, field in PARAMETERS.items()}
        values = {name: value for name, value in values.items() if value is not None}
        if param.stream:
            values["stream_options"] = {"include_usage": True}
        return {"model": param.model, **values, **(param.extra_args or {})}

    def parse_responses(self, responses: list[Any], request: str | None = None, **kwargs: Any) -> tuple[int, int]:
        """Tokens as the server reports them, else by the tokenizer, else one for each chunk with content."""
        for message in reversed(responses):
            usage = message.get("usage") if isinstance(message, dict) else None
            if usage:
                return _usage(usage)
        pieces = [self.read_message(message) for message in responses]
        if self.tokenizer is not None:
            text = "".join(piece.reasoning + piece.text for piece in pieces)
            return TokenCount(self._count_prompt(request), self.tokenizer.count(text), "tokenizer")
        return TokenCount(0, sum(bool(piece.text or piece.reasoning) for piece in pieces), "chunks")

    @cached_property
    def tokenizer(self) -> Tokenizer | None:
        """Loaded when first needed: never, where the server reports usage."""
        return load_tokenizer(self.model_path) if self.model_path else None

    def _count_prompt(self, request: str | None) -> int:
        body = orjson.loads(request) if request else {}
        prompt = body.get("prompt")
        if isinstance(prompt, list) and prompt and isinstance(prompt[0], int):
            return len(prompt)
        return self.tokenizer.count_messages(body.get("messages") or prompt or "") if self.tokenizer else 0


def _usage(usage: dict[str, Any]) -> TokenCount:
    details = usage.get("prompt_tokens_details") or {}
    return TokenCount(
        usage.get("prompt_tokens") or 0, usage.get("completion_tokens") or 0, "usage", details.get("cached_tokens")
    )
