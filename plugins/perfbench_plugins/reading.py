"""Understand an Exchange: its messages, when content came, and whether the answer is whole.

Runs after the response, in the process that stores results, never on the measuring loop.
"""

from array import array
from bisect import bisect_left
from collections.abc import Callable, Generator, Iterator, Sequence
from itertools import chain, compress
from operator import add, itemgetter, sub
from typing import Any, NamedTuple, overload

import orjson

from perfbench_plugins.benchmark_data import BenchmarkData
from perfbench_plugins.decoding import decoded
from perfbench_plugins.exchange import Exchange, FailureKind
from perfbench_plugins.lines import lines_in_steps
from perfbench_plugins.sse import BLANK_LINES, Events, split_in_steps
from perfbench_plugins.sse import split_events as split_events

DONE = b"[DONE]"
STEP_EVENTS = 256
"""A step of reading: some half a millisecond."""
TOLD = 200
"""So much of an answer that is none is told."""


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

    def append(self, message: Any) -> None:
        """One more, by a plugin that wraps `process_request`."""
        self.raw.append(orjson.dumps(message))
        self._decoded.append(message)

    def __eq__(self, other: object) -> bool:
        return list(self) == other

    __hash__ = None  # type: ignore[assignment]  # as for a list

    def __repr__(self) -> str:
        return repr(list(self))


CONTENT = b'"content":"'


def look_at_all(messages: Messages, look: Callable[[Any], Piece]) -> list[Piece]:
    """What each message of an OpenAI-shaped stream says, without decoding those that differ in their text alone.

    Nearly all events of a stream are the same bytes around another text. Once one has been decoded, others with the
    same bytes before and after the text of `content` need no decoding, as long as that text has no quote and no
    escape in it. Anything else is decoded.
    """
    pieces: list[Piece] = []
    frame: _Frame | None = None
    is_first = True
    while (index := len(pieces)) < len(messages):
        raw = messages.raw[index]
        if frame is not None and (text := frame.text(raw)) is not None:
            known = PLAIN.get(text) or _plain(text)
            if known is not None:
                pieces.append(known)
                continue
        piece = look(messages[index])
        pieces.append(piece)
        if found := _frame(raw, piece):
            frame = found
            if is_first:  # a stream whose frame changes would be looked at from here on again and again
                is_first = False
                pieces += _look_at_framed(messages, index + 1, frame, look)
    return pieces


class _Frame(NamedTuple):
    """What stands around the text in an event."""

    before: bytes
    after: bytes

    def text(self, raw: bytes) -> bytes | None:
        """The text of an event that has this frame; None if it has another."""
        before, after = self
        return raw[len(before) : -len(after)] if raw.startswith(before) and raw.endswith(after) else None

    def texts(self, raws: list[bytes]) -> list[bytes]:
        """The texts of events that all have this frame; none if one of them has another.

        That they have it is seen by putting it around the texts again, which is one comparison for all: a part of the
        result is never shorter than its event, so that the whole is only as long where each part fits its event.
        """
        before, after = self
        begin, end = len(before), -len(after)
        texts = [raw[begin:end] for raw in raws]
        seam = after + b"\n" + before
        return texts if b"".join((before, seam.join(texts), after)) == b"\n".join(raws) else []


def _frame(raw: bytes, piece: Piece) -> _Frame | None:
    """The frame of an event that says this; None where others cannot be recognised by it."""
    if not piece.text or piece.is_last or piece.reasoning or raw.count(CONTENT) != 1:
        return None
    begin = raw.index(CONTENT) + len(CONTENT)
    end = raw.find(b'"', begin)
    return _Frame(raw[:begin], raw[end:]) if raw[begin:end] == piece.text.encode() else None


def _look_at_framed(messages: Messages, begin: int, frame: _Frame, look: Callable[[Any], Piece]) -> list[Piece]:
    """What the events from there on say that have this frame, up to the last of those; none if others are among them."""
    end = len(messages)
    while end > begin and frame.text(messages.raw[end - 1]) is None:
        end -= 1
    texts = frame.texts(messages.raw[begin:end])
    pieces = list(map(PLAIN.get, texts))
    if not all(pieces):
        for index, piece in enumerate(pieces):
            pieces[index] = piece or _plain(texts[index]) or look(messages[begin + index])
    return pieces  # type: ignore[return-value]  # None is in it no more


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
    knows_answers: bool = False,
) -> BenchmarkData:
    """The flat result of an exchange, tokens not yet counted. `look` says what a message means.

    `look_at` applies it to a stream: `look_at_all` where `look` knows OpenAI's shape and nothing else.
    `generates` is false for APIs whose answers have no text (embedding, rerank): those need no content and no end.
    `knows_answers`: an answer of which `look` knows no message is none; else each message of such an answer is content.
    """
    steps = read_in_steps(exchange, request, look, generates, look_at, knows_answers)
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
    knows_answers: bool = False,
) -> Generator[None, None, BenchmarkData]:
    """The same as `read`, for whoever must not be held up by a long answer: between two steps others get their turn."""
    exchange = yield from decoded(exchange)
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

        def look_at_some(messages: Messages) -> list[Piece]:
            return checked(look_at(messages, look), look)

        yield from _read_stream(exchange, data, look_at_some, generates, knows_answers)
    else:
        _read_body(exchange, data, look, generates, knows_answers)
    data.success = not data.failure
    return data


