"""Dataset `openqa`: short open questions."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

from perfbench_plugins.datasets.errors import DatasetError
from perfbench_plugins.datasets.hub import DatasetSource
from perfbench_plugins.datasets.text import TextDataset
from perfbench_plugins.registry import register_dataset

SAMPLE = Path(__file__).parent / "samples" / "openqa.jsonl"
FILE = "open_qa.jsonl"


@register_dataset("openqa")
class OpenqaDatasetPlugin(TextDataset):
    """Field `question` of a JSONL file; of the sample that comes with perfbench, if neither path nor source is given."""

    dataset_source = DatasetSource("AI-ModelScope/HC3-Chinese", hf_dataset_id="Hello-SimpleAI/HC3-Chinese")

    def build_messages(self) -> Iterator[Any]:
        """One prompt for each line."""
        path = self._path()
        for number, row in self.json_lines(path):
            question = row.get("question")
            if not isinstance(question, str):
                raise DatasetError(
                    f"dataset.path: {path!r}, line {number}: has no text field `question`; dataset `file` reads other fields"
                )
            messages = self.prepare_messages(question.strip())
            if messages is not None:
                yield messages

    def _path(self) -> str:
        parameters = self.query_parameters
        if parameters.dataset_path or parameters.data_source not in (None, "local"):
            return self.download_hub_file(file_name=FILE)
        return str(SAMPLE)
