"""What a runner agrees on with the others of its run: the engine's side of it. One runner agrees with itself at once."""

from collections.abc import Callable, Sequence
from time import perf_counter
from typing import Protocol

from perfbench_api.sections import Stage
from perfbench_runner.engine.state import End
from perfbench_runner.load.leases import Lease
from perfbench_runner.load.shares import Share
from perfbench_runner.observe.told import RunnerFigures
from perfbench_runner.results.stage_rows import StageRows

Stop = Callable[[End], None]
"""Ends this runner's load, for a reason that another one has given."""
EndStage = Callable[[int, float, str], None]
"""Gets the number of a stage that is to end early, at which time by this runner's clock, and why."""
Choose = Callable[[Sequence[StageRows]], Stage | None]
"""Chooses the next stage of a search by the other runners' rows of the last one; None: there is no next one."""


class Agreement(Protocol):
    """What is settled between the runners of a run. Belongs to the control process's loop."""

    @property
    def share(self) -> Share:
        """This runner's part."""

    @property
    def leads(self) -> bool:
        """Whether this runner decides for all: it is the leader, or the only one."""

    def listen(self, stop: Stop, end_stage: EndStage) -> None:
        """Tell `stop` when the run ends for all, and `end_stage` when a stage is to."""

    def announced(self, number: int, stage: Stage) -> None:
        """A stage comes next."""

    async def begins(self, number: int, lead_s: float) -> float | None:
        """Wait until all are ready for a stage: the time by this runner's clock at which its load begins.

        `lead_s`: how long this runner's processes need to be told. None: the run was stopped meanwhile.
        """

    async def lease(self, number: int, outstanding: int, most: int) -> Lease:
        """Requests of a stage that ends by count; the last lease when the run was stopped."""

    async def next_stage(self, number: int, own: StageRows, choose: Choose) -> Stage | None:
        """Stage `number` of a search, after the one before it has ended with these rows of this runner's.

        The leader has `choose` choose it by all runners' rows, and tells the others. None: there is none, or the run was
        stopped meanwhile.
        """

    def end_stage(self, number: int, reason: str) -> None:
        """The leader, or the only runner, ends a stage before its time, for all at one time."""

    def stopped(self, end: End) -> None:
        """This runner sends no more, for this reason."""

    def others(self, number: int) -> Sequence[RunnerFigures]:
        """What the other runners have told of a stage, of each the latest."""


class Alone:
    """The only runner of a run."""

    share = Share()
    leads = True

    def __init__(self, clock: Callable[[], float] = perf_counter) -> None:
        self._clock = clock
        self._end_stage: EndStage | None = None

    def listen(self, stop: Stop, end_stage: EndStage) -> None:
        """Nobody else stops it."""
        self._end_stage = end_stage

    def announced(self, number: int, stage: Stage) -> None:
        """Nobody else is to know."""

    async def begins(self, number: int, lead_s: float) -> float | None:
        """At once."""
        return self._clock() + lead_s

    async def lease(self, number: int, outstanding: int, most: int) -> Lease:
        """Nothing: all requests are its own from the beginning."""
        return Lease(0, 0, 0, is_last=True)

    async def next_stage(self, number: int, own: StageRows, choose: Choose) -> Stage | None:
        """By its own rows, which are in its file."""
        return choose(())

    def end_stage(self, number: int, reason: str) -> None:
        """At once."""
        if self._end_stage is not None:
            self._end_stage(number, self._clock(), reason)

    def stopped(self, end: End) -> None:
        """Nobody else is to know."""

    def others(self, number: int) -> Sequence[RunnerFigures]:
        """There are none."""
        return ()
