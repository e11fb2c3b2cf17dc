"""A closed loop of several kinds that ends by time: what each shard has waiting of each kind, and whose turn it is.

How many requests such a stage sends nobody knows beforehand, and fast answers make more of them. So that the shares of the
kinds are kept all the same, whose turn it is gets settled when a request is sent (`shard.turns`): here each shard is only
given enough of every kind. Each kind goes through its own requests, so that the n-th to each target is the same one.
"""

from collections import Counter, OrderedDict
from collections.abc import Mapping, Sequence
from math import ceil, sqrt

from perfbench_runner.engine.supervisor import ShardProcess
from perfbench_runner.load.mix import Order
from perfbench_runner.load.requests import Requests
from perfbench_runner.load.shares import Numbers, Share
from perfbench_runner.shard.turns import Turns

TURNS = 1024
"""Turns that are told ahead, beside one for each lane: all lanes may become free at once."""
STEP = 256
"""So many are told at once; more would hold up results."""


def enough(share: float, requests: int) -> int:
    """So many of a kind a shard needs to have for its next requests, whichever they are: three deviations above its share."""
    return min(requests, ceil(share * requests + 3 * sqrt(share * (1 - share) * requests)))


class TurnOrder:
    """The order of a run's turns, told to the shards a little ahead. Belongs to the control process's loop.

    A stage goes on where the last one stopped: short ones would send the same few kinds again and again otherwise, since
    those with fast answers are the ones that leave time for another.
    """

    def __init__(self, order: Order, turns: Turns) -> None:
        self._order, self._turns = order, turns
        self._position = self._ahead = 0
        """The first turn that was not told; how many are told ahead."""
        self._began = 0
        """The first turn of the stage."""
        self._owed: list[int] = []
        """Kinds whose turn a shard took and did not serve before its stage was over: they are first in the next one."""

    @property
    def shares(self) -> dict[int, float]:
        """The share of each kind, by its number in the run."""
        return self._order.shares

    def begin(self, lanes: int, position: int | None = None) -> None:
        """A stage of so many lanes begins, and no shard is at work yet: at this position, or where the last one stopped."""
        self._turns.clear()
        if position is not None:
            self._owed = self._owed if position else []
            self._position = position
        self._began = self._position
        self._ahead = min(lanes + TURNS, self._turns.most)
        self._turns.add(self._owed)
        self.tell()

    def end(self, sent: Mapping[int, int]) -> int:
        """The stage is over, of which so many requests of each kind were sent: the turn that comes next in the order."""
        taken = len(self._owed) + self._position - self._began - self._turns.clear()
        self._position = self._began + max(0, taken - len(self._owed))
        due = self._order.between(self._began, self._position) + Counter(self._owed)
        due.subtract({kind: sent.get(kind, 0) for kind in self.shares})
        self._owed = list((+due).elements())
        return self._position

    def tell(self) -> None:
        """Tell whose turn it is in the next moments."""
        missing = self._ahead - self._turns.waiting
        if missing >= STEP:
            self._position += self._turns.add([self._order.at(self._position + each) for each in range(missing)])


class Stock:
    """What each shard has of one stage's requests. Belongs to the control process's loop."""

    def __init__(self, feed: Requests, share: Share, orders: Sequence[TurnOrder]) -> None:
        """Of all requests of a stage, from where the feed is. `orders`: one, or of each target where they are side by side."""
        self.orders = orders
        self.feeds: Sequence[Requests] = feed.by_kind()
        self.numbers = [Numbers(share.one_of_every()) for _ in self.feeds]
        """Of the requests of each kind that are this runner's."""
        self._shares = {kind: part for order in orders for kind, part in order.shares.items()}
        self._outstanding: dict[tuple[int, int], int] = {}
        """Requests of a kind that a shard was given, and that have not ended."""
        self._wanting: OrderedDict[tuple[int, int], ShardProcess] = OrderedDict()
        """Which shard needs more of which kind; who has waited longest is the first."""
        self._ahead = 0

    def begin(self, active: Sequence[ShardProcess], ahead: int) -> None:
        """All of these shards need all kinds; `ahead`: so many requests beyond two for each lane they may have waiting."""
        self._ahead = ahead
        self._outstanding = {(process.number, kind): 0 for kind in self._shares for process in active}
        self._wanting = OrderedDict(((process.number, kind), process) for kind in self._shares for process in active)

    def neediest(self) -> tuple[ShardProcess, int] | None:
        """The shard and the kind that is to be given next; None while all have enough."""
        while self._wanting:
            (number, kind), process = next(iter(self._wanting.items()))
            if not process.is_done and self._needs(process, kind):
                return process, kind
            del self._wanting[number, kind]
        return None

    def given(self, process: ShardProcess, kind: int) -> None:
        """A shard was given a request of this kind."""
        key = process.number, kind
        self._outstanding[key] += 1
        self._wanting.move_to_end(key)

    def ended(self, process: ShardProcess, kind: int) -> None:
        """It has ended."""
        key = process.number, kind
        self._outstanding[key] -= 1
        if self._needs(process, kind):
            self._wanting.setdefault(key, process)

    def _needs(self, process: ShardProcess, kind: int) -> bool:
        most = enough(self._shares[kind], 2 * process.lanes + self._ahead)
        return self._outstanding[process.number, kind] < most
