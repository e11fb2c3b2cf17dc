"""A closed loop in which each target has lanes of its own: which shard needs a request first, and to which target.

Each target goes through its own requests as fast as it answers, so that the n-th to each is the same one, and a slow target
takes nothing away from a fast one.
"""

from collections.abc import Sequence

from perfbench_runner.engine.supervisor import ShardProcess
from perfbench_runner.load.requests import Requests
from perfbench_runner.load.shares import Numbers, Share


class Sides:
    """The requests to each target, and how many of them each shard has. Belongs to the control process's loop."""

    def __init__(self, feed: Requests, share: Share) -> None:
        """Of all requests of a stage, from where the feed is."""
        self.feeds: Sequence[Requests] = feed.sides()
        self.numbers = [Numbers(share.one_of_every()) for _ in self.feeds]
        """Of the requests to each target that are this runner's."""
        self._kinds = len(feed.kinds) // len(self.feeds)
        """Of each target."""
        self._outstanding: dict[tuple[int, int], int] = {}
        """Requests that a shard was given to a target, and that have not ended."""

    def neediest(self, active: Sequence[ShardProcess], ahead: int) -> tuple[ShardProcess, int] | None:
        """The shard and the side that will need a request first; None while it has `ahead` more than two for each lane."""
        found = [
            (self._outstanding.get((process.number, side), 0) / process.lanes, number, side)
            for number, process in enumerate(active)
            for side in range(len(self.feeds))
        ]
        if not found:
            return None
        per_lane, number, side = min(found)
        process = active[number]
        return (process, side) if per_lane < 2 + ahead / process.lanes else None

    def given(self, process: ShardProcess, kind: int) -> None:
        """A shard was given a request of this kind."""
        key = process.number, kind // self._kinds
        self._outstanding[key] = self._outstanding.get(key, 0) + 1

    def ended(self, process: ShardProcess, kind: int) -> None:
        """It has ended."""
        self._outstanding[process.number, kind // self._kinds] -= 1
