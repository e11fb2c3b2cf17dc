"""Datasets `speed_benchmark` and `speed_benchmark_long`: prompts of Qwen's speed report, one character repeated."""

from collections.abc import Iterator
from typing import Any, ClassVar

from perfbench_plugins.datasets.base import DatasetPluginBase
from perfbench_plugins.registry import register_dataset

CHARACTER = "熵"
"""One token in Qwen's vocabulary, so that the lengths below are tokens there."""


@register_dataset("speed_benchmark")
class SpeedBenchmarkDatasetPlugin(DatasetPluginBase):
    """Prompts of 1, 6144, 14336 and 30720 tokens, each twice."""

    LENGTHS: ClassVar[tuple[int, ...]] = (1, 6144, 14336, 30720)

    def build_messages(self) -> Iterator[Any]:
        """The prompts, whatever the run's limits are."""
        for length in self.LENGTHS:
            for _ in range(2):
                text = CHARACTER * length
                yield [self.create_message(text)] if self.sends_chat else text


@register_dataset("speed_benchmark_long")
class SpeedBenchmarkLongDatasetPlugin(SpeedBenchmarkDatasetPlugin):
    """Prompts of 63488 and 129024 tokens, each twice."""

    LENGTHS = (63488, 129024)
