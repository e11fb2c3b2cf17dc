"""One HTTP/1.1 connection of the measuring loop: bytes are stamped when the event loop reads them.

`data_received` takes the time before anything else, has llhttp (httptools) undo the transfer encoding, and keeps the
pieces. Nothing is decoded and no task wakes up until the response is complete, so that a stamp waits for as little
Python as possible. What the pieces mean is found out later, elsewhere (`perfbench_plugins.reading`).
"""

import asyncio
import socket
from array import array
from dataclasses import dataclass
from itertools import accumulate
from time import perf_counter
from typing import Protocol

import httptools

from perfbench_plugins.exchange import Exchange, FailureKind
from perfbench_runner.shard.causes import cause
from perfbench_runner.shard.destination import Origin
from perfbench_runner.shard.tcp_info import TcpInfo, tcp_info

ERROR_BYTES = 500
"""How much of an error response is kept as the error's text."""
STALE_S = 0.005
"""A connection that ends so soon after a request, and two round trips, may have been closed before the request came."""
STALE_AT_MOST_S = 0.5
TLS_RECORDS = (b"\x15\x03", b"\x16\x03")
"""How a server's TLS records (alert, handshake) begin."""


@dataclass(frozen=True)
class Limits:
    """Bounds of one exchange. Times are seconds; None is no bound."""

    connect_s: float | None = 10.0
    read_s: float | None = 300.0
    """Longest silence within a request."""
    total_s: float | None = 3600.0
    response_bytes: int = 256 * 2**20
    head_bytes: int = 64 * 2**10

    @property
    def tick_s(self) -> float:
        """How often timeouts are looked at: one look for all connections costs less than a timer for each."""
        return min([0.1] + [limit / 10 for limit in (self.read_s, self.total_s) if limit])


class Owner(Protocol):
    """Who keeps connections that are ready for another request."""

    def release(self, connection: "Connection") -> None:
        """Take back a connection that is ready for another request."""
        ...

    def forget(self, connection: "Connection") -> None:
        """Drop an idle connection that the server closed."""
        ...


