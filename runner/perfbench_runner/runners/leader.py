"""The leader's side of the agreement: one start for each stage, leases, news, who is lost. Belongs to its loop; no HTTP here."""

import asyncio
import logging
from collections.abc import Callable, Sequence
from time import perf_counter

from perfbench_api.sections import Stage
from perfbench_runner.engine import agreement
from perfbench_runner.engine.agreement import Choose
from perfbench_runner.engine.agreement import Stop as StopLoad
from perfbench_runner.engine.state import End
from perfbench_runner.load.leases import Lease, Pool
from perfbench_runner.load.shares import Share, lanes_by_runner, lanes_of
from perfbench_runner.observe.told import RunnerFigures
from perfbench_runner.results.stage_rows import StageRows
from perfbench_runner.runners.members import Member, Members, RefusedError
from perfbench_runner.runners.messages import (
    Beat,
    EndStage,
    Hello,
    Leaving,
    News,
    NextStage,
    Rows,
    Start,
    Stop,
    Welcome,
)

LOG = logging.getLogger(__name__)
LEAD_S = 0.5
"""A stage begins so long after all are ready: by then even a worker on a busy node has been told."""
CHECK_S = 0.25
UNSTORED_S = 10.0
"""A disk that has taken none of the workers' files for so long is full for good."""


