"""How many requests may be under way at once, for all shards of a run together.

A pool of places that the shards share: who wants to send takes one, who is done gives it back, and whoever waits for one
is woken. So a limit is a limit however many shards there are, and the last requests of a stage are never stuck behind a
busy shard while another has nothing to do. On Linux the pool is one eventfd, elsewhere a pipe with a byte for each
place: both are atomic between processes and wake an event loop, and neither needs the control process.
With the places come the turns (`turns`) of those who take them, where there are several kinds of requests.
"""

import mmap
import os
import struct
import tempfile
from collections.abc import Sequence
from contextlib import suppress

from perfbench_runner.shard.turns import Turns

_SLOT = struct.Struct("<d")
_PIPE_PLACES = 16_384
"""A pipe holds at least so many bytes on every system."""


class Places:
    """Make it before shards start: those that are forked inherit it, others get its `descriptors`.

    Counts are only set while no shard is at work.
    """

    def __init__(self, descriptors: Sequence[int] = (), sides: int = 1) -> None:
        """Those of another process, which handed these descriptors over; else new ones, for so many sides."""
        pool = _EventPool if hasattr(os, "eventfd") else _PipePool
        count = 1 + Turns.ENDS + pool.ENDS
        own, others = descriptors[:count], descriptors[count:]
        page, *ends = own or (_page(),)
        self.turns = Turns(*ends[: Turns.ENDS])
        self._pool: _EventPool | _PipePool = pool(*ends[Turns.ENDS :])
        self._page, self._freed = page, mmap.mmap(page, mmap.PAGESIZE)
        if others or sides > 1:
            self._others = Places(others, sides - 1)

    _others: "Places | None" = None
    """Those of the other sides, where each target of a closed loop has lanes of its own."""

    @property
    def all(self) -> list["Places"]:
        """Those of each side."""
        return [self, *(self._others.all if self._others else ())]

    @property
    def descriptors(self) -> list[int]:
        """What another process needs to share it."""
        others = self._others.descriptors if self._others else ()
        return [self._page, *self.turns.ends, *self._pool.ends, *others]

    @property
    def descriptor(self) -> int:
        """Readable while there is a free place."""
        return self._pool.read_end

    def reset(self, free: int) -> None:
        """Have exactly so many free places; raises ValueError for more than this system can share."""
        while self._pool.take():
            pass
        self._pool.give(free)

    def take(self) -> bool:
        """Take a place if there is one; never blocks."""
        return self._pool.take()

    def give_back(self, at_s: float) -> None:
        """Free a place, at this time of the run's clock."""
        _SLOT.pack_into(self._freed, 0, at_s)
        self._pool.give(1)

    @property
    def freed_s(self) -> float:
        """When a place was last given back, on the run's clock; 0.0 for never."""
        (at_s,) = _SLOT.unpack_from(self._freed, 0)
        return float(at_s)

    def close(self) -> None:
        """Give the descriptors back to the system."""
        if self._others:
            self._others.close()
        self._pool.close()
        self.turns.close()
        self._freed.close()
        with suppress(OSError):
            os.close(self._page)


def _page() -> int:
    """A page of memory that processes share, as a descriptor."""
    if hasattr(os, "memfd_create"):
        descriptor = os.memfd_create("perfbench-places")
    else:
        with tempfile.TemporaryFile() as file:
            descriptor = os.dup(file.fileno())
    os.ftruncate(descriptor, mmap.PAGESIZE)
    return descriptor


class _EventPool:
    """An eventfd as a counting semaphore."""

    ENDS = 1

    def __init__(self, *ends: int) -> None:
        self.ends = ends or (os.eventfd(0, os.EFD_NONBLOCK | os.EFD_CLOEXEC | os.EFD_SEMAPHORE),)
        (self.read_end,) = self.ends

    def take(self) -> bool:
        try:
            os.eventfd_read(self.read_end)
        except BlockingIOError:
            return False
        return True

    def give(self, count: int) -> None:
        if count:
            os.eventfd_write(self.read_end, count)

    def close(self) -> None:
        with suppress(OSError):
            os.close(self.read_end)


class _PipePool:
    """A pipe that holds one byte for each free place."""

    ENDS = 2

    def __init__(self, *ends: int) -> None:
        self.ends = ends or os.pipe()
        self.read_end, self._write_end = self.ends
        for end in self.ends:
            os.set_blocking(end, False)

    def take(self) -> bool:
        try:
            return bool(os.read(self.read_end, 1))
        except BlockingIOError:
            return False

    def give(self, count: int) -> None:
        if count > _PIPE_PLACES:
            raise ValueError(f"no more than {_PIPE_PLACES} requests at a time can be shared on this system")
        os.write(self._write_end, b"." * count)

    def close(self) -> None:
        for end in self.ends:
            with suppress(OSError):
                os.close(end)
