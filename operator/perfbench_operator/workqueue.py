"""A work queue of keys: a key waits in it at most once, and is never handed out twice at a time.

A key that is added while it is being worked on is handed out again afterwards. So any number of events causes no more work
than there is to do.
"""

import asyncio
from collections.abc import Callable, Hashable
from time import monotonic
from typing import Generic, TypeVar

K = TypeVar("K", bound=Hashable)


class WorkQueue(Generic[K]):
    """First in, first out. Belongs to one event loop. `on_wait` gets the time that each key waited, in seconds."""

    def __init__(
        self, on_wait: Callable[[float], None] = lambda _: None, clock: Callable[[], float] = monotonic
    ) -> None:
        self._on_wait, self._clock = on_wait, clock
        self._ready: asyncio.Queue[K] = asyncio.Queue()
        self._waiting: dict[K, float] = {}
        """Keys in `_ready`, and since when they have been waiting."""
        self._busy: set[K] = set()
        self._again: set[K] = set()
        """Busy keys that were added meanwhile."""
        self._timers: dict[K, asyncio.TimerHandle] = {}

    def __len__(self) -> int:
        """How many keys wait."""
        return len(self._waiting)

    @property
    def delayed(self) -> int:
        """How many keys are scheduled for later."""
        return len(self._timers)

    def add(self, key: K) -> None:
        """Queue a key now."""
        timer = self._timers.pop(key, None)
        if timer:
            timer.cancel()
        if key in self._busy:
            self._again.add(key)
        elif key not in self._waiting:
            self._waiting[key] = self._clock()
            self._ready.put_nowait(key)

    def add_after(self, key: K, delay_s: float) -> None:
        """Queue a key after a delay, or earlier if it is added before; the earlier of two delays counts."""
        loop = asyncio.get_running_loop()
        timer = self._timers.get(key)
        if timer and timer.when() <= loop.time() + delay_s:
            return
        if timer:
            timer.cancel()
        self._timers[key] = loop.call_later(delay_s, self.add, key)

    async def get(self) -> K:
        """The next key; call done(key) after working on it."""
        key = await self._ready.get()
        self._on_wait(self._clock() - self._waiting.pop(key))
        self._busy.add(key)
        return key

    def done(self, key: K) -> None:
        """Hand a key back."""
        self._busy.discard(key)
        if key in self._again:
            self._again.discard(key)
            self.add(key)

    def close(self) -> None:
        """Cancel all delays."""
        for timer in self._timers.values():
            timer.cancel()
        self._timers.clear()
