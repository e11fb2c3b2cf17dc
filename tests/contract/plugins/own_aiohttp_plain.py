"""Whole answers by aiohttp; TTFT is the latency, as EvalScope's own plugins have it."""

import json
import time

from evalscope.perf.arguments import Arguments
from evalscope.perf.plugin.api.base import ApiPluginBase
from evalscope.perf.plugin.registry import register_api
from evalscope.perf.utils.benchmark_util import BenchmarkData, is_stream_body


@register_api("own_aiohttp_plain")
class OwnPlain(ApiPluginBase):
    def __init__(self, param: Arguments):
        super().__init__(param)
        self.count = 0

    def build_request(self, messages, param=None):
        param = param or self.param
        return {"model": param.model, "messages": messages, "max_tokens": param.max_tokens, "stream": param.stream}

    def parse_responses(self, responses, request=None, **kwargs):
        usage = responses[-1]["usage"]
        return usage["prompt_tokens"], usage["completion_tokens"]

    async def process_request(self, client_session, url, headers, body):
        output = BenchmarkData(request=json.dumps(body), is_stream=is_stream_body(body))
        output.start_time = time.perf_counter()
        async with client_session.post(
            url, data=json.dumps(body), headers={"Content-Type": "application/json", **headers}
        ) as response:
            payload = await response.json()
            output.completed_time = time.perf_counter()
            output.query_latency = output.completed_time - output.start_time
            output.first_chunk_latency = output.query_latency
            output.response_messages.append(payload)
            output.generated_text = payload["choices"][0]["message"]["content"]
            output.success = response.status == 200
        return output
