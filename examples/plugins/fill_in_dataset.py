"""Dataset `fill_in`: a prompt with a gap, filled in with each line of a file."""

from collections.abc import Iterator
from typing import Any

from pydantic import Field

from perfbench_plugins.datasets.base import BaseDatasetArgs, DatasetError, DatasetPluginBase
from perfbench_plugins.registry import register_dataset


class FillInArgs(BaseDatasetArgs):
    """Its options: `dataset.args`, `--dataset-args`."""

    prompt: str = "What is {}?"
    """The prompt; {} is the gap."""
    times: int = Field(1, ge=1)
    """How often each line is used before the file begins again."""


@register_dataset("fill_in")
class FillInDataset(DatasetPluginBase):
    """Lines in random order, the same for the same seed."""

    args_schema = FillInArgs

    def build_messages(self) -> Iterator[Any]:
        if "{}" not in self.dataset_args.prompt:
            raise DatasetError("dataset.args.prompt: has no {} to fill in")
        lines = [line.strip() for line in self.dataset_line_by_line(self.query_parameters.dataset_path)]
        words = lines * self.dataset_args.times
        self.random.shuffle(words)
        for word in words:
            yield [self.create_message(self.dataset_args.prompt.replace("{}", word))]
