"""Datasets `rerank` and `random_rerank`: queries with documents to rank."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

from pydantic import Field

from perfbench_plugins.datasets.base import DatasetPluginBase
from perfbench_plugins.datasets.errors import DatasetError
from perfbench_plugins.datasets.random_text import InputArgs, RandomTextDataset
from perfbench_plugins.datasets.rows import kind_of, rows_at
from perfbench_plugins.registry import register_dataset

DOCUMENTS = ("documents", "passages", "texts")
"""Where a row's documents are: the first of these columns that it has."""


@register_dataset("rerank")
class RerankDatasetPlugin(DatasetPluginBase):
    """Rows with `query` and `documents` (or passages, or texts) of a JSON, JSONL or Parquet file."""

    def build_messages(self) -> Iterator[Any]:
        """One body with query and documents for each row."""
        path = self.query_parameters.dataset_path
        for number, row in enumerate(self._rows(path), 1):
            documents = next((row[column] for column in DOCUMENTS if row.get(column)), None)
            if not row.get("query") or not isinstance(documents, list):
                raise DatasetError(
                    f"dataset.path: {path!r}, row {number}: needs `query` and a list `documents` (or passages, or texts)"
                )
            yield {"query": row["query"], "documents": documents}

    def _rows(self, path: str | None) -> Iterator[dict[str, Any]]:
        if path and Path(path).is_file() and kind_of(Path(path)) == "text":  # a .txt of JSON lines, as in EvalScope
            return (row for _, row in self.json_lines(path))
        return rows_at(path, "train")


class RandomRerankArgs(InputArgs):
    """Options of random_rerank."""

    num_documents: int | None = Field(None, ge=1)
    """Documents of a query; 10 if neither it nor, as in EvalScope, extraArgs.num_documents is given."""
    document_length_ratio: float | None = Field(None, gt=0)
    """Length of a document, in lengths of its query; 5 if neither it nor extraArgs.document_length_ratio is given."""


@register_dataset("random_rerank")
class RandomRerankDatasetPlugin(RandomTextDataset):
    """Random queries, each with random documents."""

    args_schema = RandomRerankArgs

    def build_messages(self) -> Iterator[Any]:
        """Bodies with query and documents, without end."""
        given, args = self.query_parameters.extra_args or {}, self.dataset_args
        count = args.num_documents or given.get("num_documents", 10)
        ratio = args.document_length_ratio or given.get("document_length_ratio", 5)
        while True:
            length = self.input_length()
            query = self.text(length)
            yield {"query": query, "documents": [self.text(max(1, round(length * ratio))) for _ in range(count)]}