class Leader:
    """Agrees with the workers of a run, as its leader."""

    def __init__(
        self,
        runners: int,
        seed: int,
        load: str,
        program: str,
        loses: bool,
        silence_s: float,
        start_deadline_s: float,
        clock: Callable[[], float] = perf_counter,
    ) -> None:
        """`load`: digest of the load asked for; `loses`: whether the run goes on without a worker that was lost."""
        self.clock, self.share, self.leads = clock, Share(0, runners), True
        self.members = Members(runners, silence_s)
        self._seed, self._load, self._program, self._loses = seed, load, program, loses
        self._start_deadline_s = start_deadline_s
        self._stop_load: StopLoad | None = None
        self._end_own_stage: agreement.EndStage | None = None
        self._end: End | None = None
        self._news: list[Start | Stop | EndStage | NextStage] = []
        self._pool: Pool | None = None
        self._stage: int | None = None
        self._unstored = ""
        self._unstored_since_s: float | None = None
        self.unstored = ""
        """Why the workers' files could not be stored, once that is given up."""
        self._changed = asyncio.Event()

    # As the engine's Agreement.

    def listen(self, stop: StopLoad, end_stage: agreement.EndStage) -> None:
        """`stop` ends the leader's own load, `end_stage` its part of a stage."""
        self._stop_load, self._end_own_stage = stop, end_stage

    def announced(self, number: int, stage: Stage) -> None:
        """A stage comes next: make what is leased of it."""
        is_leased = stage.requests is not None and lanes_of(stage) is not None
        self._stage = number
        self._pool = Pool(stage.requests or 0, lanes_by_runner(stage, self.share.runners)) if is_leased else None
        for member in self.members.all.values():
            if member.state in ("lost", "leaving") and self._pool is not None:
                self._pool.drop(member.number)

    async def begins(self, number: int, lead_s: float) -> float | None:
        """Wait until all workers are ready for a stage, then give one time to all; None if the run was stopped."""
        until_s = self.clock() + self._start_deadline_s
        while self._end is None and not self.members.are_ready(number):
            if (missing := self.members.missing) and self.clock() > until_s:
                self._never_came(missing)
            await self._change()
        if self._end is not None:
            return None
        at_s = self.clock() + max(LEAD_S, lead_s)
        self._tell(Start(stage=number, at_s=at_s))
        return at_s

    async def lease(self, number: int, outstanding: int, most: int) -> Lease:
        """Requests for the leader's own lanes."""
        return self.leased(0, number, outstanding, most)

    async def next_stage(self, number: int, own: StageRows, choose: Choose) -> Stage | None:
        """Wait for the rows of all workers, choose by them, and tell all."""
        while self._end is None and number and not self.members.have_told_rows(number - 1):
            await self._change()
        if self._end is not None:
            return None
        found = [StageRows(member.rows.requests, member.rows.unsent) for member in self.members.all.values()]
        stage = choose(found if number else ())
        if self._end is None:
            self._tell(NextStage(stage=number, what=stage))
        return stage

    def end_stage(self, number: int, reason: str) -> None:
        """Give all runners one time, at which even a worker on a busy node has been told."""
        at_s = self.clock() + LEAD_S
        self._tell(EndStage(stage=number, at_s=at_s, reason=reason[:4000]))
        if self._end_own_stage is not None:
            self._end_own_stage(number, at_s, reason)

    def stopped(self, end: End) -> None:
        """The leader sends no more, and so nobody does."""
        if self._end is None:
            self._end = End(end.state, end.reason, end.message)
            self._tell(Stop(state=end.state, reason=end.reason, message=end.message[:4000]))

    def others(self, number: int) -> Sequence[RunnerFigures]:
        """What all workers have told of a stage, also those that were lost since."""
        return [member.figures(number) for member in self.members.all.values()]

    # What workers say.

    def hello(self, hello: Hello) -> Welcome:
        """A worker reports in; raises RefusedError."""
        if hello.program != self._program:
            raise RefusedError(
                409, f"this is perfbench {self._program}, not {hello.program}: give all runners one image"
            )
        if hello.load != self._load:
            raise RefusedError(409, f"runner {hello.runner} has another load in its manifest than the leader")
        if self._end is not None:
            raise RefusedError(410, f"the run is over: {self._end.message or self._end.reason}")
        member = self.members.take(hello, self.clock())
        LOG.info("%s has reported in", member.title)
        self._notify()
        return Welcome(runners=self.share.runners, seed=self._seed, silence_s=self.members.silence_s)

    def ready(self, member: Member, stage: int) -> None:
        """All of a worker's processes are ready for a stage."""
        member.ready_for = stage
        self._notify()

    def leased(self, runner: int, stage: int, outstanding: int, most: int) -> Lease:
        """Requests of the stage under way; of one that is over, the last lease."""
        if self._pool is None or stage != self._stage or self._end is not None:
            return Lease(0, 0, 0, is_last=True)
        return self._pool.lease(runner, outstanding, most)

    def beat(self, member: Member, beat: Beat) -> None:
        """A worker lives; raises RefusedError where it tells of a stage that there is not yet."""
        if beat.stage > (-1 if self._stage is None else self._stage) + 1:
            raise RefusedError(409, f"{member.title} tells of stage {beat.stage}, which has not come yet")
        member.take(beat)

    def rows(self, member: Member, said: Rows) -> None:
        """A worker hands over what it has measured in a stage of a search; raises RefusedError."""
        member.rows.take(said)
        if member.rows.is_whole:
            self._notify()

    def leaving(self, member: Member, said: Leaving) -> None:
        """A worker's load ends early: so does that of all, unless the run may go on without it."""
        if member.state != "here":
            return
        member.state, member.why = "leaving", said.message
        if self._end is None:
            self._goes_on_without(member, End("failed", said.reason if said.state == "failed" else "RunnerLost", ""))
        self._notify()

    def delivered(self, member: Member) -> None:
        """A worker's file is here."""
        member.state = "delivered"
        self._notify()

    def stored(self, error: str) -> None:
        """Part of a worker's file was stored, or could not be for that reason."""
        if not error:
            self._unstored_since_s = None
        elif self._unstored_since_s is None:
            self._unstored_since_s = self.clock()
        self._unstored = error

    async def news(self, first: int, wait_s: float) -> News:
        """What all are told, from number `first` on; waits for some for a while."""
        until_s = self.clock() + wait_s
        while len(self._news) <= first and self.clock() < until_s:
            await self._change(min(wait_s, until_s - self.clock()))
        return News(news=self._news[first : first + 1000], following=len(self._news))

    # Who is lost.

    async def watch(self) -> None:
        """Give up workers that are silent, for as long as the run goes on."""
        while True:
            await asyncio.sleep(CHECK_S)
            for member in self.members.silent(self.clock()):
                self.lose(
                    member, f"was not heard of for {self.members.silence_s:g} s: it was killed, hangs, or is cut off"
                )

    def lose(self, member: Member, why: str) -> None:
        """Give a worker up."""
        was_leaving = member.state == "leaving"
        self.members.lose(member, f"{member.why}; it {why}" if was_leaving and member.why else why)
        LOG.warning("%s %s", member.title, why)
        if self._pool is not None:
            self._pool.drop(member.number)
        if not was_leaving or self._end is None:
            self._goes_on_without(member, End("failed", "RunnerLost", ""))
        self._notify()

    def _goes_on_without(self, member: Member, end: End) -> None:
        """Unless it may not: less load than asked for is not the load asked for."""
        if self._loses:
            if self._pool is not None:
                self._pool.drop(member.number)
            return
        end.message = (
            f"{member.title}: {member.why}. What was measured is kept (runner.onLoss: continue goes on without it)"
        )
        self._stop_all(end)

    def _never_came(self, missing: list[Member]) -> None:
        within = f"within {self._start_deadline_s:g} s"
        absent = ", ".join(str(member.number) for member in missing if member.state == "expected")
        slow = "; ".join(member.title for member in missing if member.state != "expected")
        for member in missing:
            is_absent = member.state == "expected"
            self.members.lose(
                member, f"did not report in {within}" if is_absent else f"reported in, and was not prepared {within}"
            )
        if self._loses:
            return
        if absent:
            who, hint = f"runner {absent} did not report in", "is there room for its pod, and does it reach the leader?"
        else:
            who, hint = f"{slow}: reported in, and was not prepared", "it was killed, or its dataset takes longer"
        text = f"{who} {within} (runner.startDeadline): {hint}"
        self._stop_all(End("failed", "RunnerMissing", text))

    def _stop_all(self, end: End) -> None:
        if self._stop_load is not None:  # else the load is over, and `delivery` tells who is missing
            self._stop_load(end)  # which tells us in turn

    async def delivery(self, deadline_s: float) -> str:
        """The load is over: wait until every worker has handed over its file. Who was lost in the whole run, and why."""
        self._stop_load, began_s = None, self.clock()
        while not self.members.have_delivered:
            since_s = max(began_s, self._unstored_since_s or began_s)
            if self._unstored and self.clock() - since_s > UNSTORED_S:
                self.unstored = self._unstored
                self._give_up("could not hand over its results: the leader cannot store them")
            elif self.clock() - began_s > deadline_s:
                self._give_up(f"did not hand over its results within {deadline_s:g} s")
            await self._change()
        return "; ".join(f"{member.title}: {member.why}" for member in self.members.all.values() if member.why)

    def _give_up(self, why: str) -> None:
        for member in self.members.all.values():
            if not member.is_gone:
                self.members.lose(member, why)

    def _tell(self, news: Start | Stop | EndStage | NextStage) -> None:
        self._news.append(news)
        self._notify()

    def _notify(self) -> None:
        changed, self._changed = self._changed, asyncio.Event()
        changed.set()

    async def _change(self, timeout_s: float = CHECK_S) -> None:
        try:
            async with asyncio.timeout(timeout_s):
                await self._changed.wait()
        except TimeoutError:
            return
