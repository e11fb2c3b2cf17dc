"""Datasets `embedding` (or `embed`), `random_embedding` and their `_batch`: texts for an embedding model."""

from collections.abc import Iterator
from itertools import islice
from typing import Any

from pydantic import Field

from perfbench_plugins.datasets.base import BaseDatasetArgs, DatasetPluginBase
from perfbench_plugins.datasets.errors import DatasetError
from perfbench_plugins.datasets.random_text import InputArgs, RandomTextDataset
from perfbench_plugins.datasets.rows import rows_at
from perfbench_plugins.registry import register_dataset

COLUMNS = ("text", "input", "sentence", "content")
"""Where a row's text is: the first of these columns that it has."""
BATCH_SIZE = 8


class BatchArgs(BaseDatasetArgs):
    """Options of batches of texts."""

    batch_size: int | None = Field(None, ge=1)
    """Texts in a request; 8 if neither it nor, as in EvalScope, extraArgs.batch_size is given."""


class RandomBatchArgs(InputArgs, BatchArgs):
    """Options of batches of random texts."""


class Batches(DatasetPluginBase):
    """Makes batches of what the dataset next to it yields."""

    args_schema = BatchArgs

    def build_messages(self) -> Iterator[Any]:
        """Lists of texts; the last may be shorter."""
        size = self.dataset_args.batch_size or (self.query_parameters.extra_args or {}).get("batch_size", BATCH_SIZE)
        texts = super().build_messages()
        while batch := list(islice(texts, size)):
            yield batch


@register_dataset(["embedding", "embed"])
class EmbeddingDatasetPlugin(DatasetPluginBase):
    """Texts of a file: its lines, or field text, input, sentence or content of JSON, JSONL, CSV or Parquet."""

    def build_messages(self) -> Iterator[Any]:
        """One text for each row within the run's limits."""
        path = self.query_parameters.dataset_path
        for number, row in enumerate(rows_at(path, "train"), 1):
            text = next((row[column] for column in COLUMNS if row.get(column)), None)
            if not isinstance(text, str):
                raise DatasetError(f"dataset.path: {path!r}, row {number}: has no text field {' or '.join(COLUMNS)}")
            if self.prepare_prompt(text) is not None:
                yield text


@register_dataset(["embedding_batch", "embed_batch"])
class EmbeddingBatchDatasetPlugin(Batches, EmbeddingDatasetPlugin):
    """Texts of a file, several in a request."""


@register_dataset("random_embedding")
class RandomEmbeddingDatasetPlugin(RandomTextDataset):
    """Random texts."""

    def build_messages(self) -> Iterator[Any]:
        """Texts without end."""
        while True:
            yield self.text(self.input_length())


@register_dataset("random_embedding_batch")
class RandomEmbeddingBatchDatasetPlugin(Batches, RandomEmbeddingDatasetPlugin):
    """Random texts, several in a request."""

    args_schema = RandomBatchArgs
