"""API `custom`: the start for a plugin of your own. Copy this file, change what differs, load it with `--plugin FILE`.

As it stands it speaks to servers that take OpenAI's messages, or a plain prompt as `input_text`, and answer in OpenAI's
shape. A plugin of yours may be named custom too: it then takes this one's place.
"""

from typing import Any

from perfbench_plugins.api.default_api import DefaultApiPlugin, TokenCount
from perfbench_plugins.api.openai_api import with_usage
from perfbench_plugins.arguments import Arguments
from perfbench_plugins.registry import register_api
from perfbench_plugins.tokens import Tokenizer


@register_api("custom")
class CustomPlugin(DefaultApiPlugin):
    """Sending, timing, streams and errors are inherited; an API with another shape of answer overrides read_message."""

    suffix = "chat/completions"
    fields = {
        "max_tokens": "max_tokens",
        "temperature": "temperature",
        "top_p": "top_p",
        "top_k": "top_k",
        "stream": "stream",
    }

    def build_request(self, messages: Any, param: Arguments | None = None) -> dict[str, Any]:
        """The body for what the dataset yields: chat messages, a text, or a whole body."""
        param = param or self.param
        body = {"model": param.model, **self.parameters(param)}
        body |= param.extra_args or {}
        whole = messages if isinstance(messages, dict) else {}
        if not whole:
            body = {"input_text" if isinstance(messages, str) else "messages": messages, **body}
        return with_usage({**body, **whole})

    def parse_responses(self, responses: list[Any], request: str | None = None, **kwargs: Any) -> tuple[int, int]:
        """Prompt and completion tokens: as reported, else by the tokenizer, else one for each chunk with content."""
        for message in reversed(responses):
            usage = message.get("usage") if isinstance(message, dict) else None
            if usage:
                return TokenCount(usage.get("prompt_tokens", 0), usage.get("completion_tokens", 0), "usage")
        return self.estimate(responses, request)

    def count_prompt(self, tokenizer: Tokenizer, body: dict[str, Any]) -> int:
        """Prompt tokens by the tokenizer, where the server reports none."""
        return tokenizer.count_messages(body.get("messages") or body.get("input_text") or "")
