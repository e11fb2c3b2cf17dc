"""A worker's side of the agreement: it asks, the leader answers. Belongs to its control process's loop.

What cannot be said now is said again until the leader was silent for too long; then the worker ends itself.
"""

import asyncio
import logging
from collections.abc import Callable, Container, Coroutine, Iterator, Sequence
from contextlib import suppress
from time import perf_counter
from types import TracebackType
from typing import Any, Self

from perfbench_api.redaction import KNOWN, without_keys
from perfbench_api.sections import Stage
from perfbench_runner.engine import agreement
from perfbench_runner.engine.agreement import Choose
from perfbench_runner.engine.agreement import Stop as StopLoad
from perfbench_runner.engine.state import End
from perfbench_runner.event_loop import cancelled
from perfbench_runner.load.leases import Lease
from perfbench_runner.load.shares import Share
from perfbench_runner.observe.told import RunnerFigures
from perfbench_runner.results.stage_rows import Cell, Held, StageRows
from perfbench_runner.runners.link import RETRY_S, UNREACHABLE, Clocks, LeaderError, Link
from perfbench_runner.runners.messages import (
    BODY_BYTES,
    Beat,
    EndStage,
    LeaseAnswer,
    LeaseRequest,
    Leaving,
    News,
    NextStage,
    Ready,
    Rows,
    Start,
    Welcome,
)

LOG = logging.getLogger(__name__)
BEAT_S = 1.0
MOST_ROWS = 1000
"""Rows of a stage that are handed over at once, at most."""


