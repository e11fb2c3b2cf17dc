"""An open loop in one shard: each request is sent when it is due, however many are under way.

With a limit (`maxConcurrency`) a request that is due takes a place, of which all shards together have so many; where
there is none it is held, and its wait shows in its dispatch lag. Turns of conversations take and give back places as
single requests do: nobody holds one while a user thinks.
"""

import asyncio
from collections import deque
from collections.abc import Awaitable, Callable, Coroutine, Iterator, Sequence
from typing import Any

from perfbench_runner.shard.messages import Assignment, Unsent
from perfbench_runner.shard.places import Places
from perfbench_runner.timer import DeadlineTimer

RETRY_S = 0.05
"""How soon it is tried again to send while the control process does not take results."""


class OpenLoop:
    """This shard's part of the schedule of one stage. Belongs to the shard's loop."""

    def __init__(
        self,
        places: Places | None,
        perform: Callable[[Assignment, float], Awaitable[object]],
        start: Callable[[Coroutine[Any, Any, None]], None],
        is_blocked: Callable[[], bool],
        clock: Callable[[], float],
    ) -> None:
        """`places`: None where any number of requests may be under way."""
        self._places, self._perform, self._start = places, perform, start
        self._is_blocked, self._clock = is_blocked, clock
        self._loop = asyncio.get_running_loop()
        self._queue: deque[Assignment] = deque()
        self._held: deque[tuple[Assignment, float] | asyncio.Future[bool]] = deque()
        """What is due and waits for a place, in order: requests, and turns of conversations under way."""
        self._is_fed = self._is_stopped = self._is_watching = False
        self._start_s: float | None = None
        self._all_dispatched = asyncio.Event()
        self._timer = DeadlineTimer(self._loop, self._dispatch)

    def feed(self, assignments: Sequence[Assignment]) -> None:
        """Take requests to send, in the order of their times."""
        if not self._is_stopped:
            self._queue.extend(assignments)
            self._dispatch()

    def end_feed(self) -> None:
        """No more requests will come."""
        self._is_fed = True
        self._dispatch()

    def stop(self) -> list[Unsent]:
        """Send no more: the requests that were not sent, with the times of those that were due.

        What has just become due is sent first, or it would depend on a race between the timer and whoever stops
        whether an arrival counts as sent. Turns of conversations that wait for a place are told that there is none.
        """
        self._dispatch()
        self._is_stopped = True
        self._watch(False)
        for held in self._held:
            if isinstance(held, asyncio.Future) and not held.done():
                held.set_result(False)
        unsent = [*self._held_requests(), *self._queued_requests(self._clock())]
        self._queue.clear()
        self._held.clear()
        self._dispatch()
        return unsent

    def _held_requests(self) -> Iterator[Unsent]:
        return (Unsent(held[0].seq, held[1]) for held in self._held if isinstance(held, tuple))

    def _queued_requests(self, now_s: float) -> Iterator[Unsent]:
        for assignment in self._queue:
            at_s = (self._start_s or now_s) + (assignment.at_s or 0.0)
            yield Unsent(assignment.seq, at_s if at_s < now_s else None)

    async def run(self, start_s: float) -> None:
        """Dispatch until the schedule is over; returns when the last request was started, or it was stopped."""
        self._start_s = start_s
        self._dispatch()
        try:
            await self._all_dispatched.wait()
        finally:
            self._timer.close()

    async def take_place(self) -> bool:
        """Wait for a place, for a conversation's next turn; false when the stage is stopped before there is one."""
        if self._places is None or self._is_stopped:
            return not self._is_stopped
        if not self._held and self._places.take():
            return True
        future: asyncio.Future[bool] = self._loop.create_future()
        self._held.append(future)
        self._watch(True)
        return await future

    def give_place_back(self) -> None:
        """The place of a request that has ended; of no use to anyone once the stage was stopped."""
        if self._places is not None and not self._is_stopped:
            self._places.give_back(self._clock())

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
        if self._is_stopped or (self._is_fed and not self._queue and not self._held):
            self._all_dispatched.set()
        elif self._is_blocked():
            self._timer.arm(self._clock() + RETRY_S)

    def _admit(self, assignment: Assignment, at_s: float) -> None:
        if self._places is None or (not self._held and self._places.take()):
            self._start(self._perform_and_release(assignment, at_s))
        else:
            self._held.append((assignment, at_s))
            self._watch(True)

    async def _perform_and_release(self, assignment: Assignment, at_s: float) -> None:
        try:
            await self._perform(assignment, at_s)
        finally:
            self.give_place_back()

    def _release_held(self) -> None:
        """A place is free: the first of those that wait gets it, and so on."""
        while self._held and not self._is_stopped and self._places is not None and self._places.take():
            held = self._held.popleft()
            if isinstance(held, tuple):
                self._start(self._perform_and_release(*held))
            elif not held.done():
                held.set_result(True)
            else:  # it was cancelled while it waited
                self.give_place_back()
        if not self._held:
            self._watch(False)
            self._dispatch()

    def _watch(self, is_wanted: bool) -> None:
        """Be told when a place is free, or not."""
        if is_wanted == self._is_watching or self._places is None:
            return
        self._is_watching = is_wanted
        if is_wanted:
            self._loop.add_reader(self._places.descriptor, self._release_held)
        else:
            self._loop.remove_reader(self._places.descriptor)
