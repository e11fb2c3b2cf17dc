"""The streaming HTTP/1.1 transport of the measuring loop: kept-alive connections, timeouts, and what is sent again."""

import asyncio
import socket
import ssl
from collections import deque
from collections.abc import Callable
from contextlib import suppress
from time import perf_counter

from perfbench_plugins.exchange import Exchange, FailureKind
from perfbench_runner.shard.addresses import Addresses
from perfbench_runner.shard.causes import cause
from perfbench_runner.shard.connection import Connection, Limits
from perfbench_runner.shard.destination import Destination, Origin, destination
from perfbench_runner.shard.tls import tls_context

__all__ = ["HttpTransport", "Limits", "destination", "tls_context"]


class Pool:
    """Idle connections of one origin, the one that was used last first."""

    def __init__(self, addresses: Addresses) -> None:
        self.addresses = addresses
        self.idle: deque[Connection] = deque()


class HttpTransport:
    """Sends requests over kept-alive connections. One for each measuring process."""

    def __init__(
        self,
        limits: Limits,
        tls: Callable[[], ssl.SSLContext] = tls_context,
        clock: Callable[[], float] = perf_counter,
        first_address: int = 0,
    ) -> None:
        """`first_address`: which of a host's addresses to begin with, counted round; processes give their number."""
        self.limits, self.clock, self.first_address = limits, clock, first_address
        self._make_tls = tls
        self._tls: ssl.SSLContext | None = None
        self._pools: dict[Origin, Pool] = {}
        self._busy: set[Connection] = set()
        self._sweeper: asyncio.TimerHandle | None = None
        self._destinations: dict[tuple[str, tuple[tuple[str, str], ...]], Destination] = {}

    @property
    def open_connections(self) -> int:
        """Connections open now."""
        return len(self._busy) + sum(len(pool.idle) for pool in self._pools.values())

    async def post(self, url: str, headers: dict[str, str], body: bytes) -> Exchange:
        """Send a POST request and read the whole response; failures are in the Exchange, not raised."""
        key = (url, tuple(headers.items()))
        if key not in self._destinations:
            if len(self._destinations) > 1000:  # headers of each request's own
                self._destinations.clear()
            try:
                self._destinations[key] = destination(url, headers)
            except ValueError as error:  # headers that a dataset gave this request
                now = perf_counter()
                return Exchange(sent_s=now, end_s=now, failure=FailureKind.PLUGIN, error=str(error))
        return await self.exchange(self._destinations[key], body)

    async def exchange(self, to: Destination, body: bytes) -> Exchange:
        """Send a request and read the whole response; failures are in the Exchange, not raised."""
        exchange, start_s = Exchange(), perf_counter()
        request, loop = to.request(body), asyncio.get_running_loop()
        if self._sweeper is None:
            self._sweeper = loop.call_later(self.limits.tick_s, self._sweep)
        while True:
            connection = (None if exchange.resends else self._idle(to.origin)) or await self._connect(
                to.origin, exchange
            )
            if connection is None:
                return exchange
            self._busy.add(connection)
            done: asyncio.Future[None] = loop.create_future()
            connection.send(request, exchange, done, start_s)
            try:
                await done
            except asyncio.CancelledError:
                if connection.exchange is exchange:  # else it was complete, and the connection may be another's by now
                    connection.fail(FailureKind.UNFINISHED, "cut off at the end of the grace period")
                return exchange
            finally:
                self._busy.discard(connection)
            if not (exchange.failure == FailureKind.DISCONNECTED and connection.is_unsent):
                return exchange
            # The server had closed an idle connection, and the request met nobody. Once more, on a new one.
            exchange.resends += 1
            exchange.failure, exchange.error, exchange.end_s = "", "", 0.0

    def _idle(self, origin: Origin) -> Connection | None:
        pool = self._pools.get(origin)
        while pool and pool.idle:
            connection = pool.idle.pop()
            if connection.is_ready:
                return connection
            connection.close()
        return None

    def release(self, connection: Connection) -> None:
        """Take back a connection that is ready for another request."""
        self._pools[connection.origin].idle.append(connection)

    def forget(self, connection: Connection) -> None:
        """Drop an idle connection that the server closed."""
        with suppress(KeyError, ValueError):
            self._pools[connection.origin].idle.remove(connection)

    async def _connect(self, origin: Origin, exchange: Exchange) -> Connection | None:
        """A new connection, or None with the failure in the exchange."""
        begin = perf_counter()
        try:
            async with asyncio.timeout(self.limits.connect_s):
                return await self._open(origin, exchange, begin)
        except TimeoutError:
            exchange.failure = FailureKind.TIMEOUT
            exchange.error = f"no connection to {origin} within {self.limits.connect_s:g} s (connectTimeout)"
        except asyncio.CancelledError:
            exchange.failure, exchange.error = FailureKind.UNFINISHED, "cut off while connecting"
        except (OSError, UnicodeError) as error:  # a host name that is none is a UnicodeError
            exchange.failure, exchange.error = FailureKind.CONNECT, f"{origin}: {cause(error)}"
        exchange.end_s = perf_counter()
        exchange.sent_s = exchange.sent_s or begin
        return None

    async def _open(self, origin: Origin, exchange: Exchange, begin: float) -> Connection:
        loop = asyncio.get_running_loop()
        family, address = await self._pool(origin).addresses.next()
        sock = socket.socket(family, socket.SOCK_STREAM)
        try:
            sock.setblocking(False)
            sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            await loop.sock_connect(sock, address)
        except BaseException:
            sock.close()
            raise
        connected_s = perf_counter()
        context = self._context() if origin.is_tls else None
        # From here on the socket is the loop's, also when this fails: libuv must not lose its file under its feet.
        _, connection = await loop.create_connection(
            lambda: Connection(self, self.limits, origin, sock),
            sock=sock,
            ssl=context,
            server_hostname=origin.host if context else None,
        )
        if not exchange.resends:  # what lies between the first sending and the second is latency
            exchange.connected_s = perf_counter()
            exchange.connect_s = connected_s - begin
            exchange.tls_s = exchange.connected_s - connected_s if context else 0.0
        return connection

    def _pool(self, origin: Origin) -> Pool:
        if origin not in self._pools:
            self._pools[origin] = Pool(Addresses(origin, self.clock, self.first_address))
        return self._pools[origin]

    def _context(self) -> ssl.SSLContext:
        if self._tls is None:
            self._tls = self._make_tls()
        return self._tls

    def _sweep(self) -> None:
        """End what is over time; one timer for all connections."""
        now, limits = perf_counter(), self.limits
        for connection in list(self._busy):
            if connection.exchange is None:
                continue
            if limits.total_s is not None and now - connection.start_s > limits.total_s:
                connection.fail(FailureKind.TIMEOUT, f"not complete within {limits.total_s:g} s (totalTimeout)")
            elif limits.read_s is not None and now - connection.last_s > limits.read_s:
                connection.fail(FailureKind.TIMEOUT, f"silent for {limits.read_s:g} s (readTimeout)")
        self._sweeper = asyncio.get_running_loop().call_later(limits.tick_s, self._sweep)

    async def close(self) -> None:
        """Close all connections."""
        if self._sweeper:
            self._sweeper.cancel()
            self._sweeper = None
        for connection in [*self._busy, *(c for pool in self._pools.values() for c in pool.idle)]:
            connection.close()
        self._pools.clear()
        await asyncio.sleep(0)
