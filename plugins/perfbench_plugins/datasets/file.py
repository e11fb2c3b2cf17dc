"""Dataset `file`: any JSONL, JSON, CSV, TSV, Parquet, Arrow, text or tar file, with a mapping of its columns."""

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Literal

from pydantic import Field

from perfbench_plugins.datasets.base import Item
from perfbench_plugins.datasets.conversations import turns_of
from perfbench_plugins.datasets.dataset_args import TextDatasetArgs, TraceArgs
from perfbench_plugins.datasets.errors import DatasetError
from perfbench_plugins.datasets.images import folder_of, image_url
from perfbench_plugins.datasets.rows import file_rows, folder_rows
from perfbench_plugins.datasets.text import TextDataset
from perfbench_plugins.datasets.traces import seconds
from perfbench_plugins.registry import register_dataset

GUESSES = ("messages", "prompt", "question", "instruction", "text", "query", "input")
"""Columns that are looked for, in this order, where none is named."""
Row = dict[str, Any]


class FileArgs(TextDatasetArgs, TraceArgs):
    """Options of file: names of columns. A dot goes into an object: `meta.length`."""

    format: Literal["jsonl", "json", "csv", "tsv", "parquet", "arrow", "tar", "text"] | None = None
    """Kind of the file; by its ending if not given."""
    split: str = "train"
    """Where path is a folder or hub is given: which part of the dataset to read."""
    hub: str | None = None
    """A dataset's name on the hub that source names, instead of path."""
    subset: str = "default"
    """With hub: the dataset's configuration."""
    prompt: str | None = None
    """Column with the prompt's text."""
    messages: str | None = None
    """Column with chat messages (a list, or its JSON); played turn by turn with the run's multiTurn."""
    body: str | None = None
    """Column with whole bodies (an object, or its JSON)."""
    system: str | None = None
    """Column with a system message that goes before the prompt."""
    images: str | None = None
    """Column with an image or a list of images: a URL, a file's path, or bytes."""
    max_tokens: str | None = None
    """Column with the longest answer."""
    timestamp: str | None = None
    """Column with the time to send it; the rows must be in its order."""
    timestamp_unit: Literal["s", "ms"] = "s"
    """Unit of numbers in timestamp; text in it is ISO 8601."""
    headers: str | None = None
    """Column with this request's HTTP headers (an object, or its JSON)."""
    request_id: str | None = Field(None)
    """Column with an id to find the result by."""


