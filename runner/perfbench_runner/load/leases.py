"""Requests of a closed loop that ends by count, leased to several runners in blocks that shrink towards the end. Pure.

Whoever is faster asks more often and so makes more of them: as with one runner, where a free lane takes the next request.
When the last request is leased no runner has more than one that waits, so none is the last by more than one request.
"""

from collections.abc import Sequence
from typing import NamedTuple


class Lease(NamedTuple):
    """Requests of a stage that one runner is to send."""

    first: int
    """Number of the first one."""
    size: int
    """May be 0: it has enough for now, or there are no more."""
    ahead: int
    """So many requests beside those in its lanes the runner may have waiting; it asks again when half of them are left."""
    is_last: bool
    """There are no more for anybody."""

    @property
    def numbers(self) -> range:
        """The numbers of the requests."""
        return range(self.first, self.first + self.size)


class Pool:
    """The requests of one stage that were not leased yet. Belongs to the leader."""

    def __init__(self, requests: int, lanes: Sequence[int]) -> None:
        """`lanes`: of each runner. All of them have a request from the beginning, so as many are leased (`Share.first`)."""
        self._leased = dict(enumerate(lanes))
        self._done = dict.fromkeys(self._leased, 0)
        """Requests of each runner that have ended, as far as it has said."""
        self._lanes = dict(self._leased)
        self._requests, self._next = requests, sum(lanes)

    @property
    def left(self) -> int:
        """Requests that were not leased yet."""
        return self._requests - self._next

    def lease(self, runner: int, outstanding: int, most: int) -> Lease:
        """Lease requests to a runner that was leased `outstanding` that have not ended, and wants `most` at most."""
        self._done[runner] = max(0, self._leased.get(runner, 0) - outstanding)
        size = max(0, min(self.left, most, self._lanes.get(runner, 0) + self._ahead(runner) - outstanding))
        first, self._next = self._next, self._next + size
        self._leased[runner] = self._leased.get(runner, 0) + size
        return Lease(first, size, self._ahead(runner), is_last=self.left <= 0)

    def drop(self, runner: int) -> None:
        """A runner was lost: the others share what is left. What it was leased is lost with it."""
        for of_runner in (self._lanes, self._done, self._leased):
            of_runner.pop(runner, None)

    def _ahead(self, runner: int) -> int:
        """A quarter of what a runner will do of what is left, as fast as it was; at first no more than it has shown it can do.

        A request in each lane counts as done: nobody has shown anything in the first moment, and no lane is to wait then.
        """
        lanes, done = self._lanes.get(runner, 0), self._done.get(runner, 0)
        of_all = sum(self._lanes.values()) + sum(self._done.values())
        return max(1, min(done + lanes // 2, self.left * (done + lanes) // (4 * max(1, of_all))))
