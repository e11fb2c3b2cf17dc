"""custom_multi_turn as it is, under another name."""

from evalscope.perf.plugin.datasets.custom import CustomMultiTurnDatasetPlugin
from evalscope.perf.plugin.registry import register_dataset


@register_dataset("my_talks")
class MyTalks(CustomMultiTurnDatasetPlugin):
    pass
