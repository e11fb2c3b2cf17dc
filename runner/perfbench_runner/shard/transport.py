"""The streaming HTTP/1.1 transport of the measuring loop: bytes are stamped when the event loop reads them.

`data_received` takes the time before anything else, has llhttp (httptools) undo the transfer encoding, and keeps the
pieces. Nothing is decoded and no task wakes up until the response is complete, so that a stamp waits for as little
Python as possible. What the pieces mean is found out later, elsewhere (`perfbench_plugins.reading`).
"""

import asyncio
import errno
import re
import socket
import ssl
from array import array
from collections import deque
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass, field
from ipaddress import ip_address
from itertools import accumulate
from time import perf_counter
from urllib.parse import quote, urlsplit

import httptools

from perfbench_plugins.exchange import Exchange, FailureKind

USER_AGENT = "perfbench"
ERROR_BYTES = 500
"""How much of an error response is kept as the error's text."""


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


@dataclass(frozen=True)
class Origin:
    """Where connections go: scheme, host and port."""

    host: str
    port: int
    is_tls: bool

    def __str__(self) -> str:
        return f"{'https' if self.is_tls else 'http'}://{self.host}:{self.port}"


@dataclass(frozen=True)
class Destination:
    """A URL and headers, rendered once for all its requests."""

    origin: Origin
    head: bytes
    """Request line and headers up to the value of Content-Length."""

    def request(self, body: bytes) -> bytes:
        """The whole request for a body."""
        return b"%s%d\r\n\r\n%s" % (self.head, len(body), body)


def destination(url: str, headers: dict[str, str]) -> Destination:
    """Render a URL and headers; raises ValueError for a URL that is none, or a header that would break the request."""
    parts = urlsplit(url)
    if parts.scheme not in ("http", "https") or not parts.hostname:
        raise ValueError(f"{url!r} is no http(s) URL")
    is_tls = parts.scheme == "https"
    origin = Origin(parts.hostname, parts.port or (443 if is_tls else 80), is_tls)
    if "@" in parts.netloc:
        raise ValueError("holds a user name or password, which would be stored; give a header Authorization instead")
    path = quote((parts.path or "/") + (f"?{parts.query}" if parts.query else ""), safe="%/:?#[]@!$&'()*+,;=~")
    host = parts.netloc
    if not re.fullmatch(r"[\w.:\[\]%-]+", host):
        raise ValueError(f"{host!r} is no host")
    all_headers = {"Host": host, "User-Agent": USER_AGENT, "Accept": "*/*", "Content-Type": "application/json"}
    given = {name.lower() for name in headers}
    all_headers = {name: value for name, value in all_headers.items() if name.lower() not in given} | headers
    lines = [f"POST {path} HTTP/1.1", *(f"{name}: {value}" for name, value in all_headers.items())]
    if any("\r" in line or "\n" in line for line in lines):
        raise ValueError("a header contains a line break")
    try:
        return Destination(origin, "\r\n".join([*lines, "Content-Length: "]).encode("latin-1"))
    except UnicodeEncodeError as error:
        raise ValueError(f"a header contains {error.object[error.start]!r}, which HTTP cannot carry") from None


def tls_context(
    ca_file: str | None = None, cert_file: str | None = None, key_file: str | None = None, insecure: bool = False
) -> ssl.SSLContext:
    """TLS as the manifest asks for it: verified against the system's or one's own authority unless `insecure`."""
    context = ssl.create_default_context(cafile=ca_file)
    if insecure:
        context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
    if cert_file:
        context.load_cert_chain(cert_file, key_file)
    return context


