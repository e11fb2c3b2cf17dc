"""The mock endpoint itself: routes, limits, errors. `MockServer` runs in the loop that starts it."""

import asyncio
import socket
import time

import orjson

from perfbench_runner.listening import ANY, server_socket
from perfbench_runner.mock.dialects import BY_PATH
from perfbench_runner.mock.dialects.openai import error_body
from perfbench_runner.mock.http import Request, ServerConnection, response_head
from perfbench_runner.mock.plan import JSON, BadRequestError, Call, Dialect
from perfbench_runner.mock.replies import Fates, Reply, Schedule
from perfbench_runner.mock.service import Service
from perfbench_runner.mock.settings import MockSettings
from perfbench_runner.mock.stats import Stats
from perfbench_runner.stamps import KernelClock, available_stamps, request_stamps
from perfbench_runner.wire import Wire

_KV_CACHE_TOKENS = 1_000_000  # the size of the cache that kv_cache_usage_perc pretends to be a share of
_BACKLOG = 4096
_ACCEPT_AGAIN_S = 1.0
_TEXT = "text/plain; version=0.0.4; charset=utf-8"
_OWN = {
    "/healthz": ("GET",),
    "/stats": ("GET",),
    "/reset": ("GET", "POST"),
    "/metrics": ("GET",),
    "/v1/models": ("GET",),
}


