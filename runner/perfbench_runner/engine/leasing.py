"""Requests of a stage that several runners share by lease: asked for shortly before the lanes need them."""

import asyncio
from collections.abc import Awaitable, Callable

from perfbench_runner.load.leases import Lease

MOST = 20_000
"""So many requests are asked for at once, at most: a runner that is lost takes no more than it has with it."""


class Leasing:
    """Asks for the requests of one stage, one lease at a time. Belongs to the control process's loop."""

    def __init__(
        self,
        lanes: int,
        ask: Callable[[int, int], Awaitable[Lease]],
        outstanding: Callable[[], int],
        take: Callable[[Lease], None],
    ) -> None:
        """`ask` gets how many are outstanding and how many are wanted at most; `take` gets what was leased."""
        self._lanes, self._ask, self._outstanding, self._take = lanes, ask, outstanding, take
        self._ahead, self._is_over = 0, False
        self._task: asyncio.Task[None] | None = None

    def look(self) -> None:
        """Ask if it is time to; raises what the last time has failed by: no more requests would come, and nobody know why."""
        if self._task is not None and self._task.done():
            self._task.result()
        if self._is_over or self._task is not None or self._outstanding() > self._lanes + self._ahead // 2:
            return
        self._task = asyncio.get_running_loop().create_task(self._lease())

    def close(self) -> None:
        """Ask no more."""
        self._is_over = True
        if self._task is not None:
            self._task.cancel()

    async def _lease(self) -> None:
        lease = await self._ask(self._outstanding(), MOST)
        self._task = None
        if self._is_over:
            return
        self._ahead, self._is_over = lease.ahead, lease.is_last
        self._take(lease)
