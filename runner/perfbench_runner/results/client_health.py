"""Was the client itself the bottleneck? Samples of every load-generating process, and the judgement of them.

A benchmark that runs late reports its own delay as the server's. So each shard samples, twice a second, how late its
event loop is, how long it waited for a CPU, how long the garbage collector held it up, and what head-room is left;
`judge` turns the samples and the dispatch lag of the results into valid, degraded or invalid, with reasons.
docs/client-health.md justifies the thresholds.
"""

import asyncio
import gc
import os
import resource
import time
from collections.abc import Callable, Iterable
from contextlib import suppress
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Any, Literal, NamedTuple

State = Literal["valid", "degraded", "invalid"]
STATES: tuple[State, ...] = ("valid", "degraded", "invalid")

SAMPLE_S = 0.5
TICK_S = 0.02
"""How often the loop's lag is probed; each probe costs a few microseconds."""


@dataclass(frozen=True, slots=True)
class Sample:
    """One shard over one interval. Times are seconds; `at_s` is of the run's monotonic clock."""

    at_s: float
    shard: int
    stage: int
    interval_s: float
    loop_lag_mean_s: float
    """How much later than due the event loop ran a probe."""
    loop_lag_max_s: float
    cpu_share: float
    """CPU time of the process, of one CPU."""
    wait_share: float
    """Time it was ready to run but had no CPU (Linux run-queue delay)."""
    wakeup_delay_s: float
    """How long it waited for a CPU each time it wanted one, on average: added to every stamp."""
    gc_pause_s: float
    throttled_s: float
    """Time that the cgroup's CPU quota stopped the container."""
    open_files_share: float
    """Open files, of the limit."""
    ports_share: float
    """Connections, of the ephemeral ports to one address."""
    in_flight: int
    backlog_bytes: int
    """Results that the writer has not taken yet."""


COLUMNS = tuple(field.name for field in fields(Sample))


class Threshold(NamedTuple):
    """From where on a figure makes a client degraded, and from where on invalid."""

    name: str
    degraded: float
    invalid: float
    text: str
    """Reason for people; `{value}` is the figure in the unit of `scale`."""
    scale: float = 1.0


THRESHOLDS = (
    Threshold("loop_lag_mean_s", 0.001, 0.010, "event loop {value:.1f} ms late on average", 1e3),
    Threshold("loop_lag_peak_s", 0.020, 0.100, "event loop {value:.0f} ms late once in every tenth half-second", 1e3),
    Threshold("dispatch_lag_mean_s", 0.002, 0.020, "requests sent {value:.1f} ms later than scheduled on average", 1e3),
    Threshold("dispatch_lag_p99_s", 0.050, 0.250, "1 % of requests sent more than {value:.0f} ms late", 1e3),
    Threshold("cpu_share", 0.80, 0.95, "a load-generating process uses {value:.0f} % of a CPU", 100),
    Threshold("wait_share", 0.10, 0.30, "it waited for a CPU {value:.0f} % of the time", 100),
    Threshold("wakeup_delay_s", 0.00025, 0.002, "it waited {value:.2f} ms for a CPU each time it wanted one", 1e3),
    Threshold("gc_share", 0.01, 0.05, "garbage collection took {value:.1f} % of the time", 100),
    Threshold("throttled_share", 0.01, 0.05, "the CPU quota stopped it {value:.1f} % of the time", 100),
    Threshold(
        "feed_share", 0.50, 1.01, "generating requests took {value:.0f} % of the time: the dataset hardly keeps up", 100
    ),
    Threshold("open_files_share", 0.90, 0.99, "{value:.0f} % of the allowed files are open", 100),
    Threshold("ports_share", 0.80, 0.95, "{value:.0f} % of the ephemeral ports are in use", 100),
)


def figures(samples: Iterable[dict[str, Any]], lags_s: Iterable[float]) -> dict[str, float]:
    """What is judged: over the samples of one stage and the dispatch lags of its requests. Shares are of one process.

    Lags are averaged over the stage; shares are those of the worst shard, since one slow shard is enough to spoil.
    """
    rows = list(samples)
    lags = sorted(lags_s)
    found: dict[str, float] = {}
    if rows:
        peaks = sorted(row["loop_lag_max_s"] for row in rows)
        found["loop_lag_mean_s"] = _worst(rows, "loop_lag_mean_s")
        found["loop_lag_peak_s"] = _quantile(peaks, 0.90)
        found["cpu_share"] = _worst(rows, "cpu_share")
        found["wait_share"] = _worst(rows, "wait_share")
        found["wakeup_delay_s"] = _worst(rows, "wakeup_delay_s")
        found["gc_share"] = _worst_rate(rows, "gc_pause_s")
        found["throttled_share"] = _worst_rate(rows, "throttled_s")
        found["open_files_share"] = max(row["open_files_share"] for row in rows)
        found["ports_share"] = max(row["ports_share"] for row in rows)
    if lags:
        found["dispatch_lag_mean_s"] = sum(lags) / len(lags)
        found["dispatch_lag_p99_s"] = _quantile(lags, 0.99)
    return found


