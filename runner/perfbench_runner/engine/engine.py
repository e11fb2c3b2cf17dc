"""The control process of a run: from the first connection test to the last result.

It never measures. Shards are forked before its event loop starts; it assigns them ready-made requests ahead of time
(`dispatch`), reads what they measured (`intake`), and hands every result to the sinks. It yields the CPU to the shards.
"""

import asyncio
import gc
import logging
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import replace
from functools import partial
from time import perf_counter
from typing import Any

from perfbench_api.redaction import KNOWN
from perfbench_api.resource import Spec
from perfbench_api.sections import Stage
from perfbench_runner.engine import advice
from perfbench_runner.engine.agreement import Agreement, Alone
from perfbench_runner.engine.choosing import Choosing
from perfbench_runner.engine.dispatch import Dispatcher, NeverSent
from perfbench_runner.engine.guards import Watch
from perfbench_runner.engine.intake import Intake
from perfbench_runner.engine.probe import Probe
from perfbench_runner.engine.stages import Stages, StageTimes
from perfbench_runner.engine.state import TEST, WARMUP, End, RunState
from perfbench_runner.engine.supervisor import TICK_S, ShardProcess, Supervisor
from perfbench_runner.engine.view import View
from perfbench_runner.load.plan import plan
from perfbench_runner.load.requests import Requests
from perfbench_runner.observe.counts import Counts
from perfbench_runner.observe.live import Live
from perfbench_runner.observe.observer import Observer, Observers
from perfbench_runner.observe.told import RunnerFigures
from perfbench_runner.results.client_health import Sample
from perfbench_runner.results.ramps import Ramps
from perfbench_runner.results.result import Result
from perfbench_runner.results.store import Store, StoreError
from perfbench_runner.shard.messages import Unsent
from perfbench_runner.shard.places import Places
from perfbench_runner.shard.sampler import Sampler
from perfbench_runner.shard.shard import calm_collector
from perfbench_runner.signals import Interrupts

LOG = logging.getLogger(__name__)
COMMIT_S = 0.5
CONTROL_TICK_S = 0.25
"""How often the lag of the control process is probed: it may be late, and its CPU is the shards' neighbour."""
CONTROL = -1
"""Number of the control process among those that are sampled."""
MOST_FAILURES = 10
"""So many first requests failing in the same hopeless way end the run."""


