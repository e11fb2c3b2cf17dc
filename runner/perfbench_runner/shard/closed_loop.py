"""A closed loop in one shard: lanes, each of which sends its next request when its last one has ended."""

import asyncio
from collections import deque
from collections.abc import Awaitable, Callable, Coroutine, Sequence
from typing import Any

from perfbench_runner.shard.messages import Assignment

RETRY_S = 0.05
"""How soon a lane looks again whether the control process takes results: until then it sends nothing more."""


class ClosedLoop:
    """The lanes of one stage in this shard. Belongs to the shard's loop.

    A request is scheduled for the moment its lane became free, so that its dispatch lag is the client's own delay.
    """

    def __init__(
        self,
        lanes: int,
        perform: Callable[[Assignment, float], Awaitable[None]],
        start: Callable[[Coroutine[Any, Any, None]], None],
        is_blocked: Callable[[], bool],
        clock: Callable[[], float],
    ) -> None:
        self._lanes, self._perform, self._start, self._is_blocked, self._clock = (
            lanes,
            perform,
            start,
            is_blocked,
            clock,
        )
        self._queue: deque[Assignment] = deque()
        self._waiting: deque[asyncio.Future[None]] = deque()
        self._is_fed = self._is_stopped = False

    def feed(self, assignments: Sequence[Assignment]) -> None:
        """Take requests to send."""
        self._queue.extend(assignments)
        self._wake()

    def end_feed(self) -> None:
        """No more requests will come."""
        self._is_fed = True
        self._wake()

    def stop(self) -> None:
        """Send no more."""
        self._is_stopped = True
        self._wake()

    def take_unsent(self) -> list[int]:
        """Numbers of the requests that were not sent; they are forgotten here."""
        unsent = [assignment.seq for assignment in self._queue]
        self._queue.clear()
        return unsent

    async def run(self, start_s: float) -> None:
        """Start all lanes; they end by themselves."""
        for _ in range(self._lanes):
            self._start(self._lane(start_s))

    async def _lane(self, free_s: float) -> None:
        while (assignment := await self._next()) is not None:
            await self._perform(assignment, free_s)
            free_s = self._clock()

    async def _next(self) -> Assignment | None:
        """The next request, or None when there is no more to come."""
        while not self._is_stopped:
            is_blocked = self._is_blocked()
            if self._queue and not is_blocked:
                return self._queue.popleft()
            if self._is_fed and not self._queue:
                return None
            future: asyncio.Future[None] = asyncio.get_running_loop().create_future()
            self._waiting.append(future)
            if is_blocked:
                asyncio.get_running_loop().call_later(RETRY_S, self._wake)
            await future
        return None

    def _wake(self) -> None:
        while self._waiting:
            future = self._waiting.popleft()
            if not future.done():
                future.set_result(None)
