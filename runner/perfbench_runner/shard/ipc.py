"""Messages between the control process and its shards: pickled frames over a socket pair.

Both ends are ours and of one program, so pickle is safe here; it is also the cheapest way to hand over bytes.
"""

import asyncio
import pickle
import struct
from collections.abc import Callable
from typing import Any

HEADER = struct.Struct("<Q")
HIGH_WATER_BYTES = 2**20
"""Beyond this the channel is blocked: whoever has more to send waits, so that what waits is not pickled yet."""


class Channel(asyncio.Protocol):
    """One end of a socket pair: `send` a message, get the other side's by `receive`, and its end by `closed`.

    `receive` gets a message and how many bytes it took.
    """

    transport: asyncio.Transport

    def __init__(self, receive: Callable[[Any, int], None], closed: Callable[[], None]) -> None:
        self._receive, self._closed = receive, closed
        self._buffer = bytearray()
        self.is_blocked = self.is_closed = False
        self.on_writable: Callable[[], None] | None = None
        """Called when it is no longer blocked, and when it is closed."""

    @property
    def unwritten_bytes(self) -> int:
        """What was sent and waits for the other side to read."""
        return self.transport.get_write_buffer_size()

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self.transport = transport  # type: ignore[assignment]  # a stream's transport
        self.transport.set_write_buffer_limits(high=HIGH_WATER_BYTES)

    def send(self, message: Any) -> None:
        """Send a message; never blocks. Nothing happens when the other side is gone."""
        if self.transport.is_closing():
            return
        data = pickle.dumps(message, 5)
        self.transport.write(HEADER.pack(len(data)))
        self.transport.write(data)

    def data_received(self, data: bytes) -> None:
        buffer = self._buffer
        buffer += data
        at = 0
        while len(buffer) - at >= HEADER.size:
            (length,) = HEADER.unpack_from(buffer, at)
            end = at + HEADER.size + length
            if end > len(buffer):
                break
            message = pickle.loads(memoryview(buffer)[at + HEADER.size : end])  # noqa: S301  # our own process
            at = end
            self._receive(message, length)
        if at:
            del buffer[:at]

    def pause_writing(self) -> None:
        self.is_blocked = True

    def resume_writing(self) -> None:
        self.is_blocked = False
        if self.on_writable:
            self.on_writable()

    def connection_lost(self, error: Exception | None) -> None:
        self.is_closed = True
        self._closed()
        if self.on_writable:
            self.on_writable()

    def close(self) -> None:
        """Close after what was sent has been written."""
        self.transport.close()
