"""Results on their way to the control process: in frames of bounded size, as fast as it takes them.

What waits here is raw: a frame is pickled only when the one before it is on its way, so that neither a burst of long
answers nor a slow disk holds up the measuring loop, or doubles its memory.
"""

import asyncio
import pickle
from collections import deque
from dataclasses import fields
from typing import Any

from perfbench_plugins.benchmark_data import BenchmarkData
from perfbench_plugins.exchange import Exchange
from perfbench_runner.event_loop import Soon
from perfbench_runner.shard.ipc import Channel
from perfbench_runner.shard.messages import Measurement

FRAME_BYTES = 256 * 2**10
"""A frame holds at most so much, or one answer that is longer."""
BATCH_S = 0.05
"""So long a measurement waits for others: fewer system calls and wake-ups on the measuring loop."""
FULL_BYTES = 64 * 2**20
"""With more than this waiting no further requests are sent: memory stays bounded when the disk does not keep up."""


class Outbox:
    """The measurements of one shard that were not handed over yet. Belongs to the shard's loop."""

    def __init__(self, channel: Channel) -> None:
        self._channel = channel
        self._waiting: deque[tuple[Measurement, int]] = deque()
        self._bytes = 0
        self._flush_soon = Soon(self.flush)
        self._flush_later = Soon(self.flush, BATCH_S)
        self._empty = asyncio.Event()
        channel.on_writable = self.flush

    @property
    def backlog_bytes(self) -> int:
        """What the control process has not taken yet."""
        return self._bytes + self._channel.unwritten_bytes

    @property
    def is_full(self) -> bool:
        """Whether no further requests should be sent for now."""
        return self.backlog_bytes > FULL_BYTES

    def add(self, measurement: Measurement) -> None:
        """Hand over a measurement with the next frame."""
        size = size_of(measurement)
        self._waiting.append((measurement, size))
        self._bytes += size
        self._flush_later()

    def flush(self) -> None:
        """Send a frame now, and the rest in the loop's next turns."""
        if self._channel.is_closed:  # nobody will take it any more
            self._waiting.clear()
            self._bytes = 0
        if self._waiting and not self._channel.is_blocked:
            frame = self._frame()
            try:
                self._channel.send(("results", frame))
            except Exception:  # noqa: BLE001  # a plugin may leave anything in its result
                self._channel.send(("results", list(map(portable, frame))))
        if not self._waiting:
            self._empty.set()
        elif not self._channel.is_blocked:
            self._flush_soon()

    async def drain(self) -> None:
        """Wait until everything was handed over; returns at once when nobody takes it any more."""
        self._empty.clear()
        self.flush()
        while self._waiting:
            await self._empty.wait()
            self._empty.clear()

    def _frame(self) -> list[Measurement]:
        measurements: list[Measurement] = []
        size = 0
        while self._waiting and (not measurements or size + self._waiting[0][1] <= FRAME_BYTES):
            measurement, own = self._waiting.popleft()
            measurements.append(measurement)
            size += own
        self._bytes -= size
        return measurements


def portable(measurement: Measurement) -> Measurement:
    """The measurement as it can be handed over: of what a plugin left in its result and cannot be, the text, or nothing."""
    what = measurement.exchange
    if not isinstance(what, BenchmarkData) or _is_portable(what):
        return measurement
    plain = BenchmarkData()
    for field in fields(BenchmarkData):
        value = getattr(what, field.name)
        if isinstance(value, list):
            value = [item if _is_portable(item) else repr(item) for item in value]
        setattr(plain, field.name, value if _is_portable(value) else repr(value))
    return measurement._replace(exchange=plain)


def _is_portable(value: Any) -> bool:
    try:
        pickle.dumps(value, 5)
    except Exception:  # noqa: BLE001  # whatever an object of the plugin's raises
        return False
    return True


def size_of(measurement: Measurement) -> int:
    """About how many bytes a measurement takes; of what a plugin measured, without counting every part of it."""
    what = measurement.exchange
    if what is None:
        return 100
    if isinstance(what, Exchange):
        return 500 + len(what.body) + 16 * len(what.stamps) + len(measurement.body)
    texts = _length(what.generated_text) + (_length(what.request) if isinstance(what.request, (str, bytes)) else 0)
    times = _length(what.inter_chunk_latency) + _length(what.chunk_times)
    return 1000 + texts + 9 * times + 300 * _length(what.response_messages)


def _length(value: Any) -> int:
    """Length of what a plugin has left there; 0 of what has none."""
    try:
        return len(value)
    except TypeError:
        return 0
