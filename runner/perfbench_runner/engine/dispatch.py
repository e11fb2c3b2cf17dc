"""Who gets which request, and when: draws requests from the feed and assigns them to shards ahead of time.

Open loop: request i of the schedule goes to shard i mod m, so that all together keep the law of its gaps. Closed loop:
to the shard that will need one first. Which lane sends it is up to the shards: they share the places (`shard.places`),
and the turns where a stage of several kinds ends by time (`engine.stock`).
"""

from collections import deque
from collections.abc import Callable, Iterator, Sequence
from functools import partial
from itertools import chain
from typing import NamedTuple

from perfbench_api.sections import Stage
from perfbench_runner.engine.given import Given
from perfbench_runner.engine.stock import Stock
from perfbench_runner.engine.supervisor import ShardProcess, Supervisor
from perfbench_runner.event_loop import Soon
from perfbench_runner.load.feed import REFUSALS
from perfbench_runner.load.leases import Lease
from perfbench_runner.load.requests import Requests
from perfbench_runner.load.shares import Numbers, Share
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


class Pending(NamedTuple):
    """A request that is assigned and not answered for."""

    request: PreparedRequest
    at_s: float | None
    """Open loop: when it is due, from the stage's start."""


class NeverSent(NamedTuple):
    """A request of an open loop that no shard could send."""

    seq: int
    at_s: float
    """When it was due, on the run's clock."""
    kind: int


