"""Random prompts behind a fixed system message."""

from evalscope.perf.plugin.datasets.random_dataset import RandomDatasetPlugin
from evalscope.perf.plugin.registry import register_dataset


@register_dataset("my_random")
class MyRandom(RandomDatasetPlugin):
    def build_messages(self):
        for messages in super().build_messages():
            yield [{"role": "system", "content": "be brief"}] + messages
