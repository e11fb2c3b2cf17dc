"""Understand an Exchange: its messages, when content came, and whether the answer is whole.

Runs after the response, in the process that stores results, never on the measuring loop.
"""

from collections.abc import Callable, Generator, Iterator, Sequence
from operator import sub
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
    data.response_messages = Messages(events.data)  # type: ignore[assignment]  # a list to whoever reads it
    if events.errors:
        _fail(data, FailureKind.STREAM, error_text(events.data[events.errors[0]]))
        events = events.before_errors()
    try:
        pieces = yield from _look_in_steps(events.data, look)
    except Exception as error:  # noqa: BLE001  # a server may send anything, and a plugin's `read_message` raise anything
        _fail(data, *_unreadable("an event", error))
        return
    is_known = any(piece.is_known for piece in pieces)
    # A plugin for another API that did not say what its messages mean: each is content.
    yield from _understand(exchange, data, events, pieces, are_content=not is_known and not knows_answers)
    reported = _reported(pieces, Messages(events.data))
    if reported:
        _fail(data, FailureKind.STREAM, reported)
    elif pieces and knows_answers and not is_known:
        _fail(data, FailureKind.PROTOCOL, _no_answer(events.data[0]))
    elif generates and is_known and not is_done and not any(piece.is_last for piece in pieces):
        _fail(data, FailureKind.TRUNCATED, "the stream ended without [DONE] or a finish reason")
    elif not pieces or (generates and not data.chunk_times):
        _fail(data, FailureKind.EMPTY, "a complete answer without content")


def _understand(
    exchange: Exchange, data: BenchmarkData, events: Events, pieces: list[Piece], are_content: bool
) -> Generator[None, None, None]:
    """The answer's text, and when its content came. Long answers are a step each."""
    is_long = len(pieces) > STEP_EVENTS
    ends = [end for end, piece in zip(events.ends, pieces, strict=True) if piece.text or piece.reasoning or are_content]
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
    """What the events say; a step for so many of them."""
    if len(events) <= STEP_EVENTS:
        return look(Messages(events))
    pieces: list[Piece] = []
    for begin in range(0, len(events), STEP_EVENTS):
        pieces += look(Messages(events[begin : begin + STEP_EVENTS]))
        yield
    return pieces


def checked(pieces: list[Piece], look: Callable[[Any], Piece]) -> list[Piece]:
    """What `look` has returned, if they are pieces; raises NoPieceError or TypeError."""
    for piece in pieces:
        if type(piece) is not Piece:
            name = getattr(look, "__qualname__", "read_message")
            raise NoPieceError(f"{name} returned {piece!r:.100}, no Piece")
        if not (type(piece.text) is type(piece.reasoning) is str):
            content = piece.text if type(piece.text) is not str else piece.reasoning
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


def _reported(pieces: list[Piece], messages: Messages) -> str:
    """The first error in an answer: of those that the plugin knows, or in a message of a shape that it does not know."""
    known = next((piece.error for piece in pieces if piece.error), "")
    strange = (messages[number] for number, piece in enumerate(pieces) if not piece.is_known)
    return known or next((text for each in strange if isinstance(each, dict) and (text := reported_error(each))), "")


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
    reported = _reported([piece], messages)
    if reported:
        _fail(data, FailureKind.STREAM, reported)
    elif knows_answers and not piece.is_known:
        _fail(data, FailureKind.PROTOCOL, _no_answer(exchange.body))
    elif generates and piece.is_known and not (piece.text or piece.reasoning):
        _fail(data, FailureKind.EMPTY, "a complete answer without content")