class Connection(asyncio.Protocol):
    """One keep-alive connection with at most one request under way."""

    __slots__ = (
        "_content_length", "_done", "_head_bytes", "_length", "_now", "_parser", "_parts", "_pool", "_stamps",
        "_unparsed", "closed", "exchange", "last_s", "limits", "origin", "sock", "start_s", "transport", "used",
    )  # fmt: skip

    transport: asyncio.Transport

    def __init__(self, pool: "HttpTransport", origin: Origin, sock: socket.socket) -> None:
        self._pool, self.origin, self.sock, self.limits = pool, origin, sock, pool.limits
        self.closed, self.used = False, False
        self.exchange: Exchange | None = None
        self._done: asyncio.Future[None] | None = None
        self.start_s = self.last_s = 0.0

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self.transport = transport  # type: ignore[assignment]  # a stream's transport, as create_connection makes it

    def send(self, request: bytes, exchange: Exchange, done: "asyncio.Future[None]", start_s: float) -> None:
        """Write a request; `done` is resolved when the response is complete or has failed."""
        self._parser = httptools.HttpResponseParser(self)
        self._parts: list[bytes] = []
        self._stamps: list[float] = []
        self._length = self._head_bytes = self._unparsed = 0
        self.exchange, self._done, self.start_s = exchange, done, start_s
        exchange.sent_s = self.last_s = perf_counter()
        if self.origin.is_tls:
            self.transport.write(request)
            return
        try:  # straight to the kernel: the loop's own write waits for the end of its iteration
            count = self.sock.send(request)
        except BlockingIOError:
            count = 0
        except OSError as error:
            self.fail(FailureKind.DISCONNECTED, f"cannot send: {error.strerror or error}")
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
            self.fail(FailureKind.PROTOCOL, f"no valid HTTP response: {error.__context__ or error}")
        except httptools.HttpParserUpgrade:
            self.fail(FailureKind.PROTOCOL, "the server switches to another protocol")
        if not exchange.status:  # llhttp hands over a header when it is complete; until then it only grows
            self._unparsed += len(data)
            if self._unparsed > self.limits.head_bytes:
                self._refuse_head()

    def eof_received(self) -> bool:
        return False

    def connection_lost(self, error: Exception | None) -> None:
        self.closed = True
        if self.exchange is None:
            self._pool.forget(self)
        elif error is None and self._ends_with_connection():
            self._finish()
        else:
            where = "before the response" if not self.exchange.first_byte_s else "within the response"
            self.fail(FailureKind.DISCONNECTED, f"the connection ended {where}" + (f": {error}" if error else ""))

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
        elif lower in (b"content-length", b"transfer-encoding"):
            self._content_length = True
        if self._head_bytes > self.limits.head_bytes:
            self._refuse_head()

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
            self._pool.release(self)
        else:
            self.close()

    def fail(self, kind: str, text: str) -> None:
        """End the exchange under way as failed, and the connection with it."""
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


@dataclass
class Pool:
    """Connections of one origin."""

    idle: deque[Connection] = field(default_factory=deque)
    resolution: "asyncio.Future[list[Address]] | None" = None
    """The host's addresses, once they are known."""
    resolved_s: float = 0.0
    next_address: int = 0


Address = tuple[int, tuple[str, int]]
"""Address family and address, as a socket takes them."""


async def resolve(origin: Origin) -> list[Address]:
    """All addresses of a host, of one family: IPv4 where it has one. Raises OSError for an unknown host."""
    with suppress(ValueError):  # a plain address needs no resolver
        family = socket.AF_INET if ip_address(origin.host).version == 4 else socket.AF_INET6
        return [(family, (origin.host, origin.port))]
    found = await asyncio.get_running_loop().getaddrinfo(origin.host, origin.port, type=socket.SOCK_STREAM)
    families = {entry[0] for entry in found}
    family = socket.AF_INET if socket.AF_INET in families else found[0][0]
    return [(entry[0], (str(entry[4][0]), int(entry[4][1]))) for entry in found if entry[0] == family]


