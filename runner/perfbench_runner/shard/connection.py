"""One HTTP/1.1 connection of the measuring loop: one request after the other, each with its times."""

import asyncio
import socket
import sys
from dataclasses import dataclass
from time import perf_counter
from typing import Protocol

from perfbench_plugins.exchange import Exchange, FailureKind
from perfbench_runner.shard.causes import cause
from perfbench_runner.shard.destination import Origin
from perfbench_runner.shard.response import ResponseReader
from perfbench_runner.shard.tcp_info import TcpInfo, tcp_info
from perfbench_runner.shard.tls import Tls
from perfbench_runner.wire import READ_BYTES, Wire, ignore

ERROR_BYTES = 500
"""How much of an error response is kept as the error's text."""
READS_AT_ONCE = 256
"""Reads of a response before what they brought is taken in: 0.2 ms of work at a time."""
STALE_S = 0.005
"""A connection that ends so soon after a request, and two round trips, may have been closed before the request came."""
STALE_AT_MOST_S = 0.5


@dataclass(frozen=True)
class Limits:
    """Bounds of one exchange. Times are seconds; None is no bound."""

    connect_s: float | None = 10.0
    read_s: float | None = 300.0
    """Longest silence within a request."""
    total_s: float | None = 3600.0
    response_bytes: int = 256 * 2**20
    """As it comes, transfer encoding included."""
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
    """One keep-alive connection with at most one request under way. Belongs to the shard's loop."""

    __slots__ = (
        "_delay_s", "_done", "_first", "_floor_s", "_has_begun", "_owner", "_reader", "_reads", "_segments", "_sent_before",
        "_sent_s", "_stream", "_unparsed", "_unstamped", "closed", "deadline", "exchange", "is_early", "limits", "origin",
        "start_s", "used", "wire",
    )  # fmt: skip

    def __init__(self, owner: Owner, limits: Limits, origin: Origin, wire: Wire, tls: Tls | None = None) -> None:
        """`tls`: what stands between the wire and HTTP, its handshake done."""
        self._owner, self.limits, self.origin, self.wire = owner, limits, origin, wire
        self._stream: Wire | Tls = tls or wire
        self._reader = ResponseReader(self, limits.head_bytes)
        self.closed = self.used = False
        self.is_early = False
        """Whether the request that failed last can have reached nobody, so that it may be sent again."""
        self.exchange: Exchange | None = None
        self._done: asyncio.Future[None] | None = None
        self.start_s = 0.0
        self._sent_s = wire.begun_s
        self.deadline = 0
        """Which of the transport's deadlines it has; kept here so that it is found at once."""
        info = tcp_info(wire.sock)
        self._segments, self._reads = info.segments if info else 0, wire.reads
        self._stream.on_data, self._stream.on_end = self._unasked, self._ended
        wire.on_error, wire.on_look, wire.on_sent = self._refused, self._look, self._sent

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
        wire, reader, stream = self.wire, self._reader, self._stream
        reader.begin()
        wire.forget()
        self.is_early = self._has_begun = False
        self._unparsed, self._delay_s = 0, 0.0
        self.exchange, self._done, self.start_s = exchange, done, start_s
        self._sent_before, self._unstamped = wire.sent_bytes, wire.unstamped
        stream.on_data, wire.on_read, wire.look_at = self._take_head, reader.log.append, sys.maxsize
        previous_s, self._sent_s = self._sent_s, stream.send(request)
        wire.last_s = sent_s = self._sent_s
        # What TLS says unasked (tickets for later sessions) may have come before the request, and be read after it.
        self._floor_s = sent_s if stream is wire else previous_s
        exchange.sent_s = exchange.sent_s or sent_s  # of a request that is sent again: the first time
        if not wire.has_unsent:
            exchange.body_sent_s = sent_s

    def deadline_s(self, now: float) -> float | None:
        """The earliest time at which it can be over time; None without limits."""
        start_s, last_s = (self.start_s, self.wire.last_s) if self.exchange is not None else (now, now)
        ends = ((start_s, self.limits.total_s), (last_s, self.limits.read_s))
        return min((begin_s + limit for begin_s, limit in ends if limit is not None), default=None)

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

    # What the wire tells.

    def _sent(self, at_s: float) -> None:
        """The kernel has taken the last byte of a request that was too large for it."""
        if self.exchange is not None:
            self.exchange.body_sent_s = at_s

    def _unasked(self, _: bytes | memoryview) -> None:
        """Bytes that nobody asked for would be taken for the next response."""
        self.close()

    def _refused(self, error: Exception, data: bytes) -> None:
        self.fail(FailureKind.PROTOCOL, self._reader.objection(error, data))

    def _take_head(self, data: bytes | memoryview) -> None:
        """Take bytes until the head is complete: llhttp hands over a header when it is, until then it only grows."""
        self._unparsed += len(data)
        self._reader.feed(data)
        if self._unparsed > self.limits.head_bytes and self._reader.status < 200:
            self.head_too_large()

    def _look(self) -> None:
        """See to the body's limit, as often as it can have been passed, and take in what came of a long one."""
        if self.exchange is None:
            return
        left = self.limits.response_bytes - self._reader.size
        if left < 0:
            self.fail(FailureKind.PROTOCOL, f"the response is larger than {self.limits.response_bytes} bytes")
            return
        self._reader.take_in(self._times(self.exchange))
        self._look_later(left)

    def _look_later(self, left_bytes: int) -> None:
        """`left_bytes`: what the limit leaves for the body."""
        self.wire.look_at = self.wire.reads + min(left_bytes // READ_BYTES, READS_AT_ONCE)

    def _times(self, exchange: Exchange) -> list[float]:
        """When each read since the last time arrived."""
        times = self.wire.times(self._floor_s)
        self._delay_s = max(self._delay_s, self.wire.delay_s)
        if self._has_begun and not exchange.first_byte_s:
            exchange.first_byte_s = times[self._first]
        return times

    def _ended(self, error: Exception | None) -> None:
        exchange = self.exchange
        if exchange is None:
            self.close()
        elif error is None and self._reader.ends_with_connection:
            self.response_complete()
        else:
            where = "within the response" if self._has_begun else "before the response"
            self.is_early = self.used and not self._has_begun and self._ended_before_arrival()
            text = f"the connection ended {where}" + (f": {cause(error)}" if error else "")
            self.fail(FailureKind.DISCONNECTED, text)

    def _ended_before_arrival(self) -> bool:
        wire = self.wire
        return ended_before_arrival(perf_counter() - wire.last_s, 1 + self._sent_before, tcp_info(wire.sock))

    # What the reader tells.

    def response_begun(self) -> None:
        if self.exchange is None:  # bytes after the response
            self.close()
        elif not self._has_begun:
            self._has_begun, self._first = True, len(self._reader.log)

    def response_head(self, status: int) -> None:
        if self.exchange is not None:
            self.exchange.status, self.exchange.content_type = status, self._reader.content_type
            self.exchange.content_encoding = self._reader.content_encoding
            if status >= 200:
                self._stream.on_data = self._reader.feed
                self._look_later(self.limits.response_bytes)

    def head_too_large(self) -> None:
        self.fail(FailureKind.PROTOCOL, f"the response's head is larger than {self.limits.head_bytes} bytes")

    def response_complete(self) -> None:
        exchange = self.exchange
        if exchange is None:
            return
        # Fewer reads cannot have brought more.
        if self.wire.reads >= self.wire.look_at and self._reader.size > self.limits.response_bytes:
            self._look()
            return
        if not 200 <= exchange.status < 300:  # a redirection too: a POST is not sent elsewhere unasked
            exchange.failure, exchange.retry_after = FailureKind.http(exchange.status), self._reader.retry_after
        is_alive = not self.closed and not self.wire.has_unsent and self._reader.can_go_on
        self._resolve(exchange)
        if is_alive:
            self.used = True
            self._owner.release(self)
        else:
            self.close()

    # Ends of an exchange.

    def fail(self, kind: str, text: str) -> None:
        """End the exchange under way as failed, and the connection with it. What was measured until then is kept."""
        exchange = self.exchange
        if exchange is not None:
            exchange.end_s, exchange.failure, exchange.error = perf_counter(), kind, text
            self._resolve(exchange)
        self.close()

    def _resolve(self, exchange: Exchange) -> None:
        wire = self.wire
        self._stream.on_data, wire.on_read = self._unasked, ignore
        body = self._reader.body(self._times(exchange))
        exchange.body, exchange.ends, exchange.stamps = body.data, body.ends, body.times
        exchange.end_s = exchange.end_s or body.end_s
        exchange.stamps_by = "kernel" if wire.is_stamped and wire.unstamped == self._unstamped else "program"
        exchange.merged_segments, exchange.read_delay_s = self._merged_segments(), self._delay_s
        if exchange.failure and not exchange.error:
            exchange.error = exchange.body[:ERROR_BYTES].decode(errors="replace")
        self.exchange = None
        done, self._done = self._done, None
        if done is not None and not done.done():
            done.set_result(None)

    def _merged_segments(self) -> int | None:
        """How many segments came since the last time that have a later one's stamp: those that were read with it."""
        info = tcp_info(self.wire.sock)
        if info is None:
            return None
        segments, reads = info.segments - self._segments, self.wire.reads - self._reads
        self._segments, self._reads = info.segments, self.wire.reads
        return max(0, segments - reads)

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
