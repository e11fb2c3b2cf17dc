"""A shard: one process that makes load and measures. It does nothing else.

The control process (`perfbench_runner.engine`) feeds it ready-made bodies ahead of time and takes its results; here they
are sent when they are due, stamped, and handed back as raw bytes. Closed loop: one lane (coroutine) for each
concurrent request. Open loop: a timer that starts each request at its absolute time, however many are under way.
"""

import asyncio
import gc
import resource
import signal
import socket
from collections.abc import Callable, Coroutine
from contextlib import suppress
from time import perf_counter
from typing import Any

from perfbench_plugins.benchmark_data import BenchmarkData
from perfbench_plugins.exchange import Exchange
from perfbench_runner.event_loop import run_loop
from perfbench_runner.results.client_health import Sample
from perfbench_runner.shard.closed_loop import ClosedLoop
from perfbench_runner.shard.conversation import ConversationPlayer
from perfbench_runner.shard.ipc import Channel
from perfbench_runner.shard.messages import Assignment, Measurement, StageShare, Wiring
from perfbench_runner.shard.open_loop import OpenLoop
from perfbench_runner.shard.plugin_sender import PluginSender
from perfbench_runner.shard.request import PreparedConversation
from perfbench_runner.shard.sampler import Sampler
from perfbench_runner.shard.transport import HttpTransport, destination, tls_context

FLUSH_S = 0.05
"""Results are handed over in batches: fewer system calls on the measuring loop."""


class Shard:
    """The measuring side of one process: serves the control process, one stage after the other."""

    channel: Channel

    def __init__(self, number: int, wiring: Wiring, clock: Callable[[], float] = perf_counter) -> None:
        self.number, self.wiring, self.clock = number, wiring, clock
        self.transport = HttpTransport(wiring.limits, lambda: tls_context(**wiring.tls), first_address=number)
        self.destination = destination(wiring.url, wiring.headers)
        self.plugin_sender = PluginSender(wiring, clock) if wiring.plugin is not None else None
        self.in_flight = 0
        self.stage: _Stage | None = None
        self.outbox: list[Measurement] = []
        self.sampler = Sampler(number, self._emit_sample, self._state)
        self._quit = asyncio.Event()

    async def run(self, sock: socket.socket) -> None:
        """Serve the control process at the other end of the socket until it says quit or is gone."""
        loop = asyncio.get_running_loop()
        _, self.channel = await loop.create_connection(lambda: Channel(self._receive, self._quit.set), sock=sock)
        self.channel.send(("ready",))
        await self._quit.wait()
        if self.stage:
            self.stage.abandon()
        await self.transport.close()
        if self.plugin_sender:
            await self.plugin_sender.close()
        self.channel.close()

    def _receive(self, message: tuple[Any, ...]) -> None:
        kind, *rest = message
        if kind == "stage":
            self.stage = _Stage(self, *rest)
        elif kind == "quit":
            self._quit.set()
        elif self.stage is not None:
            self.stage.receive(kind, *rest)

    def _state(self) -> tuple[int, int, int]:
        connections = self.transport.open_connections
        return self.in_flight, connections, self.channel.transport.get_write_buffer_size()

    def _emit_sample(self, sample: Sample) -> None:
        self.channel.send(("sample", sample))

    async def send(self, body: bytes, headers: dict[str, str] | None) -> Exchange | BenchmarkData:
        """Send one request, by the transport or by the plugin itself."""
        self.in_flight += 1
        try:
            if self.plugin_sender is not None:
                return await self.plugin_sender.send(body, headers)
            if headers:
                return await self.transport.post(self.wiring.url, {**headers, **self.wiring.headers}, body)
            return await self.transport.exchange(self.destination, body)
        finally:
            self.in_flight -= 1

    def emit(self, measurement: Measurement) -> None:
        """Hand over a measurement with the next batch."""
        self.outbox.append(measurement)

    def flush(self) -> None:
        """Hand over what was measured since the last time."""
        if self.outbox:
            self.channel.send(("results", self.outbox))
            self.outbox = []


