"""Dataset `line_by_line`: each line of a file is a request."""

import json
from collections.abc import Iterator
from typing import Any

from perfbench_plugins.datasets.errors import DatasetError
from perfbench_plugins.datasets.text import TextDataset
from perfbench_plugins.registry import register_dataset


@register_dataset("line_by_line")
class LineByLineDatasetPlugin(TextDataset):
    """A line of text is a prompt, a JSON array is chat messages, a JSON object is a whole body."""

    def build_messages(self) -> Iterator[Any]:
        """One item for each line that is not blank."""
        path = self.query_parameters.dataset_path
        for number, line in enumerate(self.dataset_line_by_line(path), 1):
            text = line.strip()
            item = self._item(text, f"dataset.path: {path!r}, line {number}") if text else None
            if item is not None:
                yield item

    def _item(self, text: str, where: str) -> Any:
        value = _json(text, where)
        if isinstance(value, dict):
            return value if self._is_short_enough(value) else None
        if not isinstance(value, list):
            return self.prepare_messages(text)
        if not value or not all(isinstance(message, dict) and "role" in message for message in value):
            raise DatasetError(f"{where}: a JSON array must hold chat messages, each an object with role and content")
        return self.prepare_conversation(value)

    def _is_short_enough(self, body: dict[str, Any]) -> bool:
        """Whether a whole body, which is never cut, has no more than target_input_len."""
        target, messages = self.dataset_args.target_input_len, body.get("messages") or [body.get("prompt") or ""]
        return target is None or self.measure_messages_len(messages) <= target


def _json(text: str, where: str) -> Any:
    """The array or object that a line is; None for text, which may begin with a bracket too."""
    if text[0] not in "[{":
        return None
    try:
        return json.loads(text)
    except ValueError as error:
        if text.startswith(('{"', "[{")):
            raise DatasetError(f"{where}: begins as JSON and is none: {error}") from None
        return None
