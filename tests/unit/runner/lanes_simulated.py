"""A closed loop on a simulated clock: the real dispatcher, stock and turns; shards and answers are simulated."""

from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from heapq import heappop, heappush
from itertools import count
from typing import Any

from perfbench_api.sections import Stage
from perfbench_runner.engine.dispatch import Dispatcher
from perfbench_runner.engine.stock import Stock, TurnOrder
from perfbench_runner.load.mix import Mix, MixOfMixes, Order
from perfbench_runner.load.shares import Share
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

    def __init__(self, mix: Mix | MixOfMixes) -> None:
        self._mix, self._position = mix, 0
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
        self._orders = [TurnOrder(order, self._turns) for order in ManyKinds(mix).orders(share.number, share.runners)]
        self._is_first = True

    def close(self) -> None:
        self._turns.close()

    def run(
        self, lanes: int, duration_s: float | None, requests: int | None = None, until_s: float = 1e9
    ) -> Counter[int]:
        """One stage: how many requests of each kind were sent."""
        supervisor: Any = type("Supervisor", (), {"shards": self._shards[:lanes], "broadcast": lambda *_: None})()
        feed: Any = ManyKinds(self._mix)
        dispatcher = Dispatcher(feed, supervisor, lambda: self._clock_s, refused, self._share)
        for number, shard in enumerate(supervisor.shards):
            shard.lanes, shard.outstanding = len(range(number, lanes, len(supervisor.shards))), 0
            shard.waiting = ByTurn(self._turns) if requests is None else InOrder()
        stock = None
        if requests is None:
            for order in self._orders:
                order.begin(lanes, anew=self._is_first)
            stock = Stock(feed, self._share, self._orders)
        self._is_first = False
        dispatcher.begin(Stage(concurrency=lanes, duration=duration_s, requests=requests), None, stock=stock)
        simulated = _Stage(dispatcher, supervisor.shards, self._seconds, self._now_s)
        self._now_s += min(until_s, duration_s or until_s)
        for now_s in simulated.run(self._now_s):
            self._clock_s = now_s
        dispatcher.end(self._now_s)
        self.sent += simulated.sent
        return Counter(kind for kind, _ in simulated.sent)


class _Stage:
    """The lanes of all shards, in one stage."""

    def __init__(
        self, dispatcher: Dispatcher, shards: Sequence[SimulatedShard], seconds: Callable[[int], float], now_s: float
    ) -> None:
        self.sent: list[tuple[int, int | None]] = []
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
        self._happens(self._seconds(assignment.kind), "end", shard, assignment.seq)
        return True

    def _happens(self, after_s: float, what: str, shard: SimulatedShard, seq: int) -> None:
        heappush(self._events, (self._now_s + after_s, next(self._numbers), what, shard, seq))


def refused(text: str) -> None:
    raise AssertionError(text)
