"""Dataset `colours`: short questions."""

from collections.abc import Iterator
from typing import Any

from perfbench_plugins.datasets.base import BaseDatasetArgs, DatasetPluginBase

COLOURS = ["red", "orange", "yellow", "green", "blue", "indigo", "violet"]


class ColoursArgs(BaseDatasetArgs):
    """Its options: `dataset.args`, `--dataset-args`."""

    things: int = 3
    """How many things to ask for."""


class ColoursDataset(DatasetPluginBase):
    """Asks for things of a colour, in random order."""

    args_schema = ColoursArgs

    def build_messages(self) -> Iterator[Any]:
        """One question for each colour."""
        for colour in self.random.sample(COLOURS, len(COLOURS)):
            yield [self.create_message(f"Name {self.dataset_args.things} {colour} things.")]
