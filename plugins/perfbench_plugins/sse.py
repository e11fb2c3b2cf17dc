"""Server-sent events: a text/event-stream taken apart into the data of its events."""

import codecs
from collections.abc import Generator
from itertools import accumulate
from operator import add
from typing import NamedTuple

BLANK_LINES = (b"\n\n", b"\r\n\r\n", b"\r\r")
FIELD, BLANK_LINE = b"data: ", BLANK_LINES[0]
STEP_BYTES = 2**16
"""A step of taking a long body apart: some half a millisecond."""


class Events(NamedTuple):
    """The server-sent events of a body that have data."""

    data: list[bytes]
    ends: list[int]
    """Where in the body each event's data ends."""
    errors: list[int]
    """Numbers of the events whose type is `error`."""

    def without_last(self) -> "Events":
        """Without the last event."""
        last = len(self.data) - 1
        return Events(self.data[:-1], self.ends[:-1], [number for number in self.errors if number != last])

    def without(self, data: bytes) -> "Events":
        """Without events that have this data."""
        if data not in self.data:
            return self
        if not self.errors and self.data.index(data) == len(self.data) - 1:  # [DONE], as a rule
            return self.without_last()
        kept = [number for number, each in enumerate(self.data) if each != data]
        errors = [at for at, number in enumerate(kept) if number in self.errors]
        return Events([self.data[number] for number in kept], [self.ends[number] for number in kept], errors)

    def before_errors(self) -> "Events":
        """Those before the first error."""
        first = self.errors[0]
        return Events(self.data[:first], self.ends[:first], [])


def split_events(body: bytes) -> Events:
    """The events of a text/event-stream that have data (HTML standard, 9.2.6; id and retry are not needed here)."""
    data = body.removeprefix(FIELD).split(BLANK_LINE + FIELD)
    is_ended = body.endswith(BLANK_LINE)
    breaks = len(BLANK_LINE) * (len(data) - 1 + is_ended)
    if (
        body.startswith(FIELD) and body.count(b"\n") == breaks and b"\r" not in body
    ):  # as nearly every server writes them
        if is_ended:
            data[-1] = data[-1].removesuffix(BLANK_LINE)
        each = len(FIELD) + len(BLANK_LINE)
        begins = range(len(FIELD), len(FIELD) + each * len(data), each)
        return Events(data, list(map(add, accumulate(map(len, data)), begins)), [])
    return _split_lines(body)


def _split_lines(body: bytes) -> Events:
    """Any legal event stream, line by line: \\r\\n or \\r endings, several data lines, comments, other fields."""
    events, lines, kind = Events([], [], []), list[bytes](), b""
    end = last = 0

    def add() -> None:
        if kind == b"error":
            events.errors.append(len(events.data))
        events.data.append(b"\n".join(lines))
        events.ends.append(last)

    for line in body.splitlines(keepends=True):
        text = line.rstrip(b"\r\n") if end else line.rstrip(b"\r\n").removeprefix(codecs.BOM_UTF8)
        field, _, value = text.partition(b":")
        if field == b"data":
            lines.append(value.removeprefix(b" "))
            last = end + len(line.rstrip(b"\r\n"))
        elif field == b"event":
            kind = value.removeprefix(b" ")
        elif not text:
            if lines:
                add()
            lines, kind = [], b""
        end += len(line)
    if lines:
        add()
    return events


def split_in_steps(body: bytes) -> Generator[None, None, Events]:
    """The events of a stream, taken apart between events, so that no step takes long."""
    if len(body) <= STEP_BYTES:
        return split_events(body)
    found, begin = Events([], [], []), 0
    while begin < len(body):
        end = _end_of_events(body, begin)
        some = split_events(body[begin:end])
        found.errors.extend([len(found.data) + one for one in some.errors])
        found.data.extend(some.data)
        found.ends.extend([begin + one for one in some.ends])
        begin = end
        yield
    return found


def _end_of_events(body: bytes, begin: int) -> int:
    """Where some 64 KiB of whole events end: behind a blank line."""
    limit = begin + STEP_BYTES
    while limit < len(body):
        ends = [body.rfind(blank, begin, limit) + len(blank) for blank in BLANK_LINES if blank in body[begin:limit]]
        if ends:
            return max(ends)
        limit += STEP_BYTES  # an event that is longer than that
    return len(body)
