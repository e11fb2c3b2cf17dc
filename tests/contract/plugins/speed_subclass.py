"""The speed benchmark's shortest prompts."""

from evalscope.perf.plugin.datasets.speed_benchmark import SpeedBenchmarkDatasetPlugin
from evalscope.perf.plugin.registry import register_dataset


@register_dataset("my_speed")
class MySpeed(SpeedBenchmarkDatasetPlugin):
    def build_messages(self):
        for prompt in list(super().build_messages())[:2]:
            yield prompt
