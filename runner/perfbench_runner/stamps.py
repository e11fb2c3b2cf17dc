"""When bytes reached this machine, by the kernel's own clock where it tells (Linux, SO_TIMESTAMPING on TCP).

A program that stamps what it reads adds its own delay to every stamp. The kernel stamps a segment when it arrives and
hands that time over with the bytes, however late they are read. Its stamps are of the wall clock (CLOCK_REALTIME);
`KernelClock` converts them to the monotonic clock of a run, and notices when the wall clock is set meanwhile.
"""

import contextlib
import os
import socket
import struct
import time
from collections.abc import Callable
from functools import cache
from typing import Literal

Stamps = Literal["kernel", "program"]
"""Who took the times of arrival: the kernel, or this program when it got round to reading."""

SO_TIMESTAMPING = 37  # <asm-generic/socket.h>; what came is SCM_TIMESTAMPING, the same number
_RX_SOFTWARE, _SOFTWARE = 1 << 3, 1 << 4  # <linux/net_tstamp.h>
MARK_BYTES = 48  # three timespecs of two 64-bit numbers; the first is the software stamp
ANCILLARY_BYTES = socket.CMSG_SPACE(MARK_BYTES) if hasattr(socket, "CMSG_SPACE") else 0
timespec = struct.Struct("qq").unpack_from
"""Seconds and nanoseconds of the software stamp in the data of a control message."""

NS = 1_000_000_000
TOLERANCE_NS = 5_000
"""The clocks are read a little apart from each other; a step of the wall clock smaller than this does no harm."""
EARLY_S = 1e-5
"""So much may a stamp seem to lie ahead of the program's clock: twice the tolerance."""
KEPT_OFFSETS = 4
"""How many steps of the wall clock are remembered, for what came before them and is read after them."""


def request_stamps(sock: socket.socket) -> None:
    """Have the kernel stamp what this socket receives. Raises OSError where it cannot."""
    sock.setsockopt(socket.SOL_SOCKET, SO_TIMESTAMPING, _RX_SOFTWARE | _SOFTWARE)


class KernelClock:
    """Converts the kernel's stamps to `time.perf_counter()`; belongs to one event loop.

    A stamp of s seconds and n nanoseconds is at `s - base_s + (n - base_ns) * 1e-9`. The wall clock and the monotonic
    clock are slewed alike, so their difference changes only when the wall clock is set. `check` finds that out, and is to
    be called several times a second; `place` finds it out at once when a stamp is not where it can be, or suspiciously old.
    """

    __slots__ = ("_monotonic_ns", "_offsets_ns", "_wall_ns", "base_ns", "base_s", "misplaced", "steps")

    def __init__(
        self, monotonic_ns: Callable[[], int] = time.perf_counter_ns, wall_ns: Callable[[], int] = time.time_ns
    ) -> None:
        self._monotonic_ns, self._wall_ns = monotonic_ns, wall_ns
        self.steps = 0
        """How often the wall clock was set."""
        self.misplaced = 0
        """Stamps that fitted neither before nor after a step; the program's clock stood in for them."""
        self._offsets_ns: list[int] = []
        """Wall minus monotonic; the last one is valid now, the others were before steps."""
        self._adopt(self._measure()[1])

    def _sample(self) -> tuple[int, int]:
        """How long it took to read both clocks, and wall minus monotonic; nanoseconds."""
        before_ns = self._monotonic_ns()
        wall_ns = self._wall_ns()
        after_ns = self._monotonic_ns()
        return after_ns - before_ns, wall_ns - (before_ns + after_ns) // 2

    def _measure(self) -> tuple[int, int]:
        """The best of several samples: one that was interrupted says little."""
        return min(self._sample() for _ in range(20))

    def _adopt(self, offset_ns: int) -> None:
        self._offsets_ns = [*self._offsets_ns[-KEPT_OFFSETS:], offset_ns]
        self.base_s, self.base_ns = divmod(offset_ns, NS)

    def check(self) -> None:
        """Find out whether the wall clock was set. Costs half a microsecond."""
        width_ns, offset_ns = self._sample()
        if abs(offset_ns - self._offsets_ns[-1]) <= width_ns + TOLERANCE_NS:
            return
        width_ns, offset_ns = self._measure()
        if abs(offset_ns - self._offsets_ns[-1]) > width_ns + TOLERANCE_NS:
            self.steps += 1
            self._adopt(offset_ns)

    def place(self, seconds: int, nanoseconds: int, floor_s: float, now_s: float) -> float:
        """The time of a stamp that must lie between two times: the connection's last event, and when it was read.

        It may have come before a step and have been read after it: of the possible times the latest is taken, since delays
        of reading are short and steps seldom are.
        """
        self.check()
        stamp_ns = seconds * NS + nanoseconds
        times = [(stamp_ns - offset_ns) / NS for offset_ns in self._offsets_ns]
        possible = [at_s for at_s in times if floor_s - EARLY_S <= at_s <= now_s + EARLY_S]
        if not possible:
            self.misplaced += 1
        return min(max(possible, default=now_s), now_s)


@cache
def available_stamps() -> Stamps:
    """Whose stamps can be had here, found by a trial on a loopback connection and never assumed. Takes a millisecond.

    The trial's socket stays open: the kernel stamps while there is a socket that asks for it, and takes a moment to begin.
    The environment variable PERFBENCH_STAMPS=program does without, to compare.
    """
    if os.environ.get("PERFBENCH_STAMPS") == "program":
        return "program"
    try:
        return "kernel" if _trial() else "program"
    except OSError:  # no such option (another system, an old kernel, a sandbox), or no loopback
        return "program"


_kept: list[socket.socket] = []
TRIALS = 50


def _trial() -> bool:
    """Whether the kernel's stamp of a byte lies between sending and reading it."""
    if not ANCILLARY_BYTES:
        return False
    with socket.create_server(("127.0.0.1", 0)) as listener:
        near = socket.create_connection(listener.getsockname(), timeout=1)
        far, _ = listener.accept()
    with far, contextlib.ExitStack() as failed:
        failed.callback(near.close)
        request_stamps(near)
        clock = KernelClock()
        for _ in range(TRIALS):
            before_s = time.perf_counter()
            far.send(b"x")
            _, ancillary, _, _ = near.recvmsg(1, ANCILLARY_BYTES)
            if ancillary:
                if len(ancillary[0][2]) != MARK_BYTES:
                    return False
                seconds, nanoseconds = timespec(ancillary[0][2])
                clock.place(seconds, nanoseconds, before_s, time.perf_counter())
                if clock.misplaced:
                    return False
                failed.pop_all()
                _kept.append(near)
                return True
            time.sleep(0.001)  # stamping begins within milliseconds of the first socket that asks for it
    return False
