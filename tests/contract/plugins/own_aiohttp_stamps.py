"""OpenAI's stream read by hand; gaps are left to finalize, an attribute is added."""

import json
import time

from evalscope.perf.plugin.api.openai_api import OpenaiPlugin
from evalscope.perf.plugin.registry import register_api
from evalscope.perf.utils.benchmark_util import BenchmarkData


@register_api("own_aiohttp_stamps")
class OwnStamps(OpenaiPlugin):
    async def process_request(self, client_session, url, headers, body):
        output = BenchmarkData()
        output.request = json.dumps(body, ensure_ascii=False)
        output.is_stream = True
        output.queue_time = 0.5
        start = output.start_time = time.perf_counter()
        ttft = 0.0
        async with client_session.post(url=url, json=body, headers=headers) as response:
            async for line in response.content:
                line = line.decode().strip()
                if not line or line == "data: [DONE]":
                    continue
                data = json.loads(line.removeprefix("data: "))
                output.response_messages.append(data)
                if data["choices"] and data["choices"][0]["delta"].get("content"):
                    now = time.perf_counter()
                    if ttft == 0.0:
                        ttft = output.first_chunk_latency = now - start
                    output.chunk_times.append(now)
                usage = data.get("usage")
                if usage:
                    output.prompt_tokens = usage["prompt_tokens"]
                    output.completion_tokens = usage["completion_tokens"]
                    output.real_cached_tokens = usage["prompt_tokens_details"]["cached_tokens"]
        output.completed_time = time.perf_counter()
        output.query_latency = output.completed_time - start
        output.success = True
        return output
