"""Random conversations, each turn with a longest answer."""

from dataclasses import replace

from evalscope.perf.plugin.datasets.multi_turn import RandomMultiTurnDatasetPlugin
from evalscope.perf.plugin.registry import register_dataset


@register_dataset("my_random_turns")
class MyRandomTurns(RandomMultiTurnDatasetPlugin):
    def build_messages(self):
        for conversation in super().build_messages():
            yield [replace(turn, max_tokens=2 + number) for number, turn in enumerate(conversation)]
