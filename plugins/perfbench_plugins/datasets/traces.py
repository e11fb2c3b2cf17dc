"""Traces: JSONL files whose lines say when a request came. No dataset itself.

A trace is read twice: first to check every line and to learn the order of time, then line by line as it is played. So a
mistake in its last line shows before any load, and a trace larger than memory can be played.
"""

from collections.abc import Callable, Iterator
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Generic, TypeVar

from pydantic import BaseModel, ValidationError

from perfbench_api.resource import problems
from perfbench_plugins.datasets.errors import DatasetError
from perfbench_plugins.datasets.rows import readable

R = TypeVar("R", bound=BaseModel)


def seconds(value: Any) -> float:
    """Seconds of a timestamp: a number, or ISO 8601 text (UTC, where it names no zone). Raises ValueError."""
    if isinstance(value, (int, float)) and not isinstance(value, bool):
        return float(value)
    if isinstance(value, datetime):
        return (value if value.tzinfo else value.replace(tzinfo=UTC)).timestamp()
    if not isinstance(value, str):
        raise ValueError(f"a timestamp is a number or ISO 8601 text, not {type(value).__name__}")
    try:
        return float(value)
    except ValueError:
        pass
    try:
        return seconds(datetime.fromisoformat(value.strip()))
    except ValueError:
        raise ValueError(f"{value!r} is no timestamp; it must be a number or ISO 8601 text") from None


class Trace(Generic[R]):
    """The records of a trace in the order of time."""

    def __init__(self, path: str | None, record: type[R], time_s: Callable[[R], float]) -> None:
        if not path:
            raise DatasetError("dataset.path: missing; a trace is read from a file of your own")
        self.path, self.record, self.time_s = Path(path), record, time_s

    def play(self, speed: float) -> Iterator[tuple[float, R]]:
        """When to send (seconds from the first record, `speed` times as fast as recorded), and what."""
        with readable(self.path), self.path.open("rb") as file:
            index = self._index(file)
            start_s = index[0][0]
            for time_s, number, offset in index:
                file.seek(offset)
                yield (time_s - start_s) / speed, self._read(file.readline(), number)

    def _index(self, file: Any) -> list[tuple[float, int, int]]:
        """Time, number and place of each line, by time; lines of one time keep their order."""
        index, offset = [], 0
        for number, line in enumerate(file, 1):
            if line.strip():
                index.append((self.time_s(self._read(line, number)), number, offset))
            offset += len(line)
        if not index:
            raise DatasetError(f"dataset.path: {str(self.path)!r} is empty")
        index.sort()
        return index

    def _read(self, line: bytes, number: int) -> R:
        try:
            return self.record.model_validate_json(line)
        except ValidationError as error:
            raise DatasetError(
                f"dataset.path: {str(self.path)!r}, line {number}: {problems(error, self.record)[0]}"
            ) from None
