"""Of which kind the next request is, for all shards of a run together, where a closed loop sends several kinds.

What is sent when a stage ends by time is, of each shard, the first part of what it was given; and a shard whose requests
are of a kind with fast answers gets further. So whose turn it is must be settled when a request is sent, not when it is
handed to a shard: a lane that is free takes the next turn, and then the shard's next request of that kind. The turns are
bytes in a pipe, one for each request: reading one is atomic between processes, and needs nobody else.
"""

import fcntl
import os
from array import array
from collections import defaultdict, deque
from collections.abc import Iterable, Sequence
from contextlib import suppress
from termios import FIONREAD

from perfbench_runner.shard.messages import Assignment

_CAPACITY, _LEAST_CAPACITY = 2**18, 2**14
"""Bytes of a pipe: what is asked for where a system lets one, and what each has."""
_PAGE = 4096
"""So much of a pipe may be of no use, being half read."""


class Turns:
    """Make it before shards start, as `Places`."""

    ENDS = 2

    def __init__(self, *ends: int) -> None:
        """Those of another process, which handed these descriptors over; else new ones."""
        self.ends = ends or os.pipe()
        self._read_end, self._write_end = self.ends
        if not ends and hasattr(fcntl, "F_SETPIPE_SZ"):
            with suppress(OSError):  # the user's share of pipes is used up: it stays as it is
                fcntl.fcntl(self._write_end, fcntl.F_SETPIPE_SZ, _CAPACITY)
        for end in self.ends:
            os.set_blocking(end, False)

    def take(self) -> int | None:
        """The kind of the next request; None while nobody has said."""
        try:
            return os.read(self._read_end, 1)[0]
        except BlockingIOError:
            return None

    @property
    def most(self) -> int:
        """So many turns may wait."""
        size = fcntl.fcntl(self._write_end, fcntl.F_GETPIPE_SZ) if hasattr(fcntl, "F_GETPIPE_SZ") else _LEAST_CAPACITY
        return max(size - _PAGE, size // 2)

    @property
    def waiting(self) -> int:
        """How many were not taken yet."""
        found = array("i", [0])
        fcntl.ioctl(self._read_end, FIONREAD, found)
        return found[0]

    def add(self, kinds: Sequence[int]) -> int:
        """Tell of which kinds the requests after those are: how many there was room for."""
        try:
            return os.write(self._write_end, bytes(kinds))
        except BlockingIOError:
            return 0

    def clear(self) -> int:
        """Take back what nobody took, while no shard is at work: how many those are."""
        taken = 0
        with suppress(BlockingIOError):
            while True:
                taken += len(os.read(self._read_end, _CAPACITY))
        return taken

    def close(self) -> None:
        """Give the descriptors back to the system."""
        for end in self.ends:
            with suppress(OSError):
                os.close(end)


class InOrder:
    """A shard's requests that wait for a lane, each sent when its turn in the order of their coming is."""

    is_dry = False

    def __init__(self) -> None:
        self._queue: deque[Assignment] = deque()

    def __bool__(self) -> bool:
        """Whether one can be sent, as far as is known."""
        return bool(self._queue)

    def __len__(self) -> int:
        return len(self._queue)

    def add(self, assignments: Iterable[Assignment]) -> None:
        """More of them."""
        self._queue.extend(assignments)

    def take(self) -> Assignment | None:
        """The next one to send; None when there is none."""
        return self._queue.popleft() if self._queue else None

    def clear(self) -> list[Assignment]:
        """Send none of them: those that were left."""
        left = list(self._queue)
        self._queue.clear()
        return left


class ByTurn:
    """The same, where whoever sends takes the next turn of all shards, and the first of its own requests of that kind.

    A turn whose kind is not there, because the control process is late, is kept until it is, and nothing else sent here.
    """

    def __init__(self, turns: Turns) -> None:
        self._turns = turns
        self._turn: int | None = None
        """The one that was taken and is not served yet."""
        self._queues: defaultdict[int, deque[Assignment]] = defaultdict(deque)
        self._count = 0
        self.is_dry = False
        """Nobody has told whose turn it is; to be asked again."""

    def __bool__(self) -> bool:
        """Whether one can be sent, as far as is known."""
        if self._turn is not None:
            return bool(self._queues[self._turn])
        return self._count > 0 and not self.is_dry

    def __len__(self) -> int:
        return self._count

    def add(self, assignments: Iterable[Assignment]) -> None:
        """More of them."""
        for assignment in assignments:
            self._queues[assignment.kind].append(assignment)
            self._count += 1
        self.is_dry = False

    def take(self) -> Assignment | None:
        """The next one to send; None when there is none, or it is not known of which kind that is."""
        if self._turn is None:
            self._turn = self._turns.take()
            self.is_dry = self._turn is None
        if self._turn is None or not (queue := self._queues[self._turn]):
            return None
        self._turn = None
        self._count -= 1
        return queue.popleft()

    def clear(self) -> list[Assignment]:
        """Send none of them: those that were left."""
        left = [assignment for queue in self._queues.values() for assignment in queue]
        self._queues.clear()
        self._count = 0
        return left
