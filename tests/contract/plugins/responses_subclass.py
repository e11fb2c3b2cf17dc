"""The Responses API."""

from evalscope.perf.plugin.api.openai_responses_api import OpenAIResponsesPlugin
from evalscope.perf.plugin.registry import register_api


@register_api("my_responses")
class MyResponses(OpenAIResponsesPlugin):
    def build_request(self, messages, param=None):
        body = super().build_request(messages, param)
        body["store"] = False
        return body
