"""Understand an Exchange: its messages, when content came, and whether the answer is whole.

Runs after the response, in the process that stores results, never on the measuring loop.
"""

from collections.abc import Callable, Generator, Iterator, Sequence
from itertools import accumulate
from operator import sub
from typing import Any, NamedTuple, overload

import orjson

from perfbench_plugins.benchmark_data import BenchmarkData
from perfbench_plugins.exchange import Exchange, FailureKind
from perfbench_plugins.lines import lines_in_steps

DONE = b"[DONE]"
BLANK_LINES = (b"\n\n", b"\r\n\r\n", b"\r\r")
STEP_BYTES, STEP_EVENTS = 2**16, 256
"""A step of reading: some half a millisecond."""


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


class Events(NamedTuple):
    """The server-sent events of a body that have data."""

    data: list[bytes]
    ends: list[int]
    """Where in the body each event's data ends."""


def split_events(body: bytes) -> Events:
    """The events of a text/event-stream that have data (HTML standard, 9.2.6; other fields are not needed here)."""
    blocks = body.split(b"\n\n")
    is_plain = b"\r" not in body and body.count(b"\n") == 2 * (len(blocks) - 1)
    if not blocks[-1]:
        blocks.pop()
    if is_plain and all(block.startswith(b"data: ") for block in blocks):  # as nearly every server writes them
        ends = [end + 2 * index for index, end in enumerate(accumulate(map(len, blocks)))]
        return Events([block[6:] for block in blocks], ends)
    return _split_lines(body)


def _split_lines(body: bytes) -> Events:
    """Any legal event stream, line by line: \\r\\n or \\r endings, several data lines, comments, other fields."""
    events, lines = Events([], []), []
    end = last = 0
    for line in body.splitlines(keepends=True):
        text = line.rstrip(b"\r\n")
        field, _, value = text.partition(b":")
        if field == b"data":
            lines.append(value.removeprefix(b" "))
            last = end + len(text)
        elif not text and lines:
            events.data.append(b"\n".join(lines))
            events.ends.append(last)
            lines = []
        end += len(line)
    if lines:
        events.data.append(b"\n".join(lines))
        events.ends.append(last)
    return events


CONTENT = b'"content":"'


def look_at_all(messages: Messages, look: Callable[[Any], Piece]) -> list[Piece]:
    """What each message of an OpenAI-shaped stream says, without decoding those that differ in their text alone.

    Nearly all events of a stream are the same bytes around another text. Once one has been decoded, others with the
    same bytes before and after the text of `content` need no decoding, as long as that text has no quote and no
    escape in it. Anything else is decoded.
    """
    pieces: list[Piece] = []
    before, after, start, length = b"", b"", 0, 0
    for index, raw in enumerate(messages.raw):
        if before and raw.startswith(before) and raw.endswith(after):
            text = raw[start : len(raw) - length]
            known = PLAIN.get(text) or _plain(text)
            if known is not None:
                pieces.append(known)
                continue
        piece = look(messages[index])
        pieces.append(piece)
        if piece.text and raw.count(CONTENT) == 1:
            start = raw.index(CONTENT) + len(CONTENT)
            end = raw.find(b'"', start)
            if raw[start:end] == piece.text.encode() and not piece.is_last and not piece.reasoning:
                before, after, length = raw[:start], raw[end:], len(raw) - end
    return pieces


PLAIN: dict[bytes, Piece] = {}
"""Pieces of texts seen before: a model's tokens repeat."""


def _plain(text: bytes) -> Piece | None:
    """The piece of a text that stands in JSON as it is; None for one with quotes or escapes, and for an empty one."""
    if not text or b'"' in text or b"\\" in text:
        return None
    if len(PLAIN) >= 20_000:
        PLAIN.clear()
    piece = PLAIN[text] = Piece(text.decode())
    return piece


def look_at_each(messages: Messages, look: Callable[[Any], Piece]) -> list[Piece]:
    """What each message of any stream says."""
    return [look(message) for message in messages]


def read(
    exchange: Exchange,
    request: str,
    look: Callable[[Any], Piece],
    generates: bool = True,
    look_at: Callable[[Messages, Callable[[Any], Piece]], list[Piece]] = look_at_each,
) -> BenchmarkData:
    """The flat result of an exchange, tokens not yet counted. `look` says what a message means.

    `look_at` applies it to a stream: `look_at_all` where `look` knows OpenAI's shape and nothing else.
    `generates` is false for APIs whose answers have no text (embedding, rerank): those cannot be empty or truncated.
    """
    steps = read_in_steps(exchange, request, look, generates, look_at)
    while True:
        try:
            next(steps)
        except StopIteration as end:
            data: BenchmarkData = end.value
            return data


def read_in_steps(
    exchange: Exchange,
    request: str,
    look: Callable[[Any], Piece],
    generates: bool = True,
    look_at: Callable[[Messages, Callable[[Any], Piece]], list[Piece]] = look_at_each,
) -> Generator[None, None, BenchmarkData]:
    """The same as `read`, for whoever must not be held up by a long answer: between two steps others get their turn."""
    data = BenchmarkData(
        request=request,
        start_time=exchange.sent_s,
        completed_time=exchange.end_s,
        query_latency=exchange.end_s - exchange.sent_s,
        first_chunk_latency=None,
        time_per_output_token=None,
        is_stream=exchange.is_stream,
        status_code=exchange.status or None,
        failure=exchange.failure,
        error=exchange.error or None,
    )
    if exchange.is_stream:
        yield from _read_stream(exchange, data, lambda messages: look_at(messages, look), generates)
    else:
        _read_body(exchange, data, look, generates)
    data.success = not data.failure
    return data


