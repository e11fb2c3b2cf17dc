"""The control process of a run: feeds the shards, takes their results, stores them, and knows when it is over.

It never measures. Shards are forked before its event loop starts; it deals them ready-made requests ahead of time,
reads what they measured (`plugin.read`), and hands every result to the folds. It yields the CPU to the shards.
"""

import asyncio
import os
import signal
import socket
from collections import Counter, deque
from collections.abc import Callable, Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from random import Random
from time import perf_counter
from typing import Any, Literal

from perfbench_api.outcome import Progress
from perfbench_api.resource import Spec
from perfbench_api.sections import Stage
from perfbench_plugins.benchmark_data import BenchmarkData
from perfbench_plugins.exchange import Exchange, FailureKind
from perfbench_runner.engine import advice
from perfbench_runner.load.arrivals import arrivals, share
from perfbench_runner.load.feed import REFUSALS, Feed, Prepared
from perfbench_runner.observe.live import Live
from perfbench_runner.observe.observer import Observer, Observers
from perfbench_runner.results import client_health as health
from perfbench_runner.results.result import Result, Sink
from perfbench_runner.results.store import Store, StoreError
from perfbench_runner.shard import shard
from perfbench_runner.shard.ipc import Channel
from perfbench_runner.shard.shard import Item, Level, Measured, Wiring

COMMIT_S = 0.5
TICK_S = 0.25
"""How often commits are looked at, and observers told."""
SLICE_S = 0.01
"""Longest time spent on results, or on generating requests, before the other gets its turn."""
QUIT_S = 5.0
"""A shard that has not ended this long after its grace period is killed; what it handed over is kept."""
AHEAD = 64
"""Requests that a closed loop's shard has waiting, beyond two for each lane: all lanes may become free at once."""
HORIZON_S = 2.0
"""How far ahead an open loop's shard is fed."""
UNREAD_BYTES = 32 * 2**20
"""Results waiting to be stored beyond this: shards are not read from until it is less."""
WARMUP, TEST = -1, -2
"""Stage numbers of requests that are not counted."""
DOOMED = 10
"""So many first requests failing in the same hopeless way end the run."""


@dataclass
class End:
    """How a run ended."""

    state: Literal["complete", "interrupted", "failed"] = "complete"
    reason: str = "Completed"
    message: str = ""


@dataclass
class Worker:
    """A shard as the control process sees it."""

    number: int
    pid: int
    sock: socket.socket
    channel: Channel | None = None
    lanes: int = 0
    outstanding: int = 0
    """Requests given to it and not yet answered for."""
    is_done: bool = True
    is_gone: bool = False
    batch: list[Item] = field(default_factory=list)

    def send(self, *message: Any) -> None:
        """Send it a message, if it is still there."""
        if self.channel is not None and not self.is_gone:
            self.channel.send(message)


def fork_shards(count: int, wiring: Wiring) -> list[Worker]:
    """Start shard processes. Call it before any thread or event loop starts: a fork takes neither along."""
    workers: list[Worker] = []
    for number in range(count):
        ours, theirs = socket.socketpair()
        for end in (ours, theirs):
            end.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, 2**21)
            end.setblocking(False)
        pid = os.fork()
        if pid == 0:
            code = 1
            try:
                for end in [ours, *(worker.sock for worker in workers)]:
                    end.close()  # else nobody would notice when the control process dies
                shard.main(number, wiring, theirs)
                code = 0
            finally:
                os._exit(code)
        theirs.close()
        workers.append(Worker(number, pid, ours))
    return workers


