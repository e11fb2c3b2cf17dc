"""openqa, with a hint."""

from evalscope.perf.plugin.datasets.openqa import OpenqaDatasetPlugin
from evalscope.perf.plugin.registry import register_dataset


@register_dataset("my_openqa")
class MyOpenqa(OpenqaDatasetPlugin):
    def build_messages(self):
        for messages in super().build_messages():
            yield [self.create_message("answer briefly", role="system")] + messages
