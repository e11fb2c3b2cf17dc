"""A response's pieces as llhttp (httptools) gives them, and when each arrived. No sockets here.

Nothing is decoded until the response is complete, and llhttp appends the pieces to a list by itself: the sooner the loop
gets back to reading, the fewer segments are read together. What the pieces mean is found out later, elsewhere
(`perfbench_plugins.reading`).
"""

from array import array
from itertools import accumulate, islice
from typing import NamedTuple, Protocol

import httptools

TLS_RECORDS = (b"\x15\x03", b"\x16\x03")
"""How a server's TLS records (alert, handshake) begin."""


Log = list[bytes | None]


class Receiver(Protocol):
    """Who waits for the response. All is called from within `ResponseReader.feed`."""

    def response_begun(self) -> None:
        """The first byte of a response, or of an informational one before it, has come."""
        ...

    def response_head(self, status: int) -> None:
        """The head is complete."""
        ...

    def response_complete(self) -> None:
        """The response is complete."""
        ...

    def head_too_large(self) -> None:
        """The head is larger than allowed."""
        ...


class Body(NamedTuple):
    """A body, transfer encoding undone."""

    data: bytes
    ends: "array[int]"
    """Where in it each piece ends."""
    times: "array[float]"
    """When each piece arrived."""
    end_s: float
    """When the last byte arrived; 0.0 if none did."""


class ResponseReader:
    """Reads one response after the other. Its owner feeds it, and adds None to `log` after each feed.

    What a long response has brought so far can be taken in before its end (`take_in`): there it would all be at once, and
    hold up whoever else is to be read; 40 ms at 32,000 pieces.
    """

    __slots__ = (
        "_content_length", "_end_s", "_ends", "_head_bytes", "_head_limit", "_parser", "_parts", "_receiver", "_times",
        "content_encoding", "content_type", "feed", "log", "on_body", "retry_after", "status",
    )  # fmt: skip

    def __init__(self, receiver: Receiver, head_limit: int) -> None:
        self._receiver, self._head_limit = receiver, head_limit
        self.log: Log = []
        """Pieces of the body, and after those of each feed None."""
        self.on_body = self.log.append
        """What llhttp calls with each piece; a method of our own would cost several times as much."""
        self._parts = list[bytes]()
        """The body so far, as far as it was taken in; then where its pieces end, and when they and the last byte arrived."""
        self._ends, self._times, self._end_s = array("Q"), array("d"), 0.0
        self._parser = httptools.HttpResponseParser(self)
        self.feed = self._parser.feed_data
        """Takes bytes. Raises httptools' HttpParserError and HttpParserUpgrade."""
        self.begin()

    def begin(self) -> None:
        """Make ready for the next response."""
        self.log.clear()
        self.status, self.content_type, self.content_encoding = 0, "", ""
        self.retry_after = ""
        self._content_length = False
        self._head_bytes = 0

    @property
    def can_go_on(self) -> bool:
        """Whether the connection may be used again after this response; to be asked within `response_complete`."""
        return bool(self._parser.should_keep_alive())

    @property
    def ends_with_connection(self) -> bool:
        """Whether the end of the connection is the end of the response: one without a length (RFC 9112, 6.3)."""
        return bool(self.status and not self._content_length and not self._parser.should_keep_alive())

    @property
    def size(self) -> int:
        """Bytes of the body so far."""
        return self._taken + sum(map(len, filter(None, self.log)))

    @property
    def _taken(self) -> int:
        """Bytes of it that were taken in."""
        return self._ends[-1] if self._ends else 0

    def take_in(self, times: list[float]) -> None:
        """Take in what came since the last time: `times` has one for each feed since, also for one under way."""
        pieces, piece_times = split(self.log, times)
        self.log.clear()
        self._ends.extend(islice(accumulate(map(len, pieces), initial=self._taken), 1, None))
        self._times.extend(piece_times)
        self._parts.append(b"".join(pieces))
        self._end_s = times[-1] if times else self._end_s

    def body(self, times: list[float]) -> Body:
        """All that came, and when: `times` as for `take_in`."""
        self.take_in(times)
        body = Body(b"".join(self._parts), self._ends, self._times, self._end_s)
        self._parts.clear()
        self._ends, self._times, self._end_s = array("Q"), array("d"), 0.0
        return body

    def objection(self, error: Exception, data: bytes) -> str:
        """What is wrong with the bytes that made llhttp raise an error; raises what is no error of llhttp's."""
        if isinstance(error, httptools.HttpParserUpgrade):
            return "the server switches to another protocol"
        if not isinstance(error, httptools.HttpParserError):
            raise error
        if not self.status and not self._head_bytes and data.startswith(TLS_RECORDS):
            return "no valid HTTP response but TLS; is it https instead of http?"
        return f"no valid HTTP response: {error.__context__ or error}"

    # What llhttp calls.

    def on_message_begin(self) -> None:
        self._content_length = False
        self._receiver.response_begun()

    def on_header(self, name: bytes, value: bytes) -> None:
        self._head_bytes += len(name) + len(value)
        lower = name.lower()
        if lower == b"content-type":
            self.content_type = value.decode("latin-1").lower()
        elif lower == b"content-encoding":
            self.content_encoding += ("," if self.content_encoding else "") + value.decode("latin-1").lower()
        elif lower in (b"content-length", b"transfer-encoding"):
            self._content_length = True
        elif lower == b"retry-after":
            self.retry_after = value.decode("latin-1")
        if self._head_bytes > self._head_limit:
            self._receiver.head_too_large()

    def on_headers_complete(self) -> None:
        self.status = self._parser.get_status_code()
        self._receiver.response_head(self.status)

    def on_message_complete(self) -> None:
        if self.status >= 200:  # 1xx are followed by the real one
            self._receiver.response_complete()


def split(log: Log, times: list[float]) -> tuple[list[bytes], list[float]]:
    """The pieces, and when each arrived: with the feed that is marked behind it, or the one under way.

    Nearly every stream comes as the head, a piece a read, and whatever its last read holds. Such a log is recognised and
    taken apart without looking at each entry here.
    """
    end = len(log)
    while end and log[end - 1] is not None:
        end -= 1
    rest = log[end:]
    marks, pieces = log[0:end:2], log[1:end:2]
    if end % 2 and set(marks) == {None} and None not in pieces:
        after = len(marks)
        return [*pieces, *rest], times[1:after] + times[after : after + 1] * len(rest)  # type: ignore[list-item]
    found: list[bytes] = []
    found_times: list[float] = []
    feed = 0
    for entry in log:
        if entry is None:
            feed += 1
        else:
            found.append(entry)
            found_times.append(times[feed])
    return found, found_times
