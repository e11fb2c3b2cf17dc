"""Dataset `custom`: the prompts are the lines of a text file. The seed of a dataset plugin of your own."""

from collections.abc import Iterator
from typing import Any

from perfbench_plugins.datasets.base import DatasetPluginBase
from perfbench_plugins.registry import register_dataset


@register_dataset("custom")
class CustomDatasetPlugin(DatasetPluginBase):
    """Each line of a text file that is not blank is a prompt."""

    def build_messages(self) -> Iterator[Any]:
        """One prompt for each line within the run's limits."""
        for line in self.dataset_line_by_line(self.query_parameters.dataset_path):
            prompt = line.strip()
            messages = self.prepare_messages(prompt) if prompt else None
            if messages is not None:
                yield messages
