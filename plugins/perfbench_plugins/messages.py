"""The messages of an answer, and what each says. Those that differ in their text alone are not decoded one by one."""

from collections.abc import Callable, Iterator, Sequence
from itertools import chain
from operator import itemgetter
from typing import Any, NamedTuple, overload

import orjson

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
            is_first, frame = frame is None, found
            if is_first:  # a stream whose frame changes would be looked at from here on again and again
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
