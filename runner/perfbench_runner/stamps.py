"""When bytes reached this machine, by the kernel's own clock where it tells (Linux, SO_TIMESTAMPING on TCP).

A program that stamps what it reads adds its own delay to every stamp. The kernel stamps a segment when it arrives and
hands that time over with the bytes, however late they are read. Its stamps are of the wall clock (CLOCK_REALTIME);
`KernelClock` converts them to the monotonic clock of a run, and notices when the wall clock is set meanwhile.
"""

import atexit
import contextlib
import os
import socket
import struct
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from functools import cache
from typing import Literal, NamedTuple

Stamps = Literal["kernel", "program"]
"""Who took the times of arrival: the kernel, or this program when it got round to reading."""

SO_TIMESTAMPING = 37  # <asm-generic/socket.h>; what came is SCM_TIMESTAMPING, the same number
_RX_SOFTWARE, _SOFTWARE = 1 << 3, 1 << 4  # <linux/net_tstamp.h>
_MARK = struct.Struct("=qq32x")  # three timespecs of two 64-bit numbers; the first is the software stamp
MARK_BYTES = _MARK.size
ANCILLARY_BYTES = socket.CMSG_SPACE(MARK_BYTES) if hasattr(socket, "CMSG_SPACE") else 0
NS = 1_000_000_000
TOLERANCE_NS = 5_000
"""The clocks are read a little apart from each other; a step of the wall clock smaller than this does no harm."""
EARLY_S = 1e-5
"""So much may a stamp seem to lie ahead of the program's clock: twice the tolerance."""


def request_stamps(sock: socket.socket) -> None:
    """Have the kernel stamp what this socket receives. Raises OSError where it cannot."""
    sock.setsockopt(socket.SOL_SOCKET, SO_TIMESTAMPING, _RX_SOFTWARE | _SOFTWARE)


class _Starts(dict[int, float]):
    """When a second of the wall clock began, by the monotonic clock; worked out once for each second."""

    def __init__(self, offset_ns: int) -> None:
        self._offset_ns = offset_ns

    def __missing__(self, seconds: int) -> float:
        self[seconds] = start = (seconds * NS - self._offset_ns) / NS
        return start


class KernelClock:
    """Converts the kernel's stamps to `time.perf_counter()`; belongs to one event loop.

    The wall clock and the monotonic clock are slewed alike, so their difference changes only when the wall clock is set.
    `check` notices that, and is to be called several times a second.
    """

    __slots__ = ("_monotonic_ns", "_offset_ns", "_past", "_wall_ns", "misplaced", "steps")

    def __init__(
        self, monotonic_ns: Callable[[], int] = time.perf_counter_ns, wall_ns: Callable[[], int] = time.time_ns
    ) -> None:
        self._monotonic_ns, self._wall_ns = monotonic_ns, wall_ns
        self._offset_ns = self._measure()[1]
        """Wall minus monotonic, now."""
        self._past: list[tuple[int, int]] = []
        """What it was before steps, and when it was found to be so no longer."""
        self.steps = 0
        """How often the wall clock was set."""
        self.misplaced = 0
        """Stamps that cannot be true; the time of reading stood in for them."""

    def _sample(self) -> tuple[int, int]:
        """How long it took to read both clocks, and wall minus monotonic; nanoseconds."""
        before_ns = self._monotonic_ns()
        wall_ns = self._wall_ns()
        after_ns = self._monotonic_ns()
        return after_ns - before_ns, wall_ns - (before_ns + after_ns) // 2

    def _measure(self) -> tuple[int, int]:
        """The best of several samples: one that was interrupted says little."""
        return min(self._sample() for _ in range(20))

    def check(self) -> None:
        """Find out whether the wall clock was set. Costs a microsecond."""
        width_ns, offset_ns = self._sample()
        if abs(offset_ns - self._offset_ns) <= width_ns + TOLERANCE_NS:
            return
        width_ns, offset_ns = self._measure()
        if abs(offset_ns - self._offset_ns) > width_ns + TOLERANCE_NS:
            self.steps += 1
            self._past.append((self._offset_ns, self._monotonic_ns()))
            self._offset_ns = offset_ns

    def mark(self, at_s: float) -> bytes:
        """A stamp as the kernel would have given it then, in place of one that is missing."""
        return _MARK.pack(*divmod(int(at_s * NS) + self._offset_ns, NS))

    def times(self, marks: bytes | bytearray, read_s: Sequence[float], floor_s: float) -> list[float]:
        """The times of successive stamps of one connection: the data of their control messages, joined, and when each was read.

        None can be before `floor_s`, nor after it was read.
        """
        self.check()
        starts = _Starts(self._offset_ns)
        times = [starts[seconds] + nanoseconds * 1e-9 for seconds, nanoseconds in _MARK.iter_unpack(marks)]
        past = [offset_ns for offset_ns, noticed_ns in self._past if noticed_ns >= floor_s * NS]
        if not past and floor_s - EARLY_S <= min(times) and max(times) <= read_s[-1] + EARLY_S:
            return times
        steps_s = [0.0, *((self._offset_ns - offset_ns) / NS for offset_ns in past)]
        each = zip(times, read_s, strict=True)
        return [self._placed([at_s + step_s for step_s in steps_s], now_s, floor_s) for at_s, now_s in each]

    def _placed(self, times: list[float], read_s: float, floor_s: float) -> float:
        """Which of the times it is that a stamp stands for, before and after steps of the wall clock.

        The latest that is possible: what is read was seldom long there, and steps are seldom small.
        """
        possible = [at_s for at_s in times if floor_s - EARLY_S <= at_s <= read_s + EARLY_S]
        if not possible:
            self.misplaced += 1
        return max(possible, default=read_s)


