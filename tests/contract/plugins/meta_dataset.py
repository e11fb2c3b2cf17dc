"""Bodies with headers and ids of their own."""

from evalscope.perf.plugin.datasets.base import DatasetPluginBase
from evalscope.perf.plugin.registry import register_dataset


@register_dataset("my_meta")
class MyMeta(DatasetPluginBase):
    def build_messages(self):
        for number in range(3):
            yield {
                "messages": [{"role": "user", "content": f"number {number}"}],
                "__evalscope_headers": {
                    "X-Trace": f"t-{number}",
                    "X-Mine": "loses",
                    "Host": "elsewhere",
                    "Content-Length": "3",
                },
                "__evalscope_request_id": f"id-{number}",
                "__evalscope_something": True,
            }
