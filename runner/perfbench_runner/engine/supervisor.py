"""The shard processes: told what to do, ended, and killed where they do not end. `launch` starts them."""

import asyncio
import os
import signal
import socket
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from typing import Any

from perfbench_runner.engine.state import RunState
from perfbench_runner.shard.ipc import Channel
from perfbench_runner.shard.messages import Assignment

TICK_S = 0.25
"""How often it is looked whether a shard is overdue."""
QUIT_S = 5.0
"""A shard that has not ended this long after its grace period is killed; what it handed over is kept."""


@dataclass
class ShardProcess:
    """A shard as the control process sees it."""

    number: int
    pid: int
    sock: socket.socket
    wait: Callable[[], int]
    """Waits for its end: its exit code, or minus the signal that killed it. Can be called again."""
    channel: Channel | None = None
    lanes: int = 0
    outstanding: int = 0
    """Requests given to it and not yet answered for."""
    is_done: bool = True
    """It has nothing to do in the stage under way, or has said that it is over."""
    is_armed: bool = False
    """It is ready for the stage that was announced."""
    is_gone: bool = False
    batch: list[Assignment] = field(default_factory=list)
    """Assigned, not sent to it yet."""

    def send(self, *message: Any) -> None:
        """Send it a message, if it is still there."""
        if self.channel is not None and not self.is_gone:
            self.channel.send(message)


class Supervisor:
    """Looks after the shard processes of a run. Belongs to the control process's loop."""

    def __init__(self, shards: Sequence[ShardProcess], clock: Callable[[], float]) -> None:
        self.shards, self._clock = list(shards), clock
        self._changed = asyncio.Event()
        self._is_reading = True
        self._give_up_s = float("inf")
        """When shards that were told to end are killed."""

    async def connect(
        self, receive: Callable[[ShardProcess, tuple[Any, ...], int], None], lost: Callable[[ShardProcess], None]
    ) -> None:
        """Open the channels. `receive` gets what shards say and its size in bytes, `lost` a shard that is gone."""
        for process in self.shards:
            await self._connect(process, receive, lost)

    async def _connect(
        self,
        process: ShardProcess,
        receive: Callable[[ShardProcess, tuple[Any, ...], int], None],
        lost: Callable[[ShardProcess], None],
    ) -> None:
        def closed() -> None:
            process.is_gone = process.is_done = True
            self.notify()
            lost(process)

        _, process.channel = await asyncio.get_running_loop().create_connection(
            lambda: Channel(lambda message, size: receive(process, message, size), closed), sock=process.sock
        )

    def broadcast(self, *message: Any) -> None:
        """Tell all shards."""
        for process in self.shards:
            process.send(*message)

    def stop(self, grace_s: float) -> None:
        """Send no more requests; those under way may take so long."""
        self._give_up_s = self._clock() + grace_s + QUIT_S
        self.broadcast("stop", grace_s)
        self.notify()

    def set_reading(self, is_reading: bool) -> None:
        """Take what shards hand over, or leave it with them for a while."""
        if is_reading == self._is_reading:
            return
        self._is_reading = is_reading
        for process in self.shards:
            if process.channel is not None and not process.is_gone:
                transport = process.channel.transport
                transport.resume_reading() if is_reading else transport.pause_reading()

    @property
    def are_done(self) -> bool:
        """Whether no shard is at work."""
        return all(process.is_done for process in self.shards)

    def armed(self, process: ShardProcess) -> None:
        """A shard says that it is ready for its stage."""
        process.is_armed = True
        self.notify()

    async def until_armed(self) -> None:
        """Wait until all shards that have a part in the stage are ready for it, so that they begin together."""
        while any(not (process.is_armed or process.is_done) for process in self.shards):
            await self.change(TICK_S)

    def finished(self, process: ShardProcess) -> None:
        """A shard says that its part of the stage is over."""
        process.is_done = True
        self.notify()

    def notify(self) -> None:
        """Wake whoever waits for a change."""
        self._changed.set()

    async def change(self, timeout_s: float) -> None:
        """Wait until something changed, or for a while; meanwhile shards that do not end are killed."""
        self._kill_overdue()
        with suppress(TimeoutError):
            async with asyncio.timeout(timeout_s):
                await self._changed.wait()
        self._changed.clear()

    async def pause(self, seconds: float, state: RunState) -> None:
        """Wait so long, or until the run is being stopped."""
        until_s = self._clock() + seconds
        while not state.is_stopping and self._clock() < until_s:
            await self.change(min(TICK_S, until_s - self._clock()))

    async def dismiss(self) -> None:
        """End all shards and wait for their processes."""
        for process in self.shards:
            if process.channel is None:  # it was never spoken to, and ends when it has nobody to listen to
                process.sock.close()
                process.is_gone = True
        self.broadcast("quit")
        self._give_up_s = self._clock() + QUIT_S
        for process in self.shards:
            while not process.is_gone:
                await self.change(TICK_S)
            await asyncio.get_running_loop().run_in_executor(None, process.wait)

    def _kill_overdue(self) -> None:
        """A plugin may block a shard's loop, or swallow being cancelled."""
        if self._clock() < self._give_up_s:
            return
        for process in self.shards:
            if not process.is_gone:
                with suppress(ProcessLookupError):
                    os.kill(process.pid, signal.SIGKILL)
