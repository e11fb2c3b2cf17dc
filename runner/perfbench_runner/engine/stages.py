"""The stages in their sequence: the warm-up, then one after the other."""

from collections.abc import Iterator
from dataclasses import dataclass
from itertools import repeat
from random import Random
from typing import Protocol

from perfbench_api.sections import Load, Stage
from perfbench_runner.engine.agreement import Agreement
from perfbench_runner.engine.dispatch import HORIZON_S, Dispatcher, NeverSent
from perfbench_runner.engine.early_end import EarlyEnd
from perfbench_runner.engine.intake import Intake
from perfbench_runner.engine.kind_order import KindOrder
from perfbench_runner.engine.leasing import Leasing
from perfbench_runner.engine.state import WARMUP, RunState
from perfbench_runner.engine.stock import TurnOrder
from perfbench_runner.engine.supervisor import TICK_S, ShardProcess, Supervisor
from perfbench_runner.load.arrivals import arrivals
from perfbench_runner.load.feed import REFUSALS
from perfbench_runner.load.lanes import comings, goings, sides
from perfbench_runner.load.leases import Lease
from perfbench_runner.load.parts import first_entries, warmup_stage
from perfbench_runner.load.plan import seed_of
from perfbench_runner.load.rates import rate_of
from perfbench_runner.load.requests import Requests
from perfbench_runner.load.shares import Numbers, lanes_of
from perfbench_runner.load.timestamps import read_timestamps
from perfbench_runner.shard.messages import Lanes, StageShare
from perfbench_runner.shard.places import Places
from perfbench_runner.shard.retrying import RetryRule

LEAD_S, SHARED_LEAD_S = 0.002, 0.02
"""A stage begins this long after shards are told so: one shard alone, or several that must begin together."""


@dataclass(frozen=True)
class StageTimes:
    """When a stage was over, how long its requests took to generate, and when it was told to stop. Seconds."""

    ended_s: float
    feed_s: float
    stopped_s: float | None
    """None where it went on to its end: by count, by duration, or because the schedule was over."""
    ending: str | None = None
    """Why it ended before its count or duration, in words, if it did."""


class StageRecord(Protocol):
    """Who is told of stages as they go on; `number` is WARMUP for the warm-up."""

    def announced(self, number: int, stage: Stage) -> None:
        """A stage comes next."""

    def idles(self, number: int) -> None:
        """A stage comes in which this runner has no lane."""

    async def ready(self) -> None:
        """All is ready for its load, which begins when this returns."""

    def began(self, number: int, began_s: float, stage: Stage) -> None:
        """Its load begins at this time."""

    def ended(self, number: int, times: StageTimes, never_sent: list[NeverSent]) -> None:
        """It is over; `never_sent` are arrivals that no shard could send."""

    async def over(self, number: int) -> None:
        """A measured one is over, whether this runner had a lane in it or not; what is next is settled when this returns."""

    def refused(self, text: str) -> None:
        """The dataset has nothing for it."""


