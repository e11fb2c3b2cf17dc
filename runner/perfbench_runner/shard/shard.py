"""A shard: one process that makes load and measures. It does nothing else.

The control process (`perfbench_runner.engine`) feeds it ready-made bodies ahead of time and takes its results; here they
are sent when they are due, stamped, and handed back as raw bytes. Closed loop: one lane (coroutine) for each
concurrent request. Open loop: a timer that starts each request at its absolute time, however many are under way.
"""

import asyncio
import gc
import resource
import socket
from collections.abc import Callable, Coroutine, Sequence
from contextlib import suppress
from functools import partial
from time import perf_counter
from traceback import format_exception
from typing import Any

from perfbench_plugins.benchmark_data import BenchmarkData
from perfbench_plugins.exchange import Exchange
from perfbench_runner import signals
from perfbench_runner.event_loop import run_loop
from perfbench_runner.results.client_health import Sample
from perfbench_runner.shard.closed_loop import ClosedLoop
from perfbench_runner.shard.conversation import ConversationPlayer
from perfbench_runner.shard.ipc import Channel
from perfbench_runner.shard.messages import Assignment, Measurement, StageShare, Unsent, Wiring, arrived_s
from perfbench_runner.shard.open_loop import OpenLoop
from perfbench_runner.shard.outbox import Outbox
from perfbench_runner.shard.places import Places
from perfbench_runner.shard.plugin_sender import PluginSender
from perfbench_runner.shard.request import PreparedConversation
from perfbench_runner.shard.retrying import Retrying, Send
from perfbench_runner.shard.sampler import Sampler
from perfbench_runner.shard.side_by_side import SideBySide
from perfbench_runner.shard.transport import HttpTransport, destination, tls_context
from perfbench_runner.shard.turns import ByTurn, InOrder


class Shard:
    """The measuring side of one process: serves the control process, one stage after the other."""

    def __init__(self, number: int, wiring: Wiring, places: Places, clock: Callable[[], float] = perf_counter) -> None:
        self.number, self.wirings, self.places, self.clock = number, wiring.all, places, clock
        self.transports = transports(self.wirings, number)
        self.destinations = [destination(each.url, each.headers, each.proxy) for each in self.wirings]
        self.plugin_senders = [PluginSender(each, clock) if each.plugin is not None else None for each in self.wirings]
        self.in_flight = 0
        self.stage: _Stage | None = None
        self._quit = asyncio.Event()
        self.channel = Channel(self._receive, self._quit.set)
        self.outbox = Outbox(self.channel)
        self.sampler = Sampler(number, self._emit_sample, self._state, has_more_files=any(self.plugin_senders))

    async def run(self, sock: socket.socket) -> None:
        """Serve the control process at the other end of the socket until it says quit or is gone."""
        loop = asyncio.get_running_loop()
        await loop.create_connection(lambda: self.channel, sock=sock)
        await self._quit.wait()
        if self.stage:
            self.stage.abandon()
        for transport in set(self.transports):
            await transport.close()
        for sender in self.plugin_senders:
            if sender is not None:
                await sender.close()
        self.channel.close()

    def _receive(self, message: tuple[Any, ...], size: int) -> None:
        kind, *rest = message
        if kind == "stage":
            self.stage = _Stage(self, *rest)
            calm_collector()
            self.channel.send(("armed",))
        elif kind == "quit":
            self._quit.set()
        elif self.stage is not None:
            self.stage.receive(kind, *rest)

    def _state(self) -> tuple[int, int, int]:
        open_connections = sum(transport.open_connections for transport in set(self.transports))
        return self.in_flight, open_connections, self.outbox.backlog_bytes

    def _emit_sample(self, sample: Sample) -> None:
        self.channel.send(("sample", sample))

    async def send(self, body: bytes, headers: dict[str, str] | None, kind: int) -> Exchange | BenchmarkData:
        """Send one request of a kind, by the transport or by the plugin itself."""
        self.in_flight += 1
        try:
            if (sender := self.plugin_senders[kind]) is not None:
                return await sender.send(body, headers)
            if headers:
                wiring = self.wirings[kind]
                return await self.transports[kind].post(wiring.url, {**headers, **wiring.headers}, body)
            return await self.transports[kind].exchange(self.destinations[kind], body)
        finally:
            self.in_flight -= 1


def transports(wirings: Sequence[Wiring], first_address: int) -> list[HttpTransport]:
    """For each wiring what sends its requests: those of one target go over the same connections."""
    made: dict[Any, HttpTransport] = {}
    found = []
    for wiring in wirings:
        key = wiring.limits, wiring.proxy, tuple(sorted(wiring.tls.items()))
        if key not in made:
            tls = partial(tls_context, **wiring.tls)
            made[key] = HttpTransport(wiring.limits, tls, first_address=first_address, proxy=wiring.proxy)
        found.append(made[key])
    return found


