"""API `priority`: chat completions with vLLM's request priority."""

from typing import Any

from perfbench_plugins.api.base import BaseApiArgs
from perfbench_plugins.api.default_api import DefaultApiPlugin
from perfbench_plugins.arguments import Arguments
from perfbench_plugins.registry import register_api


class PriorityArgs(BaseApiArgs):
    """Its options: `target.apiArgs`, `--api-args`."""

    priority: int = 0
    """Lower is sooner."""


@register_api("priority")
class PriorityApi(DefaultApiPlugin):
    """Sending, timing, streams, usage and errors are inherited."""

    suffix = "chat/completions"
    fields = {"max_tokens": "max_tokens", "temperature": "temperature", "stream": "stream"}
    args_schema = PriorityArgs

    def build_request(self, messages: Any, param: Arguments | None = None) -> dict[str, Any]:
        param = param or self.param
        body = {"model": param.model, "messages": messages, **self.parameters(param)}
        if param.stream:
            body["stream_options"] = {"include_usage": True}
        return {**body, "priority": self.api_args.priority, **(param.extra_args or {})}

    def parse_responses(self, responses: list[Any], request: str | None = None, **kwargs: Any) -> tuple[int, int]:
        usage = next((message["usage"] for message in reversed(responses) if message.get("usage")), None)
        return (usage["prompt_tokens"], usage["completion_tokens"]) if usage else self.estimate(responses, request)