class Stages:
    """Runs the stages of a load. Belongs to the control process's loop."""

    def __init__(
        self,
        load: Load,
        state: RunState,
        supervisor: Supervisor,
        feed: Requests,
        dispatcher: Dispatcher,
        intake: Intake,
        places: Places,
        record: "StageRecord",
        agreement: Agreement,
    ) -> None:
        self._load, self._state, self._feed, self._places = load, state, feed, places
        self._supervisor, self._dispatcher, self._intake = supervisor, dispatcher, intake
        self._record, self._agreement = record, agreement
        self.early = EarlyEnd(load, state, supervisor, dispatcher, agreement)
        orders = feed.orders(agreement.share.number, agreement.share.runners)
        turns = [TurnOrder(order, each.turns) for order, each in zip(orders, places.all, strict=True)]
        self._kinds = KindOrder(feed, agreement.share, turns)

    async def run(self) -> None:
        """Run all stages, unless the run is stopped."""
        await self._warm_up()
        for index, stage in enumerate(self._load.stages):  # a search goes on adding to them
            if index and self._load.pause:
                self._state.phase = "pausing"
                await self._supervisor.pause(self._load.pause, self._state)
            if self._state.is_stopping:
                return
            self._state.phase, self._state.stage_index = "running", index
            await self._run_stage(index, stage)
            await self._record.over(index)
        self._state.phase = "storing"

    async def _warm_up(self) -> None:
        warmup = warmup_stage(self._load)
        if warmup is None or self._state.is_stopping:
            return
        self._state.phase = "warmup"
        await self._run_stage(WARMUP, warmup)

    async def _run_stage(self, number: int, stage: Stage) -> None:
        self._state.number = number
        self._agreement.announced(number, stage)
        own = self._agreement.share.of_stage(stage)
        if own.concurrency == 0:  # of a warm-up, or a search, with fewer lanes than there are runners
            self._record.idles(number)
            if number >= 0:
                self._kinds.pass_over(stage, lambda: None)
            await self._agreement.begins(number, LEAD_S)
            return
        self._intake.begin(number)
        self._record.announced(number, stage)
        if not self._draw_from(number):
            return
        for places in self._places.all:
            places.reset(own.max_concurrency or 0)
        self.early.begin(stage)
        active = self._announce(number, stage)
        leasing = self._begin(number, stage, own)
        await self._supervisor.until_armed()
        await self._record.ready()
        await self._go(number, active)
        self._record.began(number, self._state.stage_began_s, stage)
        while not self._supervisor.are_done:
            await self._supervisor.change(HORIZON_S / 8 if self._dispatcher.is_open_loop else TICK_S)
            self._dispatcher.refill()
            self.early.look()
        if leasing is not None:
            leasing.close()
        await self._intake.drain()
        await self.early.finish()
        ended_s = self._state.clock()
        stopped_s = self._state.stopped_s if self.early.at_s is None else self.early.at_s
        until_s = self._dispatcher.ends_s(ended_s if stopped_s is None else stopped_s)
        never_sent = self._dispatcher.end(until_s)
        if number >= 0:
            length_s = until_s - self._state.stage_began_s
            self._kinds.end(stage, self._dispatcher, length_s, lambda: self._arrivals(number, stage))
        times = StageTimes(ended_s, self._dispatcher.feed_s, stopped_s, self.early.in_words)
        self._record.ended(number, times, never_sent)

    def _begin(self, number: int, stage: Stage, own: Stage) -> Leasing | None:
        """Let the dispatcher begin with what is this runner's; what it leases, where several share what ends by count."""
        share, arrivals, lanes = self._agreement.share, self._arrivals(number, stage), lanes_of(stage)
        if arrivals is not None:
            self._dispatcher.begin(own, share.of_schedule(arrivals), Numbers(share.every()))
            return None
        if self._kinds.is_by_turn(stage):
            self._dispatcher.begin(own, None, stock=self._kinds.begin(number, own))
            return None
        if share.is_whole or stage.requests is None or lanes is None:
            self._dispatcher.begin(own, None, Numbers(share.one_of_every()))
            return None

        async def ask(outstanding: int, most: int) -> Lease:
            return await self._agreement.lease(number, outstanding, most)

        leasing = Leasing(own.concurrency or 0, ask, lambda: self._dispatcher.outstanding, self._dispatcher.allow)
        first = share.first(lanes)
        settled = own.model_copy(update={"requests": len(first)})
        self._dispatcher.begin(settled, None, Numbers(first), leasing.look)
        return leasing

    def _draw_from(self, number: int) -> bool:
        """Go to the stage's own part of the dataset; false when the dataset refuses."""
        feed = self._feed
        try:
            if not feed.has_schedule:
                first = (
                    feed.offset if number == WARMUP else first_entries(self._load, feed.offset, feed.together)[number]
                )
                feed.start_at(first, max(0, number), self._kinds.position)
            elif number <= 0:  # the warm-up takes nothing away from a schedule
                feed.start_at(feed.offset)
        except REFUSALS as error:
            self._record.refused(str(error))
            return False
        return True

    def _arrivals(self, number: int, stage: Stage) -> Iterator[float] | None:
        """Times of an open loop; where the dataset has its own, those come before them."""
        if not stage.is_open_loop:
            return None
        if stage.timestamps is not None:
            return iter(read_timestamps(stage.timestamps))
        rate = rate_of(stage)
        if rate is None or stage.arrival == "recorded":
            return repeat(0.0)
        return arrivals(rate, stage.arrival, Random(seed_of(self._load, number)), stage.cv, self._feed.together)

    def _announce(self, number: int, stage: Stage) -> list[ShardProcess]:
        """Tell shards of their part; in a closed loop of fewer lanes than shards some have none and stay out."""
        lanes, shards, share = lanes_of(stage), self._supervisor.shards, self._agreement.share
        active = shards[: share.of_number(lanes)] if lanes else shards
        come_s, go_s = (comings(stage, lanes), goings(stage, lanes)) if lanes else ([], [])
        for process in active:
            # While lanes come and go, all shards of all runners have their part.
            own = slice(share.number + share.runners * process.number, None, share.runners * len(active))
            part = Lanes(come_s[own], go_s[own]) if lanes else None
            process.lanes, process.outstanding = len(come_s[own]), 0
            process.is_done = process.is_armed = False
            is_limited = stage.max_concurrency is not None
            own_share = StageShare(
                number, part, is_limited, stage.duration, self._load.grace_period, RetryRule.of(self._load.retry),
                sides(stage, self._feed.together), self._kinds.is_by_turn(stage),
            )  # fmt: skip
            process.send("stage", own_share)
        return active

    async def _go(self, number: int, active: list[ShardProcess]) -> None:
        lead_s = LEAD_S if len(active) == 1 else SHARED_LEAD_S
        began_s = await self._agreement.begins(number, lead_s)
        began_s = self._state.clock() if began_s is None else began_s
        self._state.stage_began_s = began_s
        self._dispatcher.go(began_s)
        for process in active:
            process.send("go", began_s)
