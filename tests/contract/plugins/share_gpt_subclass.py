"""ShareGPT of another file."""

from evalscope.perf.plugin.datasets.share_gpt import ShareGPTDatasetPluginBase
from evalscope.perf.plugin.registry import register_dataset


@register_dataset("my_share_gpt")
class MyShareGpt(ShareGPTDatasetPluginBase):
    FILE_NAME = "common_en_70k.jsonl"