def _fail(data: BenchmarkData, kind: str, error: str) -> None:
    if not data.failure:  # the first failure is the cause, the later ones its consequences
        data.failure, data.error = kind, error[:2000]


def _read_stream(
    exchange: Exchange, data: BenchmarkData, look: Callable[[Messages], list[Piece]], generates: bool
) -> Generator[None, None, None]:
    split = lines_in_steps if exchange.is_lines else _split_in_steps
    events, ends = yield from split(exchange.body)
    if events and not exchange.body.endswith(BLANK_LINES) and not _is_whole(events[-1]):
        events.pop()  # the stream was cut within an event
        ends.pop()
    is_done = DONE in events
    if is_done:
        ends = [end for event, end in zip(events, ends, strict=True) if event != DONE]
        events = [event for event in events if event != DONE]
    messages = Messages(events)
    data.response_messages = messages  # type: ignore[assignment]  # a list to whoever reads it
    try:
        pieces = look(messages) if len(events) <= STEP_EVENTS else (yield from _look_in_steps(events, look))
    except Exception as error:  # noqa: BLE001  # a server may send anything, and a plugin's `read_message` raise anything
        _fail(data, FailureKind.PROTOCOL, f"an event {_unreadable(error)}")
        return
    yield from _understand(exchange, data, Events(events, ends), pieces)
    is_known = any(piece.is_known for piece in pieces)
    reported = next((piece.error for piece in pieces if piece.error), "")
    if reported:
        _fail(data, FailureKind.STREAM, reported)
    elif generates and is_known and not is_done and not any(piece.is_last for piece in pieces):
        _fail(data, FailureKind.TRUNCATED, "the stream ended without [DONE] or a finish reason")
    elif generates and not data.chunk_times:
        _fail(data, FailureKind.EMPTY, "a complete answer without content")


def _understand(
    exchange: Exchange, data: BenchmarkData, events: Events, pieces: list[Piece]
) -> Generator[None, None, None]:
    """The answer's text, and when its content came. Long answers are a step each."""
    is_long = len(pieces) > STEP_EVENTS
    # A plugin for another API that did not say what its messages mean: each is content.
    is_known = any(piece.is_known for piece in pieces)
    ends = [
        end for end, piece in zip(events.ends, pieces, strict=True) if piece.text or piece.reasoning or not is_known
    ]
    if is_long:
        yield
    data.generated_text = "".join([piece.text for piece in pieces])
    data.reasoning_text = "".join([piece.reasoning for piece in pieces])
    if is_long:
        yield
    data.chunk_times = times = _times(exchange, ends)
    if times:
        data.first_chunk_latency = times[0] - exchange.sent_s
        data.inter_chunk_latency = list(map(sub, times[1:], times))


def _look_in_steps(events: list[bytes], look: Callable[[Messages], list[Piece]]) -> Generator[None, None, list[Piece]]:
    pieces: list[Piece] = []
    for begin in range(0, len(events), STEP_EVENTS):
        pieces += look(Messages(events[begin : begin + STEP_EVENTS]))
        yield
    return pieces


def _split_in_steps(body: bytes) -> Generator[None, None, Events]:
    """The events of a stream, taken apart between events, so that no step takes long."""
    if len(body) <= STEP_BYTES:
        return split_events(body)
    found, begin = Events([], []), 0
    while begin < len(body):
        end = _end_of_events(body, begin)
        some = split_events(body[begin:end])
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


def _is_whole(event: bytes) -> bool:
    """Whether the last event of a stream is all there: some servers leave out its blank line."""
    try:
        if event != DONE:
            orjson.loads(event)
    except ValueError:
        return False
    return True


def _unreadable(error: Exception) -> str:
    if isinstance(error, orjson.JSONDecodeError):
        return f"is no JSON: {error}"
    return f"has an unexpected shape: {type(error).__name__}: {error}"


def _times(exchange: Exchange, ends: list[int]) -> list[float]:
    """When the last byte of each event was read: with the first piece of the body that reaches as far."""
    stamps, pieces = exchange.stamps, exchange.ends
    times, at, last = [], 0, len(pieces) - 1
    for end in ends:
        while at < last and pieces[at] < end:
            at += 1
        times.append(stamps[at])
    return times


def _read_body(exchange: Exchange, data: BenchmarkData, look: Callable[[Any], Piece], generates: bool) -> None:
    messages = Messages([exchange.body] if exchange.body else [])
    data.response_messages = messages  # type: ignore[assignment]  # a list to whoever reads it
    if data.failure:
        return
    try:
        piece = look(messages[0]) if messages else Piece()
    except Exception as error:  # noqa: BLE001  # a server may send anything, and a plugin's `read_message` raise anything
        _fail(data, FailureKind.PROTOCOL, f"the answer {_unreadable(error)}")
        return
    data.generated_text, data.reasoning_text = piece.text, piece.reasoning
    if piece.error:
        _fail(data, FailureKind.STREAM, piece.error)
    elif generates and piece.is_known and not (piece.text or piece.reasoning):
        _fail(data, FailureKind.EMPTY, "a complete answer without content")
