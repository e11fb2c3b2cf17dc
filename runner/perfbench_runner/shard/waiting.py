"""Waiting for a time within a stage, which may be stopped before."""

import asyncio
from collections.abc import Callable
from contextlib import suppress


async def comes(at_s: float, stopped: asyncio.Event, clock: Callable[[], float]) -> bool:
    """Wait for a time; false when the stage is stopped before."""
    # Again until it is time: a loop's timers count whole milliseconds and may be early.
    while not stopped.is_set() and (left_s := at_s - clock()) > 0:
        with suppress(TimeoutError):
            async with asyncio.timeout(left_s):
                await stopped.wait()
    return not stopped.is_set()
