"""Stages on a simulated clock: the real dispatcher, order of kinds, stock and turns; shards and answers are simulated."""

from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from heapq import heappop, heappush
from itertools import count
from typing import Any

from perfbench_api.sections import Stage
from perfbench_runner.engine.dispatch import Dispatcher
from perfbench_runner.engine.kind_order import KindOrder
from perfbench_runner.engine.stock import TurnOrder
from perfbench_runner.load.mix import Mix, MixOfMixes, Order
from perfbench_runner.load.shares import Numbers, Share
from perfbench_runner.shard.request import PreparedRequest
from perfbench_runner.shard.turns import ByTurn, InOrder, Turns

REPORTED_S = 0.01
"""How long after its end the control process hears of a request."""


class OneKind:
    """Numbered requests of one kind."""

    has_schedule = False

    def __init__(self, kind: int) -> None:
        self._kind, self._numbers = kind, count()

    def __next__(self) -> PreparedRequest:
        return PreparedRequest(b"", entry=next(self._numbers), kind=self._kind)

    def skip(self, requests: int) -> None:
        for _ in range(requests):
            next(self._numbers)


class ManyKinds:
    """Of several kinds, by a mix; numbered by kind."""

    has_schedule = False
    together = 1

    def __init__(self, mix: Mix | MixOfMixes, position: int = 0) -> None:
        self._mix, self._position = mix, position
        self.kinds = mix.shares
        self._feeds = [OneKind(kind) for kind in range(len(mix.shares))]

    def by_kind(self) -> Sequence[OneKind]:
        return self._feeds

    def orders(self, runner: int, runners: int) -> Sequence[Order]:
        return [Order(self._mix.of_runner(runner, runners))]

    def skip(self, requests: int) -> None:
        for _ in range(requests):
            self.__next__()

    def __next__(self) -> PreparedRequest:
        self._position += 1
        return next(self._feeds[self._mix.at(self._position - 1)])

    def put_back(self, prepared: PreparedRequest) -> None:
        """The next stage has a feed of its own here."""

    def pass_over(self, skipped: int) -> int:
        self._position += 1 + skipped
        return self._mix.at(self._position - 1)


class SimulatedShard:
    """A shard whose lanes are simulated."""

    def __init__(self, number: int) -> None:
        self.number, self.lanes, self.outstanding, self.is_done = number, 0, 0, False
        self.batch: list[Any] = []
        self.waiting: InOrder | ByTurn = InOrder()

    def send(self, kind: str, *values: Any) -> None:
        if kind == "feed":
            self.waiting.add(values[0])