class Dispatcher:
    """Assigns the requests of one stage after the other. Belongs to the control process's loop."""

    def __init__(
        self,
        feed: Requests,
        supervisor: Supervisor,
        clock: Callable[[], float],
        refuse: Callable[[str], None],
        share: Share | None = None,
    ) -> None:
        """`refuse` is told, in words, why the dataset has no next request. `share`: this runner's part of the run."""
        self._feed, self._supervisor, self._clock, self._refuse = feed, supervisor, clock, refuse
        self.pending: dict[int, Pending] = {}
        """By their number in the run."""
        self.feed_s = 0.0
        """Time spent on generating requests in this stage, seconds."""
        self._share = share or Share()
        self._seq = self._share.number
        """Numbers of several runners do not meet: each takes every n-th."""
        self._numbers = Numbers()
        self._ask_for_more: Callable[[], None] | None = None
        """Where requests are leased: looks whether more are needed."""
        self._remaining: float = 0
        self._stock: Stock | None = None
        self._arrivals: Iterator[float] | None = None
        self._ahead: Pending | None = None
        """The next request and its time: drawn, not yet given to a shard."""
        self._next_s: float | None = None
        """Open loop: the time of the request after those, where it is drawn."""
        self._schedule_began_s: float | None = None
        self._stage_began_s: float | None = None
        self._until_s: float | None = None
        """Open loop: what is due later than this, from the stage's start, is no part of it."""
        self._turn = 0
        """Requests of the stage assigned so far; in an open loop that says whose turn it is."""
        self.given = Given()
        """Closed loop: requests of the stage."""
        self._due_times: deque[float] = deque()
        self._due = 0
        self._is_feeding = False
        self._refill_soon = Soon(self.refill)

    @property
    def is_open_loop(self) -> bool:
        """Whether the requests of the stage under way have times of their own."""
        return self._arrivals is not None

    def begin(
        self,
        stage: Stage,
        arrivals: Iterator[float] | None,
        numbers: Numbers | None = None,
        ask_for_more: Callable[[], None] | None = None,
        stock: Stock | None = None,
    ) -> None:
        """Assign what is needed before the load of a stage begins.

        `arrivals`: times of an open loop, seconds from the stage's start; the dataset's own come before them.
        `numbers`: which requests of the stage are this runner's, all if not given. `ask_for_more` is called when there is
        a chance that those do not last; `allow` gets more. `stock`: where whose turn it is gets settled by the shards.
        """
        self._stock = stock
        if stock is not None:
            stock.begin(self._active(), AHEAD)
        self._numbers, self._ask_for_more = numbers or Numbers(), ask_for_more
        self._remaining = float("inf") if stage.requests is None else stage.requests
        self._arrivals, self._schedule_began_s, self._stage_began_s = arrivals, None, None
        self._until_s = stage.duration
        self._turn = 0
        self.given = Given()
        self.feed_s, self._due = 0.0, 0
        self._due_times.clear()
        self._ahead = self._next_s = None
        self._is_feeding = True
        self._assign(until_s=self._clock() + FIRST_SLICE_S)

    def go(self, began_s: float) -> None:
        """The load of the stage begins at this time."""
        self._stage_began_s = began_s

    def end(self, until_s: float) -> list[NeverSent]:
        """The stage is over: nothing of it is pending any more, and what was drawn ahead is the next one again.

        Returns arrivals that were due before `until_s` and never reached a shard, or only when the
        stage was over: the dataset had nothing for them in time. Of times that the dataset itself brings nothing is known.
        """
        began_s, found = self._stage_began_s, list[NeverSent]()
        if self._arrivals is not None and began_s is not None:
            due = (
                NeverSent(seq, began_s + (pending.at_s or 0.0), pending.request.kind)
                for seq, pending in self.pending.items()
            )
            found = [each for each in due if each.at_s < until_s]
            if not self._feed.has_schedule:
                found += self._never_drawn(self._arrivals, began_s, until_s)
        for pending in self.pending.values():
            self.given.not_sent(pending.request.kind)
        self.pending.clear()
        if self._ahead is not None:
            self._feed.put_back(self._ahead.request)
            self._ahead = None
        return found

    def _never_drawn(self, arrivals: Iterator[float], began_s: float, until_s: float) -> list[NeverSent]:
        found: list[NeverSent] = []
        ahead = self._ahead
        drawn = (None if ahead is None else ahead.at_s, self._next_s)
        for offset_s in chain((at_s for at_s in drawn if at_s is not None), arrivals):
            if len(found) >= self._remaining or began_s + offset_s >= until_s:
                break
            is_ahead = ahead is not None and not found
            kind = ahead.request.kind if ahead and is_ahead else self._feed.pass_over(self._numbers.skipped())
            found.append(NeverSent(self._seq, began_s + offset_s, kind))
            self._due_times.append(offset_s)
            self._seq += self._share.runners
        return found

    def refill(self) -> None:
        """Give every shard what it will need soon; a little at a time, so that results get their turn."""
        if self._is_feeding:
            self._assign(until_s=self._clock() + SLICE_S)
            if self._ask_for_more is not None:
                self._ask_for_more()

    def ended(self, process: ShardProcess, numbers: Sequence[int]) -> None:
        """A shard has answered for these requests."""
        process.outstanding -= len(numbers)
        if self._stock is not None:
            for pending in filter(None, map(self.pending.get, numbers)):
                self._stock.ended(process, pending.request.kind)

    def take_back(self, seq: int) -> Pending | None:
        """A shard did not send this request before the stage was over."""
        if (pending := self.pending.pop(seq, None)) is not None:
            self.given.not_sent(pending.request.kind)
        return pending

    @property
    def outstanding(self) -> int:
        """Requests that are this runner's to send and have not ended, of a stage that ends by count."""
        return sum(process.outstanding for process in self._supervisor.shards) + int(self._remaining)

    def allow(self, lease: Lease) -> None:
        """More requests of the stage are this runner's."""
        self._numbers.add(lease.numbers)
        self._remaining += lease.size
        if lease.is_last:
            self._ask_for_more = None
        self.refill()

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
        self._give(process, Pending(prepared, None))
        self._send_batches()
        process.send("fed")

    def due(self, at_most_s: float) -> int:
        """Open loop: requests of the stage under way whose time has come; none are due after `at_most_s` of the stage."""
        elapsed_s = min(self.elapsed_s, at_most_s)
        while self._due_times and self._due_times[0] <= elapsed_s:
            self._due_times.popleft()
            self._due += 1
        return self._due

    def answered(self) -> int:
        """Open loop: requests of the stage under way that were assigned and have been answered for."""
        return self._turn - len(self.pending)

    def ends_s(self, latest_s: float) -> float:
        """When the stage under way sent its last at the latest: its deadline, or this time if that comes first."""
        if self._stage_began_s is None or self._until_s is None:
            return latest_s
        return min(latest_s, self._stage_began_s + self._until_s)

    @property
    def elapsed_s(self) -> float:
        """Since the load of the stage under way began; 0.0 before."""
        return 0.0 if self._stage_began_s is None else self._clock() - self._stage_began_s

    def _assign(self, until_s: float) -> None:
        while self._remaining > 0 and (found := self._next()):
            self._ahead = None
            self._turn += 1
            self._give(*found)
            self._remaining -= 1
            if self._clock() > until_s:
                self._refill_soon()
                break
        if self._stock is not None:
            for order in self._stock.orders:
                order.tell()
        self._send_batches()
        if self._remaining <= 0 and self._is_feeding and self._ask_for_more is None:
            self.end_feed()

    def _next(self) -> tuple[ShardProcess, Pending] | None:
        """Who gets what next; None when it is too early for it, or there is nothing."""
        if self._stock is not None:
            return self._next_of(self._stock)
        ahead = self._look_ahead()
        process = self._next_shard(ahead) if ahead else None
        return (process, ahead) if process and ahead else None

    def _next_of(self, stock: Stock) -> tuple[ShardProcess, Pending] | None:
        if (found := stock.neediest()) is None:
            return None
        process, kind = found
        if (drawn := self._drawn(stock.feeds[kind], stock.numbers[kind])) is None:
            return None
        stock.given(process, kind)
        return process, Pending(drawn[0], None)

    def _active(self) -> list[ShardProcess]:
        return [process for process in self._supervisor.shards if not process.is_done]

    def _look_ahead(self) -> Pending | None:
        """The next request and its time; None when there is none."""
        if self._ahead is not None:
            return self._ahead
        if self._arrivals is not None and self._next_s is None:
            self._next_s = next(self._arrivals, None)
            if self._next_s is None:  # no arrival comes after those that were
                self._remaining = 0
                return None
        drawn = self._drawn(self._feed, self._numbers)
        if drawn is None:
            return None
        prepared, skipped_at_s = drawn
        at_s, self._next_s = self._next_s, None
        if self._arrivals is not None and self._feed.has_schedule and prepared.at_s is not None:
            if self._schedule_began_s is None:
                self._schedule_began_s = prepared.at_s if skipped_at_s is None else skipped_at_s
            at_s = prepared.at_s - self._schedule_began_s
        self._ahead = Pending(prepared, at_s)
        return self._ahead

    def _drawn(self, feed: Requests, numbers: Numbers) -> tuple[PreparedRequest, float | None] | None:
        """The next request of this runner, and when the first of those before it is due, where the dataset says so."""
        began_s = self._clock()
        try:
            skipped_at_s = feed.skip(numbers.skipped())
            prepared = next(feed)
        except StopIteration:  # a schedule that has been played
            self._remaining = 0
            return None
        except REFUSALS as error:
            self._refuse(str(error))
            return None
        self.feed_s += self._clock() - began_s
        return prepared, skipped_at_s

    def _next_shard(self, ahead: Pending) -> ShardProcess | None:
        """Who gets the next request; None when it is too early for it.

        Of shards of a closed loop that need one alike, the one that had the fewest of its kind: in the same order each time,
        each would get the same part of the mix again and again, and what is sent until an early end would be another mix.
        """
        active, at_s = self._active(), ahead.at_s
        if not active:
            return None
        if at_s is None:
            given = partial(self.given.of, ahead.request.kind)
            process = min(active, key=lambda each: (each.outstanding / each.lanes, given(each.number) / each.lanes))
            return process if process.outstanding < 2 * process.lanes + AHEAD else None
        if self._until_s is not None and at_s >= self._until_s:
            self._is_feeding = False  # shards are not told so: the stage goes on until its deadline
            return None
        is_near = at_s - self.elapsed_s <= HORIZON_S
        return active[self._turn % len(active)] if is_near and len(self.pending) < MOST_PENDING else None

    def _give(self, process: ShardProcess, pending: Pending) -> None:
        self.pending[self._seq], request = pending, pending.request
        process.batch.append(Assignment(self._seq, pending.at_s, request.body, request.headers, request.kind))
        process.outstanding += 1
        self._seq += self._share.runners
        if pending.at_s is None:
            self.given.add(process.number, request.kind)
        else:
            self._due_times.append(pending.at_s)

    def _send_batches(self) -> None:
        for process in self._supervisor.shards:
            if process.batch:
                process.send("feed", process.batch)
                process.batch = []
