"""What the mock can carry: slots, the queue before them, and how a batch slows all that is in it. No clock, no sockets.

At most `slots` requests are served at a time; others wait, first come, first served. One that is served alone takes

    work = ttft + prompt tokens / prefill_speed + (output tokens - 1) * itl            seconds

and with b of them in the slots each goes on more slowly, by the factor 1 + batch_slowdown * (b - 1). So the most that
can be carried is slots / (work * (1 + batch_slowdown * (slots - 1))) requests a second, see `Service.most_rps`; with
batch_slowdown 0 it is the queue M/G/c under Poisson arrivals, whose waits are known (Erlang C, Crommelin).

`Pace` turns times into work and back: deadlines are kept in work, in which they do not move when the batch changes.
"""

from collections import deque
from typing import Generic, TypeVar

T = TypeVar("T")


class Pace:
    """How far a request that is served all the time has come, in seconds of work, at each time. The times only grow."""

    __slots__ = ("_factor", "_time_s", "_work_s")

    def __init__(self) -> None:
        self._time_s = self._work_s = 0.0
        self._factor = 1.0

    def work_s(self, time_s: float) -> float:
        """Work done by then, if the batch stays as it is; a time before the last change is that of the change."""
        passed_s = time_s - self._time_s
        return self._work_s + passed_s / self._factor if passed_s > 0 else self._work_s

    def time_s(self, work_s: float) -> float:
        """When so much will be done, if the batch stays as it is."""
        return self._time_s + (work_s - self._work_s) * self._factor

    def change(self, time_s: float, factor: float) -> None:
        """From then on all takes so many times as long as alone."""
        if factor != self._factor:
            self._work_s, self._time_s, self._factor = self.work_s(time_s), max(time_s, self._time_s), factor


class Service(Generic[T]):
    """Who is served, who waits. `T` is a request: it must be told apart by equality from others."""

    def __init__(self, slots: int | None, batch_slowdown: float = 0.0) -> None:
        """`slots` None: nobody ever waits."""
        self.slots, self.batch_slowdown = slots, batch_slowdown
        self.pace = Pace()
        self.running = 0
        self.waiting: deque[T] = deque()

    def enter(self, request: T, time_s: float) -> bool:
        """One arrives. True: it is served from now on; false: it waits."""
        if self.slots is not None and self.running >= self.slots:
            self.waiting.append(request)
            return False
        self._set_running(self.running + 1, time_s)
        return True

    def leave(self, time_s: float) -> T | None:
        """One that was served is done. Returns who is served in its place."""
        if self.waiting:
            return self.waiting.popleft()
        self._set_running(self.running - 1, time_s)
        return None

    def abandon(self, request: T) -> bool:
        """One leaves the queue unserved; false when it was not in it."""
        if request not in self.waiting:
            return False
        self.waiting.remove(request)
        return True

    def factor(self, running: int) -> float:
        """How many times as long as alone all takes with so many in the slots."""
        return 1.0 + self.batch_slowdown * max(0, running - 1)

    def most_rps(self, work_s: float) -> float:
        """The most requests a second that can be carried, each of so much work; infinite without slots."""
        if self.slots is None:
            return float("inf")
        return self.slots / (work_s * self.factor(self.slots))

    def _set_running(self, running: int, time_s: float) -> None:
        self.running = running
        if self.batch_slowdown:
            self.pace.change(time_s, self.factor(running))