class Engine:
    """One run, from its connection test to its last result."""

    def __init__(
        self,
        spec: Spec,
        feed: Requests,
        shards: Sequence[ShardProcess],
        places: Places,
        store: Store,
        urls: Sequence[str],
        observers: Sequence[Observer] = (),
        interrupts: Interrupts | None = None,
        clock: Callable[[], float] = perf_counter,
        agreement: Agreement | None = None,
    ) -> None:
        """`urls`: where requests go, by their kind. `agreement`: with the other runners of the run, if there are any."""
        self.clock = clock
        self._agreement = agreement or Alone(clock)
        self._interrupts = interrupts or Interrupts()
        self.observers = Observers(observers)
        self.state = RunState(clock)
        self._spec, self._feed, self._store, self._urls = spec, feed, store, urls
        self._live = Live(clock)
        self._watch = Watch(spec.load.guards, self._agreement.leads)
        self._ramps = Ramps()
        """Those of the stage under way."""
        self._choosing = Choosing(spec, store, clock, self._agreement) if spec.load.search is not None else None
        self._supervisor = Supervisor(shards, clock)
        self._dispatcher = Dispatcher(feed, self._supervisor, clock, self.refused, self._agreement.share)
        self._intake = Intake(feed, self._supervisor, self._dispatcher, self._take, self._on_unsent_turn, clock)
        self._view = View(self.state, spec.load, self._live, self._dispatcher, self._intake, store, self._agreement)
        self._probe = Probe(self.state, feed, self._supervisor, self._dispatcher, self._intake, urls)
        self._stages = Stages(
            spec.load, self.state, self._supervisor, feed, self._dispatcher, self._intake, places, self, self._agreement
        )
        self._sampler = Sampler(
            CONTROL, self._on_sample, lambda: (0, 0, int(self._intake.unread_bytes)), CONTROL_TICK_S
        )

    async def run(self) -> End:
        """Run all stages; what was measured is in the store, however it ends."""
        thresholds = gc.get_threshold()
        calm_collector()
        loop = asyncio.get_running_loop()
        self._interrupts.listen(partial(self._pass_on, loop))
        self._agreement.listen(self.stop, self._stages.early.end_at)
        ticker = loop.create_task(self._tick_regularly())
        try:
            await self.observers.open(self._view)
            await self._supervisor.connect(self._receive, self._on_lost)
            if await self._target_answers() and (self._choosing is None or await self._choosing.begin()):
                await self._stages.run()
                await self.observers.loaded(self._view)
        finally:
            ticker.cancel()
            self.observers.tick(self._view)
            self._sampler.stop()
            self._note_unmeasured()
            self._view.close()  # from here on the results file is another thread's
            self.state.is_stopping = True
            await self._supervisor.dismiss()
            gc.unfreeze()  # the process may be somebody's own program
            gc.set_threshold(*thresholds)
        return self.state.end

    def show(self) -> None:
        """Let all who watch look once more: the run's other runners may have told their last."""
        self.observers.tick(self._view)

    def figures(self, counts: Counts, number: int) -> RunnerFigures:
        """This runner's live figures of a stage, which is under way or has just ended; `counts` is one of its observers."""
        told = counts.of(number).told() if number >= 0 else None
        return self._view.figures(told, self._watch.tally, self._stages.early.settled())

    async def _target_answers(self) -> bool:
        if not self._spec.target.connection_test:
            return True
        end = await self._probe.run(self._spec.target, self._spec.load)
        if end:
            self.stop(end)
        return not self.state.is_stopping

    # Stages, as StageRecord.

    def announced(self, number: int, stage: Stage) -> None:
        """A stage comes next."""
        self._live.begin()
        self._watch.begin_stage()
        self._view.begin_stage()
        if number >= 0:
            self._note_unmeasured()
            stage_plan = plan(self._spec.load, number, self._feed.has_schedule, self._feed.together)
            self._ramps = Ramps.of_plan(stage_plan)
            self._guarded(self._store.set_stage, number, stage.title, stage_plan)
            self.observers.stage(self._view)

    async def ready(self) -> None:
        """All is ready for a stage's load: a last look at things as they are without it."""
        await self.observers.ready(self._view)

    def idles(self, number: int) -> None:
        """A stage comes in which this runner has nothing to do."""
        self._live.begin()
        self._watch.begin_stage()
        self._view.begin_stage()

    def began(self, number: int, began_s: float, stage: Stage) -> None:
        """Its load begins at this time."""
        self._sampler.start(number)
        if self._choosing is not None:
            self._choosing.began(number, began_s)
            self.state.message = self._choosing.message
        if number >= 0:
            deadline_s = None if stage.duration is None else began_s + stage.duration
            self._guarded(self._store.begin_stage, number, began_s, deadline_s)

    def ended(self, number: int, times: StageTimes, never_sent: list[NeverSent]) -> None:
        """A stage is over."""
        self._sampler.stop()
        self._guarded(self._store.commit)
        if number < 0:
            return
        stopped_s = times.ended_s if times.stopped_s is None else times.stopped_s
        for each in never_sent:
            self._add_unsent(number, each.seq, each.at_s, stopped_s, each.kind)
        if self._feed.dataset_entries is not None:
            self._guarded(partial(self._store.set_run, dataset_entries=self._feed.dataset_entries))
        self.observers.stage(self._view)
        self._guarded(self._store.end_stage, number, times.ended_s, times.feed_s, times.stopped_s, times.ending)

    async def over(self, number: int) -> None:
        """A measured stage is over for this runner: of a search the next one is chosen now."""
        if self._choosing is None or self.state.is_stopping:
            return
        try:
            await self._choosing.after(number)
        except StoreError as error:
            self._cannot_store(error)
        self.state.message, self.state.found = self._choosing.message, self._choosing.found

    def _note_unmeasured(self) -> None:
        self._guarded(partial(self._store.set_run, unmeasured_requests=self.state.unmeasured))

    def refused(self, text: str) -> None:
        """The dataset has nothing more."""
        self.stop(End("failed", "DatasetFailed", text))

    # What shards say.

    def _receive(self, process: ShardProcess, message: tuple[Any, ...], size: int) -> None:
        kind, *rest = message
        handlers: dict[str, Callable[..., None]] = {
            "broken": partial(self._on_broken, process),
            "armed": partial(self._supervisor.armed, process),
            "results": lambda measurements: self._intake.add(process, measurements, size),
            "sample": self._on_sample,
            "deadline": self._dispatcher.end_feed,
            "done": partial(self._on_done, process),
        }
        handlers[kind](*rest)

    def _on_sample(self, sample: Sample) -> None:
        self._view.add_sample(sample)
        if sample.stage >= 0:
            self._guarded(self._store.add_sample, sample)

    def _on_done(self, process: ShardProcess, stage: int, unsent: list[Unsent], stopped_s: float | None) -> None:
        for seq, scheduled_s in unsent:
            pending = self._dispatcher.take_back(seq)
            if scheduled_s is not None:
                kind = pending.request.kind if pending else 0
                self._add_unsent(stage, seq, scheduled_s, float("inf") if stopped_s is None else stopped_s, kind)
        self._supervisor.finished(process)

    def _on_unsent_turn(self, stage: int, seq: int, scheduled_s: float, kind: int) -> None:
        stopped_s = self.state.stopped_s
        self._add_unsent(stage, seq, scheduled_s, self.clock() if stopped_s is None else stopped_s, kind)

    def _add_unsent(self, stage: int, seq: int, scheduled_s: float, stopped_s: float, kind: int) -> None:
        """Keep an arrival that was due and never sent; one that was due after the stage was over is none."""
        until_s = self._dispatcher.ends_s(stopped_s)
        if stage >= 0 and scheduled_s < until_s:
            names = self._feed.kinds[kind]
            self._guarded(self._store.add_unsent, stage, seq, scheduled_s, until_s, names.workload, names.target)

    def _on_broken(self, process: ShardProcess, trace: str) -> None:
        trace = KNOWN.text(trace)
        LOG.error("load-generating process %d: %s", process.number, trace)
        text = f"load-generating process {process.number} made a mistake: {trace.strip().splitlines()[-1]}"
        self.stop(End("failed", "WorkerBroken", f"{text}; please report it. What was measured is kept"), grace_s=0)

    def _on_lost(self, process: ShardProcess) -> None:
        if not self.state.is_stopping:
            self.stop(End("failed", "WorkerLost", advice.lost(process.number, process.wait())))

    # Results.

    def _take(self, result: Result) -> None:
        self._take_in(result)
        end = self._watch.add(result)
        if end is not None and not self.state.is_stopping:
            self.stop(end)

    def _take_in(self, result: Result) -> None:
        if result.stage == TEST:
            self._probe.add(result)
        elif result.stage == WARMUP:
            self.state.unmeasured["warmup"] += 1
            self._live.add(result)
            if result.prompt_id is not None:
                self._guarded(self._store.add_warmup_prompt, result.prompt_id, result.target)
        else:
            if not self._ramps.are_none:
                result = replace(result, excluded=self._ramps.excluded(result.scheduled_s - self.state.stage_began_s))
            self._stages.early.add(result)
            self._guarded(self._store.add, result)
            self._live.add(result)
            self.observers.add(result)
            self._stop_if_hopeless(result)

    def _stop_if_hopeless(self, result: Result) -> None:
        """When the first requests all fail in a way that all others would, more of them help nobody."""
        kind, live = result.data.failure, self._live
        if self.state.stage_index or kind not in advice.FATAL:
            return
        if live.total == live.failed == live.errors.get(kind, 0) == MOST_FAILURES:
            text = advice.advice(self._url_of(result), kind, result.data.error)
            stage = self._spec.load.stages[0].title
            text = f"the first {MOST_FAILURES} requests of stage {stage} all failed: {text}"
            self.stop(End("failed", advice.reason(kind), text), grace_s=0)

    def _url_of(self, result: Result) -> str:
        """Where it was sent."""
        names = [(kind.workload, kind.target) for kind in self._feed.kinds]
        return self._urls[names.index((result.workload, result.target))]

    def _guarded(self, function: Callable[..., Any], *arguments: Any) -> None:
        """Do something that writes results; when it cannot, end the run and keep what is there."""
        if self.state.end.reason == "CannotStore":
            return
        try:
            function(*arguments)
        except StoreError as error:
            self._cannot_store(error)

    def _cannot_store(self, error: StoreError) -> None:
        self.state.end = End()
        self.stop(End("failed", "CannotStore", str(error)), grace_s=0)

    # The end.

    def stop(self, end: End, grace_s: float | None = None) -> None:
        """Send no more requests; those under way may take the grace period. The first reason given stays."""
        if self.state.end.state == "complete":
            self.state.end = End(end.state, end.reason, KNOWN.text(end.message))
        self.state.is_stopping = True
        if self.state.phase in ("warmup", "running") and self.state.stopped_s is None:
            self.state.stopped_s = self.clock()
        self._agreement.stopped(self.state.end)
        self._dispatcher.stop()
        self._supervisor.stop(self._spec.load.grace_period if grace_s is None else grace_s)

    def _pass_on(self, loop: asyncio.AbstractEventLoop, name: str) -> None:
        with suppress(RuntimeError):  # the loop is closed: all is stored
            loop.call_soon_threadsafe(self.on_signal, name)

    def on_signal(self, name: str) -> None:
        """Stop because of a signal; a second one ends the requests under way, too."""
        self.state.interrupted.set()
        if self.state.phase == "storing":  # the load is over; what was asked for was measured
            return
        is_measuring = self.state.phase in ("warmup", "running") and not self.state.is_stopping
        if is_measuring:
            self.state.message = "stopping: requests under way may finish; once more ends them now"
        # What is not measured, such as a test of the connection, is worth no wait.
        self.stop(End("interrupted", "Interrupted", f"stopped by {name}"), grace_s=None if is_measuring else 0)

    async def _tick_regularly(self) -> None:
        committed_s = self.clock()
        while True:
            await asyncio.sleep(TICK_S)
            if self.clock() - committed_s >= COMMIT_S:
                self._guarded(self._store.commit)
                committed_s = self.clock()
            self._look_at_all()
            self.observers.tick(self._view)

    def _look_at_all(self) -> None:
        """End the run where all runners together have used up what it may take."""
        self._watch.others = [other.tally for other in self._agreement.others(self.state.number)]
        end = self._watch.look() if self._watch.others else None
        if end is not None and self.state.phase in ("warmup", "running") and not self.state.is_stopping:
            self.stop(end)