class Worker:
    """Agrees with the leader of a run, as one of its workers; an async context for as long as the run goes on."""

    def __init__(self, link: Link, welcome: Welcome, clock: Callable[[], float] = perf_counter) -> None:
        self.share, self.leads = Share(link.runner, welcome.runners), False
        self.silence_s, self.clock, self.clocks = welcome.silence_s, clock, Clocks(link, clock)
        self.end: End | None = None
        """Why the load was ended before its time, by whomever."""
        self.left: End | None = None
        """The same, where it was this worker's own end."""
        self.parted: End | None = None
        """Why there is no leader any more for this worker."""
        self.progress: Callable[[int], RunnerFigures] = lambda stage: RunnerFigures()
        """What is told of a stage with each beat."""
        self.is_broken = False
        """Whether something of it has ended by a bug: it has no more to tell than that."""
        self._untold: list[tuple[int, RunnerFigures]] = []
        """Last figures of stages that are over, with their numbers."""
        self._beats = 0
        self._telling = asyncio.Lock()
        self.link = link
        self._stage = -2
        self._stop_load: StopLoad | None = None
        self._end_own_stage: agreement.EndStage | None = None
        self._starts: dict[int, float] = {}
        self._stages: dict[int, Stage | None] = {}
        """Of a search, as far as they are told."""
        self._changed = asyncio.Event()
        self._heard_s = clock()
        self._tasks: list[asyncio.Task[None]] = []

    async def __aenter__(self) -> Self:
        await self.link.__aenter__()
        await self.clocks.compare()
        if not self.clocks.exchanges:
            self._part(End("failed", "LeaderLost", "the leader was there, and does not answer any more"))
        self._heard_s = self.clock()
        self._start(self._follow_news())
        self._start(self._beat())
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await cancelled(self._tasks)
        await self.link.__aexit__()

    def _start(self, coroutine: Coroutine[Any, Any, None]) -> None:
        task = asyncio.get_running_loop().create_task(coroutine)
        task.add_done_callback(self._on_done)
        self._tasks.append(task)

    def _on_done(self, task: asyncio.Task[None]) -> None:
        """Without it the leader would find this worker silent, or wait for it, and nobody would know why."""
        if not task.cancelled() and (error := task.exception()) is not None:
            end = self.broken(error)
            if self._stop_load is not None and self.end is None:
                self._stop_load(end)  # which tells us in turn
            else:
                self.stopped(end)

    def broken(self, error: BaseException) -> End:
        """Something ended by a bug, whose traceback is for the log: the end that this worker comes to."""
        LOG.error("runner %d is broken", self.link.runner, exc_info=error)
        self.is_broken = True
        what = without_keys(KNOWN.text(f"{type(error).__name__}: {error}"))[:1000]
        return End("failed", "RunnerBroken", f"broken by a bug: {what}; please report it, with this runner's log")

    # As the engine's Agreement.

    def listen(self, stop: StopLoad, end_stage: agreement.EndStage) -> None:
        """`stop` ends this worker's load, `end_stage` its part of a stage."""
        self._stop_load, self._end_own_stage = stop, end_stage
        if self.end is not None:
            stop(self.end)

    def announced(self, number: int, stage: Stage) -> None:
        """A stage comes next: keep what is to be told of the one that is over."""
        self._untold.append((self._stage, self.progress(self._stage)))
        self._stage = number

    async def begins(self, number: int, lead_s: float) -> float | None:
        """Say that this worker is ready, and wait for the leader's time; None if the run was stopped."""
        await self.tell()
        ready = Ready(instance=self.link.instance, stage=number)
        if await self._insist(lambda: self.link.say("ready", ready)) is None:
            return None
        await self._until_told(number, self._starts)
        return None if number not in self._starts else self.clocks.line.to_own(self._starts[number])

    async def _until_told(self, number: int, what: Container[int]) -> None:
        """Wait for news of a stage, or for the end."""
        while self.end is None and number not in what:
            self._changed.clear()
            with suppress(TimeoutError):
                async with asyncio.timeout(RETRY_S):
                    await self._changed.wait()

    async def next_stage(self, number: int, own: StageRows, choose: Choose) -> Stage | None:
        """Hand over the rows, and do as the leader says."""
        for said in rows_in_parts(self.link.instance, number - 1, own) if number else ():
            if await self._insist(lambda said=said: self.link.say("rows", said)) is None:  # type: ignore[misc]
                return None
        await self._until_told(number, self._stages)
        return self._stages.get(number) if self.end is None else None

    async def lease(self, number: int, outstanding: int, most: int) -> Lease:
        """Ask the leader; the last lease when the run was stopped."""
        request = LeaseRequest(instance=self.link.instance, stage=number, outstanding=outstanding, most=most)
        answer = await self._insist(lambda: self.link.say("lease", request))
        if answer is None:
            return Lease(0, 0, 0, is_last=True)
        return Lease(**LeaseAnswer.model_validate_json(answer).model_dump())

    def end_stage(self, number: int, reason: str) -> None:
        """Only the leader does."""

    def stopped(self, end: End) -> None:
        """This worker's load ends early: tell the leader, unless it was the leader who said so."""
        if self.end is not None:
            return
        self.end = self.left = End(end.state, end.reason, end.message)
        self._notify()
        if end.state == "complete":
            return
        leaving = Leaving(instance=self.link.instance, state=end.state, reason=end.reason, message=end.message[:4000])
        self._start(self._leave(leaving))

    async def _leave(self, leaving: Leaving) -> None:
        await self._insist(lambda: self.link.say("leaving", leaving), is_after_end=True)

    def others(self, number: int) -> Sequence[RunnerFigures]:
        """The leader speaks for the whole run."""
        return ()

    # While it runs.

    async def tell(self) -> bool:
        """Tell the leader how far this worker is; false when there is no leader any more."""
        async with self._telling:
            untold, self._untold = self._untold, []
            for stage, figures in (*untold, (self._stage, self.progress(self._stage))):
                self._beats += 1
                beat = Beat(instance=self.link.instance, number=self._beats, stage=stage, figures=figures)
                if await self._insist(lambda beat=beat: self.link.say("beat", beat), is_after_end=True) is None:  # type: ignore[misc]
                    return False
        return True

    async def _beat(self) -> None:
        while await self.tell():
            await self.clocks.compare(1)
            await asyncio.sleep(BEAT_S)

    async def _follow_news(self) -> None:
        following = 0
        while self.end is None:
            answer = await self._insist(lambda: self.link.ask("GET", f"/news?first={following}"))  # noqa: B023
            if answer is None:
                return
            found = News.model_validate_json(answer)
            following = found.following
            for news in found.news:
                if isinstance(news, Start):
                    self._starts[news.stage] = news.at_s
                elif isinstance(news, NextStage):
                    self._stages[news.stage] = news.what
                elif isinstance(news, EndStage):
                    if self._end_own_stage is not None:
                        self._end_own_stage(news.stage, self.clocks.line.to_own(news.at_s), news.reason)
                else:
                    self._told_to_stop(End(news.state, news.reason, news.message))
            self._notify()

    async def _insist(self, ask: Callable[[], Coroutine[Any, Any, bytes]], is_after_end: bool = False) -> bytes | None:
        """Ask until there is an answer; None when the run is over for this worker."""
        while is_after_end or self.end is None:
            try:
                answer = await ask()
            except LeaderError as error:
                self._part(End("failed", error.reason, str(error)))
                return None
            except UNREACHABLE as error:
                silent_s = self.clock() - self._heard_s
                if silent_s > self.silence_s:
                    why = f"the leader was not heard of for {silent_s:.0f} s ({type(error).__name__})"
                    self._part(End("failed", "LeaderLost", f"{why}: it was killed, hangs, or is cut off"))
                    return None
                await asyncio.sleep(RETRY_S)
                continue
            self._heard_s = self.clock()
            return answer
        return None

    def _part(self, end: End) -> None:
        self.parted = self.parted or end
        self._told_to_stop(end)

    def _told_to_stop(self, end: End) -> None:
        if self.end is not None:
            return
        self.end = end
        self._notify()
        if self._stop_load is not None:
            self._stop_load(end)

    def _notify(self) -> None:
        self._changed.set()


def rows_in_parts(instance: str, stage: int, rows: StageRows) -> Iterator[Rows]:
    """Messages that hand over a stage's rows, each short enough; at least one."""
    parts: list[list[list[Cell]]] = [[]]
    size = 0
    for row in rows.requests:
        size += 16 * len(row) + len(str(row[-1]))
        if parts[-1] and (len(parts[-1]) >= MOST_ROWS or size > BODY_BYTES // 2):
            parts.append([])
            size = 16 * len(row) + len(str(row[-1]))
        parts[-1].append(row)
    late = [rows.unsent[first : first + 5 * MOST_ROWS] for first in range(0, len(rows.unsent), 5 * MOST_ROWS)]
    all_parts = [
        *((part, list[Held]()) for part in parts),
        *((list[list[Cell]](), part) for part in late),
    ]
    first = 0
    for number, (requests, unsent) in enumerate(all_parts, 1):
        is_last = number == len(all_parts)
        yield Rows(instance=instance, stage=stage, first=first, requests=requests, unsent=unsent, is_last=is_last)
        first += len(requests) + len(unsent)
