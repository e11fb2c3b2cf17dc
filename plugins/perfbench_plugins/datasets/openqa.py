"""Dataset `openqa`: short open questions."""

from collections.abc import Iterator
from typing import Any

from perfbench_plugins.datasets.errors import DatasetError
from perfbench_plugins.datasets.hub import DatasetSource
from perfbench_plugins.datasets.questions import questions
from perfbench_plugins.datasets.text import TextDataset
from perfbench_plugins.registry import register_dataset

FILE = "open_qa.jsonl"


@register_dataset("openqa")
class OpenqaDatasetPlugin(TextDataset):
    """Field `question` of a JSONL file; questions that are made up, no two alike, if neither path nor source is given."""

    dataset_source = DatasetSource("AI-ModelScope/HC3-Chinese", hf_dataset_id="Hello-SimpleAI/HC3-Chinese")

    def build_messages(self) -> Iterator[Any]:
        """One prompt for each line."""
        for question in self._questions():
            messages = self.prepare_messages(question)
            if messages is not None:
                yield messages

    def _questions(self) -> Iterator[str]:
        parameters = self.query_parameters
        if parameters.dataset_path or parameters.data_source not in (None, "local"):
            return self._of_file(self.download_hub_file(file_name=FILE))
        return questions(self.random)

    def _of_file(self, path: str) -> Iterator[str]:
        for number, row in self.json_lines(path):
            question = row.get("question")
            if not isinstance(question, str):
                raise DatasetError(
                    f"dataset.path: {path!r}, line {number}: has no text field `question`; dataset `file` reads other fields"
                )
            yield question.strip()
