"""A schedule whose first requests are the warm-up."""

from evalscope.perf.plugin.datasets.base import DatasetPluginBase
from evalscope.perf.plugin.registry import register_dataset
from evalscope.perf.utils.body_meta import BODY_META_ARRIVAL_OFFSET, BODY_META_IS_WARMUP


@register_dataset('my_warmup')
class MyWarmup(DatasetPluginBase):
    provides_arrival_schedule = True
    requires_model = False

    def build_messages(self):
        for number, offset in enumerate((0.0, 0.2, 1.2, 1.3)):
            body = {'model': 'x', 'messages': [{'role': 'user', 'content': f'{number}'}], 'max_tokens': 2, 'stream': True}
            body[BODY_META_ARRIVAL_OFFSET] = offset
            if number < 2:
                body[BODY_META_IS_WARMUP] = True
            yield body
