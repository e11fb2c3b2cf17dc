"""A shard: one process that makes load and measures. It does nothing else.

The control process (`perfbench_runner.engine.control`) feeds it ready-made bodies ahead of time and takes its results; here
they are sent when they are due, stamped, and handed back as raw bytes. Closed loop: one lane (coroutine) for each
concurrent request. Open loop: a timer that starts each request at its absolute time, however many are under way.
"""

import asyncio
import gc
import signal
import socket
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass, field
from time import perf_counter
from typing import TYPE_CHECKING, Any, NamedTuple

import orjson

from perfbench_plugins.benchmark_data import BenchmarkData
from perfbench_plugins.blame import blame
from perfbench_plugins.exchange import Exchange, FailureKind
from perfbench_plugins.reading import read
from perfbench_plugins.registry import PluginError
from perfbench_runner.load.feed import Talk, prepare
from perfbench_runner.results import client_health as health
from perfbench_runner.shard.ipc import Channel
from perfbench_runner.shard.transport import HttpTransport, Limits, destination, tls_context
from perfbench_runner.timer import DeadlineTimer

if TYPE_CHECKING:
    import aiohttp

FLUSH_S = 0.05
"""Results are handed over in batches: fewer system calls on the measuring loop."""


@dataclass(frozen=True)
class Wiring:
    """What a shard needs to know of the target, and the plugin where the plugin itself sends requests."""

    url: str
    headers: dict[str, str]
    limits: Limits
    tls: dict[str, Any] = field(default_factory=dict)
    """Arguments of `tls_context`."""
    plugin: Any = None
    """An API plugin that overrides `process_request`; None where the transport does all."""
    api: Any = None
    """The API plugin, to build the turns of conversations and to read their replies."""


@dataclass(frozen=True)
class Level:
    """One shard's part of a stage."""

    index: int
    """Number of the stage; -1 is the warm-up."""
    concurrency: int | None
    """Lanes of a closed loop; None for an open loop."""
    max_concurrency: int | None = None
    duration_s: float | None = None
    grace_s: float = 30.0
    """How long requests may still take when the duration is over."""


class Item(NamedTuple):
    """One request to send."""

    seq: int
    at_s: float | None
    """Open loop: when to send it, from the start of the stage."""
    body: bytes | Talk
    """The request's body, or a conversation to play."""
    headers: dict[str, str] | None = None
    """Headers of this request alone."""


class Measured(NamedTuple):
    """One request's measurement, as a shard hands it over."""

    seq: int
    scheduled_s: float
    exchange: Exchange | BenchmarkData
    turn: int = 0
    """Of a conversation: 1 for its first turn; 0 for a single request."""
    is_last: bool = True
    """Nothing more comes of this item."""
    body: bytes = b""
    """Of a conversation: the body that was sent."""