class Control:
    """One run, from the first connection test to the last result."""

    def __init__(
        self,
        spec: Spec,
        feed: Feed,
        workers: list[Worker],
        store: Store,
        url: str,
        observers: Sequence[Observer] = (),
        clock: Callable[[], float] = perf_counter,
    ) -> None:
        self.spec, self.feed, self.workers, self.store, self.url, self.clock = spec, feed, workers, store, url, clock
        self.observers = Observers(observers)
        self.live = Live(clock)
        self.folds: list[Sink] = [store, self.live, self.observers]
        self.end = End()
        self.phase: Literal["starting", "waiting", "warmup", "running", "storing", "done"] = "starting"
        self.message = ""
        self.stage_index = 0
        self.unmeasured = {"connection_test": 0, "warmup": 0}
        self._pending: dict[int, Prepared] = {}
        self._unread: deque[tuple[Worker, Measured]] = deque()
        self._unread_bytes = 0
        self._is_digesting = self._is_refilling = False
        self._seq = 0
        self._level = 0
        self._remaining: float = 0
        self._arrivals: Iterator[float] | None = None
        self._ahead: deque[tuple[Prepared, float | None]] = deque()
        """The next request and its time: drawn, not yet given to a shard."""
        self._schedule_began_s: float | None = None
        self._feed_s = 0.0
        """Time spent on generating requests in this stage."""
        self._started_s = 0.0
        self._is_feeding = False
        self._changed = asyncio.Event()
        self._test: Result | None = None
        self.samples: list[health.Sample] = []
        """The latest sample of every shard."""
        self.due = 0
        """Open loop: requests of the stage under way whose time has come."""
        self._times: deque[float] = deque()
        self._ended: Counter[int] = Counter()
        self._sent: Counter[int] = Counter()
        """By shard: requests of the stage that ended, and that were sent when the shard was last sampled."""
        self.interrupted = asyncio.Event()
        """Set by a signal, also after the load is over."""
        self._is_stopping = False
        self._give_up_s = float("inf")
        """When shards that were told to end are killed."""

    # The run.

    async def run(self) -> End:
        """Run all stages; what was measured is in the store, however it ends."""
        loop = asyncio.get_running_loop()
        for number in (signal.SIGINT, signal.SIGTERM):
            with suppress(ValueError, RuntimeError):  # not in the main thread: somebody else handles signals
                loop.add_signal_handler(number, self._on_signal, signal.Signals(number).name)
        ticker = loop.create_task(self._tick_regularly())
        try:
            await self.observers.ask("open", self)
            for worker in self.workers:
                await self._connect(worker)
            if await self._target_answers():
                await self._run_stages()
                await self.observers.ask("loaded", self)
        finally:
            ticker.cancel()
            self.observers.tell("tick", self)
            await self._dismiss()  # signals stay handled until the loop is closed: the files are yet to be written
        return self.end

    async def _connect(self, worker: Worker) -> None:
        loop = asyncio.get_running_loop()
        _, worker.channel = await loop.create_connection(
            lambda: Channel(lambda message: self._receive(worker, message), lambda: self._on_gone(worker)),
            sock=worker.sock,
        )

    async def _dismiss(self) -> None:
        self._is_stopping = True
        for worker in self.workers:
            if worker.channel is None:  # it was never spoken to, and ends when it has nobody to listen to
                worker.sock.close()
                worker.is_gone = True
            worker.send("quit")
        self._give_up_s = self.clock() + QUIT_S
        for worker in self.workers:
            while not worker.is_gone:
                await self._change(TICK_S)
                self._kill_overdue()
            with suppress(ChildProcessError):
                await asyncio.get_running_loop().run_in_executor(None, os.waitpid, worker.pid, 0)

    def _kill_overdue(self) -> None:
        """Kill shards that do not end though they were told to: a plugin blocks their loop, or swallows being cancelled."""
        if self.clock() < self._give_up_s:
            return
        for worker in self.workers:
            if not worker.is_gone:
                with suppress(ProcessLookupError):
                    os.kill(worker.pid, signal.SIGKILL)

    async def _run_stages(self) -> None:
        stages = self.spec.load.stages
        warmup = self.spec.load.warmup
        if warmup.requests:
            self.phase = "warmup"
            lanes = warmup.concurrency or stages[0].concurrency or stages[0].max_concurrency or 8
            await self._run_stage(WARMUP, Stage(concurrency=min(lanes, warmup.requests), requests=warmup.requests))
        for index, stage in enumerate(stages):
            if self._is_stopping:
                return
            if index and self.spec.load.pause:
                await self._pause(self.spec.load.pause)
            self.phase, self.stage_index = "running", index
            plan = stage.model_dump(by_alias=True, exclude_none=True, mode="json")
            self._guarded(self.store.set_stage, index, stage.title, plan)
            began_s = self.clock()
            await self._run_stage(index, stage)
            self.observers.tell("stage", self)
            self._guarded(self.store.end_stage, index, began_s, self.clock(), self._feed_s)
        self.phase = "storing"

    async def _pause(self, seconds: float) -> None:
        until = self.clock() + seconds
        while not self._is_stopping and self.clock() < until:
            await self._change(min(TICK_S, until - self.clock()))

    async def _run_stage(self, number: int, stage: Stage) -> None:
        if self._is_stopping:
            return
        self._level = number
        self._remaining = float("inf") if stage.requests is None else stage.requests
        random = Random(f"{self.spec.load.random_seed}/arrivals/{number}")
        self._arrivals = arrivals(stage.rate, stage.arrival, random) if stage.rate else None
        self._schedule_began_s, self._feed_s = None, 0.0
        self.due = 0
        self._times.clear()
        self._ended.clear()
        self._sent.clear()
        if self._ahead:
            self.feed.put_back(self._ahead.popleft()[0])
        self._is_feeding = True
        self.live.begin()
        if number >= 0:
            self.observers.tell("stage", self)
        # A shard without a share stays out; a limit of nothing would mean none.
        limit = stage.concurrency or stage.max_concurrency
        active = self.workers[: min(len(self.workers), limit)] if limit else self.workers
        for worker in active:
            part = share(limit, len(active), worker.number) if limit else 0
            worker.lanes, worker.outstanding, worker.is_done = part, 0, False
            worker.send("level", self._share(number, stage, part))
        self._started_s = self.clock() + 3600  # open loop: feed the first two seconds
        self._refill(first=True)
        self._started_s = self.clock() + (0.002 if len(active) == 1 else 0.02)
        for worker in active:
            worker.send("go", self._started_s)
        while not all(worker.is_done for worker in self.workers):
            self._kill_overdue()
            await self._change(HORIZON_S / 8 if self._arrivals else TICK_S)
            self._refill()
        while self._unread:
            await asyncio.sleep(0)
            self._digest()
        self._pending.clear()
        self._guarded(self.store.commit)

    def _share(self, number: int, stage: Stage, part: int) -> Level:
        return Level(
            index=number,
            concurrency=part if stage.concurrency else None,
            max_concurrency=part if stage.max_concurrency else None,
            duration_s=stage.duration,
            grace_s=self.spec.load.grace_period,
        )

    # Does the target answer?

    async def _target_answers(self) -> bool:
        """One short request first, so that a wrong URL, key or model is told at once."""
        if not self.spec.target.connection_test:
            return True
        self.phase = "waiting"
        until = self.clock() + (self.spec.target.wait_for or 0.0)
        while not self._is_stopping:
            result = await self._try_target()
            if (
                result is None or result.data.success or result.data.failure == FailureKind.EMPTY
            ):  # of one token, it may be
                return not self._is_stopping
            kind = result.data.failure
            self.message = advice.advice(self.url, kind, result.data.error)
            if self.clock() >= until or kind in advice.NOT_WORTH_WAITING:
                waited = f" (waited {self.spec.target.wait_for:g} s)" if self.spec.target.wait_for else ""
                self.stop(End("failed", advice.reason(kind), self.message + waited))
                return False
            await self._pause(min(2.0, max(0.1, until - self.clock())))
        return False

    async def _try_target(self) -> Result | None:
        worker = self.workers[0]
        self._test, self._level, self._is_feeding = None, TEST, False
        self.unmeasured["connection_test"] += 1
        worker.lanes, worker.is_done = 1, False
        worker.send("level", Level(TEST, 1, grace_s=self.spec.load.grace_period))
        self._deal(worker, self.feed.test_request(), None)
        self._send_batches()
        worker.send("fed")
        worker.send("go", self.clock())
        while not worker.is_done or self._unread:
            self._kill_overdue()
            await self._change(TICK_S)
        return self._test

    # Feeding.

    def _refill(self, first: bool = False) -> None:
        """Give every shard what it will need soon; a little at a time, so that results get their turn."""
        if not self._is_feeding:
            return
        until = self.clock() + (1.0 if first else SLICE_S)
        while self._remaining > 0 and self._look_ahead() and (worker := self._hungriest(first)) is not None:
            prepared, at_s = self._ahead.popleft()
            self._deal(worker, prepared, at_s)
            self._remaining -= 1
            if self.clock() > until:
                self._again("_is_refilling", self._refill)
                break
        self._send_batches()
        if self._remaining <= 0 and self._is_feeding:
            self._is_feeding = False
            for worker in self.workers:
                worker.send("fed")

    def _look_ahead(self) -> bool:
        """Have the next request and its time ready; false when there is none."""
        if self._ahead:
            return True
        began_s = self.clock()
        try:
            prepared = next(self.feed)
        except StopIteration:  # a schedule that has been played
            self._remaining = 0
            return False
        except REFUSALS as error:
            self.stop(End("failed", "DatasetFailed", str(error)))
            return False
        self._feed_s += self.clock() - began_s
        at_s = next(self._arrivals) if self._arrivals else None
        if self._arrivals and self.feed.has_schedule and prepared.at_s is not None:
            self._schedule_began_s = prepared.at_s if self._schedule_began_s is None else self._schedule_began_s
            at_s = prepared.at_s - self._schedule_began_s
        self._ahead.append((prepared, at_s))
        return True

    def _hungriest(self, first: bool) -> Worker | None:
        """The shard that lacks most; None when all have enough."""
        active = [worker for worker in self.workers if not worker.is_done]
        if not active:
            return None
        at_s = self._ahead[0][1]
        if at_s is not None:
            ahead_s = at_s if first else at_s - (self.clock() - self._started_s)
            worker = min(active, key=lambda worker: worker.outstanding)
            return worker if ahead_s <= HORIZON_S and len(self._pending) < 50_000 else None
        worker = max(active, key=lambda worker: worker.lanes - worker.outstanding)
        return worker if worker.outstanding < 2 * worker.lanes + AHEAD else None

    def _deal(self, worker: Worker, prepared: Prepared, at_s: float | None) -> None:
        self._pending[self._seq] = prepared
        worker.batch.append(Item(self._seq, at_s, prepared.body, prepared.headers))
        worker.outstanding += 1
        self._seq += 1
        if at_s is not None:
            self._times.append(at_s)

    def _send_batches(self) -> None:
        for worker in self.workers:
            if worker.batch:
                worker.send("feed", worker.batch)
                worker.batch = []

    def _again(self, flag: str, function: Callable[[], None]) -> None:
        """Go on soon, once."""
        if not getattr(self, flag):
            setattr(self, flag, True)

            def go_on() -> None:
                setattr(self, flag, False)
                function()

            asyncio.get_running_loop().call_soon(go_on)

    # What shards say.

    def _receive(self, worker: Worker, message: tuple[Any, ...]) -> None:
        kind, *rest = message
        if kind == "results":
            self._on_results(worker, rest[0])
        elif kind == "sample":
            self._on_sample(rest[0])
        elif kind == "deadline":
            self._is_feeding = False
            for other in self.workers:
                other.send("fed")
        elif kind == "done":
            self._on_done(worker, rest[1])

    def _on_results(self, worker: Worker, measured: list[Measured]) -> None:
        worker.outstanding -= len(measured)
        worker.outstanding += sum(not one.is_last for one in measured)
        for one in measured:
            self._unread.append((worker, one))
            self._unread_bytes += _size(one)
        if self._unread_bytes > UNREAD_BYTES:
            for other in self.workers:
                other.channel and other.channel.transport.pause_reading()  # type: ignore[func-returns-value]
        self._refill()
        self._again("_is_digesting", self._digest)

    def _on_sample(self, sample: health.Sample) -> None:
        self.samples = [*(s for s in self.samples if s.shard != sample.shard), sample]
        self.live.in_flight = sum(s.in_flight for s in self.samples)
        if sample.stage == self._level:
            # Under way and ended must be of one moment: together with what ended since, some would count twice.
            self._sent[sample.shard] = self._ended[sample.shard] + sample.in_flight
        if sample.stage >= 0:
            self._guarded(self.store.add_sample, sample)

    def _on_done(self, worker: Worker, unsent: list[int]) -> None:
        for seq in unsent:
            self._pending.pop(seq, None)
        worker.is_done = True
        self._changed.set()

    def _on_gone(self, worker: Worker) -> None:
        worker.is_gone = worker.is_done = True
        self._changed.set()
        if not self._is_stopping:
            text = f"load-generating process {worker.number} ended unexpectedly; what was measured is kept"
            self.stop(End("failed", "WorkerLost", text + " (out of memory? lower the load or give more memory)"))

    # Results.

    def _digest(self) -> None:
        """Read and store results, for a while."""
        until = self.clock() + SLICE_S
        while self._unread:
            worker, measured = self._unread.popleft()
            self._unread_bytes -= _size(measured)
            self._take(worker, measured)
            if self.clock() > until:
                break
        if self._unread:
            self._again("_is_digesting", self._digest)
        else:
            self._changed.set()
        if self._unread_bytes < UNREAD_BYTES // 2:
            for worker in self.workers:
                worker.channel and worker.channel.transport.resume_reading()  # type: ignore[func-returns-value]
        self._refill()

    def _take(self, worker: Worker, measured: Measured) -> None:
        prepared = self._pending.pop(measured.seq, None) if measured.is_last else self._pending.get(measured.seq)
        if isinstance(measured.exchange, BenchmarkData) and not measured.exchange.start_time:
            return  # the rest of a conversation, which was not sent
        result = self._result(worker, measured, prepared)
        self._ended[worker.number] += 1
        if self._level == TEST:
            self._test = result
            return
        if self._level == WARMUP:
            self.unmeasured["warmup"] += 1
            self.live.add(result)
            return
        for fold in self.folds:
            self._guarded(fold.add, result)
        self._stop_if_hopeless(result)

    def _result(self, worker: Worker, measured: Measured, prepared: Prepared | None) -> Result:
        what, body = measured.exchange, measured.body
        if not body and prepared is not None and isinstance(prepared.body, bytes):
            body = prepared.body
        if isinstance(what, BenchmarkData):
            data, wire = what, Exchange()
            data.tidy()
            self._finalize(data)
        else:
            data, wire = self.feed.api.read(what, body.decode()), what  # type: ignore[attr-defined]  # a DefaultApiPlugin
        data.tidy()
        data.request_id = data.request_id or (prepared.request_id if prepared else None)
        if measured.turn:
            data.trace_id, data.input_num_turns = str(measured.seq), measured.turn
            data.is_first_turn, data.is_last_turn = measured.turn == 1, measured.is_last
        first_byte_s = wire.first_byte_s - wire.sent_s if wire.first_byte_s else None
        return Result(
            stage=self._level,
            seq=measured.seq,
            shard=worker.number,
            scheduled_s=measured.scheduled_s,
            data=data,
            connect_s=wire.connect_s,
            tls_s=wire.tls_s,
            first_byte_s=first_byte_s,
            response_bytes=len(wire.body),
        )

    def _finalize(self, data: BenchmarkData) -> None:
        try:
            data.finalize(self.feed.api)
        except Exception as error:  # noqa: BLE001  # a plugin's own code: whatever it raised is this request's failure
            data.success, data.failure = False, "plugin"
            data.error = f"{type(self.feed.api).__name__}.parse_responses: {type(error).__name__}: {error}"

    def _stop_if_hopeless(self, result: Result) -> None:
        """When the first requests all fail in a way that all others would, more of them help nobody."""
        kind = result.data.failure
        live = self.live
        if (
            kind in advice.FATAL
            and live.total == live.failed == live.errors.get(kind, 0) == DOOMED
            and not self.stage_index
        ):
            text = advice.advice(self.url, kind, result.data.error)
            self.stop(End("failed", advice.reason(kind), f"the first {DOOMED} requests all failed: {text}"), grace_s=0)

    def _guarded(self, function: Callable[..., Any], *arguments: Any) -> None:
        """Do something that writes results; when it cannot, end the run and keep what is there."""
        if self.end.reason == "CannotStore":
            return
        try:
            function(*arguments)
        except StoreError as error:
            self.end = End()
            self.stop(End("failed", "CannotStore", str(error)), grace_s=0)

    # The end, and those who watch.

    def stop(self, end: End, grace_s: float | None = None) -> None:
        """Send no more requests; those under way may take the grace period. The first reason given stays."""
        if self.end.state == "complete":
            self.end = end
        self._is_stopping, self._is_feeding = True, False
        grace_s = self.spec.load.grace_period if grace_s is None else grace_s
        self._give_up_s = self.clock() + grace_s + QUIT_S
        for worker in self.workers:
            worker.send("stop", grace_s)
        self._changed.set()

    def _on_signal(self, name: str) -> None:
        self.interrupted.set()
        if self.phase == "storing":  # the load is over; what was asked for was measured
            return
        is_second = self._is_stopping
        self.message = "stopping: requests under way may finish; once more ends them now"
        self.stop(End("interrupted", "Interrupted", f"stopped by {name}"), grace_s=0 if is_second else None)

    async def _change(self, timeout_s: float) -> None:
        """Wait until something changed, or for a while."""
        with suppress(TimeoutError):
            async with asyncio.timeout(timeout_s):
                await self._changed.wait()
        self._changed.clear()

    async def _tick_regularly(self) -> None:
        committed_s = self.clock()
        while True:
            await asyncio.sleep(TICK_S)
            if self.clock() - committed_s >= COMMIT_S:
                self._guarded(self.store.commit)
                committed_s = self.clock()
            self._count_due()
            self.observers.tell("tick", self)

    @property
    def sent(self) -> int:
        """Requests of the stage under way that were sent, as of half a second ago."""
        return sum((self._sent | self._ended).values())

    def _count_due(self) -> None:
        length_s = self.spec.load.stages[self.stage_index].duration or float("inf")
        elapsed_s = min(self.clock() - self._started_s, length_s)
        while self._times and self._times[0] <= elapsed_s:
            self._times.popleft()
            self.due += 1

    def progress(self) -> Progress:
        """How far the run is."""
        stages = self.spec.load.stages
        stage = stages[self.stage_index]
        requests_s, tokens_s = self.live.rates()
        done = self._share_done(stage)
        elapsed_s = self.clock() - self.live.began_s if self.live.began_s else 0.0
        is_running = self.phase == "running"
        return Progress(
            phase=self.phase,
            stage=stage.title if is_running else None,
            stage_index=self.stage_index,
            stage_count=len(stages),
            percent=self._percent(done),
            eta_s=elapsed_s / done - elapsed_s if is_running and done > 0.01 else None,
            requests=self.live.total,
            failed=self.live.failed,
            in_flight=self.live.in_flight,
            request_throughput_rps=requests_s,
            output_token_throughput_tps=tokens_s,
            ttft_p50_s=self.live.ttft.quantile(0.5),
            ttft_p99_s=self.live.ttft.quantile(0.99),
            client=self._client_now(),
            message=self.message,
        )

    def _percent(self, done: float) -> float:
        if self.phase in ("storing", "done"):
            return 100.0
        return 100.0 * (self.stage_index + done) / len(self.spec.load.stages) if self.phase == "running" else 0.0

    def _share_done(self, stage: Stage) -> float:
        if not self.live.began_s:
            return 0.0
        by_count = self.live.total / stage.requests if stage.requests else 0.0
        by_time = (self.clock() - self.live.began_s) / stage.duration if stage.duration else 0.0
        return min(1.0, max(by_count, by_time))

    def _client_now(self) -> health.State | None:
        rows = [{name: getattr(sample, name) for name in health.COLUMNS} for sample in self.samples]
        return health.judge(health.figures(rows, []))[0] if rows else None


def _size(measured: Measured) -> int:
    what = measured.exchange
    return len(what.body) if isinstance(what, Exchange) else 0