class Trial(NamedTuple):
    """What a trial has found."""

    stamps: Stamps
    reason: str = ""
    """Why not the kernel's."""


def wrong_wish(env: Mapping[str, str]) -> str:
    """What is wrong with the environment's PERFBENCH_STAMPS; empty if nothing is. Only to do without can be asked for."""
    wish = env.get("PERFBENCH_STAMPS", "")
    if wish in ("", "program"):
        return ""
    return (
        f"PERFBENCH_STAMPS: there is no {wish!r}; `program` does without the kernel's stamps,"
        " and unset they are used where they can be had"
    )


def available_stamps() -> Stamps:
    """Whose stamps can be had here."""
    return trial().stamps


@cache
def trial() -> Trial:
    """Whose stamps can be had here, found by a trial on a loopback connection and never assumed. Takes a millisecond.

    The trial's socket stays open: the kernel stamps while there is a socket that asks for it, and takes a moment to begin.
    The environment variable PERFBENCH_STAMPS=program does without, to compare.
    """
    if os.environ.get("PERFBENCH_STAMPS") == "program":
        return Trial("program", "PERFBENCH_STAMPS=program asks for it")
    if not ANCILLARY_BYTES or sys.platform != "linux":
        return Trial("program", f"{sys.platform} has no SO_TIMESTAMPING")
    try:
        refusal = _try()
    except OSError as error:  # an old kernel or a sandbox that has no such option, or no loopback
        return Trial("program", f"SO_TIMESTAMPING cannot be had: {error.strerror or error}")
    return Trial("program", refusal) if refusal else Trial("kernel")


TRIALS = 50


def _try() -> str:
    """Why the kernel's stamp of a byte does not lie between sending and reading it; empty if it does."""
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
                mark = ancillary[0][2]
                if len(mark) != MARK_BYTES:
                    return f"the kernel's stamps have {len(mark)} bytes, not {MARK_BYTES}"
                clock.times(mark, [time.perf_counter()], before_s)
                if clock.misplaced:
                    return "the kernel's stamps do not lie between sending and reading"
                failed.pop_all()
                atexit.register(near.close)  # open until then
                return ""
            time.sleep(0.001)  # stamping begins within milliseconds of the first socket that asks for it
    return "the kernel took SO_TIMESTAMPING, and gave no stamps"