class Shard:
    """The measuring side of one process."""

    def __init__(self, number: int, wiring: Wiring, clock: Callable[[], float] = perf_counter) -> None:
        self.number, self.wiring, self.clock = number, wiring, clock
        self.transport = HttpTransport(wiring.limits, lambda: tls_context(**wiring.tls))
        self.destination = destination(wiring.url, wiring.headers)
        self.queue: deque[Item] = deque()
        self.waiting: deque[asyncio.Future[None]] = deque()
        self.outbox: list[Measured] = []
        self.in_flight = 0
        self.level: Level | None = None
        self.held: deque[tuple[Item, float]] = deque()
        """Open loop: requests that are due but wait for a place."""
        self.is_fed = self.is_stopped = False
        self._start_s = 0.0
        self._starting = 0
        self._dispatched = asyncio.Event()
        self._quit = asyncio.Event()
        self._runner: asyncio.Task[None] | None = None
        self._cutter: asyncio.TimerHandle | None = None
        self._tasks: set[asyncio.Task[None]] = set()
        self._session: aiohttp.ClientSession | None = None
        self.sampler = health.Sampler(number, lambda sample: self.channel.send(("sample", sample)), self._state)

    async def run(self, sock: socket.socket) -> None:
        """Serve the control process at the other end of the socket until it says quit or is gone."""
        loop = asyncio.get_running_loop()
        self._timer = DeadlineTimer(loop, self._dispatch)
        _, self.channel = await loop.create_connection(lambda: Channel(self._receive, self._quit.set), sock=sock)
        self.channel.send(("ready",))
        await self._quit.wait()
        self.is_stopped = True  # a lane that is cancelled in mid-request takes no other
        if self._runner:
            self._runner.cancel()
        for task in self._tasks:
            task.cancel()
        self._timer.close()
        await self.transport.close()
        if self._session:
            await self._session.close()
        self.channel.close()

    def _state(self) -> tuple[int, int, int]:
        connections = self.transport.open_connections
        return self.in_flight, connections, self.channel.transport.get_write_buffer_size()

    # Messages of the control process.

    def _receive(self, message: tuple[Any, ...]) -> None:
        kind, *rest = message
        handlers: dict[str, Callable[..., None]] = {
            "level": self._on_level,
            "feed": self._on_feed,
            "fed": self._on_fed,
            "go": self._on_go,
            "stop": self._on_stop,
            "quit": self._quit.set,
        }
        handlers[kind](*rest)

    def _on_level(self, level: Level) -> None:
        self.level, self.is_fed, self.is_stopped = level, False, False
        self._runner = None
        self._dispatched.clear()
        self.queue.clear()

    def _on_feed(self, items: list[Item]) -> None:
        self.queue.extend(items)
        self._wake()

    def _on_fed(self) -> None:
        self.is_fed = True
        self._wake()

    def _on_go(self, start_s: float) -> None:
        self._start_s = start_s
        self._runner = asyncio.get_running_loop().create_task(self._run_level(start_s))

    def _on_stop(self, grace_s: float) -> None:
        """Send no more; what is under way may take `grace_s` longer."""
        self.is_stopped = True
        self._wake()
        if self._cutter:
            self._cutter.cancel()
        self._cutter = asyncio.get_running_loop().call_later(grace_s, self._cut_off)

    def _wake(self) -> None:
        while self.waiting:
            future = self.waiting.popleft()
            if not future.done():
                future.set_result(None)
        if self._runner and self.level and self.level.concurrency is None:
            self._dispatch()

    def _cut_off(self) -> None:
        for task in list(self._tasks):
            task.cancel()

    # A level.

    async def _run_level(self, start_s: float) -> None:
        level = self.level
        if level is None:
            return
        calm_collector()
        await _sleep_until(start_s, self.clock)
        self.sampler.start(level.index)
        flusher = asyncio.get_running_loop().create_task(self._flush_regularly())
        ender = self._end_after(level, start_s)
        if level.concurrency is None:
            self._dispatch()
            await self._dispatched.wait()
        else:
            for _ in range(level.concurrency):
                self._start(self._lane(start_s))
        while self._tasks:
            await asyncio.wait(self._tasks)
        for handle in (ender, self._cutter):
            if handle:
                handle.cancel()
        flusher.cancel()
        self.sampler.stop()
        self._flush()
        unsent = [item.seq for item in self.queue] + [item.seq for item, _ in self.held]
        self.queue.clear()
        self.held.clear()
        gc.collect()
        self.channel.send(("done", level.index, unsent))

    def _end_after(self, level: Level, start_s: float) -> asyncio.TimerHandle | None:
        if level.duration_s is None:
            return None
        remaining = start_s + level.duration_s - self.clock()
        return asyncio.get_running_loop().call_later(max(0.0, remaining), self._on_deadline)

    def _on_deadline(self) -> None:
        self.channel.send(("deadline",))
        self._on_stop(self.level.grace_s if self.level else 0.0)

    def _start(self, coroutine: Any) -> None:
        task = asyncio.get_running_loop().create_task(coroutine)
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    async def _lane(self, free_s: float) -> None:
        """One place of a closed loop: a request is scheduled for the moment its place became free."""
        while not self.is_stopped:
            item = await self._next()
            if item is None:
                return
            await self._perform(item, free_s)
            free_s = self.clock()

    async def _next(self) -> Item | None:
        """The next request, or None when there is no more to come."""
        while not self.is_stopped:
            if self.queue and not self.channel.is_blocked:
                return self.queue.popleft()
            if self.is_fed and not self.queue:
                return None
            future: asyncio.Future[None] = asyncio.get_running_loop().create_future()
            self.waiting.append(future)
            if self.channel.is_blocked:
                asyncio.get_running_loop().call_later(FLUSH_S, self._wake)
            await future
        return None

    def _dispatch(self) -> None:
        """Open loop: start all requests that are due, and wake up again for the next."""
        while self.queue and not self.is_stopped and not self.channel.is_blocked:
            at_s = self._start_s + (self.queue[0].at_s or 0.0)
            if at_s > self.clock():
                self._timer.arm(at_s)
                return
            self._admit(self.queue.popleft(), at_s)
        if self.is_stopped or (self.is_fed and not self.queue):
            self._dispatched.set()
        elif self.channel.is_blocked:
            self._timer.arm(self.clock() + FLUSH_S)

    def _admit(self, item: Item, at_s: float) -> None:
        """Send a request that is due; beyond `max_concurrency` it is held, and its wait shows in its lag."""
        limit = self.level.max_concurrency if self.level else None
        if limit is not None and self.in_flight + self._starting >= limit:
            self.held.append((item, at_s))
        else:
            self._starting += 1
            self._start(self._perform_and_release(item, at_s))

    async def _perform_and_release(self, item: Item, at_s: float) -> None:
        self._starting -= 1
        await self._perform(item, at_s)
        if self.held and not self.is_stopped:
            self._admit(*self.held.popleft())

    # A request.

    async def _perform(self, item: Item, scheduled_s: float) -> None:
        if isinstance(item.body, Talk):
            return await self._converse(item, item.body, scheduled_s)
        measured = await self._send(item.body, item.headers)
        self.outbox.append(Measured(item.seq, scheduled_s, measured))
        return None

    async def _send(self, body: bytes, headers: dict[str, str] | None) -> Exchange | BenchmarkData:
        self.in_flight += 1
        try:
            if self.wiring.plugin is not None:
                return await self._send_by_plugin(body, headers)
            if headers:
                return await self.transport.post(self.wiring.url, {**headers, **self.wiring.headers}, body)
            return await self.transport.exchange(self.destination, body)
        finally:
            self.in_flight -= 1

    async def _converse(self, item: Item, talk: Talk, scheduled_s: float) -> None:
        """Play a conversation: each turn after the answer before it, and after its think time. It ends with a failure."""
        history: list[dict[str, Any]] = []
        for number, turn in enumerate(talk.turns, start=1):
            if number > 1:
                scheduled_s = self.clock() + (turn.tool_call_latency or 0.0)
                await self._sleep_unless_stopped(turn.tool_call_latency or 0.0)
                if self.is_stopped:  # what was not sent is no result; the turn before was the last
                    self.outbox.append(Measured(item.seq, scheduled_s, NOTHING_MORE))
                    return
            history += turn.messages
            parameters = talk.parameters
            if turn.max_tokens is not None:
                parameters = parameters.model_copy(update={"max_tokens": turn.max_tokens})
            try:
                prepared = prepare(self.wiring.api, list(history), parameters)
            except PluginError as error:
                data = _failed(FailureKind.PLUGIN, str(error), self.clock())
                self.outbox.append(Measured(item.seq, scheduled_s, data, number))
                return
            body = prepared.body
            if isinstance(body, Talk):
                raise AssertionError("a turn's messages are no conversation")
            measured = await self._send(body, {**(item.headers or {}), **(prepared.headers or {})})
            reply = None if measured.failure else self._reply(measured)
            is_last = reply is None or number == len(talk.turns)
            self.outbox.append(Measured(item.seq, scheduled_s, measured, number, is_last, body))
            if is_last:
                return
            history.append({"role": "assistant", "content": reply})

    def _reply(self, measured: Exchange | BenchmarkData) -> str | None:
        """The answer's text, without its reasoning; None when the answer is a failure after all."""
        if isinstance(measured, Exchange):
            measured = read(measured, "", self.wiring.api.read_message)
        return measured.generated_text if measured.success else None

    async def _sleep_unless_stopped(self, seconds: float) -> None:
        until_s = self.clock() + seconds
        while not self.is_stopped and (left_s := until_s - self.clock()) > 0:
            future: asyncio.Future[None] = asyncio.get_running_loop().create_future()
            self.waiting.append(future)
            await asyncio.wait([future], timeout=left_s)

    async def _send_by_plugin(self, content: bytes, own_headers: dict[str, str] | None) -> BenchmarkData:
        """The plugin sends the request itself, with an aiohttp session as EvalScope gives it."""
        began = self.clock()
        headers = {"Content-Type": "application/json", **(own_headers or {}), **self.wiring.headers}
        try:
            body = orjson.loads(content)
            data = await self.wiring.plugin.process_request(await self._aiohttp(), self.wiring.url, headers, body)
            if not isinstance(data, BenchmarkData):
                raise TypeError(f"process_request returned {data!r}, no BenchmarkData")
        except asyncio.CancelledError:
            data = BenchmarkData(failure=FailureKind.CANCELLED, error="cut off at the end of the grace period")
        except Exception as error:  # noqa: BLE001  # a plugin's own code: whatever it raised is this request's failure
            data = BenchmarkData(
                failure=FailureKind.PLUGIN,
                error=f"{type(self.wiring.plugin).__name__}.process_request: {blame(self.wiring.plugin, error)}",
            )
        data.request = data.request or content.decode()
        data.start_time = data.start_time or began
        data.completed_time = data.completed_time or self.clock()
        if not data.success and not data.failure:
            status = data.status_code or 0
            data.failure = FailureKind.http(status) if status >= 400 else FailureKind.PLUGIN
        return data

    async def _aiohttp(self) -> "aiohttp.ClientSession":
        if self._session is None:
            import aiohttp

            limits = self.wiring.limits
            timeout = aiohttp.ClientTimeout(total=limits.total_s, connect=limits.connect_s, sock_read=limits.read_s)
            connector = aiohttp.TCPConnector(limit=0, ssl=tls_context(**self.wiring.tls))
            self._session = aiohttp.ClientSession(connector=connector, timeout=timeout, read_bufsize=2**20)
        return self._session

    # Results.

    async def _flush_regularly(self) -> None:
        while True:
            await asyncio.sleep(FLUSH_S)
            self._flush()

    def _flush(self) -> None:
        if self.outbox:
            self.channel.send(("results", self.outbox))
            self.outbox = []