def _quantile(ordered: list[float], q: float) -> float:
    return ordered[int(q * (len(ordered) - 1))]


def _by_shard(rows: list[dict[str, Any]]) -> list[list[dict[str, Any]]]:
    shards: dict[int, list[dict[str, Any]]] = {}
    for row in rows:
        shards.setdefault(row["shard"], []).append(row)
    return list(shards.values())


def _worst(rows: list[dict[str, Any]], name: str) -> float:
    """The highest time-weighted mean of a figure over the shards."""
    return max(
        float(sum(row[name] * row["interval_s"] for row in own) / sum(row["interval_s"] for row in own))
        for own in _by_shard(rows)
    )


def _worst_rate(rows: list[dict[str, Any]], name: str) -> float:
    """The highest share of its time that a shard lost."""
    return max(float(sum(row[name] for row in own) / sum(row["interval_s"] for row in own)) for own in _by_shard(rows))


def judge(found: dict[str, float]) -> tuple[State, list[str]]:
    """valid, degraded or invalid, and a reason for each figure over its threshold, the worst first."""
    hits: list[tuple[int, str]] = []
    for threshold in THRESHOLDS:
        value = found.get(threshold.name)
        if value is not None and value > threshold.degraded:
            hits.append((2 if value > threshold.invalid else 1, threshold.text.format(value=value * threshold.scale)))
    hits.sort(key=lambda hit: -hit[0])
    return (STATES[hits[0][0]] if hits else "valid"), [text for _, text in hits]


class Sampler:
    """Samples the process it runs in; `emit` gets a Sample twice a second while a stage runs."""

    def __init__(self, shard: int, emit: Callable[[Sample], None], state: Callable[[], tuple[int, int, int]]) -> None:
        self.shard, self._emit, self._state = shard, emit, state
        self.stage = 0
        self._lags: list[float] = []
        self._gc_s = self._gc_began = self._began = self._due = 0.0
        self._handle: asyncio.TimerHandle | None = None
        self._ports = ephemeral_ports()
        gc.callbacks.append(self._on_gc)

    def start(self, stage: int) -> None:
        """Begin sampling for a stage."""
        self.stage = stage
        self._reset(time.perf_counter())
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
        self._due = now + TICK_S
        self._handle = asyncio.get_running_loop().call_later(TICK_S, self._tick)

    def _reset(self, now: float) -> None:
        self._began, self._cpu_s, self._lags, self._gc_s = now, time.process_time(), [], 0.0
        (self._waited_s, self._runs), self._throttled = run_queue(), throttled_s()

    def _finish(self, now: float) -> None:
        interval = now - self._began
        in_flight, connections, backlog = self._state()
        lags = self._lags or [0.0]
        waited_s, runs = run_queue()
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
                throttled_s=throttled_s() - self._throttled,
                open_files_share=open_files_share(),
                ports_share=connections / self._ports,
                in_flight=in_flight,
                backlog_bytes=backlog,
            )
        )
        self._reset(now)

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
    for file, key, unit in (
        ("/sys/fs/cgroup/cpu.stat", "throttled_usec", 1e6),
        ("/sys/fs/cgroup/cpu/cpu.stat", "throttled_time", 1e9),
    ):
        with suppress(OSError, ValueError):
            for line in Path(file).read_text().splitlines():
                name, _, value = line.partition(" ")
                if name == key:
                    return int(value) / unit
    return 0.0


def open_files_share() -> float:
    """Open files of this process, of its limit."""
    limit = resource.getrlimit(resource.RLIMIT_NOFILE)[0]
    with suppress(OSError):
        return len(os.listdir("/proc/self/fd")) / limit  # noqa: PTH208  # ten times the speed of iterdir
    return 0.0


def ephemeral_ports() -> int:
    """How many connections this machine can open to one address and port."""
    with suppress(OSError, ValueError):
        low, high = Path("/proc/sys/net/ipv4/ip_local_port_range").read_text().split()
        return int(high) - int(low) + 1
    return 16384


def raise_file_limit() -> None:
    """Allow this process as many open files as it may have."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    if soft != hard:
        with suppress(OSError, ValueError):
            resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