class _Stage:
    """This shard's part of the stage under way, from its announcement to its last result."""

    def __init__(self, shard: Shard, share: StageShare) -> None:
        self.shard, self.share = shard, share
        self.stopped = asyncio.Event()
        self._player = ConversationPlayer(shard.wiring.api, shard.send, shard.emit, self.stopped, shard.clock)
        self.load = self._load()
        self._tasks: set[asyncio.Task[None]] = set()
        self._runner: asyncio.Task[None] | None = None
        self._timers: list[asyncio.TimerHandle] = []

    def _load(self) -> ClosedLoop | OpenLoop:
        share, shard = self.share, self.shard

        def is_blocked() -> bool:
            return shard.channel.is_blocked

        if share.concurrency is not None:
            return ClosedLoop(share.concurrency, self._perform, self._start, is_blocked, shard.clock)
        return OpenLoop(share.max_concurrency, self._perform, self._start, is_blocked, shard.clock)

    def receive(self, kind: str, *values: Any) -> None:
        """A message of the control process about this stage."""
        handlers: dict[str, Callable[..., None]] = {
            "feed": self.load.feed,
            "fed": self.load.end_feed,
            "go": self._begin,
            "stop": self.stop,
        }
        handlers[kind](*values)

    def _begin(self, start_s: float) -> None:
        self._runner = asyncio.get_running_loop().create_task(self._run(start_s))

    def stop(self, grace_s: float) -> None:
        """Send no more; what is under way may take `grace_s` longer."""
        self.stopped.set()
        self.load.stop()
        self._timers.append(asyncio.get_running_loop().call_later(grace_s, self._cut_off))

    def abandon(self) -> None:
        """End at once, without handing anything over."""
        self.stopped.set()
        self.load.stop()  # a lane that is cancelled in mid-request takes no other
        if self._runner:
            self._runner.cancel()
        self._cut_off()

    async def _run(self, start_s: float) -> None:
        shard = self.shard
        calm_collector()
        await _sleep_until(start_s, shard.clock)
        shard.sampler.start(self.share.index)
        flusher = asyncio.get_running_loop().create_task(_flush_regularly(shard))
        if self.share.duration_s is not None:
            remaining_s = start_s + self.share.duration_s - shard.clock()
            self._timers.append(asyncio.get_running_loop().call_later(max(0.0, remaining_s), self._on_deadline))
        await self.load.run(start_s)
        while self._tasks:
            await asyncio.wait(self._tasks)
        for timer in self._timers:
            timer.cancel()
        flusher.cancel()
        shard.sampler.stop()
        shard.flush()
        gc.collect()
        shard.channel.send(("done", self.share.index, self.load.take_unsent()))

    def _on_deadline(self) -> None:
        self.shard.channel.send(("deadline",))
        self.stop(self.share.grace_s)

    def _start(self, coroutine: Coroutine[Any, Any, None]) -> None:
        task = asyncio.get_running_loop().create_task(coroutine)
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    def _cut_off(self) -> None:
        for task in list(self._tasks):
            task.cancel()

    async def _perform(self, assignment: Assignment, scheduled_s: float) -> None:
        if isinstance(assignment.body, PreparedConversation):
            await self._player.play(assignment, assignment.body, scheduled_s)
        else:
            measured = await self.shard.send(assignment.body, assignment.headers)
            self.shard.emit(Measurement(assignment.seq, scheduled_s, measured))


async def _flush_regularly(shard: Shard) -> None:
    while True:
        await asyncio.sleep(FLUSH_S)
        shard.flush()


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
    raise_file_limit()

    async def start() -> None:
        await Shard(number, wiring).run(sock)

    run_loop(start())


def raise_file_limit() -> None:
    """Allow this process as many open files as it may have."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    if soft != hard:
        with suppress(OSError, ValueError):
            resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
