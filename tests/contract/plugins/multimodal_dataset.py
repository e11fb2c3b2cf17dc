"""Texts with images."""

from evalscope.perf.plugin.datasets.base import DatasetPluginBase
from evalscope.perf.plugin.registry import register_dataset

PIXEL = "data:image/png;base64,iVBORw0KGgoAAAANSUhEUgAAAAEAAAABCAYAAAAfFcSJAAAADUlEQVR42mNk+M9QDwADhgGAWjR9awAAAABJRU5ErkJggg=="


@register_dataset("my_images")
class MyImages(DatasetPluginBase):
    def build_messages(self):
        yield [self.create_message("what is this", PIXEL)]
        yield [self.create_message("and these", [PIXEL, "https://example.com/a.png"])]
        yield [self.create_message("be brief", role="system"), self.create_message("no image")]
