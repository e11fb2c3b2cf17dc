"""Understand an Exchange: its messages, when content came, and whether the answer is whole.

Runs after the response, in the process that stores results, never on the measuring loop.
"""

from bisect import bisect_left
from collections.abc import Callable, Iterator, Sequence
from typing import Any, NamedTuple, overload

import orjson

from perfbench_plugins.benchmark_data import BenchmarkData
from perfbench_plugins.exchange import Exchange, FailureKind

DONE = b"[DONE]"


class Piece(NamedTuple):
    """What one message of an answer says."""

    text: str = ""
    """Content for the user, tool calls included."""
    reasoning: str = ""
    """Reasoning content; counts for TTFT, is no part of the answer."""
    error: str = ""
    """An error that the server reports within the stream or the body."""
    is_last: bool = False
    """The server says that the answer is complete."""
    is_known: bool = True
    """Whether the message has a shape that the reader knows."""


class Messages(Sequence[Any]):
    """The JSON messages of an answer, decoded when they are looked at and not before."""

    __slots__ = ("_decoded", "raw")

    def __init__(self, raw: list[bytes]) -> None:
        self.raw = raw
        self._decoded: list[Any] = [None] * len(raw)

    def __len__(self) -> int:
        return len(self.raw)

    @overload
    def __getitem__(self, index: int) -> Any: ...
    @overload
    def __getitem__(self, index: slice) -> list[Any]: ...
    def __getitem__(self, index: int | slice) -> Any:
        if isinstance(index, slice):
            return [self[i] for i in range(*index.indices(len(self.raw)))]
        if self._decoded[index] is None:
            self._decoded[index] = orjson.loads(self.raw[index])
        return self._decoded[index]

    def __iter__(self) -> Iterator[Any]:
        return (self[i] for i in range(len(self.raw)))

    def __eq__(self, other: object) -> bool:
        return list(self) == other

    __hash__ = None  # type: ignore[assignment]  # as for a list

    def __repr__(self) -> str:
        return repr(list(self))


class Event(NamedTuple):
    """A server-sent event: its data, and where in the body the data ends."""

    data: bytes
    end: int


def split_events(body: bytes) -> list[Event]:
    """The events of a text/event-stream that have data (HTML standard, 9.2.6; other fields are not needed here)."""
    if b"\r" in body:
        return list(_split_lines(body))
    events, end = [], 0
    for block in body.split(b"\n\n"):
        end += len(block)
        if block.startswith(b"data: ") and b"\n" not in block:  # as nearly every server writes them
            events.append(Event(block[6:], end))
        elif b"data:" in block:
            events.extend(Event(event.data, end) for event in _split_lines(block))
        end += 2
    return events


def _split_lines(body: bytes) -> Iterator[Event]:
    """Any legal event stream, line by line: \\r\\n or \\r endings, several data lines, comments, other fields."""
    data: list[bytes] = []
    end = last = 0
    for line in body.splitlines(keepends=True):
        end += len(line)
        field, _, value = line.rstrip(b"\r\n").partition(b":")
        if field == b"data":
            data.append(value.removeprefix(b" "))
            last = end
        elif not field and not value and data:
            yield Event(b"\n".join(data), last)
            data = []
    if data:
        yield Event(b"\n".join(data), last)


def read(exchange: Exchange, request: str, look: Callable[[Any], Piece], generates: bool = True) -> BenchmarkData:
    """The flat result of an exchange, tokens not yet counted. `look` says what a message means.

    `generates` is false for APIs whose answers have no text (embedding, rerank): those cannot be empty or truncated.
    """
    data = BenchmarkData(
        request=request,
        start_time=exchange.sent_s,
        completed_time=exchange.end_s,
        query_latency=exchange.end_s - exchange.sent_s,
        is_stream=exchange.is_stream,
        status_code=exchange.status or None,
        failure=exchange.failure,
        error=exchange.error or None,
    )
    if exchange.is_stream:
        _read_stream(exchange, data, look, generates)
    else:
        _read_body(exchange, data, look, generates)
    data.success = not data.failure
    return data


def _fail(data: BenchmarkData, kind: str, error: str) -> None:
    if not data.failure:  # the first failure is the cause, the later ones its consequences
        data.failure, data.error = kind, error[:2000]


def _read_stream(exchange: Exchange, data: BenchmarkData, look: Callable[[Any], Piece], generates: bool) -> None:
    events = split_events(exchange.body)
    is_done = any(event.data == DONE for event in events[-2:])
    events = [event for event in events if event.data != DONE]
    messages = Messages([event.data for event in events])
    data.response_messages = messages  # type: ignore[assignment]  # a list to whoever reads it
    try:
        pieces = [look(message) for message in messages]
    except ValueError as error:
        return _fail(data, FailureKind.PROTOCOL, f"an event is no JSON: {error}")
    contents = [event for event, piece in zip(events, pieces, strict=True) if piece.text or piece.reasoning]
    is_known = any(piece.is_known for piece in pieces)
    if not is_known:  # a plugin for another API that did not say what its messages mean: each is content
        contents = events
    data.generated_text = "".join([piece.text for piece in pieces])
    data.reasoning_text = "".join([piece.reasoning for piece in pieces])
    data.chunk_times = _times(exchange, contents)
    if data.chunk_times:
        data.first_chunk_latency = data.chunk_times[0] - exchange.sent_s
        data.inter_chunk_latency = [b - a for a, b in zip(data.chunk_times, data.chunk_times[1:], strict=False)]
    reported = next((piece.error for piece in pieces if piece.error), "")
    if reported:
        _fail(data, FailureKind.STREAM, reported)
    elif generates and is_known and not is_done and not any(piece.is_last for piece in pieces):
        _fail(data, FailureKind.TRUNCATED, "the stream ended without [DONE] or a finish reason")
    elif generates and not contents:
        _fail(data, FailureKind.EMPTY, "a complete answer without content")
    return None


def _times(exchange: Exchange, events: list[Event]) -> list[float]:
    """When the last byte of each event was read."""
    stamps, ends = exchange.stamps, exchange.ends
    times, piece, last = [], 0, len(ends) - 1
    for event in events:
        if piece > last or ends[piece] < event.end:
            # Nearly always the next piece; a search only where the server or the network cut them otherwise.
            piece += 1
            if piece > last or ends[piece] < event.end or (piece and ends[piece - 1] >= event.end):
                piece = min(bisect_left(ends, event.end), last)
        times.append(stamps[piece])
    return times


def _read_body(exchange: Exchange, data: BenchmarkData, look: Callable[[Any], Piece], generates: bool) -> None:
    messages = Messages([exchange.body] if exchange.body else [])
    data.response_messages = messages  # type: ignore[assignment]  # a list to whoever reads it
    if data.failure:
        return
    try:
        piece = look(messages[0]) if messages else Piece()
    except ValueError as error:
        _fail(data, FailureKind.PROTOCOL, f"the answer is no JSON: {error}")
        return
    data.generated_text, data.reasoning_text = piece.text, piece.reasoning
    if piece.error:
        _fail(data, FailureKind.STREAM, piece.error)
    elif generates and piece.is_known and not (piece.text or piece.reasoning):
        _fail(data, FailureKind.EMPTY, "a complete answer without content")