NOTHING_MORE = BenchmarkData(failure=FailureKind.CANCELLED, error="not sent")
"""Stands for the rest of a conversation that was stopped between two turns; it is no result."""


def _failed(kind: str, error: str, at_s: float) -> BenchmarkData:
    return BenchmarkData(failure=kind, error=error, start_time=at_s, completed_time=at_s, query_latency=0.0)


async def _sleep_until(at_s: float, clock: Callable[[], float]) -> None:
    delay = at_s - clock()
    if delay > 0:
        await asyncio.sleep(delay)


def calm_collector() -> None:
    """Collect now, and seldom during the stage: what lives is frozen, what is new is looked at in large steps.

    The engine itself makes no cycles; plugins may, so the collector is not switched off. Its pauses are recorded.
    """
    gc.collect()
    gc.freeze()
    gc.set_threshold(50_000, 50, 1000)


def main(number: int, wiring: Wiring, sock: socket.socket) -> None:
    """A shard process, from fork to end. Signals are the control process's business: it tells us to stop."""
    for number_of_signal in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number_of_signal, signal.SIG_IGN)
    health.raise_file_limit()

    async def start() -> None:
        await Shard(number, wiring).run(sock)

    run_loop(start())


def run_loop(coroutine: Any) -> Any:
    """Run on uvloop where it exists, else on asyncio's own loop."""
    try:
        import uvloop
    except ImportError:
        return asyncio.run(coroutine)
    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        return runner.run(coroutine)
