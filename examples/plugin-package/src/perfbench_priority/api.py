"""API `priority_class`: what `openai` does, and a priority that follows from the length of the answer."""

from typing import Any

from perfbench_plugins.api.base import BaseApiArgs
from perfbench_plugins.api.openai_api import OpenaiPlugin
from perfbench_plugins.arguments import Arguments


class PriorityClassArgs(BaseApiArgs):
    """Its options: `target.apiArgs`, `--api-args`."""

    short_up_to: int = 128
    """Longest answer (tokens) that goes first."""


class PriorityClassApi(OpenaiPlugin):
    """Chat completions with vLLM's priority: short answers first."""

    args_schema = PriorityClassArgs

    def build_request(self, messages: Any, param: Arguments | None = None) -> dict[str, Any]:
        """The body of API openai, with a priority."""
        body = super().build_request(messages, param)
        return {**body, "priority": 0 if body.get("max_tokens", 0) <= self.api_args.short_up_to else 1}