class SimulatedRunner:
    """One runner of a run, stage after stage; `sent` has the kinds of all requests that it sent, in order."""

    def __init__(self, mix: Mix | MixOfMixes, shards: int, share: Share, seconds: Callable[[int], float]) -> None:
        """`seconds`: how long a request of a kind takes."""
        self.sent: list[tuple[int, int | None]] = []
        self._mix, self._share, self._seconds = mix, share, seconds
        self._now_s = self._clock_s = 0.0
        self._shards = [SimulatedShard(number) for number in range(shards)]
        self._turns = Turns()
        every: Any = ManyKinds(mix)
        orders = [TurnOrder(order, self._turns) for order in every.orders(share.number, share.runners)]
        self.kinds = KindOrder(every, share, orders)
        self._number = -1

    def close(self) -> None:
        self._turns.close()

    def run(
        self, lanes: int, duration_s: float | None, requests: int | None = None, until_s: float = 1e9
    ) -> Counter[int]:
        """One stage: how many requests of each kind were sent."""
        supervisor: Any = type("Supervisor", (), {"shards": self._shards[:lanes], "broadcast": lambda *_: None})()
        feed: Any = ManyKinds(self._mix, self.kinds.position)
        dispatcher = Dispatcher(feed, supervisor, lambda: self._clock_s, refused, self._share)
        for number, shard in enumerate(supervisor.shards):
            shard.lanes, shard.outstanding = len(range(number, lanes, len(supervisor.shards))), 0
            shard.waiting = ByTurn(self._turns) if requests is None else InOrder()
        self._number += 1
        stage = Stage(concurrency=lanes, duration=duration_s, requests=requests)
        dispatcher.begin(stage, None, stock=self.kinds.begin(self._number, stage) if requests is None else None)
        simulated = _Stage(dispatcher, supervisor.shards, self._seconds, self._now_s)
        self._now_s += min(until_s, duration_s or until_s)
        for now_s in simulated.run(self._now_s):
            self._clock_s = now_s
        for seq in simulated.under_way:
            del dispatcher.pending[seq]
        dispatcher.end(self._now_s)
        self.kinds.end(stage, dispatcher, 0.0, lambda: None)
        self.sent += simulated.sent
        return Counter(kind for kind, _ in simulated.sent)

    def run_open(self, rate: float, duration_s: float, until_s: float = 1e9) -> Counter[int]:
        """An open loop of evenly spaced requests, which may end early; of several runners this one's part of it."""
        supervisor: Any = type("Supervisor", (), {"shards": self._shards, "broadcast": lambda *_: None})()
        feed: Any = ManyKinds(self._mix, self.kinds.position)
        dispatcher = Dispatcher(feed, supervisor, lambda: self._clock_s, refused, self._share)
        for shard in self._shards:
            shard.waiting = InOrder()
        self._number += 1
        stage = Stage(rate=rate, duration=duration_s, arrival="constant")

        def times() -> Iterator[float]:
            return ((number + 0.5) / rate for number in count())

        began_s, length_s = self._now_s, min(until_s, duration_s)
        self._clock_s = began_s
        dispatcher.begin(stage, self._share.of_schedule(times()), Numbers(self._share.every()))
        dispatcher.go(began_s)
        while self._clock_s < began_s + length_s:
            self._clock_s += 0.1
            dispatcher.refill()
        found: list[tuple[int, int | None]] = []
        for seq, pending in list(dispatcher.pending.items()):
            if pending.at_s is not None and pending.at_s < length_s:
                found.append((pending.request.kind, pending.request.entry))
                del dispatcher.pending[seq]
        self._now_s = began_s + length_s
        assert not dispatcher.end(self._now_s)
        self.kinds.end(stage, dispatcher, length_s, times)
        self.sent += found
        return Counter(kind for kind, _ in found)


class _Stage:
    """The lanes of all shards, in one stage."""

    def __init__(
        self, dispatcher: Dispatcher, shards: Sequence[SimulatedShard], seconds: Callable[[int], float], now_s: float
    ) -> None:
        self.sent: list[tuple[int, int | None]] = []
        self.under_way: set[int] = set()
        self._dispatcher, self._shards, self._seconds, self._now_s = dispatcher, shards, seconds, now_s
        self._events: list[tuple[float, int, str, SimulatedShard, int]] = []
        self._numbers = count()
        self._free = 0
        """Lanes that found no request."""

    def run(self, until_s: float) -> Iterator[float]:
        """What happens until then; yields the time before each."""
        for shard in self._shards:
            for _ in range(shard.lanes):
                self._free += not self._starts(shard)
        while self._events and self._events[0][0] < until_s:
            self._now_s, _, what, shard, seq = heappop(self._events)
            yield self._now_s
            if what == "end":
                self._happens(REPORTED_S, "told", shard, seq)
                self._free += not self._starts(shard)
            else:
                process: Any = shard
                self._dispatcher.ended(process, [seq])
                del self._dispatcher.pending[seq]
                self.under_way.remove(seq)
                self._dispatcher.refill()
            for other in self._shards:
                while self._free and self._starts(other):
                    self._free -= 1

    def _starts(self, shard: SimulatedShard) -> bool:
        """Send the shard's next request, if it has one."""
        assignment = shard.waiting.take() if shard.waiting else None
        if assignment is None:
            return False
        self.sent.append((assignment.kind, self._dispatcher.pending[assignment.seq].request.entry))
        self.under_way.add(assignment.seq)
        self._happens(self._seconds(assignment.kind), "end", shard, assignment.seq)
        return True

    def _happens(self, after_s: float, what: str, shard: SimulatedShard, seq: int) -> None:
        heappush(self._events, (self._now_s + after_s, next(self._numbers), what, shard, seq))


def refused(text: str) -> None:
    raise AssertionError(text)