class MockServer:
    """async with MockServer(settings) as mock: … mock.base_url …, or start() and stop()."""

    def __init__(self, settings: MockSettings | None = None) -> None:
        self.settings = settings or MockSettings()
        self.stats = Stats()
        self.port = 0
        """The port it listens on, once started."""
        self._fates = Fates(self.settings)
        self._connections: set[ServerConnection] = set()
        self._replies: set[Reply] = set()
        self._number = 0
        self._listeners: list[socket.socket] = []
        self._clock = KernelClock() if available_stamps() == "kernel" else None
        self._schedule: Schedule | None = None

    @property
    def base_url(self) -> str:
        """http://host:port, without a path."""
        return self.settings.base_url(self.port)

    async def start(self) -> None:
        """Listen. Raises OSError when the address cannot be had."""
        loop = asyncio.get_running_loop()
        for listener in await self._listening():
            listener.setblocking(False)
            self._listeners.append(listener)
            loop.add_reader(listener.fileno(), self._accept, listener)
        self._schedule = Schedule(loop, Service(self.settings.slots, self.settings.batch_slowdown))
        self.port = self._listeners[0].getsockname()[1]

    async def _listening(self) -> list[socket.socket]:
        """Sockets of all addresses that the host has."""
        host, port = self.settings.host, self.settings.port
        if host in ANY:
            return [server_socket(host, port, _BACKLOG)]
        found = await asyncio.get_running_loop().getaddrinfo(host, port, type=socket.SOCK_STREAM)
        return [socket.create_server(address, family=family, backlog=_BACKLOG) for family, _, _, _, address in found]

    async def stop(self) -> None:
        """Stop listening and cut all connections. Can be called twice."""
        if self._schedule is None:
            return
        self._schedule.close()
        self._schedule = None
        for listener in self._listeners:
            asyncio.get_running_loop().remove_reader(listener.fileno())
            listener.close()
        self._listeners.clear()
        for connection in list(self._connections):
            connection.abort()

    async def __aenter__(self) -> "MockServer":
        await self.start()
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.stop()

    # ------------------------------------------------------------ requests

    def _accept(self, listener: socket.socket) -> None:
        """Take all connections that wait."""
        loop = asyncio.get_running_loop()
        if self._clock is not None:
            self._clock.check()
        for _ in range(_BACKLOG):
            try:
                sock, _address = listener.accept()
            except (BlockingIOError, InterruptedError, ConnectionAbortedError):
                return
            except OSError:  # no file or memory left: it waits, and the loop must not spin
                loop.remove_reader(listener.fileno())
                loop.call_later(_ACCEPT_AGAIN_S, self._listen_again, listener)
                return
            sock.setblocking(False)
            sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            if self._clock is not None:
                request_stamps(sock)
            ServerConnection(Wire(loop, sock, self._clock), self._handle, self.stats, self._connections)

    def _listen_again(self, listener: socket.socket) -> None:
        if listener.fileno() >= 0:
            asyncio.get_running_loop().add_reader(listener.fileno(), self._accept, listener)

    def _handle(self, connection: ServerConnection, request: Request) -> None:
        dialect = BY_PATH.get(request.path)
        if request.refusal:
            self._refuse(connection, request, *request.refusal, dialect)
        elif dialect and request.method == "POST":
            self._answer(connection, request, dialect)
        elif dialect or request.path in _OWN:
            allowed = ("POST",) if dialect else _OWN[request.path]
            if request.method in allowed:
                self._answer_own(connection, request)
            else:
                message = f"{request.method} does not work on {request.path}: use {' or '.join(allowed)}"
                self._refuse(connection, request, 405, message, dialect, f"allow: {', '.join(allowed)}\r\n")
        else:
            message = f"no {request.path} here; there are {', '.join([*BY_PATH, *_OWN])}"
            self._refuse(connection, request, 404, message, None)

    def _answer(self, connection: ServerConnection, request: Request, dialect: Dialect) -> None:
        """Begin a paced reply, or refuse."""
        self._number += 1
        self.stats.begin(request.arrived_s)
        fate = self._fates.draw(self._number)
        refusal = self._objection(request) or (self._injected_error() if fate.error else None)
        if refusal is None:
            try:
                plan = dialect.plan(self._call(request))
            except BadRequestError as error:
                refusal = 400, str(error), ""
            except Exception as error:  # noqa: BLE001  # a dialect's bug: the client is to see it, not a cut connection
                refusal = 500, f"mock: a bug in {type(dialect).__name__}: {error!r}", ""
        if refusal is not None:
            status, message, header = refusal
            self.stats.failed += 1
            self._refuse(connection, request, status, message, dialect, header)
            return
        self.stats.by_status[200] += 1
        self.stats.prompt_tokens += plan.prompt_tokens
        self.stats.enter()
        reply = Reply(connection, request, plan, fate, self.settings, self.stats, self._ended)
        self._replies.add(reply)
        if self._schedule is not None:
            self._schedule.add(reply)

    def _objection(self, request: Request) -> tuple[int, str, str] | None:
        """Status, message and headers, if this client is not to be served."""
        key, limit = self.settings.api_key, self.settings.rate_limit
        if key is not None and key not in _keys(request.headers):
            return 401, "a valid API key is needed: Authorization: Bearer KEY", "www-authenticate: Bearer\r\n"
        if limit is not None and self.stats.in_flight >= limit:
            return 429, f"more than {limit} requests at a time; try again later", "retry-after: 1\r\n"
        return None

    def _injected_error(self) -> tuple[int, str, str]:
        self.stats.injected["error"] += 1
        return self.settings.error_status, "mock: this request fails, as asked by error_rate", ""

    def _call(self, request: Request) -> Call:
        try:
            body = orjson.loads(request.body)
        except orjson.JSONDecodeError as error:
            raise BadRequestError(f"the body is not JSON: {error}") from None
        if not isinstance(body, dict):
            raise BadRequestError("the body must be a JSON object")
        return Call(request.path, request.headers, body, self.settings, self._number, int(time.time()))

    def _ended(self, reply: Reply) -> None:
        self._replies.discard(reply)
        self.stats.in_flight -= 1
        if self._schedule is not None:
            self._schedule.ended(reply)

    @property
    def _waiting(self) -> int:
        """Requests in the queue before the slots; they are among those in flight."""
        return self._schedule.waiting if self._schedule is not None else 0

    def _refuse(
        self,
        connection: ServerConnection,
        request: Request,
        status: int,
        message: str,
        dialect: Dialect | None,
        headers: str = "",
    ) -> None:
        self.stats.by_status[status] += 1
        body = dialect.error(status, message) if dialect else error_body(status, message)
        self._send(connection, request, status, JSON, body, headers)

    def _send(
        self,
        connection: ServerConnection,
        request: Request,
        status: int,
        content_type: str,
        body: bytes,
        headers: str = "",
    ) -> None:
        head = response_head(request, status, content_type, len(body), headers)
        connection.send(head if request.method == "HEAD" else head + body)
        connection.finish(request)

    # ------------------------------------------------------------ the mock's own pages

    def _answer_own(self, connection: ServerConnection, request: Request) -> None:
        content_type, body = JSON, b'{"ok":true}\n'
        if request.path == "/stats":
            stamps = "kernel" if self._clock else "program"
            body = orjson.dumps(self.stats.as_dict() | {"waiting": self._waiting, "stamps": stamps})
        elif request.path == "/reset":
            self.stats.reset()
        elif request.path == "/v1/models":
            model = {"id": self.settings.model, "object": "model", "created": 0, "owned_by": "perfbench"}
            body = orjson.dumps({"object": "list", "data": [model]})
        elif request.path == "/metrics":
            held = sum(reply.plan.prompt_tokens + reply.sent for reply in self._replies if reply.is_served)
            usage = min(held / _KV_CACHE_TOKENS, 1.0)
            content_type, body = _TEXT, self.stats.prometheus(self.settings.model, usage, self._waiting).encode()
        self._send(connection, request, 200, content_type, body)


def _keys(headers: dict[str, str]) -> tuple[str, ...]:
    """The places where the APIs' clients put their key."""
    scheme, _, token = headers.get("authorization", "").partition(" ")
    bearer = token.strip() if scheme.lower() == "bearer" else ""
    return bearer, headers.get("x-api-key", ""), headers.get("api-key", "")
