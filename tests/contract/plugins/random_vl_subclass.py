"""Random pictures with random text."""

from evalscope.perf.plugin.datasets.random_vl_dataset import RandomVLDatasetPlugin
from evalscope.perf.plugin.registry import register_dataset


@register_dataset("my_pictures")
class MyPictures(RandomVLDatasetPlugin):
    pass
