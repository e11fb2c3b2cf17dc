"""Bodies that say when they are sent."""

from evalscope.perf.plugin.datasets.base import DatasetPluginBase
from evalscope.perf.plugin.registry import register_dataset
from evalscope.perf.utils.body_meta import BODY_META_ARRIVAL_OFFSET, BODY_META_REQUEST_ID


@register_dataset("my_arrivals")
class MyArrivals(DatasetPluginBase):
    provides_arrival_schedule = True
    requires_model = False

    def build_messages(self):
        for number, offset in enumerate((0.0, 0.5, 1.5, 1.6)):
            body = {
                "model": "x",
                "messages": [{"role": "user", "content": f"at {offset}"}],
                "max_tokens": 2,
                "stream": True,
            }
            yield {**body, BODY_META_ARRIVAL_OFFSET: offset, BODY_META_REQUEST_ID: f"id-{number}"}