class HttpTransport:
    """Sends requests over kept-alive connections. One for each measuring process."""

    RESOLVE_AGAIN_S = 30.0

    def __init__(
        self, limits: Limits, tls: Callable[[], ssl.SSLContext] = tls_context, clock: Callable[[], float] = perf_counter
    ) -> None:
        self.limits, self.clock = limits, clock
        self._make_tls = tls
        self._tls: ssl.SSLContext | None = None
        self._pools: dict[Origin, Pool] = {}
        self._busy: set[Connection] = set()
        self._sweeper: asyncio.TimerHandle | None = None
        self._destinations: dict[tuple[str, tuple[tuple[str, str], ...]], Destination] = {}
        self.opened = 0
        """Connections opened so far."""

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
        is_again = False
        while True:
            connection = (None if is_again else self._idle(to.origin)) or await self._connect(to.origin, exchange)
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
            if exchange.failure == FailureKind.DISCONNECTED and connection.used and not exchange.first_byte_s:
                # The server had closed an idle connection: not its answer to us. Once more, on a new one.
                exchange.failure, exchange.error, is_again = "", "", True
                continue
            return exchange

    def _idle(self, origin: Origin) -> Connection | None:
        pool = self._pools.get(origin)
        while pool and pool.idle:
            connection = pool.idle.pop()
            if not connection.closed:
                return connection
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
            exchange.error = f"no connection to {origin} within {self.limits.connect_s:g} s"
        except asyncio.CancelledError:
            exchange.failure, exchange.error = FailureKind.UNFINISHED, "cut off while connecting"
        except (OSError, UnicodeError) as error:  # a host name that is none is a UnicodeError
            exchange.failure, exchange.error = FailureKind.CONNECT, f"{origin}: {connect_error(error)}"
        exchange.end_s = perf_counter()
        exchange.sent_s = exchange.sent_s or begin
        return None

    async def _open(self, origin: Origin, exchange: Exchange, begin: float) -> Connection:
        loop = asyncio.get_running_loop()
        family, address = await self._address(origin)
        sock = socket.socket(family, socket.SOCK_STREAM)
        try:
            sock.setblocking(False)
            sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            await loop.sock_connect(sock, address)
        except BaseException:
            sock.close()
            raise
        exchange.connect_s = perf_counter() - begin
        context = self._context() if origin.is_tls else None
        # From here on the socket is the loop's, also when this fails: libuv must not lose its file under its feet.
        _, connection = await loop.create_connection(
            lambda: Connection(self, origin, sock),
            sock=sock,
            ssl=context,
            server_hostname=origin.host if context else None,
        )
        exchange.connected_s = perf_counter()
        exchange.tls_s = exchange.connected_s - begin - exchange.connect_s if context else 0.0
        self.opened += 1
        return connection

    def _context(self) -> ssl.SSLContext:
        if self._tls is None:
            self._tls = self._make_tls()
        return self._tls

    async def _address(self, origin: Origin) -> tuple[int, tuple[str, int]]:
        """The next of the host's addresses in turn, so that several of a headless Service share the load."""
        pool = self._pools.setdefault(origin, Pool())
        if pool.resolution is None or self.clock() - pool.resolved_s > self.RESOLVE_AGAIN_S or _failed(pool.resolution):
            pool.resolved_s = self.clock()
            pool.resolution = asyncio.ensure_future(resolve(origin))
        addresses = await asyncio.shield(pool.resolution)  # one look-up serves all that wait for it
        pool.next_address += 1
        return addresses[pool.next_address % len(addresses)]

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


def _failed(resolution: "asyncio.Future[list[Address]]") -> bool:
    return resolution.done() and (resolution.cancelled() or resolution.exception() is not None)


def connect_error(error: Exception) -> str:
    """Why a connection failed, with the way out where there is one."""
    if isinstance(error, ssl.SSLCertVerificationError):
        return f"its certificate is not trusted: {error.verify_message}; give target.tls.ca"
    if isinstance(error, ssl.SSLError):
        return f"TLS failed: {error.reason or error}; is it http instead of https?"
    if isinstance(error, UnicodeError):
        return "this is no host name"
    if isinstance(error, socket.gaierror):
        return f"unknown host: {error.strerror}"
    if isinstance(error, OSError) and error.errno == errno.ECONNREFUSED:
        return "connection refused; does the server run, and is the port right?"
    if isinstance(error, OSError) and error.errno == errno.EMFILE:
        return "too many open files here; raise the limit (ulimit -n)"
    if isinstance(error, OSError) and error.errno == errno.EADDRNOTAVAIL:
        return "no ephemeral port is left here; widen net.ipv4.ip_local_port_range"
    return str(error.strerror if isinstance(error, OSError) and error.strerror else error)
