"""One HTTP/1.1 connection of the measuring loop: pieces of a response and when they arrived.

llhttp (httptools) undoes the transfer encoding of what the wire hands over with its stamp, and the pieces are kept.
Nothing is decoded and no task wakes up until the response is complete: the sooner the loop gets back to reading, the
fewer segments are read together. What the pieces mean is found out later, elsewhere (`perfbench_plugins.reading`).
"""

import asyncio
import socket
from array import array
from collections.abc import Callable
from dataclasses import dataclass
from itertools import accumulate
from time import perf_counter
from typing import Protocol

import httptools

from perfbench_plugins.exchange import Exchange, FailureKind
from perfbench_runner.shard.causes import cause
from perfbench_runner.shard.destination import Origin
from perfbench_runner.shard.tcp_info import TcpInfo, tcp_info
from perfbench_runner.wire import Wire

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
        """Drop a connection that is closed."""
        ...


class Connection:
    """One keep-alive connection with at most one request under way. Belongs to the shard's loop.

    `wire` is what it reads; `send_bytes` writes to it, through TLS where there is TLS.
    """

    __slots__ = (
        "_bound", "_content_length", "_done", "_head_bytes", "_is_early", "_now", "_owner", "_parser", "_parts", "_reads",
        "_received", "_segments", "_send_bytes", "_sent_before", "_stamps", "_unstamped", "closed", "deadline", "exchange",
        "limits", "on_body", "origin", "start_s", "used", "wire",
    )  # fmt: skip

    def __init__(
        self, owner: Owner, limits: Limits, origin: Origin, wire: Wire, send_bytes: Callable[[bytes], float]
    ) -> None:
        self._owner, self.limits, self.origin, self.wire = owner, limits, origin, wire
        self._send_bytes = send_bytes
        self.closed = self.used = self._is_early = False
        self.exchange: Exchange | None = None
        self._done: asyncio.Future[None] | None = None
        self.start_s = self._now = 0.0
        self._parts: list[bytes] = []
        self._stamps: list[float] = []
        self.on_body = self._parts.append
        """What llhttp calls with each piece of a body; a method of our own would cost twice as much."""
        self._parser = httptools.HttpResponseParser(self)
        info = tcp_info(wire.sock)
        self._segments, self._reads = info.segments if info else 0, wire.reads
        self.deadline = 0
        """Which of the transport's deadlines it has; kept here so that it is found at once."""
        wire.on_sent = self._on_sent

    @property
    def is_ready(self) -> bool:
        """Whether an idle connection can take a request: its end may have come without the event loop having looked."""
        if self.closed:
            return False
        try:
            return bool(self.wire.sock.recv(1, socket.MSG_PEEK))  # what nobody asked for is seen to when it is read
        except BlockingIOError:
            return True
        except OSError:
            return False

    def send(self, request: bytes, exchange: Exchange, done: "asyncio.Future[None]", start_s: float) -> None:
        """Send a request; `done` is resolved when the response is complete or has failed."""
        wire = self.wire
        self._received = self._head_bytes = 0
        self._bound = self.limits.head_bytes
        self._is_early = False
        self.exchange, self._done, self.start_s = exchange, done, start_s
        self._sent_before, self._unstamped = wire.sent_bytes, wire.unstamped
        wire.last_s = sent_s = self._send_bytes(request)
        exchange.sent_s = exchange.sent_s or sent_s  # of a request that is sent again: the first time
        if not wire.has_unsent:
            exchange.body_sent_s = perf_counter()

    def _on_sent(self) -> None:
        """The kernel has taken the last byte of a request that was too large for it."""
        if self.exchange is not None:
            self.exchange.body_sent_s = perf_counter()

    # What comes.

    def data_received(self, data: bytes, at_s: float) -> None:
        """Take bytes of the response that were complete at this time."""
        exchange = self.exchange
        if exchange is None:  # nobody asked: a response that nobody waits for would be taken for the next one
            self.close()
            return
        if not exchange.first_byte_s:
            exchange.first_byte_s = at_s
        self._now = at_s
        self._received += len(data)
        try:
            self._parser.feed_data(data)
        except httptools.HttpParserError as error:
            self._refuse(data, error)
        except httptools.HttpParserUpgrade:
            self.fail(FailureKind.PROTOCOL, "the server switches to another protocol")
        while len(self._stamps) < len(self._parts):
            self._stamps.append(at_s)
        if self._received > self._bound:
            self._refuse_size()

    def deadline_s(self, now: float) -> float | None:
        """The earliest time at which it can be over time; None without limits."""
        start_s, last_s = (self.start_s, self.wire.last_s) if self.exchange is not None else (now, now)
        limits = self.limits
        ends = [
            begin + limit for begin, limit in ((start_s, limits.total_s), (last_s, limits.read_s)) if limit is not None
        ]
        return min(ends, default=None)

    def overdue(self, now: float) -> str:
        """Which of its limits the request under way has passed, in words."""
        limits = self.limits
        if self.exchange is None:
            return ""
        if limits.total_s is not None and now - self.start_s > limits.total_s:
            return f"not complete within {limits.total_s:g} s (totalTimeout)"
        if limits.read_s is not None and now - self.wire.last_s > limits.read_s:
            return f"silent for {limits.read_s:g} s (readTimeout)"
        return ""

    def connection_lost(self, error: Exception | None) -> None:
        """The connection has ended: in order, or with an error."""
        exchange = self.exchange
        if exchange is None:
            self.close()
        elif error is None and self._ends_with_connection(exchange):
            self._finish()
        else:
            where = "before the response" if not exchange.first_byte_s else "within the response"
            self._is_early = self.used and not exchange.first_byte_s and self._ended_before_arrival()
            text = f"the connection ended {where}" + (f": {cause(error)}" if error else "")
            self.fail(FailureKind.DISCONNECTED, text)

    @property
    def is_unsent(self) -> bool:
        """Whether the request that failed last can have reached nobody, so that it may be sent again."""
        return self._is_early

    def _ended_before_arrival(self) -> bool:
        wire = self.wire
        return ended_before_arrival(perf_counter() - wire.last_s, 1 + self._sent_before, tcp_info(wire.sock))

    def _ends_with_connection(self, exchange: Exchange) -> bool:
        """A response without length is complete when the connection ends (RFC 9112, 6.3)."""
        return bool(exchange.status and not self._content_length and not self._parser.should_keep_alive())

    # What llhttp calls.

    def on_message_begin(self) -> None:
        self._content_length = False
        if self.exchange is None:  # bytes after the response: they would be taken for the next one
            self.close()

    def on_header(self, name: bytes, value: bytes) -> None:
        self._head_bytes += len(name) + len(value)
        lower = name.lower()
        if lower == b"content-type" and self.exchange:
            self.exchange.content_type = value.decode("latin-1").lower()
        elif lower in (b"content-length", b"transfer-encoding"):
            self._content_length = True
        if self._head_bytes > self.limits.head_bytes:
            self._refuse_head()

    def _refuse(self, data: bytes, error: Exception) -> None:
        text = f"no valid HTTP response: {error.__context__ or error}"
        if self.exchange is None:  # bytes after the response
            self.close()
            return
        if not self._head_bytes and data.startswith(TLS_RECORDS):
            text = "no valid HTTP response but TLS; is it https instead of http?"
        self.fail(FailureKind.PROTOCOL, text)

    def _refuse_head(self) -> None:
        self.fail(FailureKind.PROTOCOL, f"the response's head is larger than {self.limits.head_bytes} bytes")

    def _refuse_size(self) -> None:
        if self.exchange is None:
            return
        if not self.exchange.status:  # llhttp hands over a header when it is complete; until then it only grows
            self._refuse_head()
        else:
            self.fail(FailureKind.PROTOCOL, f"the response is larger than {self.limits.response_bytes} bytes")

    def on_headers_complete(self) -> None:
        if self.exchange:
            self.exchange.status = self._parser.get_status_code()
            self._bound = self.limits.response_bytes

    def on_message_complete(self) -> None:
        if self.exchange and self.exchange.status >= 200:  # 1xx are followed by the real one
            self._finish()

    # Ends of an exchange.

    def _finish(self) -> None:
        exchange = self.exchange
        if exchange is None:
            return
        exchange.end_s = self._now if exchange.first_byte_s else perf_counter()
        if not 200 <= exchange.status < 300:  # a redirection too: a POST is not sent elsewhere unasked
            exchange.failure = FailureKind.http(exchange.status)
        is_alive = not self.closed and not self.wire.has_unsent and self._parser.should_keep_alive()
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
        parts, stamps = self._parts, self._stamps
        stamps += [self._now] * (len(parts) - len(stamps))  # those of the read that ends the response
        exchange.body = b"".join(parts)
        exchange.stamps = array("d", stamps)
        exchange.ends = array("Q", accumulate(map(len, parts)))
        parts.clear()
        stamps.clear()
        self._count(exchange)
        if exchange.failure and not exchange.error:
            exchange.error = exchange.body[:ERROR_BYTES].decode(errors="replace")
        self.exchange = None
        done, self._done = self._done, None
        if done is not None and not done.done():
            done.set_result(None)

    def _count(self, exchange: Exchange) -> None:
        """Say whose the stamps are, and how many segments have a later one's: those that were read together with it."""
        wire = self.wire
        exchange.stamps_by = "kernel" if wire.unstamped == self._unstamped else "program"
        info = tcp_info(wire.sock)
        if info is not None:
            exchange.merged_segments = max(0, info.segments - self._segments - (wire.reads - self._reads))
            self._segments, self._reads = info.segments, wire.reads

    def close(self) -> None:
        """Close the connection, and drop out of the owner's care."""
        if not self.closed:
            self.closed = True
            self._owner.forget(self)
            self.wire.close()


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
