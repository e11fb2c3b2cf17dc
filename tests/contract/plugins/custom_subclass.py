"""The template plugin, completed."""

from evalscope.perf.plugin.api.custom_api import CustomPlugin
from evalscope.perf.plugin.api.default_api import DefaultApiPlugin
from evalscope.perf.plugin.registry import register_api


@register_api("custom_subclass")
class Completed(CustomPlugin):
    process_request = DefaultApiPlugin.process_request

    def parse_responses(self, responses, request=None, **kwargs):
        usage = responses[-1]["usage"]
        return usage["prompt_tokens"], usage["completion_tokens"]
