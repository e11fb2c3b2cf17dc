"""A stream of its own shape, read with the stream handler."""

import json
import time

from evalscope.perf.plugin.api.base import ApiPluginBase
from evalscope.perf.plugin.api.default_api import StreamedResponseHandler
from evalscope.perf.plugin.registry import register_api
from evalscope.perf.utils.benchmark_util import BenchmarkData


@register_api("own_stream")
class OwnStream(ApiPluginBase):
    def build_request(self, messages, param=None):
        param = param or self.param
        prompt = messages if isinstance(messages, str) else messages[-1]["content"]
        return {"prompt": prompt, "length": param.max_tokens}

    def parse_responses(self, responses, request=None, **kwargs):
        counted = responses[-1]["counted"]
        return counted["in"], counted["out"]

    async def process_request(self, client_session, url, headers, body):
        output = BenchmarkData(request=json.dumps(body), is_stream=True)
        output.start_time = time.perf_counter()
        handler = StreamedResponseHandler()
        async with client_session.post(url, json=body, headers=headers) as response:
            async for chunk in response.content.iter_any():
                for message in handler.add_chunk(chunk):
                    data = json.loads(message.removeprefix("data:").strip())
                    output.response_messages.append(data)
                    if "token" in data:
                        now = time.perf_counter()
                        if output.first_chunk_latency == 0.0:
                            output.first_chunk_latency = now - output.start_time
                        output.chunk_times.append(now)
                        output.generated_text += data["token"]
        output.completed_time = time.perf_counter()
        output.query_latency = output.completed_time - output.start_time
        output.success = True
        return output
