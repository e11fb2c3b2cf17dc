"""Bytes of a TCP connection in and out, with the times of their arrival: what the transport and the mock stand on.

Not an asyncio transport: those read the bytes and lose the kernel's stamps. The socket is read as soon as the loop says
that it is readable, and written to at once, since a transport may keep bytes until the end of the loop's turn.
"""

import asyncio
import socket
import sys
import threading
from array import array
from collections.abc import Callable
from operator import sub
from time import perf_counter

from perfbench_runner.stamps import ANCILLARY_BYTES, KernelClock

READ_BYTES = 2**16

OnEnd = Callable[[Exception | None], object]
"""Told once that nothing more will come: None if the peer has closed, else why."""


def ignore(*_: object) -> None:
    """Nobody listens."""


_buffers = threading.local()


def buffer_of_thread() -> tuple[list[memoryview], memoryview]:
    """The buffer that all wires of a thread read into, as recvmsg_into and as slices want it.

    A buffer for each read would be 64 KiB that are allocated, shrunk and given back for a token of 200 bytes.
    """
    if not hasattr(_buffers, "view"):
        _buffers.view = memoryview(bytearray(READ_BYTES))
    return [_buffers.view], _buffers.view


class Wire:
    """A connected, non-blocking TCP socket in an event loop; owns the socket. `clock` is None where the kernel gives no stamps.

    What it calls are attributes, so that a C function can be called without a frame of ours around it, and all are
    called from the loop, never from within `send`; after `close` none is. For each read: `on_data`, `on_read`. Stamps are
    kept as they come, 56 bytes each, and not understood while others wait to be read: `times` does that for many.
    """

    __slots__ = (
        "_clock", "_fd", "_into", "_loop", "_marks", "_read_s", "_receive", "_unsent", "_view", "_write_error", "begun_s",
        "delay_s", "last_s", "look_at", "on_data", "on_end", "on_error", "on_look", "on_read", "on_sent", "reads", "sent_bytes",
        "sock", "unstamped",
    )  # fmt: skip

    def __init__(self, loop: asyncio.AbstractEventLoop, sock: socket.socket, clock: KernelClock | None) -> None:
        self._loop, self.sock, self._clock = loop, sock, clock
        self._fd = sock.fileno()
        self._receive = sock.recvmsg_into
        self._into, self._view = buffer_of_thread()
        self._unsent = bytearray()
        self._write_error: OSError | None = None
        self.on_data: Callable[[memoryview], object] = ignore
        """Takes what one read returned; it is overwritten by the next read of any wire."""
        self.on_read: Callable[[None], object] = ignore
        """Called with None after `on_data` has taken what a read returned: whoever keeps a list can mark the read in it."""
        self.on_error: Callable[[Exception, bytes], object] = ignore
        """Takes what `on_data` raised, and what it had been given."""
        self.on_look: Callable[[], object] = ignore
        """Called after read number `look_at` and all that follow: for what need not be done after each."""
        self.on_end: OnEnd = ignore
        self.on_sent: Callable[[float], object] = ignore
        """Called when what `send` could not hand over at once is handed over, with the time just before the last call."""
        self.look_at = sys.maxsize
        self.last_s = self.begun_s = perf_counter()
        """When something was last read; whoever sends sets it, too."""
        self._read_s = array("d")
        """When the reads since `forget` were: their times where the kernel gives no stamps, else what bounds these."""
        self._marks = bytearray()
        """The stamps of those reads."""
        self.reads = 0
        """Reads that returned bytes."""
        self.unstamped = 0
        """Reads that had no stamp of the kernel's, so that the time is the program's."""
        self.delay_s = 0.0
        """How long after its arrival the latest read of those was that `times` told last; 0.0 without stamps of the kernel's."""
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
        receive = self._receive
        try:
            count, ancillary, _, _ = receive(self._into, ANCILLARY_BYTES)
        except (BlockingIOError, InterruptedError):
            return
        except OSError as error:
            self._end(error)
            return
        if not count:
            self._end(None)
            return
        self.last_s = now_s = perf_counter()
        self._read_s.append(now_s)
        self.reads = reads = self.reads + 1
        marks = self._marks
        marks += ancillary[0][2] if ancillary else self._missing(now_s)
        data = self._view[:count]
        try:
            on_data = self.on_data
            on_data(data)
        except Exception as error:  # noqa: BLE001  # a parser's refusal, or a bug: `on_error` tells them apart
            self.on_error(error, bytes(data))
        on_read = self.on_read
        on_read(None)
        if reads >= self.look_at:
            self.on_look()

    def _readable_unstamped(self) -> None:
        try:
            count = self.sock.recv_into(self._view)
        except (BlockingIOError, InterruptedError):
            return
        except OSError as error:
            self._end(error)
            return
        if not count:
            self._end(None)
            return
        self.last_s = now_s = perf_counter()
        self._read_s.append(now_s)
        self.reads = reads = self.reads + 1
        data = self._view[:count]
        try:
            on_data = self.on_data
            on_data(data)
        except Exception as error:  # noqa: BLE001  # as above
            self.on_error(error, bytes(data))
        on_read = self.on_read
        on_read(None)
        if reads >= self.look_at:
            self.on_look()

    def _missing(self, now_s: float) -> bytes:
        """What stands for a stamp that did not come with the bytes."""
        self.unstamped += 1
        return b"" if self._clock is None else self._clock.mark(now_s)

    @property
    def is_stamped(self) -> bool:
        """Whether the kernel stamps what comes, but for `unstamped` reads."""
        return self._clock is not None

    def times(self, floor_s: float) -> list[float]:
        """When the last byte of each read since `forget` arrived, none before `floor_s`, by time.perf_counter(); once."""
        self.delay_s = 0.0
        if self._clock is None or not self._read_s:
            times = self._read_s.tolist()
        else:
            misplaced = self._clock.misplaced
            times = self._clock.times(self._marks, self._read_s, floor_s)
            self.delay_s = max(map(sub, self._read_s, times))
            self.unstamped += self._clock.misplaced - misplaced
        self.forget()
        return times

    def forget(self) -> None:
        """Nobody will ask for the times of what was read until now."""
        del self._read_s[:]
        self._marks.clear()

    def _end(self, error: Exception | None) -> None:
        if self._fd >= 0:
            self._loop.remove_reader(self._fd)
            on_end, self.on_end = self.on_end, ignore
            on_end(error or self._write_error)

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
        self.on_data = self.on_read = self.on_error = self.on_end = self.on_look = self.on_sent = ignore
        self._unsent.clear()
        self.sock.close()