def _fail(data: BenchmarkData, kind: str, error: str) -> None:
    if not data.failure:  # the first failure is the cause, the later ones its consequences
        data.failure, data.error = kind, str(error)[:2000]


def _read_stream(
    exchange: Exchange,
    data: BenchmarkData,
    look: Callable[[Messages], list[Piece]],
    generates: bool,
    knows_answers: bool,
) -> Generator[None, None, None]:
    split = lines_in_steps if exchange.is_lines else split_in_steps
    found = yield from split(exchange.body)
    if found.data and not exchange.body.endswith(BLANK_LINES) and not _is_whole(found.data[-1]):
        found = found.without_last()  # the stream was cut within an event
    is_done = DONE in found.data
    events = found.without(DONE)
    messages = Messages(events.data)
    data.response_messages = messages  # type: ignore[assignment]  # a list to whoever reads it
    if events.errors:
        _fail(data, FailureKind.STREAM, error_text(events.data[events.errors[0]]))
        events = events.before_errors()
        messages = Messages(events.data)
    try:
        pieces = yield from _look_in_steps(messages, look)
    except Exception as error:  # noqa: BLE001  # a server may send anything, and a plugin's `read_message` raise anything
        _fail(data, *_unreadable("an event", error))
        return
    said = _Said.of(pieces)
    is_known = any(said.are_known)
    # A plugin for another API that did not say what its messages mean: each is content.
    yield from _understand(exchange, data, events, said, are_content=not is_known and not knows_answers)
    reported = _reported(said, messages)
    if reported:
        _fail(data, FailureKind.STREAM, reported)
    elif pieces and knows_answers and not is_known:
        _fail(data, FailureKind.PROTOCOL, _no_answer(events.data[0]))
    elif generates and is_known and not is_done and not any(said.are_last):
        _fail(data, FailureKind.TRUNCATED, "the stream ended without [DONE] or a finish reason")
    elif not pieces or (generates and not data.chunk_times):
        _fail(data, FailureKind.EMPTY, "a complete answer without content")


class _Said(NamedTuple):
    """What the messages of an answer say: the fields of their pieces, each for all. So a look at one field costs little."""

    texts: tuple[str, ...] = ()
    reasonings: tuple[str, ...] = ()
    errors: tuple[str, ...] = ()
    are_last: tuple[bool, ...] = ()
    are_known: tuple[bool, ...] = ()

    @classmethod
    def of(cls, pieces: list[Piece]) -> "_Said":
        """The same, turned round."""
        return cls(*zip(*pieces, strict=True))


def _understand(
    exchange: Exchange, data: BenchmarkData, events: Events, said: _Said, are_content: bool
) -> Generator[None, None, None]:
    """The answer's text, and when its content came. Long answers are a step each."""
    is_long = len(events.data) > STEP_EVENTS
    if is_long:
        yield
    data.generated_text = "".join(said.texts)
    data.reasoning_text = "".join(said.reasonings)
    ends = events.ends
    if not are_content:
        have_content = map(add, said.texts, said.reasonings) if data.reasoning_text else said.texts
        ends = list(compress(ends, have_content))
    if is_long:
        yield
    data.chunk_times = times = _times(exchange, ends)
    if times:
        data.first_chunk_latency = times[0] - exchange.sent_s
        data.inter_chunk_latency = list(map(sub, times[1:], times))


def _look_in_steps(messages: Messages, look: Callable[[Messages], list[Piece]]) -> Generator[None, None, list[Piece]]:
    """What the messages say; a step for so many of them."""
    if len(messages) <= STEP_EVENTS:
        return look(messages)
    pieces: list[Piece] = []
    for begin in range(0, len(messages), STEP_EVENTS):
        pieces += look(Messages(messages.raw[begin : begin + STEP_EVENTS]))
        yield
    return pieces


_CONTENT = itemgetter(0, 1)


