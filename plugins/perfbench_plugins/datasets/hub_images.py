"""Datasets `flickr8k` and `kontext_bench`: pictures of a hub, each with a task."""

from collections.abc import Iterator
from typing import Any

from perfbench_plugins.datasets.base import BaseDatasetArgs, DatasetPluginBase
from perfbench_plugins.datasets.errors import DatasetError
from perfbench_plugins.datasets.images import folder_of, image_url
from perfbench_plugins.registry import register_dataset


class HubImages(DatasetPluginBase):
    """Rows with an image, of a hub or of a copy of its files; subclasses say which."""

    HUB_ID = ""
    IMAGE_COLUMN = "image"

    def task(self, row: dict[str, Any]) -> str:
        """What to ask about the image."""
        raise NotImplementedError(f"{type(self).__name__} must implement task")

    def build_messages(self) -> Iterator[Any]:
        """Chat messages with the task and the image of each row."""
        path = self.query_parameters.dataset_path
        rows = self.load_hub_dataset(self.HUB_ID, split="test")
        for number, row in enumerate(rows, 1):
            if self.IMAGE_COLUMN not in row:
                raise DatasetError(f"dataset.path: row {number}: has no column `{self.IMAGE_COLUMN}` with an image")
            image = image_url(row[self.IMAGE_COLUMN], folder_of(path))
            yield [self.create_message(self.task(row), image)]


class FlickrArgs(BaseDatasetArgs):
    """Options of flickr8k."""

    prompt: str = "Describe the image"
    """What to ask about each picture."""


@register_dataset("flickr8k")
class FlickrDatasetPlugin(HubImages):
    """Photographs of people and animals, to be described."""

    HUB_ID = "clip-benchmark/wds_flickr8k"
    IMAGE_COLUMN = "jpg"
    args_schema = FlickrArgs

    def task(self, row: dict[str, Any]) -> str:
        """The same for all pictures."""
        prompt: str = self.dataset_args.prompt
        return prompt


@register_dataset("kontext_bench")
class KontextDatasetPlugin(HubImages):
    """Pictures with an instruction how to change them."""

    HUB_ID = "black-forest-labs/kontext-bench"

    def task(self, row: dict[str, Any]) -> str:
        """The row's instruction."""
        return str(row.get("instruction") or "")
