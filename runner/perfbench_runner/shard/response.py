"""A response's pieces as llhttp (httptools) gives them, and when each arrived. No sockets here.

Nothing is decoded until the response is complete, and llhttp appends the pieces to a list by itself: the sooner the loop
gets back to reading, the fewer segments are read together. What the pieces mean is found out later, elsewhere
(`perfbench_plugins.reading`).
"""

from array import array
from itertools import accumulate
from typing import NamedTuple, Protocol

import httptools

TLS_RECORDS = (b"\x15\x03", b"\x16\x03")
"""How a server's TLS records (alert, handshake) begin."""


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
    stamps: "array[float]"
    """When each piece arrived."""


class ResponseReader:
    """Reads one response after the other. Its owner feeds it, and adds the time of each feed to `log` after it."""

    __slots__ = (
        "_content_length", "_head_bytes", "_head_limit", "_parser", "_receiver", "content_type", "feed", "log", "on_body",
        "status",
    )  # fmt: skip

    def __init__(self, receiver: Receiver, head_limit: int) -> None:
        self._receiver, self._head_limit = receiver, head_limit
        self.log: list[bytes | float] = []
        """Pieces of the body, and after those of each feed its time."""
        self.on_body = self.log.append
        """What llhttp calls with each piece; a method of our own would cost several times as much."""
        self._parser = httptools.HttpResponseParser(self)
        self.feed = self._parser.feed_data
        """Takes bytes. Raises httptools' HttpParserError and HttpParserUpgrade."""
        self.begin()

    def begin(self) -> None:
        """Make ready for the next response."""
        self.log.clear()
        self.status, self.content_type = 0, ""
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

    def body(self, last_s: float) -> Body:
        """What came. `last_s` is when the last feed's bytes arrived, also if it is not in the log yet."""
        pieces, ends, stamps = split(self.log, last_s)
        self.log.clear()
        return Body(b"".join(pieces), ends, stamps)

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
        elif lower in (b"content-length", b"transfer-encoding"):
            self._content_length = True
        if self._head_bytes > self._head_limit:
            self._receiver.head_too_large()

    def on_headers_complete(self) -> None:
        self.status = self._parser.get_status_code()
        self._receiver.response_head(self.status)

    def on_message_complete(self) -> None:
        if self.status >= 200:  # 1xx are followed by the real one
            self._receiver.response_complete()


def split(log: "list[bytes | float]", last_s: float) -> tuple[list[bytes], "array[int]", "array[float]"]:
    """Pieces, where each ends and when it arrived: with the feed that completed it, whose time follows it in the log."""
    pieces: list[bytes] = []
    stamps = array("d")
    for entry in log:
        if isinstance(entry, bytes):
            pieces.append(entry)
        else:
            stamps.extend([entry] * (len(pieces) - len(stamps)))
    stamps.extend([last_s] * (len(pieces) - len(stamps)))
    return pieces, array("Q", accumulate(map(len, pieces))), stamps
