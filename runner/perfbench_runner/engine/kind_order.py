"""Whose turn it is of several kinds, from stage to stage: where one stage stops the next one goes on.

A runner that is alone goes through one order of kinds in all of its stages, so that their shares are kept over the whole run
and not only in each stage. Of several runners all know what an open loop and a stage by count send, and count it alike; in
a closed loop that ends by time none knows how far the others came, and each has an order of its own. So has each of targets
side by side, which are at paces of their own there.
"""

from collections.abc import Callable, Iterator, Sequence
from itertools import islice, takewhile
from math import inf

from perfbench_api.sections import Stage
from perfbench_runner.engine.dispatch import Dispatcher
from perfbench_runner.engine.stock import Stock, TurnOrder
from perfbench_runner.load.requests import Requests
from perfbench_runner.load.shares import Share


class KindOrder:
    """Of one run. Belongs to the control process's loop."""

    def __init__(self, feed: Requests, share: Share, orders: Sequence[TurnOrder]) -> None:
        """`orders`: what shards are told where it is settled when a request is sent; of each target where side by side."""
        self._feed, self._share, self._orders = feed, share, orders
        self._is_one = share.is_whole and feed.together == 1
        """Whether stages of all sorts go through one order."""
        self.position = 0
        """So many requests of the measured stages come before the next one, of all runners."""

    def is_by_turn(self, stage: Stage) -> bool:
        """Whether it is settled when a request is sent of which kind it is: nobody knows how many there will be of each."""
        return not stage.is_open_loop and stage.requests is None and len(self._feed.kinds) > 1

    def begin(self, number: int, stage: Stage) -> Stock:
        """Tell this runner's shards whose turn it is in such a stage: what they are to have of each kind."""
        for order in self._orders:
            order.begin(stage.concurrency or 0, self.position if self._is_one or number <= 0 else None)
        return Stock(self._feed, self._share, self._orders)

    def end(
        self, stage: Stage, dispatcher: Dispatcher, length_s: float, arrivals: Callable[[], Iterator[float] | None]
    ) -> None:
        """A measured stage is over that sent for so long; `arrivals`: as `planned` has them, for all runners."""
        if self.is_by_turn(stage):
            sent = dispatcher.given.sent()
            reached = [order.end(sent) for order in self._orders]
            self.position = reached[0] if self._is_one else self.position
        elif self._share.is_whole:
            self.position += dispatcher.due(length_s) if stage.is_open_loop else dispatcher.given.sent().total()
        else:
            self.pass_over(stage, arrivals)

    def pass_over(self, stage: Stage, arrivals: Callable[[], Iterator[float] | None]) -> None:
        """A measured stage is over of which this runner does not know what all have sent: what they were to send."""
        if len(self._feed.kinds) > 1 and not self.is_by_turn(stage):
            self.position += planned(stage, arrivals())


def planned(stage: Stage, arrivals: Iterator[float] | None) -> int:
    """How many requests a stage sends that ends when it should. `arrivals`: all times of an open loop, seconds from its start."""
    if arrivals is None or (stage.duration is None and stage.requests is not None):
        return stage.requests or 0
    duration_s = inf if stage.duration is None else stage.duration
    return sum(1 for _ in islice(takewhile(lambda at_s: at_s < duration_s, arrivals), stage.requests))
