"""Closed loops side by side in one shard, one for each target: what `ClosedLoop` is for all requests."""

import asyncio
from collections.abc import Sequence

from perfbench_runner.shard.closed_loop import ClosedLoop
from perfbench_runner.shard.messages import Assignment, Unsent


class SideBySide:
    """This shard's lanes at each target. Belongs to the shard's loop."""

    def __init__(self, loops: Sequence[ClosedLoop], kinds: int) -> None:
        """`loops`: one for each target, with places of its own; each target has so many kinds of requests."""
        self._loops, self._kinds = loops, kinds

    def feed(self, assignments: Sequence[Assignment]) -> None:
        """Take requests to send."""
        for number, loop in enumerate(self._loops):
            if own := [each for each in assignments if each.kind // self._kinds == number]:
                loop.feed(own)

    def end_feed(self) -> None:
        """No more requests will come."""
        for loop in self._loops:
            loop.end_feed()

    def stop(self) -> list[Unsent]:
        """Send no more: the requests that were not sent."""
        return [unsent for loop in self._loops for unsent in loop.stop()]

    async def run(self, start_s: float) -> None:
        """Make the load; returns when the last request was started, or it was stopped."""
        await asyncio.gather(*(loop.run(start_s) for loop in self._loops))