@register_dataset("file")
class FileDatasetPlugin(TextDataset):
    """Rows of a file, each a request; its columns are named in args, or guessed: messages, prompt, question, …"""

    args_schema = FileArgs

    def __init__(self, query_parameters: Any) -> None:
        super().__init__(query_parameters)
        args = self.dataset_args
        named = [name for name in ("prompt", "messages", "body") if getattr(args, name)]
        if len(named) > 1:
            raise DatasetError(f"dataset.args: {' and '.join(named)} exclude each other; name one of them")
        self.provides_arrival_schedule = args.timestamp is not None
        self.requires_model = args.body is None
        self._start_s: float | None = None
        self._last_s = 0.0

    def build_messages(self) -> Iterator[Any]:
        """One item for each row within the run's limits."""
        self._start_s, self._last_s = None, 0.0
        for number, row in enumerate(self._rows(), 1):
            try:
                messages = self._messages(row)
                if messages is not None:
                    yield self._item(messages, row)
            except DatasetError:
                raise
            except (KeyError, ValueError, TypeError) as error:
                reason = f"has no column {error}" if isinstance(error, KeyError) else str(error)
                raise DatasetError(f"dataset.path: {self._name!r}, row {number}: {reason}") from None

    @property
    def _name(self) -> str | None:
        return self.dataset_args.hub or self.query_parameters.dataset_path

    def _rows(self) -> Iterator[Row]:
        args, path = self.dataset_args, self.query_parameters.dataset_path
        if args.hub:
            rows: Iterator[Row] = self.load_hub_dataset(args.hub, args.split, args.subset)
            return rows
        if not path:
            raise DatasetError("dataset.path: missing; dataset `file` reads a file of your own, or args.hub")
        return folder_rows(Path(path), args.split) if Path(path).is_dir() else file_rows(Path(path), args.format)

    def _messages(self, row: Row) -> Any:
        args = self.dataset_args
        if args.body:
            return _data(_at(row, args.body), dict)
        column = args.messages or args.prompt or self._guess(row)
        value = _at(row, column)
        if column == args.messages or isinstance(value, list):
            return self._chat(_data(value, list))
        if not isinstance(value, str):
            raise TypeError(f"column {column!r} holds no text but {type(value).__name__}")
        return self._prompt(value, row)

    def _chat(self, messages: list[Any]) -> Any:
        if not all(isinstance(message, dict) and "role" in message for message in messages):
            raise TypeError("messages must be objects with role and content")
        if self.query_parameters.multi_turn:
            return turns_of(messages, self.query_parameters.max_turns) or None
        return self.prepare_conversation(messages)

    def _prompt(self, text: str, row: Row) -> Any:
        args = self.dataset_args
        messages = self.prepare_messages(text.strip())
        if messages is None or not (args.system or args.images):
            return messages
        if isinstance(messages, str):
            raise TypeError("a system message or images need chat messages; set applyChatTemplate")
        *before, message = messages
        system = [self.create_message(str(_at(row, args.system)), role="system")] if args.system else []
        images = self._images(_at(row, args.images)) if args.images else []
        return [*system, *before, self.create_message(message["content"], images or None)]

    def _images(self, value: Any) -> list[str]:
        folder = folder_of(self.query_parameters.dataset_path)
        return [image_url(image, folder) for image in (value if isinstance(value, list) else [value]) if image]

    def _item(self, messages: Any, row: Row) -> Any:
        args = self.dataset_args
        values: dict[str, Any] = {}
        if args.max_tokens:
            values["max_tokens"] = int(_at(row, args.max_tokens))
        if args.timestamp:
            values["at_s"] = self._arrival(_at(row, args.timestamp))
        if args.headers:
            values["headers"] = _data(_at(row, args.headers), dict)
        if args.request_id:
            values["request_id"] = str(_at(row, args.request_id))
        return Item(messages, **values) if values else messages

    def _arrival(self, value: Any) -> float:
        args = self.dataset_args
        time_s = seconds(value)
        if args.timestamp_unit == "ms" and _is_number(value):
            time_s /= 1e3
        if self._start_s is None:
            self._start_s = time_s
        at_s = float((time_s - self._start_s) / args.speed)
        if at_s < self._last_s:
            raise ValueError("comes before the row above it; sort the file by its timestamps")
        self._last_s = at_s
        return at_s

    def _guess(self, row: Row) -> str:
        found = next((name for name in GUESSES if name in row), None)
        if found is None:
            columns = ", ".join(map(str, row))
            raise ValueError(f"no column is known to hold a prompt; name one in args.prompt: there are {columns}")
        return found


def _at(row: Row, column: str) -> Any:
    """The value of a column, or within one: `a.b` is row["a"]["b"] where there is no column `a.b`. Raises KeyError."""
    if column in row:
        return row[column]
    value: Any = row
    for name in column.split("."):
        if not isinstance(value, dict) or name not in value:
            raise KeyError(column)
        value = value[name]
    return value


def _data(value: Any, kind: type) -> Any:
    """A list or an object, which may be written as JSON text."""
    if isinstance(value, str):
        value = json.loads(value)
    if not isinstance(value, kind):
        raise TypeError(f"expected a {kind.__name__}, got {type(value).__name__}")
    return value


def _is_number(value: Any) -> bool:
    return isinstance(value, (int, float)) or (isinstance(value, str) and value.replace(".", "", 1).isdigit())
