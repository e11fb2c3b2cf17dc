"""Dataset `longalpaca`: instructions on long texts."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

from perfbench_plugins.datasets.errors import DatasetError
from perfbench_plugins.datasets.hub import DatasetSource
from perfbench_plugins.datasets.rows import rows_at
from perfbench_plugins.datasets.text import TextDataset
from perfbench_plugins.registry import register_dataset

FILE = "LongAlpaca-12k.json"


@register_dataset("longalpaca")
class LongAlpacaDatasetPlugin(TextDataset):
    """Field `instruction` of a JSON list, or of a JSONL, Parquet or Arrow file."""

    dataset_source = DatasetSource("AI-ModelScope/LongAlpaca-12k", hf_dataset_id="Yukang/LongAlpaca-12k")

    def build_messages(self) -> Iterator[Any]:
        """One prompt for each row within the run's limits."""
        path = self._path()
        for number, row in enumerate(rows_at(path, "train"), 1):
            text = row.get("instruction")
            if not isinstance(text, str):
                raise DatasetError(f"dataset.path: {path!r}, row {number}: has no text field `instruction`")
            messages = self.prepare_messages(text.strip())
            if messages is not None:
                yield messages

    def _path(self) -> str:
        parameters = self.query_parameters
        if not parameters.dataset_path:
            return self.download_hub_file(file_name=FILE)
        inside = Path(parameters.dataset_path) / FILE
        return str(inside) if inside.exists() else parameters.dataset_path
