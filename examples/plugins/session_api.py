"""API `session`: sends its requests itself, by the aiohttp session that it is given."""

import json
from time import perf_counter
from typing import Any

import aiohttp

from perfbench_plugins.api.base import ApiPluginBase
from perfbench_plugins.api.default_api import StreamedResponseHandler
from perfbench_plugins.arguments import Arguments
from perfbench_plugins.benchmark_data import BenchmarkData
from perfbench_plugins.registry import register_api


@register_api("session")
class SessionApi(ApiPluginBase):
    """Reads the stream as it comes and stamps it with time.perf_counter()."""

    suffix = "chat/completions"

    def build_request(self, messages: Any, param: Arguments | None = None) -> dict[str, Any]:
        param = param or self.param
        body = {"model": param.model, "messages": messages, "max_tokens": param.max_tokens, "stream": True}
        return {**body, "stream_options": {"include_usage": True}}

    def parse_responses(self, responses: list[Any], request: str | None = None, **kwargs: Any) -> tuple[int, int]:
        usage = responses[-1]["usage"]
        return usage["prompt_tokens"], usage["completion_tokens"]

    async def process_request(
        self, client_session: aiohttp.ClientSession, url: str, headers: dict[str, str], body: dict[str, Any]
    ) -> BenchmarkData:
        data = BenchmarkData(request=json.dumps(body), is_stream=True, start_time=perf_counter())
        events = StreamedResponseHandler()
        try:
            async with client_session.post(url, headers=headers, json=body) as response:
                data.status_code = response.status
                if response.status != 200:
                    data.error = await response.text()
                    return data
                async for part in response.content.iter_any():
                    for event in events.add_chunk(part):
                        self._read(event.removeprefix("data: "), data)
                data.success = True
        except (aiohttp.ClientError, TimeoutError) as error:
            data.error = str(error) or type(error).__name__
        finally:
            data.completed_time = perf_counter()
            data.query_latency = data.completed_time - data.start_time
        return data

    def _read(self, event: str, data: BenchmarkData) -> None:
        """One message of the stream: keep it, and its time if it has content."""
        if event == "[DONE]":
            return
        message = json.loads(event)
        data.response_messages.append(message)
        text = "".join(choice["delta"].get("content") or "" for choice in message["choices"])
        if not text:
            return
        now = perf_counter()
        if not data.chunk_times:
            data.first_chunk_latency = now - data.start_time
        else:
            data.inter_chunk_latency.append(now - data.chunk_times[-1])
        data.chunk_times.append(now)
        data.generated_text += text
