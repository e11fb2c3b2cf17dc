"""A hub's file, of which a copy is given."""

from evalscope.perf.plugin.datasets.base import DatasetPluginBase
from evalscope.perf.plugin.registry import register_dataset


@register_dataset("my_hub_file")
class MyHubFile(DatasetPluginBase):
    def build_messages(self):
        path = self.download_hub_file(dataset_id="me/mine", file_name="LongAlpaca-12k.json")
        for item in self.dataset_json_list(path):
            yield [self.create_message(item["instruction"])]
