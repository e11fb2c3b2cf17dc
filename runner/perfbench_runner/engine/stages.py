"""The stages in their sequence: warm-up, then one load level after the other."""

from collections.abc import Callable
from dataclasses import dataclass
from random import Random

from perfbench_api.sections import Load, Stage
from perfbench_runner.engine.dispatch import HORIZON_S, Dispatcher
from perfbench_runner.engine.intake import Intake
from perfbench_runner.engine.state import WARMUP, RunState
from perfbench_runner.engine.supervisor import TICK_S, ShardProcess, Supervisor
from perfbench_runner.load.arrivals import arrivals, share
from perfbench_runner.shard.messages import StageShare

LEAD_S, SHARED_LEAD_S = 0.002, 0.02
"""A stage begins this long after shards are told so: one shard alone, or several that must begin together."""


@dataclass(frozen=True)
class StageTimes:
    """When the load of a stage was under way, and how long its requests took to generate. Seconds of the run's clock."""

    began_s: float
    ended_s: float
    feed_s: float


class Stages:
    """Runs the stages of a load. Belongs to the control process's loop."""

    def __init__(
        self,
        load: Load,
        state: RunState,
        supervisor: Supervisor,
        dispatcher: Dispatcher,
        intake: Intake,
        begins: Callable[[int, Stage], None],
        ended: Callable[[int, StageTimes], None],
    ) -> None:
        """`begins` is called before a stage's load begins, the warm-up's included, `ended` after a measured stage."""
        self._load, self._state = load, state
        self._supervisor, self._dispatcher, self._intake = supervisor, dispatcher, intake
        self._begins, self._ended = begins, ended

    async def run(self) -> None:
        """Run all stages, unless the run is stopped."""
        await self._warm_up()
        for index, stage in enumerate(self._load.stages):
            if index and self._load.pause:
                await self._pause(self._load.pause)
            if self._state.is_stopping:
                return
            self._state.phase, self._state.stage_index = "running", index
            await self._run_stage(index, stage)
            times = StageTimes(self._state.stage_began_s, self._state.clock(), self._dispatcher.feed_s)
            self._ended(index, times)
        self._state.phase = "storing"

    async def _warm_up(self) -> None:
        warmup, first = self._load.warmup, self._load.stages[0]
        if not warmup.requests or self._state.is_stopping:
            return
        self._state.phase = "warmup"
        lanes = warmup.concurrency or first.concurrency or first.max_concurrency or 8
        await self._run_stage(WARMUP, Stage(concurrency=min(lanes, warmup.requests), requests=warmup.requests))

    async def _pause(self, seconds: float) -> None:
        until_s = self._state.clock() + seconds
        while not self._state.is_stopping and self._state.clock() < until_s:
            await self._supervisor.change(min(TICK_S, until_s - self._state.clock()))

    async def _run_stage(self, number: int, stage: Stage) -> None:
        self._state.number = number
        self._intake.begin(number)
        self._begins(number, stage)
        active = self._announce(number, stage)
        random = Random(f"{self._load.random_seed}/arrivals/{number}")
        self._dispatcher.begin(stage, arrivals(stage.rate, stage.arrival, random) if stage.rate else None)
        self._go(active)
        while not self._supervisor.are_done:
            await self._supervisor.change(HORIZON_S / 8 if self._dispatcher.is_open_loop else TICK_S)
            self._dispatcher.refill()
        await self._intake.drain()
        self._dispatcher.end()

    def _announce(self, number: int, stage: Stage) -> list[ShardProcess]:
        """Tell shards of their part; a shard without a share stays out, since a limit of nothing would mean none."""
        limit, shards = stage.concurrency or stage.max_concurrency, self._supervisor.shards
        active = shards[: min(len(shards), limit)] if limit else shards
        for process in active:
            part = share(limit, len(active), process.number) if limit else 0
            process.lanes, process.outstanding, process.is_done = part, 0, False
            process.send(
                "stage",
                StageShare(
                    index=number,
                    concurrency=part if stage.concurrency else None,
                    max_concurrency=part if stage.max_concurrency else None,
                    duration_s=stage.duration,
                    grace_s=self._load.grace_period,
                ),
            )
        return active

    def _go(self, active: list[ShardProcess]) -> None:
        began_s = self._state.clock() + (LEAD_S if len(active) == 1 else SHARED_LEAD_S)
        self._state.stage_began_s = began_s
        self._dispatcher.go(began_s)
        for process in active:
            process.send("go", began_s)
