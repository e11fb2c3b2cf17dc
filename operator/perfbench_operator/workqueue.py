"""A queue of keys to look at: a key that waits is there once, and is never worked on twice at a time.

What came meanwhile is looked at again afterwards. So any number of events makes no more work than there is to do.
"""

import asyncio
from collections.abc import Callable, Hashable
from time import monotonic
from typing import Generic, TypeVar

K = TypeVar("K", bound=Hashable)


class WorkQueue(Generic[K]):
    """First in, first out; for one event loop. `waited` is told how long each key was there, in seconds."""

    def __init__(
        self, waited: Callable[[float], None] = lambda _: None, clock: Callable[[], float] = monotonic
    ) -> None:
        self._waited, self._clock = waited, clock
        self._ready: asyncio.Queue[K] = asyncio.Queue()
        self._waiting: dict[K, float] = {}
        """Since when."""
        self._busy: set[K] = set()
        self._again: set[K] = set()
        self._timers: dict[K, asyncio.TimerHandle] = {}

    def __len__(self) -> int:
        """How many keys wait."""
        return len(self._waiting)

    @property
    def delayed(self) -> int:
        """How many keys are to be looked at later."""
        return len(self._timers)

    def add(self, key: K) -> None:
        """Have a key looked at soon."""
        timer = self._timers.pop(key, None)
        if timer:
            timer.cancel()
        if key in self._busy:
            self._again.add(key)
        elif key not in self._waiting:
            self._waiting[key] = self._clock()
            self._ready.put_nowait(key)

    def add_after(self, key: K, delay_s: float) -> None:
        """Have a key looked at after a delay, or earlier if it is added before; the earlier of two delays holds."""
        loop = asyncio.get_running_loop()
        timer = self._timers.get(key)
        if timer and timer.when() <= loop.time() + delay_s:
            return
        if timer:
            timer.cancel()
        self._timers[key] = loop.call_later(delay_s, self.add, key)

    async def get(self) -> K:
        """The next key; call done(key) when it has been looked at."""
        key = await self._ready.get()
        self._waited(self._clock() - self._waiting.pop(key))
        self._busy.add(key)
        return key

    def done(self, key: K) -> None:
        """Give a key back."""
        self._busy.discard(key)
        if key in self._again:
            self._again.discard(key)
            self.add(key)

    def close(self) -> None:
        """Forget the delays."""
        for timer in self._timers.values():
            timer.cancel()
        self._timers.clear()
