"""Understand an Exchange: its messages, when content came, and whether the answer is whole.

Runs after the response, in the process that stores results, never on the measuring loop.
"""

from array import array
from bisect import bisect_left
from collections.abc import Callable, Generator
from itertools import compress
from operator import add, sub
from typing import Any, NamedTuple

import orjson

from perfbench_plugins.benchmark_data import BenchmarkData
from perfbench_plugins.decoding import decoded
from perfbench_plugins.exchange import Exchange, FailureKind
from perfbench_plugins.lines import lines_in_steps
from perfbench_plugins.messages import TOLD, NoPieceError, checked, look_at_each
from perfbench_plugins.messages import Messages as Messages
from perfbench_plugins.messages import Piece as Piece
from perfbench_plugins.sse import BLANK_LINES, Events, split_in_steps
from perfbench_plugins.sse import split_events as split_events

DONE = b"[DONE]"
STEP_EVENTS = 256
"""A step of reading: some half a millisecond."""


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
