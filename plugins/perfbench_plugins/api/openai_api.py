"""API `openai`: chat and text completions of any OpenAI-compatible server."""

from typing import Any

from perfbench_plugins.api.chat import are_token_ids, with_images
from perfbench_plugins.api.default_api import DefaultApiPlugin, TokenCount
from perfbench_plugins.arguments import Arguments
from perfbench_plugins.logger import get_logger
from perfbench_plugins.registry import register_api


@register_api(["openai", "local", "local_vllm"])
class OpenaiPlugin(DefaultApiPlugin):
    """Chat completions for messages, text completions for text or token ids; a whole body is completed, not changed."""

    suffix = "chat/completions"
    fields = {
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

    def __init__(self, param: Arguments) -> None:
        super().__init__(param)
        if param.api in ("local", "local_vllm"):
            get_logger().warning("API %s: perfbench starts no model itself; it speaks to %s", param.api, param.url)

    def build_request(self, messages: Any, param: Arguments | None = None) -> dict[str, Any]:
        """The body for chat messages, a text, token ids, or a whole body from the dataset."""
        param = param or self.param
        body: dict[str, Any]
        if isinstance(messages, dict):
            body, given = dict(messages), True
        elif isinstance(messages, str) or are_token_ids(messages):
            body, given = {"prompt": messages}, False
        else:
            body, given = {"messages": with_images(messages)}, False
        for name, value in self._all_parameters(param).items():
            if not (given and name in body):
                body[name] = value
        return body

    def _all_parameters(self, param: Arguments) -> dict[str, Any]:
        values = self.parameters(param)
        if param.stream:
            values["stream_options"] = {"include_usage": True}
        return {"model": param.model, **values, **(param.extra_args or {})}

    def parse_responses(self, responses: list[Any], request: str | None = None, **kwargs: Any) -> tuple[int, int]:
        """Tokens as the server reports them, else by the tokenizer, else one for each chunk with content."""
        for message in reversed(responses):
            usage = message.get("usage") if isinstance(message, dict) else None
            if usage:
                return _usage(usage)
        return self.estimate(responses, request)


def _usage(usage: dict[str, Any]) -> TokenCount:
    details = usage.get("prompt_tokens_details") or {}
    return TokenCount(
        usage.get("prompt_tokens") or 0, usage.get("completion_tokens") or 0, "usage", details.get("cached_tokens")
    )
