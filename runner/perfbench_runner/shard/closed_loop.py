"""A closed loop in one shard: lanes, each of which sends its next request when its last one has ended.

How many lanes there are is a matter of all shards together (`places`): a lane that finds no request here gives its place
back, and a shard that has requests waiting takes it. So the load is the one asked for until the last request was sent,
however the requests were spread over the shards. While the load is ramped up or down, each shard adds and withdraws its own
part of the lanes, wherever they are at work by then.
"""

import asyncio
from collections import deque
from collections.abc import Awaitable, Callable, Coroutine, Sequence
from typing import Any

from perfbench_runner.event_loop import Soon
from perfbench_runner.shard.messages import Assignment, Lanes, Unsent
from perfbench_runner.shard.places import Places
from perfbench_runner.shard.turns import ByTurn, InOrder
from perfbench_runner.timer import DeadlineTimer

RETRY_S = 0.05
"""How soon it is tried again to send while the control process does not take results, or does not say whose turn it is."""


class ClosedLoop:
    """This shard's lanes of one stage. Belongs to the shard's loop.

    A request is scheduled for the moment its lane became free: that is when the answer before it had arrived, by the
    kernel's stamp where there is one. So its dispatch lag is all of the client's own delay, reading included.
    """

    def __init__(
        self,
        lanes: Lanes,
        places: Places,
        perform: Callable[[Assignment, float], Awaitable[float]],
        start: Callable[[Coroutine[Any, Any, None]], None],
        is_blocked: Callable[[], bool],
        clock: Callable[[], float],
        waiting: InOrder | ByTurn,
    ) -> None:
        """`lanes`: which are this shard's to add and to withdraw. `perform` returns when the answer had arrived.

        `waiting`: holds the requests that wait for a lane, and says which is the next.
        """
        self._lanes, self._places, self._perform, self._start = lanes, places, perform, start
        self._is_blocked, self._clock = is_blocked, clock
        self._loop = asyncio.get_running_loop()
        self._waiting = waiting
        self._freed: deque[float] = deque()
        """When places were given back here that were not taken here again, the earliest first."""
        self._is_running = self._is_fed = self._is_stopped = self._is_watching = False
        self._come_s: deque[float] = deque()
        self._go_s: deque[float] = deque()
        """When the next lanes come and go."""
        self._leaving = 0
        """Lanes that are to go, and have not yet: all were at work."""
        self._timer: DeadlineTimer | None = None
        self._retry_soon = Soon(self._retry, RETRY_S)
        self._all_started = asyncio.Event()

    def feed(self, assignments: Sequence[Assignment]) -> None:
        """Take requests to send."""
        if not self._is_stopped:
            self._waiting.add(assignments)
            self._fill()

    def end_feed(self) -> None:
        """No more requests will come."""
        self._is_fed = True
        self._fill()

    def stop(self) -> list[Unsent]:
        """Send no more: the requests that were not sent. None was due: in a closed loop that is when a lane takes it."""
        self._is_stopped = True
        unsent = [Unsent(assignment.seq) for assignment in self._waiting.clear()]
        self._fill()
        return unsent

    async def run(self, start_s: float) -> None:
        """Make the load; returns when the last request was started, or it was stopped."""
        self._is_running = True
        self._come_s.extend(start_s + at_s for at_s in self._lanes.come_s)
        self._go_s.extend(start_s + at_s for at_s in self._lanes.go_s)
        try:
            self._change_lanes(start_s)
            await self._all_started.wait()
        finally:
            if self._timer is not None:
                self._timer.close()

    def _change_lanes(self, start_s: float = 0.0) -> None:
        """Let lanes come and go whose time it is, and wake up for the next."""
        now_s = max(start_s, self._clock())
        while self._come_s and self._come_s[0] <= now_s:
            at_s = self._come_s.popleft()
            if not self._start_next(at_s) and not self._is_stopped:
                self._give_back(at_s)
        while self._go_s and self._go_s[0] <= now_s:
            self._go_s.popleft()
            self._leaving += 1
        self._fill()
        following = min((times[0] for times in (self._come_s, self._go_s) if times), default=None)
        if following is not None and not self._is_stopped:
            self._timer = self._timer or DeadlineTimer(self._loop, self._change_lanes)
            self._timer.arm(following)

    async def _lane(self, assignment: Assignment, free_s: float) -> None:
        while True:
            free_s = await self._perform(assignment, free_s)
            if self._leaving:
                self._leaving -= 1
                return
            following = self._next()
            if following is None:
                break
            assignment = following
        if not self._is_stopped:
            self._give_back(free_s)
        self._fill()

    def _give_back(self, free_s: float) -> None:
        self._freed.append(free_s)
        self._places.give_back(free_s)

    def _fill(self) -> None:
        """Withdraw lanes that are to go, start others in free places, and be told of places where there are none."""
        while self._leaving and self._places.take():
            self._leaving -= 1
        while self._can_send() and self._places.take():
            freed_s = (self._freed.popleft() if self._freed else self._places.freed_s) or self._clock()
            if not self._start_next(freed_s):
                self._give_back(freed_s)
        self._watch(self._can_send() or (self._leaving > 0 and not self._is_stopped))
        if self._is_stopped or (self._is_running and self._is_fed and not len(self._waiting)):
            self._all_started.set()
        elif len(self._waiting) and self._is_running and (self._is_blocked() or self._waiting.is_dry):
            self._retry_soon()

    def _retry(self) -> None:
        self._waiting.is_dry = False
        self._fill()

    def _start_next(self, free_s: float) -> bool:
        """Send the next request in a lane of its own, if there is one that can be sent."""
        if (assignment := self._next()) is None:
            return False
        self._start(self._lane(assignment, free_s))
        return True

    def _next(self) -> Assignment | None:
        return self._waiting.take() if self._can_send() else None

    def _can_send(self) -> bool:
        return bool(self._waiting) and self._is_running and not self._is_stopped and not self._is_blocked()

    def _watch(self, is_wanted: bool) -> None:
        """Be told when a place is free, or not."""
        if is_wanted == self._is_watching:
            return
        self._is_watching = is_wanted
        if is_wanted:
            self._loop.add_reader(self._places.descriptor, self._fill)
        else:
            self._loop.remove_reader(self._places.descriptor)
