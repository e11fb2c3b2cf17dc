"""HTTP/1.1 for the mock: whole requests in, bytes out, one reply at a time on each connection.

A request arrives when the kernel received it, where it says so, and a token leaves when it is handed to the kernel: what
the mock calls true must not contain the mock's own delay.
"""

import asyncio
import socket
from collections import deque
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass

import httptools

from perfbench_runner.mock.stats import Stats
from perfbench_runner.wire import Wire

MAX_BODY = 64 << 20
"""Bytes. More than any prompt with pictures; less than what would hurt."""

_MAX_WAITING = 32  # pipelined requests to hold before the socket is left to fill
_LINGER_S = 1.0  # how long to swallow what a refused client still sends: closing at once could destroy the answer

_REASONS = {
    200: "OK",
    400: "Bad Request",
    401: "Unauthorized",
    404: "Not Found",
    405: "Method Not Allowed",
    413: "Content Too Large",
    429: "Too Many Requests",
    500: "Internal Server Error",
    502: "Bad Gateway",
    503: "Service Unavailable",
    504: "Gateway Timeout",
}


@dataclass(slots=True)
class Request:
    """A whole request, or with `refusal` (status, message) what is left of one that cannot be served."""

    method: str
    path: str
    headers: dict[str, str]  # names in lower case
    body: bytes
    arrived_s: float  # when its last bytes arrived, by time.monotonic()
    keep_alive: bool
    chunked: bool  # whether the client understands chunks
    refusal: tuple[int, str] | None = None


def response_head(request: Request, status: int, content_type: str, length: int | None, more: str = "") -> bytes:
    """Status line and headers. Length None: a stream. `more`: whole header lines, each ended by CRLF."""
    lines = f"HTTP/1.1 {status} {_REASONS.get(status, 'Status')}\r\ncontent-type: {content_type}\r\n{more}"
    if length is not None:
        lines += f"content-length: {length}\r\n"
    elif request.chunked:
        lines += "cache-control: no-cache\r\ntransfer-encoding: chunked\r\n"
    if not request.keep_alive:
        lines += "connection: close\r\n"
    return f"{lines}\r\n".encode("latin-1")


