"""Ends a stage before its count or duration. Of several runners the leader looks at what all have measured, and all end at
one time."""

import asyncio
from collections.abc import Callable, Sequence
from math import inf

from perfbench_api.sections import Load, Stage
from perfbench_runner.engine.agreement import Agreement
from perfbench_runner.engine.dispatch import Dispatcher
from perfbench_runner.engine.endings import Endings, value_of
from perfbench_runner.engine.settling import Settling, in_order
from perfbench_runner.engine.state import RunState
from perfbench_runner.engine.supervisor import TICK_S, Supervisor
from perfbench_runner.observe.told import RunnerFigures, Settled
from perfbench_runner.results.result import Result


class EarlyEnd:
    """Of the stage under way. Belongs to the control process's loop."""

    def __init__(
        self, load: Load, state: RunState, supervisor: Supervisor, dispatcher: Dispatcher, agreement: Agreement
    ) -> None:
        self._load, self._state, self._supervisor = load, state, supervisor
        self._dispatcher, self._agreement = dispatcher, agreement
        self._stage = load.stages[0]
        self._endings = Endings()
        self._settling: Settling | None = None
        """Where several runners are to know a figure together."""
        self._is_decided, self._next_look_s = False, 0.0
        self._look: asyncio.Task[None] | None = None
        self.at_s: float | None = None
        """When the stage was told to end; None if it was not."""
        self._reason: str | None = None

    def begin(self, stage: Stage) -> None:
        """A stage is to begin."""
        self._stage, self._endings = stage, Endings.of(stage, self._load.guards)
        is_shared = stage.until is not None and not self._agreement.share.is_whole
        self._settling = Settling() if is_shared else None
        self._is_decided, self.at_s, self._reason = False, None, None

    def add(self, result: Result) -> None:
        """A measured request has ended."""
        self._endings.add(result)
        if self._settling is not None and self._endings.until is not None and result.excluded is None:
            value = value_of(result, self._endings.until.metric)
            self._settling.add(result.seq, result.scheduled_s - self._state.stage_began_s, value)

    @property
    def in_words(self) -> str | None:
        """Why the stage was told to end; None if it was not."""
        return self._reason

    def settled(self) -> Settled:
        """What is to be told to the leader of the latency that the stage is to end by."""
        if self._settling is None:
            return Settled()
        self._settle(self._settling)
        return self._settling.told()

    def _settle(self, settling: Settling) -> None:
        settling.settle(next(iter(self._dispatcher.pending), None), self._dispatcher.elapsed_s)

    def look(self) -> None:
        """See whether the stage is to end: how well a figure is known in a thread, since the load must not wait for it."""
        now_s, is_watched = self._state.clock(), self._endings.are_any and self._agreement.leads
        if not is_watched or self._is_decided or self._state.is_stopping or now_s < self._next_look_s:
            return
        if not self._agreement.share.is_whole:  # others tell once a second
            self._next_look_s = now_s + TICK_S / 2
        number, others = self._state.number, self._agreement.others(self._state.number)
        if reason := self._is_over_saturated(now_s - self._state.stage_began_s, others):
            self._decide(number, reason)
            return
        is_looking = self._look is not None and not self._look.done()
        if not is_looking and self._endings.is_due(sum(other.settled.values for other in others)):
            self._look = asyncio.get_running_loop().create_task(self._look_at(number, self._look_of(others)))

    def _is_over_saturated(self, elapsed_s: float, others: Sequence[RunnerFigures]) -> str | None:
        """Why the stage is to end for it, in words, or None."""
        duration_s = self._stage.duration or inf
        if self._endings.saturation is None or elapsed_s >= duration_s - (self._stage.ramp_down or 0.0):
            return None
        due = self._dispatcher.due(duration_s) + sum(other.due for other in others)
        answered = self._dispatcher.answered() + sum(other.answered for other in others)
        return self._endings.count(elapsed_s, due, answered)

    def _look_of(self, others: Sequence[RunnerFigures]) -> Callable[[], str | None]:
        """A look at the values of all runners as they are now."""
        endings, oldest = self._endings, next(iter(self._dispatcher.pending), None)
        if self._settling is None:
            return lambda: endings.look(oldest)
        self._settle(self._settling)
        parts = [self._settling.whole(), *(other.settled for other in others)]
        return lambda: endings.look_at(in_order(parts))

    async def _look_at(self, number: int, look: Callable[[], str | None]) -> None:
        reason = await asyncio.to_thread(look)
        if reason is not None and not self._state.is_stopping and not self._supervisor.are_done:
            self._decide(number, reason)

    def _decide(self, number: int, reason: str) -> None:
        """End the stage for all runners, and not the run."""
        self._is_decided = True
        self._agreement.end_stage(number, reason)

    def end_at(self, number: int, at_s: float, reason: str) -> None:
        """The stage of this number ends for all runners at this time; requests in flight may take the grace period."""
        left_s = at_s - self._state.clock()
        if left_s > 0:
            asyncio.get_running_loop().call_later(left_s, self._end, number, at_s, reason)
        else:
            self._end(number, at_s, reason)

    def _end(self, number: int, at_s: float, reason: str) -> None:
        is_over = self._supervisor.are_done or self.at_s is not None
        if number != self._state.number or is_over or self._state.is_stopping:
            return
        self._reason, self.at_s = reason, at_s
        self._dispatcher.stop()
        self._supervisor.broadcast("stop", self._load.grace_period)

    async def finish(self) -> None:
        """The stage is over."""
        if self._look is not None:
            await self._look
            self._look = None
