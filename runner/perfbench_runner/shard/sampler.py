"""Samples of the process it runs in: how late its event loop is, how long it waited for a CPU, what head-room is left.

A benchmark that runs late reports its own delay as the server's; `results.client_health` judges the samples.
"""

import asyncio
import gc
import os
import resource
import time
from collections.abc import Callable
from contextlib import suppress
from functools import cache
from pathlib import Path
from typing import Any

from perfbench_runner.results.client_health import Sample

SAMPLE_S = 0.5
TICK_S = 0.05
"""How often the loop's lag is probed; a wake-up of an idle machine costs 0.1 to 0.2 ms of CPU time."""
MORE_FILES_S = 10.0
"""How often open files are listed where a plugin may open some."""


class Sampler:
    """Samples the process it runs in; `emit` gets a Sample twice a second while a stage runs."""

    def __init__(
        self,
        shard: int,
        emit: Callable[[Sample], None],
        state: Callable[[], tuple[int, int, int]],
        tick_s: float = TICK_S,
        has_more_files: bool = False,
    ) -> None:
        """`state` says requests under way, connections, and bytes not handed over.

        `has_more_files`: others than these connections may be opened in mid-stage, by a plugin.
        """
        self.shard, self._emit, self._state, self._tick_s = shard, emit, state, tick_s
        self.stage = 0
        self._lags: list[float] = []
        self._gc_s = self._gc_began = self._began = self._due = 0.0
        self._handle: asyncio.TimerHandle | None = None
        self._ports = ephemeral_ports()
        self._files = OpenFiles(MORE_FILES_S if has_more_files else None)
        gc.callbacks.append(self._on_gc)

    def start(self, stage: int) -> None:
        """Begin sampling for a stage."""
        self.stop()
        self.stage = stage
        now = time.perf_counter()
        self._files.list(now, self._state()[1])
        self._reset(now, run_queue(), throttled_s())
        self._tick()

    def stop(self) -> None:
        """Emit what was sampled since the last time, and end."""
        if self._handle:
            self._handle.cancel()
            self._handle = None
            if time.perf_counter() - self._began > SAMPLE_S / 10:
                self._finish(time.perf_counter())

    def _tick(self) -> None:
        now = time.perf_counter()
        if self._handle is not None:
            self._lags.append(max(0.0, now - self._due))
        if now - self._began >= SAMPLE_S:
            self._finish(now)
        self._due = now + self._tick_s
        self._handle = asyncio.get_running_loop().call_later(self._tick_s, self._tick)

    def _reset(self, now: float, waits: tuple[float, int], throttled: float) -> None:
        self._began, self._cpu_s, self._lags, self._gc_s = now, time.process_time(), [], 0.0
        (self._waited_s, self._runs), self._throttled_s = waits, throttled

    def _finish(self, now: float) -> None:
        interval = now - self._began
        in_flight, connections, backlog = self._state()
        lags = self._lags or [0.0]
        waits, throttled = run_queue(), throttled_s()
        waited_s, runs = waits
        self._emit(
            Sample(
                at_s=now,
                shard=self.shard,
                stage=self.stage,
                interval_s=interval,
                loop_lag_mean_s=sum(lags) / len(lags),
                loop_lag_max_s=max(lags),
                cpu_share=(time.process_time() - self._cpu_s) / interval,
                wait_share=(waited_s - self._waited_s) / interval,
                wakeup_delay_s=(waited_s - self._waited_s) / max(1, runs - self._runs),
                gc_pause_s=self._gc_s,
                throttled_s=throttled - self._throttled_s,
                open_files_share=self._files.share(now, connections),
                ports_share=connections / self._ports,
                in_flight=in_flight,
                backlog_bytes=backlog,
            )
        )
        self._reset(now, waits, throttled)

    def _on_gc(self, phase: str, info: dict[str, Any]) -> None:
        if phase == "start":
            self._gc_began = time.perf_counter()
        else:
            self._gc_s += time.perf_counter() - self._gc_began


# What the machine says of this process; 0.0 where it does not say (not Linux).


def run_queue() -> tuple[float, int]:
    """Seconds this process was ready to run and waited for a CPU, and how often it got one (/proc/self/schedstat)."""
    with suppress(OSError, ValueError, IndexError):
        _, waited_ns, runs = Path("/proc/self/schedstat").read_text().split()
        return int(waited_ns) / 1e9, int(runs)
    return 0.0, 0


def throttled_s() -> float:
    """Seconds the cgroup's CPU quota stopped this container, since its start (cgroup v2, then v1)."""
    file, key, unit = _throttling()
    with suppress(OSError, ValueError):
        for line in Path(file).read_text().splitlines():
            name, _, value = line.partition(" ")
            if name == key:
                return int(value) / unit
    return 0.0


@cache
def _throttling() -> tuple[str, str, float]:
    """Where the cgroup tells it, under which name, and how many of its units a second has: of version 2, or of 1."""
    if Path("/sys/fs/cgroup/cpu.stat").exists():
        return "/sys/fs/cgroup/cpu.stat", "throttled_usec", 1e6
    return "/sys/fs/cgroup/cpu/cpu.stat", "throttled_time", 1e9


class OpenFiles:
    """Open files of this process, of its limit. Listing them takes 7 ms at 10,000, so connections are counted instead."""

    def __init__(self, again_s: float | None = None) -> None:
        """`again_s`: how often to list them again, where others than connections may be opened."""
        self._again_s = again_s
        self._limit = resource.getrlimit(resource.RLIMIT_NOFILE)[0]
        self._others = 0
        self._listed_s = 0.0

    def list(self, now_s: float, connections: int) -> None:
        """Find out how many there are beside the connections."""
        with suppress(OSError):
            self._others = max(0, len(os.listdir("/proc/self/fd")) - connections)  # noqa: PTH208  # ten times the speed of iterdir
        self._listed_s = now_s

    def share(self, now_s: float, connections: int) -> float:
        """How many there are, of the limit."""
        if self._again_s is not None and now_s - self._listed_s >= self._again_s:
            self.list(now_s, connections)
        return (self._others + connections) / self._limit


def ephemeral_ports() -> int:
    """How many connections this machine can open to one address and port."""
    with suppress(OSError, ValueError):
        low, high = Path("/proc/sys/net/ipv4/ip_local_port_range").read_text().split()
        return int(high) - int(low) + 1
    return 16384
