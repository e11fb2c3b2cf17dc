"""Lines of a file, checked by the base class."""

from typing import Dict, Iterator, List

from evalscope.perf.arguments import Arguments
from evalscope.perf.plugin.datasets.base import DatasetPluginBase
from evalscope.perf.plugin.registry import register_dataset


@register_dataset("my_lines")
class MyLines(DatasetPluginBase):
    def __init__(self, query_parameters: Arguments):
        super().__init__(query_parameters)

    def build_messages(self) -> Iterator[List[Dict]]:
        for item in self.dataset_line_by_line(self.query_parameters.dataset_path):
            prompt = item.strip()
            is_valid, length = self.check_prompt_length(prompt)
            if prompt and is_valid:
                text = f"{prompt} ({length})"
                yield [self.create_message(text)] if self.query_parameters.apply_chat_template else text
