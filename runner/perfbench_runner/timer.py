"""One precise wake-up for an event loop: the engine's pacer and the mock's scheduler both sleep on it.

An event loop's own timers are too coarse for pacing: uvloop counts whole milliseconds and epoll_wait may be late by
another. On Linux a timerfd set to an absolute CLOCK_MONOTONIC time, which is what time.monotonic() reads, makes the
loop's poll return within microseconds. Elsewhere the loop's timers serve. One timer is enough for any number of
deadlines: keep them in a heap and arm the earliest.
"""

import asyncio
import ctypes
import os
import sys
import time
from collections.abc import Callable
from typing import Any

_CLOCK_MONOTONIC = 1
_TFD_TIMER_ABSTIME = 1


class _Timespec(ctypes.Structure):
    _fields_ = (("seconds", ctypes.c_long), ("nanoseconds", ctypes.c_long))


class _Itimerspec(ctypes.Structure):
    _fields_ = (("interval", _Timespec), ("value", _Timespec))


class DeadlineTimer:
    """Calls `callback` once, at or (a little) after the time it was last armed for, never before it.

    Arming again moves the deadline; a deadline in the past fires in the loop's next turn. The callback may arm again.
    Belongs to the loop's thread.
    """

    def __init__(
        self, loop: asyncio.AbstractEventLoop, callback: Callable[[], object], *, precise: bool = True
    ) -> None:
        """`precise=False` uses the loop's own timers even where a timerfd can be had."""
        timerfd = _Timerfd.create(loop, callback) if precise and sys.platform == "linux" else None
        self._backend: _Timerfd | _LoopTimer = timerfd or _LoopTimer(loop, callback)

    def arm(self, at_monotonic_s: float) -> None:
        """Fire at this time.monotonic() instead of any earlier given one."""
        self._backend.arm(at_monotonic_s)

    def disarm(self) -> None:
        """Do not fire until armed again."""
        self._backend.disarm()

    def close(self) -> None:
        """Never fire again. Can be called twice."""
        self._backend.close()


class _Timerfd:
    """Never read from: settime puts the count of expirations back to zero, which is all that a read would do."""

    def __init__(self, loop: asyncio.AbstractEventLoop, callback: Callable[[], object], fd: int, settime: Any) -> None:
        self._loop, self._callback = loop, callback
        self._fd, self._settime = fd, settime
        self._spec = _Itimerspec()
        self._value = self._spec.value  # a view into spec
        self._pointer = ctypes.addressof(self._spec)
        self._armed = False
        loop.add_reader(fd, self._fire)

    @classmethod
    def create(cls, loop: asyncio.AbstractEventLoop, callback: Callable[[], object]) -> "_Timerfd | None":
        """None where the C library or the kernel (a sandbox) has none."""
        try:
            library = ctypes.CDLL(None, use_errno=True)
            settime = library.timerfd_settime
            fd = library.timerfd_create(_CLOCK_MONOTONIC, os.O_NONBLOCK | os.O_CLOEXEC)
        except (OSError, AttributeError):
            return None
        if fd < 0:
            return None
        settime.argtypes = (ctypes.c_int, ctypes.c_int, ctypes.c_void_p, ctypes.c_void_p)
        return cls(loop, callback, fd, settime)

    def arm(self, at_monotonic_s: float) -> None:
        # One ns later than asked, so that rounding never makes it early; and zero would disarm.
        self._set(max(int(at_monotonic_s * 1e9), 0) + 1)
        self._armed = True

    def disarm(self) -> None:
        self._set(0)
        self._armed = False

    def close(self) -> None:
        if self._fd >= 0:
            self._loop.remove_reader(self._fd)
            os.close(self._fd)
            self._fd = -1

    def _set(self, at_ns: int) -> None:
        self._value.seconds, self._value.nanoseconds = divmod(at_ns, 1_000_000_000)
        if self._fd >= 0 and self._settime(self._fd, _TFD_TIMER_ABSTIME, self._pointer, None) != 0:
            number = ctypes.get_errno()
            raise OSError(number, f"timerfd_settime: {os.strerror(number)}")

    def _fire(self) -> None:
        self._armed = False
        try:
            self._callback()
        finally:
            if not self._armed and self._fd >= 0:
                self._set(0)  # else it stays readable and the loop spins


class _LoopTimer:
    """The loop's own call_later. Not call_at: a loop's clock need not be time.monotonic()."""

    def __init__(self, loop: asyncio.AbstractEventLoop, callback: Callable[[], object]) -> None:
        self._loop, self._callback = loop, callback
        self._handle: asyncio.TimerHandle | None = None
        self._closed = False

    def arm(self, at_monotonic_s: float) -> None:
        self.disarm()
        if not self._closed:
            delay_s = max(at_monotonic_s - time.monotonic(), 0.0)
            self._handle = self._loop.call_later(delay_s, self._fire, at_monotonic_s)

    def disarm(self) -> None:
        if self._handle is not None:
            self._handle.cancel()
            self._handle = None

    def close(self) -> None:
        self.disarm()
        self._closed = True

    def _fire(self, at_monotonic_s: float) -> None:
        self._handle = None
        if time.monotonic() < at_monotonic_s:
            self.arm(at_monotonic_s)  # loops round to their clock's resolution and may be early
        else:
            self._callback()
