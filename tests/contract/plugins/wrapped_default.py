"""The default's process_request, wrapped: a header before, a field after."""

from evalscope.perf.plugin.api.default_api import DefaultApiPlugin
from evalscope.perf.plugin.api.openai_api import OpenaiPlugin
from evalscope.perf.plugin.registry import register_api


@register_api("wrapped_default")
class Wrapped(OpenaiPlugin):
    async def process_request(self, client_session, url, headers, body):
        headers = {**headers, "X-Trace": "wrapped"}
        body = {**body, "user": "wrapped"}
        output = await DefaultApiPlugin.process_request(self, client_session, url, headers, body)
        output.request_id = "mine"
        return output
