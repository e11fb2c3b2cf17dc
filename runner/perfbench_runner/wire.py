"""Bytes of a TCP connection in and out, with the times of their arrival: what the transport and the mock stand on.

Not an asyncio transport: those read the bytes and lose the kernel's stamps. The socket is read as soon as the loop says
that it is readable, and written to at once, since a transport may keep bytes until the end of the loop's turn.
"""

import asyncio
import socket
import sys
from collections.abc import Callable
from time import perf_counter

from perfbench_runner.stamps import ANCILLARY_BYTES, EARLY_S, KernelClock, timespec

READ_BYTES = 2**16
LATE_S = 0.001
"""A stamp that lies further back is looked at closely: the wall clock may have been set."""
_LATEST_S = -EARLY_S

OnEnd = Callable[[Exception | None], object]
"""Told once that nothing more will come: None if the peer has closed, else why."""


def ignore(*_: object) -> None:
    """Nobody listens."""


class Wire:
    """A connected, non-blocking TCP socket in an event loop; owns the socket. `clock` is None where the kernel gives no stamps.

    What it calls are attributes, so that a C function can be called without a frame of ours around it, and all are
    called from the loop, never from within `send`; after `close` none is. For each read: `on_data`, `on_stamp`.
    """

    __slots__ = (
        "_clock", "_fd", "_loop", "_receive", "_unsent", "_write_error", "allowance", "last_s", "on_data", "on_end",
        "on_error", "on_excess", "on_sent", "on_stamp", "reads", "sent_bytes", "sock", "unstamped",
    )  # fmt: skip

    def __init__(self, loop: asyncio.AbstractEventLoop, sock: socket.socket, clock: KernelClock | None) -> None:
        self._loop, self.sock, self._clock = loop, sock, clock
        self._fd = sock.fileno()
        self._receive = sock.recvmsg
        self._unsent = bytearray()
        self._write_error: OSError | None = None
        self.on_data: Callable[[bytes], object] = ignore
        """Takes what one read returned."""
        self.on_stamp: Callable[[float], object] = ignore
        """Takes when the last byte of that read arrived, by time.perf_counter()."""
        self.on_error: Callable[[Exception, bytes], object] = ignore
        """Takes what `on_data` raised, and what it had been given."""
        self.on_excess: Callable[[], object] = ignore
        """Called after a read that went beyond `allowance`."""
        self.on_end: OnEnd = ignore
        self.on_sent: Callable[[float], object] = ignore
        """Called when what `send` could not hand over at once is handed over, with the time just before the last call."""
        self.allowance = sys.maxsize
        """How many bytes may still come."""
        self.last_s = perf_counter()
        """When the last byte arrived, also while `on_data` runs; whoever sends sets it, too."""
        self.reads = 0
        """Reads that returned bytes."""
        self.unstamped = 0
        """Reads that had no stamp of the kernel's, so that the time is the program's."""
        self.sent_bytes = 0
        """Bytes that the kernel has taken."""

    def start(self) -> None:
        """Begin to read, or to read again."""
        if self._fd >= 0:
            self._loop.add_reader(self._fd, self._readable if self._clock is not None else self._readable_unstamped)

    def pause(self) -> None:
        """Read nothing for now: the peer's bytes stay with the kernel."""
        if self._fd >= 0:
            self._loop.remove_reader(self._fd)

    # In. This runs for every token: attributes are called through locals, which costs half of calling them as methods.

    def _readable(self) -> None:
        receive, clock = self._receive, self._clock
        try:
            data, ancillary, _, _ = receive(READ_BYTES, ANCILLARY_BYTES)
        except (BlockingIOError, InterruptedError):
            return
        except OSError as error:
            self._end(error)
            return
        now_s = perf_counter()
        if ancillary and clock is not None:
            seconds, nanoseconds = timespec(ancillary[0][2])
            at_s: float = seconds - clock.base_s + (nanoseconds - clock.base_ns) * 1e-9
            if not _LATEST_S <= now_s - at_s < LATE_S:
                at_s = clock.place(seconds, nanoseconds, self.last_s, now_s)
        else:
            self.unstamped += 1
            at_s = now_s
        if not data:
            self._end(None)
            return
        self.last_s = at_s
        self.reads += 1
        try:
            on_data = self.on_data
            on_data(data)
        except Exception as error:  # noqa: BLE001  # a parser's refusal, or a bug: `on_error` tells them apart
            self.on_error(error, data)
        on_stamp = self.on_stamp
        on_stamp(at_s)
        self.allowance = left = self.allowance - len(data)
        if left < 0:
            self.on_excess()

    def _readable_unstamped(self) -> None:
        try:
            data = self.sock.recv(READ_BYTES)
        except (BlockingIOError, InterruptedError):
            return
        except OSError as error:
            self._end(error)
            return
        self.unstamped += 1
        self._take(data, perf_counter())

    def _take(self, data: bytes, at_s: float) -> None:
        if not data:
            self._end(None)
            return
        self.last_s = at_s
        self.reads += 1
        try:
            on_data = self.on_data
            on_data(data)
        except Exception as error:  # noqa: BLE001  # a parser's refusal, or a bug: `on_error` tells them apart
            self.on_error(error, data)
        on_stamp = self.on_stamp
        on_stamp(at_s)
        self.allowance = left = self.allowance - len(data)
        if left < 0:
            self.on_excess()

    def _end(self, error: Exception | None) -> None:
        if self._fd >= 0:
            self._loop.remove_reader(self._fd)
            on_end, self.on_end = self.on_end, ignore
            on_end(error or self._write_error)

    # Out.

    def send(self, data: bytes) -> float:
        """Hand bytes to the kernel, now as far as it takes them. Returns the time just before it got the first.

        Before and not after the call: the kernel's own transmit stamp lies 11 us after the one at the median, and the other
        is late by milliseconds when the call wakes somebody who then gets our core (bench/send_time.py).
        An error is told by `on_end`, in its turn: an answer that came before it can still be read.
        """
        begin_s = perf_counter()
        if self._unsent or self._fd < 0:
            self._unsent += data
            return begin_s
        try:
            count = self.sock.send(data)
        except (BlockingIOError, InterruptedError):
            count = 0
        except OSError as error:
            self._fail_to_write(error)
            return begin_s
        self.sent_bytes += count
        if count < len(data):
            self._unsent += memoryview(data)[count:]
            self._loop.add_writer(self._fd, self._writable)
        return begin_s

    @property
    def has_unsent(self) -> bool:
        """Whether the kernel has not taken everything yet."""
        return bool(self._unsent)

    def _writable(self) -> None:
        begin_s = perf_counter()
        try:
            count = self.sock.send(self._unsent)
        except (BlockingIOError, InterruptedError):
            return
        except OSError as error:
            self._loop.remove_writer(self._fd)
            self._fail_to_write(error)
            return
        self.sent_bytes += count
        del self._unsent[:count]
        if not self._unsent:
            self._loop.remove_writer(self._fd)
            self.on_sent(begin_s)

    def _fail_to_write(self, error: OSError) -> None:
        self._write_error = error
        self._loop.call_soon(self._drain)

    def _drain(self) -> None:
        """Read what came before a failure to write, and end with it."""
        read = self._readable if self._clock is not None else self._readable_unstamped
        reads = -1
        while self.on_end is not ignore and reads != self.reads:
            reads = self.reads
            read()
        self._end(self._write_error)

    def close(self) -> None:
        """Close at once. Can be called twice."""
        if self._fd < 0:
            return
        fd, self._fd = self._fd, -1
        self._loop.remove_reader(fd)
        self._loop.remove_writer(fd)
        self.on_data = self.on_stamp = self.on_error = self.on_end = self.on_excess = self.on_sent = ignore
        self._unsent.clear()
        self.sock.close()
