"""Who gets which request, and when: draws requests from the feed and assigns them to shards ahead of time."""

import asyncio
from collections import deque
from collections.abc import Callable, Iterator

from perfbench_api.sections import Stage
from perfbench_runner.engine.supervisor import ShardProcess, Supervisor
from perfbench_runner.load.feed import REFUSALS, Feed
from perfbench_runner.shard.messages import Assignment
from perfbench_runner.shard.request import PreparedRequest

SLICE_S = 0.01
"""Longest time spent on generating requests before results get their turn."""
FIRST_SLICE_S = 1.0
"""The same before the load begins, when nobody waits."""
AHEAD = 64
"""Requests that a closed loop's shard has waiting, beyond two for each lane: all lanes may become free at once."""
HORIZON_S = 2.0
"""How far ahead an open loop's shard is fed."""
MOST_PENDING = 50_000
"""Requests of an open loop that are assigned and not answered for."""


class Dispatcher:
    """Assigns the requests of one stage after the other. Belongs to the control process's loop."""

    def __init__(
        self, feed: Feed, supervisor: Supervisor, clock: Callable[[], float], refuse: Callable[[str], None]
    ) -> None:
        """`refuse` is told, in words, why the dataset has no next request."""
        self._feed, self._supervisor, self._clock, self._refuse = feed, supervisor, clock, refuse
        self.pending: dict[int, PreparedRequest] = {}
        """Requests that are assigned and not answered for, by their number in the run."""
        self.feed_s = 0.0
        """Time spent on generating requests in this stage, seconds."""
        self._seq = 0
        self._remaining: float = 0
        self._arrivals: Iterator[float] | None = None
        self._ahead: deque[tuple[PreparedRequest, float | None]] = deque()
        """The next request and its time: drawn, not yet given to a shard."""
        self._schedule_began_s: float | None = None
        self._stage_began_s: float | None = None
        self._due_times: deque[float] = deque()
        self._due = 0
        self._is_feeding = self._is_scheduled = False

    @property
    def is_open_loop(self) -> bool:
        """Whether the requests of the stage under way have times of their own."""
        return self._arrivals is not None

    def begin(self, stage: Stage, arrivals: Iterator[float] | None) -> None:
        """Assign what is needed before the load of a stage begins."""
        self._remaining = float("inf") if stage.requests is None else stage.requests
        self._arrivals, self._schedule_began_s, self._stage_began_s = arrivals, None, None
        self.feed_s, self._due = 0.0, 0
        self._due_times.clear()
        if self._ahead:
            self._feed.put_back(self._ahead.popleft()[0])
        self._is_feeding = True
        self._assign(until_s=self._clock() + FIRST_SLICE_S)

    def go(self, began_s: float) -> None:
        """The load of the stage begins at this time."""
        self._stage_began_s = began_s

    def end(self) -> None:
        """The stage is over: nothing of it is pending any more."""
        self.pending.clear()

    def refill(self) -> None:
        """Give every shard what it will need soon; a little at a time, so that results get their turn."""
        if self._is_feeding:
            self._assign(until_s=self._clock() + SLICE_S)

    def stop(self) -> None:
        """Assign nothing more."""
        self._is_feeding = False

    def end_feed(self) -> None:
        """Assign nothing more, and tell the shards so."""
        self._is_feeding = False
        self._supervisor.broadcast("fed")

    def assign_one(self, process: ShardProcess, prepared: PreparedRequest) -> None:
        """Give one shard one request, and tell it that no other will come."""
        self._is_feeding = False
        self._give(process, prepared, None)
        self._send_batches()
        process.send("fed")

    def due(self, at_most_s: float) -> int:
        """Open loop: requests of the stage under way whose time has come; none are due after `at_most_s` of the stage."""
        elapsed_s = min(self._elapsed_s(), at_most_s)
        while self._due_times and self._due_times[0] <= elapsed_s:
            self._due_times.popleft()
            self._due += 1
        return self._due

    def _elapsed_s(self) -> float:
        return 0.0 if self._stage_began_s is None else self._clock() - self._stage_began_s

    def _assign(self, until_s: float) -> None:
        while self._remaining > 0 and self._look_ahead() and (process := self._neediest()) is not None:
            prepared, at_s = self._ahead.popleft()
            self._give(process, prepared, at_s)
            self._remaining -= 1
            if self._clock() > until_s:
                self._go_on_soon()
                break
        self._send_batches()
        if self._remaining <= 0 and self._is_feeding:
            self.end_feed()

    def _look_ahead(self) -> bool:
        """Have the next request and its time ready; false when there is none."""
        if self._ahead:
            return True
        began_s = self._clock()
        try:
            prepared = next(self._feed)
        except StopIteration:  # a schedule that has been played
            self._remaining = 0
            return False
        except REFUSALS as error:
            self._refuse(str(error))
            return False
        self.feed_s += self._clock() - began_s
        at_s = next(self._arrivals) if self._arrivals else None
        if self._arrivals and self._feed.has_schedule and prepared.at_s is not None:
            self._schedule_began_s = prepared.at_s if self._schedule_began_s is None else self._schedule_began_s
            at_s = prepared.at_s - self._schedule_began_s
        self._ahead.append((prepared, at_s))
        return True

    def _neediest(self) -> ShardProcess | None:
        """The shard that lacks most; None when all have enough."""
        active = [process for process in self._supervisor.shards if not process.is_done]
        if not active:
            return None
        at_s = self._ahead[0][1]
        if at_s is not None:
            process = min(active, key=lambda process: process.outstanding)
            is_near = at_s - self._elapsed_s() <= HORIZON_S
            return process if is_near and len(self.pending) < MOST_PENDING else None
        process = max(active, key=lambda process: process.lanes - process.outstanding)
        return process if process.outstanding < 2 * process.lanes + AHEAD else None

    def _give(self, process: ShardProcess, prepared: PreparedRequest, at_s: float | None) -> None:
        self.pending[self._seq] = prepared
        process.batch.append(Assignment(self._seq, at_s, prepared.body, prepared.headers))
        process.outstanding += 1
        self._seq += 1
        if at_s is not None:
            self._due_times.append(at_s)

    def _send_batches(self) -> None:
        for process in self._supervisor.shards:
            if process.batch:
                process.send("feed", process.batch)
                process.batch = []

    def _go_on_soon(self) -> None:
        if self._is_scheduled:
            return

        def go_on() -> None:
            self._is_scheduled = False
            self.refill()

        self._is_scheduled = True
        asyncio.get_running_loop().call_soon(go_on)
