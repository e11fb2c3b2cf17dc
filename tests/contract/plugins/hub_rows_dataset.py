"""A hub's rows, of which a copy is given."""

from evalscope.api.dataset import DatasetSource
from evalscope.perf.plugin.datasets.base import DatasetPluginBase
from evalscope.perf.plugin.registry import register_dataset


@register_dataset("my_hub_rows")
class MyHubRows(DatasetPluginBase):
    dataset_source = DatasetSource(dataset_id="me/mine")

    def build_messages(self):
        rows = self.load_hub_dataset(split="train")
        for row in rows:
            yield [self.create_message(f"{row['text']} of {len(rows)}")]