class ServerConnection:
    """One client. `handle` is given each request in turn and must see to it that `finish` is called in the end."""

    def __init__(
        self,
        wire: Wire,
        handle: "Callable[[ServerConnection, Request], None]",
        stats: Stats,
        connections: "set[ServerConnection]",
    ) -> None:
        self._wire, self._handle, self._stats, self._connections = wire, handle, stats, connections
        self._waiting: deque[Request] = deque()
        self._busy = self._advancing = self._paused = self._deaf = self._closed = False
        self._opened_s = self._arrived_s = wire.last_s
        self.on_lost: Callable[[], None] | None = None
        """Called if the client leaves while its reply is under way."""
        self._after_sending: Callable[[], None] | None = None
        self._clear()
        self._parser = httptools.HttpRequestParser(self)
        self._connections.add(self)
        self._stats.connections += 1
        self._stats.open_connections += 1
        wire.on_data, wire.on_end, wire.on_sent = self._received, self._ended, self._sent
        wire.start()

    # ------------------------------------------------------------ the wire

    def _ended(self, _: Exception | None) -> None:
        """The client has left."""
        self.abort()

    def _received(self, data: memoryview) -> None:
        (self._arrived_s,) = self._wire.times(self._opened_s)
        if self._deaf:
            return
        try:
            self._parser.feed_data(data)
        except httptools.HttpParserUpgrade:
            self._refuse(400, "only plain HTTP/1.1 is spoken here: leave out CONNECT and Upgrade")
        except httptools.HttpParserError as error:
            self._refuse(400, f"this is not HTTP: {error}")
        self._advance()

    def _sent(self, _: float) -> None:
        """The kernel has taken what was left."""
        if self._after_sending is not None:
            self._after_sending()

    # ------------------------------------------------------------ httptools

    def on_message_begin(self) -> None:
        self._clear()

    def on_url(self, url: bytes) -> None:
        self._url += url

    def on_header(self, name: bytes, value: bytes) -> None:
        self._headers[name.decode("latin-1").lower()] = value.decode("latin-1")

    def on_headers_complete(self) -> None:
        length = self._headers.get("content-length", "")
        if length.isdigit() and int(length) > MAX_BODY:
            self._refuse_size()
        elif self._headers.get("expect", "").lower() == "100-continue" and not self._busy:
            self.send(b"HTTP/1.1 100 Continue\r\n\r\n")

    def on_body(self, body: bytes) -> None:
        self._size += len(body)
        if self._size > MAX_BODY:
            self._refuse_size()
        else:
            self._body.append(body)

    def on_message_complete(self) -> None:
        parser = self._parser
        if self._deaf or parser.should_upgrade():  # an upgrade's body is not parsed: it cannot simply be declined
            return
        self._waiting.append(
            Request(
                method=parser.get_method().decode("latin-1"),
                path=self._url.partition(b"?")[0].decode("latin-1"),
                headers=self._headers,
                body=b"".join(self._body),
                arrived_s=self._arrived_s,
                keep_alive=parser.should_keep_alive(),
                chunked=parser.get_http_version() != "1.0",
            )
        )

    # ------------------------------------------------------------ for the server

    def send(self, data: bytes) -> float:
        """Write now; returns when, by time.monotonic(). Never raises: a client that is gone is told by `on_lost`."""
        at_s = self._wire.send(data)
        if self._wire.has_unsent:
            self._stats.backlogged += 1
        return at_s

    def finish(self, request: Request) -> None:
        """The reply to this request is sent: go on with the next one."""
        self._busy, self.on_lost = False, None
        if request.refusal:
            self._linger()
        elif not request.keep_alive:
            self.close()
        self._advance()

    def close(self) -> None:
        """Close once everything is sent."""
        self._deaf, self.on_lost = True, None
        self._waiting.clear()
        self._when_sent(self.abort)

    def abort(self) -> None:
        """Close without waiting for what is not sent yet; a reply under way is lost."""
        if self._closed:
            return
        self._deaf = self._closed = True
        self._connections.discard(self)
        self._stats.open_connections -= 1
        self._waiting.clear()
        self._wire.close()
        if self.on_lost is not None:
            on_lost, self.on_lost = self.on_lost, None
            on_lost()

    # ------------------------------------------------------------ inside

    def _clear(self) -> None:
        self._url, self._size = b"", 0
        self._headers: dict[str, str] = {}
        self._body: list[bytes] = []

    def _refuse_size(self) -> None:
        self._refuse(413, f"the body is larger than {MAX_BODY} bytes")

    def _refuse(self, status: int, message: str) -> None:
        """Answer so in its turn, then close: the rest of the bytes cannot be trusted."""
        if not self._deaf:
            self._deaf = True
            path = self._url.partition(b"?")[0].decode("latin-1")
            self._waiting.append(
                Request("", path, self._headers, b"", self._arrived_s, False, True, refusal=(status, message))
            )

    def _advance(self) -> None:
        """Handle what waits, in order. Not recursive, however many are pipelined and answered at once."""
        if self._advancing:
            return
        self._advancing = True
        while self._waiting and not self._busy and not self._closed:
            self._busy = True
            self._handle(self, self._waiting.popleft())
        self._advancing = False
        self._throttle()

    def _throttle(self) -> None:
        pause = len(self._waiting) > _MAX_WAITING
        if pause != self._paused and not self._closed:
            self._paused = pause
            if pause:
                self._wire.pause()
            else:
                self._wire.start()

    def _when_sent(self, then: Callable[[], None]) -> None:
        if self._wire.has_unsent:
            self._after_sending = then
        else:
            then()

    def _linger(self) -> None:
        if not self._closed:
            self._when_sent(self._half_close)
        asyncio.get_running_loop().call_later(_LINGER_S, self.abort)

    def _half_close(self) -> None:
        with suppress(OSError):  # the client has left
            self._wire.sock.shutdown(socket.SHUT_WR)
