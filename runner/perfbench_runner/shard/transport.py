"""The streaming HTTP/1.1 transport of the measuring loop: kept-alive connections, timeouts, and what is sent again."""

import asyncio
import socket
import ssl
from collections.abc import Callable
from time import perf_counter

from perfbench_plugins.exchange import Exchange, FailureKind
from perfbench_runner.shard.addresses import Addresses
from perfbench_runner.shard.causes import cause
from perfbench_runner.shard.connection import Connection, Limits
from perfbench_runner.shard.deadlines import Deadlines
from perfbench_runner.shard.destination import Destination, Origin, Proxy, destination
from perfbench_runner.shard.tls import Tls, tls_context
from perfbench_runner.shard.tunnel import open_tunnel
from perfbench_runner.stamps import KernelClock, Stamps, available_stamps, request_stamps
from perfbench_runner.wire import Wire

__all__ = ["HttpTransport", "Limits", "destination", "tls_context"]


class Pool:
    """Idle connections of one origin, the one that was used last first."""

    def __init__(self, addresses: Addresses) -> None:
        self.addresses = addresses
        self.idle: dict[Connection, None] = {}


class HttpTransport:
    """Sends requests over kept-alive connections. One for each measuring process."""

    def __init__(
        self,
        limits: Limits,
        tls: Callable[[], ssl.SSLContext] = tls_context,
        clock: Callable[[], float] = perf_counter,
        first_address: int = 0,
        stamps: Stamps | None = None,
        proxy: Proxy | None = None,
    ) -> None:
        """`first_address`: which of a host's addresses to begin with, counted round; processes give their number.

        `stamps`: whose stamps to use, by default the best that a trial finds. `proxy`: what `post` sends through.
        """
        self.limits, self.clock, self.first_address = limits, clock, first_address
        self._make_tls, self._proxy = tls, proxy
        self._tls: ssl.SSLContext | None = None
        self._pools: dict[Origin, Pool] = {}
        self.stamps: Stamps = stamps or available_stamps()
        self.kernel_clock = KernelClock() if self.stamps == "kernel" else None
        self._connections: set[Connection] = set()
        self._deadlines: Deadlines[Connection] = Deadlines(limits.tick_s)
        self._sweeper: asyncio.TimerHandle | None = None
        self._destinations: dict[tuple[str, tuple[tuple[str, str], ...]], Destination] = {}

    @property
    def open_connections(self) -> int:
        """Connections open now."""
        return len(self._connections)

    async def post(self, url: str, headers: dict[str, str], body: bytes) -> Exchange:
        """Send a POST request and read the whole response; failures are in the Exchange, not raised."""
        key = (url, tuple(headers.items()))
        if key not in self._destinations:
            if len(self._destinations) > 1000:  # headers of each request's own
                self._destinations.clear()
            try:
                self._destinations[key] = destination(url, headers, self._proxy)
            except ValueError as error:  # headers that a dataset gave this request
                now = perf_counter()
                return Exchange(sent_s=now, end_s=now, failure=FailureKind.PLUGIN, error=str(error))
        return await self.exchange(self._destinations[key], body)

    async def exchange(self, to: Destination, body: bytes) -> Exchange:
        """Send a request and read the whole response; failures are in the Exchange, not raised."""
        exchange, start_s = Exchange(), perf_counter()
        loop = asyncio.get_running_loop()
        if self._sweeper is None:
            self._sweeper = loop.call_later(self.limits.tick_s, self._sweep)
        while True:
            connection = (None if exchange.resends else self._idle(to.origin)) or await self._connect(
                to.origin, exchange
            )
            if connection is None:
                return exchange
            done: asyncio.Future[None] = loop.create_future()
            connection.send(to.request(body), exchange, done, start_s)  # not kept: thousands of streams may be open
            if not connection.used:  # one that was has been looked after since its first request
                self._watch(connection, perf_counter())
            try:
                await done
            except asyncio.CancelledError:
                if connection.exchange is exchange:  # else it was complete, and the connection may be another's by now
                    connection.fail(FailureKind.UNFINISHED, "cut off at the end of the grace period")
                return exchange
            if not (exchange.failure == FailureKind.DISCONNECTED and connection.is_early):
                return exchange
            # The server had closed an idle connection, and the request met nobody. Once more, on a new one.
            exchange.resends += 1
            exchange.failure, exchange.error, exchange.end_s = "", "", 0.0

    def _idle(self, origin: Origin) -> Connection | None:
        pool = self._pools.get(origin)
        while pool and pool.idle:
            connection, _ = pool.idle.popitem()
            if connection.is_ready:
                return connection
            connection.close()
        return None

    def release(self, connection: Connection) -> None:
        """Take back a connection that is ready for another request."""
        self._pools[connection.origin].idle[connection] = None

    def forget(self, connection: Connection) -> None:
        """Drop a connection that is closed."""
        self._connections.discard(connection)
        self._deadlines.discard(connection)
        pool = self._pools.get(connection.origin)
        if pool:
            pool.idle.pop(connection, None)

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
            peer = "proxy" if origin.proxy else "server"
            exchange.failure, exchange.error = FailureKind.CONNECT, f"{origin}: {cause(error, peer)}"
        exchange.end_s = perf_counter()
        exchange.sent_s = exchange.sent_s or begin
        return None

    async def _open(self, origin: Origin, exchange: Exchange, begin: float) -> Connection:
        sock = await self._connected(origin)
        connected_s, tls = perf_counter(), None
        # Bytes of a Unix socket have no segments that the kernel would stamp.
        wire = Wire(asyncio.get_running_loop(), sock, None if origin.socket else self.kernel_clock)
        try:
            if origin.is_tls:
                tls = Tls(wire, self._context(), origin.host)
            wire.start()
            if tls:
                await tls.handshake()
        except BaseException:
            wire.close()
            raise
        connection = Connection(self, self.limits, origin, wire, tls)
        self._connections.add(connection)
        if not exchange.resends:  # what lies between the first sending and the second is latency
            exchange.connected_s = perf_counter()
            exchange.connect_s = connected_s - begin
            exchange.tls_s = exchange.connected_s - connected_s if tls else 0.0
        return connection

    async def _connected(self, origin: Origin) -> socket.socket:
        """A connected socket whose bytes the kernel stamps, where it does."""
        family, address = await self._pool(origin).addresses.next()
        sock = socket.socket(family, socket.SOCK_STREAM)
        try:
            sock.setblocking(False)
            if not origin.socket:
                sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
                if self.kernel_clock is not None:
                    request_stamps(sock)
            await asyncio.get_running_loop().sock_connect(sock, address)
            if origin.is_tls and origin.proxy:
                await open_tunnel(sock, origin, origin.proxy)
        except BaseException:
            sock.close()
            raise
        return sock

    def _pool(self, origin: Origin) -> Pool:
        if origin not in self._pools:
            self._pools[origin] = Pool(Addresses(origin, self.clock, self.first_address))
        return self._pools[origin]

    def _context(self) -> ssl.SSLContext:
        if self._tls is None:
            self._tls = self._make_tls()
        return self._tls

    def _sweep(self) -> None:
        """End what is over time; one timer for all connections. And see whether the wall clock was set."""
        now = perf_counter()
        if self.kernel_clock is not None:
            self.kernel_clock.check()
        for connection in self._deadlines.take_due(now):
            if text := connection.overdue(now):
                connection.fail(FailureKind.TIMEOUT, text)
            else:
                self._watch(connection, now)
        self._sweeper = asyncio.get_running_loop().call_later(self.limits.tick_s, self._sweep)

    def _watch(self, connection: Connection, now: float) -> None:
        """Look at a connection again when it can be over time, or, idle, could be if a request began now."""
        if (at_s := connection.deadline_s(now)) is not None:
            self._deadlines.set(connection, at_s)

    async def close(self) -> None:
        """Close all connections."""
        if self._sweeper:
            self._sweeper.cancel()
            self._sweeper = None
        for connection in list(self._connections):
            if connection.exchange is not None:
                connection.fail(FailureKind.UNFINISHED, "cut off at the end of the run")
            connection.close()
        self._pools.clear()
        await asyncio.sleep(0)