def checked(pieces: list[Piece], look: Callable[[Any], Piece]) -> list[Piece]:
    """What `look` has returned, if they are pieces; raises NoPieceError or TypeError."""
    if not set(map(type, pieces)) <= {Piece}:
        name = getattr(look, "__qualname__", "read_message")
        wrong = next(piece for piece in pieces if type(piece) is not Piece)
        raise NoPieceError(f"{name} returned {wrong!r:.100}, no Piece")
    if not set(map(type, chain.from_iterable(map(_CONTENT, pieces)))) <= {str}:
        content = next(each for piece in pieces for each in (piece.text, piece.reasoning) if type(each) is not str)
        raise TypeError(f"its content is no text but {str(content)[:TOLD]}")
    return pieces


class NoPieceError(TypeError):
    """A plugin's `read_message` returned something else."""


def _is_whole(event: bytes) -> bool:
    """Whether the last event of a stream is all there: some servers leave out its blank line."""
    try:
        if event != DONE:
            orjson.loads(event)
    except ValueError:
        return False
    return True


def _unreadable(what: str, error: Exception) -> tuple[str, str]:
    """Kind and text of the failure of an answer that cannot be read."""
    if isinstance(error, NoPieceError):
        return FailureKind.PLUGIN, str(error)
    if isinstance(error, orjson.JSONDecodeError):
        return FailureKind.PROTOCOL, f"{what} is no JSON: {error}"
    return FailureKind.PROTOCOL, f"{what} has an unexpected shape: {type(error).__name__}: {error}"


def _no_answer(message: bytes) -> str:
    return f"no answer of this API: {message[:TOLD].decode(errors='replace')}"


def error_text(error: Any) -> str:
    """What an error says, of its JSON, or of the data of an error event, which may be anything."""
    if isinstance(error, bytes):
        try:
            error = orjson.loads(error)
        except ValueError:
            return error.decode(errors="replace") or "an error event without data"
        if isinstance(error, dict):
            error = error.get("error") or error
    if isinstance(error, dict):
        error = error.get("message") or error.get("detail") or error
    return str(error) or "an error event without data"


def _reported(said: _Said, messages: Messages) -> str:
    """The first error in an answer: of those that the plugin knows, or in a message of a shape that it does not know."""
    if known := next(filter(None, said.errors), ""):
        return known
    if all(said.are_known):
        return ""
    strange = (messages[number] for number, is_known in enumerate(said.are_known) if not is_known)
    return next((text for each in strange if isinstance(each, dict) and (text := reported_error(each))), "")


def reported_error(message: dict[str, Any]) -> str:
    """The error that a JSON object is, in one of the shapes in which servers report theirs; else an empty text."""
    if message.get("error"):
        return error_text(message["error"])
    if message.get("object") == "error" or message.get("type") == "error":  # older vLLM; Anthropic's, and proxies
        return error_text(message)
    code = message.get("code") or message.get("status")
    is_code = isinstance(code, int) and code >= 400
    return error_text(message) if is_code and message.keys() & {"message", "detail", "msg"} else ""


def _times(exchange: Exchange, ends: list[int]) -> list[float]:
    """When the last byte of each event was read: with the first piece of the body that reaches as far."""
    stamps, pieces = exchange.stamps, exchange.ends
    if ends:  # nearly every stream: each event is a piece of its own, and ends with it
        begin = bisect_left(pieces, ends[0])
        if pieces[begin : begin + len(ends)] == array("Q", map(len(BLANK_LINES[0]).__add__, ends)):
            return stamps[begin : begin + len(ends)].tolist()
    times, at, last = [], 0, len(pieces) - 1
    for end in ends:
        while at < last and pieces[at] < end:
            at += 1
        times.append(stamps[at])
    return times


def _read_body(
    exchange: Exchange, data: BenchmarkData, look: Callable[[Any], Piece], generates: bool, knows_answers: bool
) -> None:
    messages = Messages([exchange.body] if exchange.body else [])
    data.response_messages = messages  # type: ignore[assignment]  # a list to whoever reads it
    if data.failure:
        return
    if not messages:
        _fail(data, FailureKind.EMPTY, "a complete answer without content")
        return
    if not knows_answers and exchange.content_type.startswith("text/plain"):
        # No JSON, and the plugin may know what it is: its `parse_responses` gets the text, as EvalScope's do.
        data.generated_text = exchange.body.decode(errors="replace")
        data.response_messages = [data.generated_text]
        return
    try:
        (piece,) = checked([look(messages[0])], look)
    except Exception as error:  # noqa: BLE001  # a server may send anything, and a plugin's `read_message` raise anything
        _fail(data, *_unreadable("the answer", error))
        return
    data.generated_text, data.reasoning_text = piece.text, piece.reasoning
    reported = _reported(_Said.of([piece]), messages)
    if reported:
        _fail(data, FailureKind.STREAM, reported)
    elif knows_answers and not piece.is_known:
        _fail(data, FailureKind.PROTOCOL, _no_answer(exchange.body))
    elif generates and piece.is_known and not (piece.text or piece.reasoning):
        _fail(data, FailureKind.EMPTY, "a complete answer without content")