class Connection(asyncio.Protocol):
    """One keep-alive connection with at most one request under way."""

    __slots__ = (
        "_acknowledged", "_content_length", "_done", "_head_bytes", "_is_early", "_length", "_now", "_owner", "_parser",
        "_parts", "_sent_s", "_stamps", "_unparsed", "closed", "exchange", "last_s", "limits", "origin", "sock", "start_s",
        "transport", "used",
    )  # fmt: skip

    transport: asyncio.Transport

    def __init__(self, owner: Owner, limits: Limits, origin: Origin, sock: socket.socket) -> None:
        self._owner, self.limits, self.origin, self.sock = owner, limits, origin, sock
        self.closed, self.used = False, False
        self.exchange: Exchange | None = None
        self._done: asyncio.Future[None] | None = None
        self.start_s = self.last_s = self._sent_s = 0.0
        self._acknowledged = 0

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self.transport = transport  # type: ignore[assignment]  # a stream's transport, as create_connection makes it

    @property
    def is_ready(self) -> bool:
        """Whether an idle connection can take a request: its end may have come without the event loop having looked."""
        if self.closed:
            return False
        try:
            return bool(
                self.sock.recv(1, socket.MSG_PEEK)
            )  # bytes that nobody asked for are seen to when they are read
        except BlockingIOError:
            return True
        except OSError:
            return False

    def send(self, request: bytes, exchange: Exchange, done: "asyncio.Future[None]", start_s: float) -> None:
        """Write a request; `done` is resolved when the response is complete or has failed."""
        self._parser = httptools.HttpResponseParser(self)
        self._parts: list[bytes] = []
        self._stamps: list[float] = []
        self._length = self._head_bytes = self._unparsed = 0
        self._is_early = False
        self.exchange, self._done, self.start_s = exchange, done, start_s
        if self.used and (info := tcp_info(self.sock)):
            self._acknowledged = info.acknowledged
        self._sent_s = self.last_s = perf_counter()
        exchange.sent_s = exchange.sent_s or self._sent_s  # of a request that is sent again: the first time
        if self.origin.is_tls:
            self.transport.write(request)
            return
        try:  # straight to the kernel: the loop's own write waits for the end of its iteration
            count = self.sock.send(request)
        except BlockingIOError:
            count = 0
        except OSError as error:
            self._lose(f"cannot send: {cause(error)}")
            return
        if count < len(request):
            self.transport.write(request[count:])

    # What the event loop calls.

    def data_received(self, data: bytes) -> None:
        self._now = now = perf_counter()
        exchange = self.exchange
        if exchange is None:  # nobody asked: a response that nobody waits for would be taken for the next one
            self.close()
            return
        self.last_s = now
        if not exchange.first_byte_s:
            exchange.first_byte_s = now
        try:
            self._parser.feed_data(data)
        except httptools.HttpParserError as error:
            self._refuse(data, error)
        except httptools.HttpParserUpgrade:
            self.fail(FailureKind.PROTOCOL, "the server switches to another protocol")
        if not exchange.status:  # llhttp hands over a header when it is complete; until then it only grows
            self._unparsed += len(data)
            if self._unparsed > self.limits.head_bytes:
                self._refuse_head()

    def eof_received(self) -> bool:
        self._is_early = self._ended_before_arrival()  # now: later the socket may be closed
        return False

    def connection_lost(self, error: Exception | None) -> None:
        self.closed = True
        if self.exchange is None:
            self._owner.forget(self)
        elif error is None and self._ends_with_connection():
            self._finish()
        else:
            where = "before the response" if not self.exchange.first_byte_s else "within the response"
            self._lose(f"the connection ended {where}" + (f": {cause(error)}" if error else ""))

    def _lose(self, text: str) -> None:
        """The connection is gone."""
        self._is_early = self._is_early or self._ended_before_arrival()
        self.fail(FailureKind.DISCONNECTED, text)

    @property
    def is_unsent(self) -> bool:
        """Whether the request that failed last can have reached nobody, so that it may be sent again."""
        return self._is_early

    def _ended_before_arrival(self) -> bool:
        return bool(
            self.used
            and self.exchange
            and not self.exchange.first_byte_s
            and ended_before_arrival(perf_counter() - self._sent_s, self._acknowledged, tcp_info(self.sock))
        )

    def _ends_with_connection(self) -> bool:
        """A response without length is complete when the connection ends (RFC 9112, 6.3)."""
        exchange = self.exchange
        return bool(exchange and exchange.status and not self._content_length and not self._parser.should_keep_alive())

    # What llhttp calls.

    def on_message_begin(self) -> None:
        self._content_length = False

    def on_header(self, name: bytes, value: bytes) -> None:
        self._head_bytes += len(name) + len(value)
        lower = name.lower()
        if lower == b"content-type" and self.exchange:
            self.exchange.content_type = value.decode("latin-1").lower()
        elif lower == b"content-encoding" and self.exchange:
            before = self.exchange.content_encoding
            self.exchange.content_encoding = (before and before + ",") + value.decode("latin-1").lower()
        elif lower in (b"content-length", b"transfer-encoding"):
            self._content_length = True
        if self._head_bytes > self.limits.head_bytes:
            self._refuse_head()

    def _refuse(self, data: bytes, error: Exception) -> None:
        text = f"no valid HTTP response: {error.__context__ or error}"
        if not self._head_bytes and data.startswith(TLS_RECORDS):
            text = "no valid HTTP response but TLS; is it https instead of http?"
        self.fail(FailureKind.PROTOCOL, text)

    def _refuse_head(self) -> None:
        self.fail(FailureKind.PROTOCOL, f"the response's head is larger than {self.limits.head_bytes} bytes")

    def on_headers_complete(self) -> None:
        if self.exchange:
            self.exchange.status = self._parser.get_status_code()

    def on_body(self, part: bytes) -> None:
        self._parts.append(part)
        self._stamps.append(self._now)
        self._length += len(part)
        if self._length > self.limits.response_bytes:
            self.fail(FailureKind.PROTOCOL, f"the response is larger than {self.limits.response_bytes} bytes")

    def on_message_complete(self) -> None:
        if self.exchange and self.exchange.status >= 200:  # 1xx are followed by the real one
            self._finish()

    # Ends of an exchange.

    def _finish(self) -> None:
        exchange = self.exchange
        if exchange is None:
            return
        exchange.end_s = self.last_s
        if not 200 <= exchange.status < 300:  # a redirection too: a POST is not sent elsewhere unasked
            exchange.failure = FailureKind.http(exchange.status)
        is_alive = not self.closed and self._parser.should_keep_alive()
        self._resolve(exchange)
        if is_alive:
            self.used = True
            self._owner.release(self)
        else:
            self.close()

    def fail(self, kind: str, text: str) -> None:
        """End the exchange under way as failed, and the connection with it. What was measured until then is kept."""
        exchange = self.exchange
        if exchange is not None:
            exchange.end_s, exchange.failure, exchange.error = perf_counter(), kind, text
            self._resolve(exchange)
        self.close()

    def _resolve(self, exchange: Exchange) -> None:
        exchange.body = b"".join(self._parts)
        exchange.stamps = array("d", self._stamps)
        exchange.ends = array("Q", accumulate(map(len, self._parts)))
        if exchange.failure and not exchange.error:
            exchange.error = exchange.body[:ERROR_BYTES].decode(errors="replace")
        self.exchange = None
        done, self._done = self._done, None
        if done is not None and not done.done():
            done.set_result(None)

    def close(self) -> None:
        self.closed = True
        self.transport.abort()


def ended_before_arrival(elapsed_s: float, acknowledged_before: int, info: TcpInfo | None) -> bool:
    """Whether a connection that ended so long after a request proves to have ended before the request came.

    The peer's kernel acknowledges what it has received, also with the segment that ends the connection: a request of
    which it acknowledged nothing was met by nobody. A reset does not acknowledge, so the time must fit as well.
    """
    if info is None:
        return elapsed_s <= STALE_S
    if info.acknowledged > acknowledged_before:
        return False
    return elapsed_s <= STALE_S + min(2 * info.rtt_s, STALE_AT_MOST_S)