class _Stage:
    """This shard's part of the stage under way, from its announcement to its last result."""

    def __init__(self, shard: Shard, share: StageShare) -> None:
        self.shard, self.share = shard, share
        self.stopped = asyncio.Event()
        self.load = self._load()
        places = self.load if isinstance(self.load, OpenLoop) else _HeldLane(self.stopped)
        self._send = self._sender(places)
        self._player = self._conversation_player(places)
        self._tasks: set[asyncio.Task[None]] = set()
        self._runner: asyncio.Task[None] | None = None
        self._timers: list[asyncio.TimerHandle] = []
        self._stopped_s: float | None = None
        self._unsent: list[Unsent] = []

    def _load(self) -> ClosedLoop | SideBySide | OpenLoop:
        share, shard = self.share, self.shard

        def is_blocked() -> bool:
            return shard.outbox.is_full

        def waiting(places: Places) -> InOrder | ByTurn:
            return ByTurn(places.turns) if share.by_turn else InOrder()

        if share.lanes is not None:
            loops = [
                ClosedLoop(share.lanes, places, self._perform, self._start, is_blocked, shard.clock, waiting(places))
                for places in shard.places.all[: share.sides]
            ]
            return loops[0] if share.sides == 1 else SideBySide(loops, len(shard.wirings) // share.sides)
        places = shard.places if share.is_limited else None
        return OpenLoop(places, self._perform, self._start, is_blocked, shard.clock)

    def _sender(self, places: "OpenLoop | _HeldLane") -> Send:
        shard, rule = self.shard, self.share.retry
        if rule is None:
            return shard.send
        return Retrying(shard.send, rule, self.stopped, shard.clock, places.take_place, places.give_place_back).send

    def _conversation_player(self, places: "OpenLoop | _HeldLane") -> ConversationPlayer:
        shard = self.shard
        return ConversationPlayer(
            [wiring.api for wiring in shard.wirings],
            self._send,
            shard.outbox.add,
            self.stopped,
            shard.clock,
            places.take_place,
            places.give_place_back,
        )

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
        if not self.stopped.is_set():
            self._stopped_s = self.shard.clock()
        self.stopped.set()
        self._unsent += self.load.stop()
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
        await _sleep_until(start_s, shard.clock)
        shard.sampler.start(self.share.index)
        if self.share.duration_s is not None:
            remaining_s = start_s + self.share.duration_s - shard.clock()
            self._timers.append(asyncio.get_running_loop().call_later(max(0.0, remaining_s), self._on_deadline))
        await self.load.run(start_s)
        while self._tasks:
            await asyncio.wait(self._tasks)
        for timer in self._timers:
            timer.cancel()
        shard.sampler.stop()
        await shard.outbox.drain()
        gc.collect()
        shard.channel.send(("done", self.share.index, self._unsent, self._stopped_s))

    def _on_deadline(self) -> None:
        self.shard.channel.send(("deadline",))
        self.stop(self.share.grace_s)

    def _start(self, coroutine: Coroutine[Any, Any, None]) -> None:
        task = asyncio.get_running_loop().create_task(coroutine)
        self._tasks.add(task)
        task.add_done_callback(self._on_task_over)

    def _on_task_over(self, task: asyncio.Task[None]) -> None:
        """A lane that broke is a mistake of ours: the load is no longer the one asked for, and somebody must be told."""
        self._tasks.discard(task)
        if not task.cancelled() and (error := task.exception()) is not None:
            self.shard.channel.send(("broken", "".join(format_exception(error))))

    def _cut_off(self) -> None:
        for task in list(self._tasks):
            task.cancel()

    async def _perform(self, assignment: Assignment, scheduled_s: float) -> float:
        """Returns when the answer had arrived."""
        if isinstance(assignment.body, PreparedConversation):
            return await self._player.play(assignment, assignment.body, scheduled_s)
        measured = await self._send(assignment.body, assignment.headers, assignment.kind)
        self.shard.outbox.add(Measurement(assignment.seq, scheduled_s, measured))
        return arrived_s(measured) or self.shard.clock()


class _HeldLane:
    """In a closed loop a conversation keeps its lane between its turns, and a request until it is not sent again."""

    def __init__(self, stopped: asyncio.Event) -> None:
        self._stopped = stopped

    async def take_place(self) -> bool:
        return not self._stopped.is_set()

    def give_place_back(self) -> None:
        return


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


def main(number: int, wiring: Wiring, places: Places, sock: socket.socket) -> None:
    """A shard process, from fork to end. Signals are the control process's business: it tells us to stop."""
    signals.ignore()
    raise_file_limit()

    async def start() -> None:
        await Shard(number, wiring, places).run(sock)

    run_loop(start())


def raise_file_limit() -> None:
    """Allow this process as many open files as it may have."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    if soft != hard:
        with suppress(OSError, ValueError):
            resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
