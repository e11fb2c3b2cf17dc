"""An open loop in one shard: each request is sent when it is due, however many are under way."""

import asyncio
from collections import deque
from collections.abc import Awaitable, Callable, Coroutine, Sequence
from typing import Any

from perfbench_runner.shard.messages import Assignment
from perfbench_runner.timer import DeadlineTimer

RETRY_S = 0.05
"""How soon it looks again whether the control process takes results: until then it sends nothing more."""


class OpenLoop:
    """The schedule of one stage in this shard. Belongs to the shard's loop.

    Beyond `max_concurrency` requests that are due are held until one under way has ended; their wait shows in their lag.
    """

    def __init__(
        self,
        max_concurrency: int | None,
        perform: Callable[[Assignment, float], Awaitable[None]],
        start: Callable[[Coroutine[Any, Any, None]], None],
        is_blocked: Callable[[], bool],
        clock: Callable[[], float],
    ) -> None:
        self._limit, self._perform, self._start, self._is_blocked, self._clock = (
            max_concurrency, perform, start, is_blocked, clock,
        )  # fmt: skip
        self._queue: deque[Assignment] = deque()
        self._held: deque[tuple[Assignment, float]] = deque()
        self._under_way = 0
        self._is_fed = self._is_stopped = False
        self._start_s: float | None = None
        self._all_dispatched = asyncio.Event()
        self._timer = DeadlineTimer(asyncio.get_running_loop(), self._dispatch)

    def feed(self, assignments: Sequence[Assignment]) -> None:
        """Take requests to send, in the order of their times."""
        self._queue.extend(assignments)
        self._dispatch()

    def end_feed(self) -> None:
        """No more requests will come."""
        self._is_fed = True
        self._dispatch()

    def stop(self) -> None:
        """Send no more."""
        self._is_stopped = True
        self._dispatch()

    def take_unsent(self) -> list[int]:
        """Numbers of the requests that were not sent; they are forgotten here."""
        unsent = [assignment.seq for assignment in (*self._queue, *(held for held, _ in self._held))]
        self._queue.clear()
        self._held.clear()
        return unsent

    async def run(self, start_s: float) -> None:
        """Dispatch until the schedule is over; returns when the last request was started or held."""
        self._start_s = start_s
        self._dispatch()
        try:
            await self._all_dispatched.wait()
        finally:
            self._timer.close()

    def _dispatch(self) -> None:
        """Start all requests that are due, and wake up again for the next."""
        if self._start_s is None:
            return
        while self._queue and not self._is_stopped and not self._is_blocked():
            at_s = self._start_s + (self._queue[0].at_s or 0.0)
            if at_s > self._clock():
                self._timer.arm(at_s)
                return
            self._admit(self._queue.popleft(), at_s)
        if self._is_stopped or (self._is_fed and not self._queue):
            self._all_dispatched.set()
        elif self._is_blocked():
            self._timer.arm(self._clock() + RETRY_S)

    def _admit(self, assignment: Assignment, at_s: float) -> None:
        if self._limit is not None and self._under_way >= self._limit:
            self._held.append((assignment, at_s))
        else:
            self._under_way += 1
            self._start(self._perform_and_release(assignment, at_s))

    async def _perform_and_release(self, assignment: Assignment, at_s: float) -> None:
        try:
            await self._perform(assignment, at_s)
        finally:
            self._under_way -= 1
        if self._held and not self._is_stopped:
            self._admit(*self._held.popleft())
