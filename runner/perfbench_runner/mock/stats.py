"""The truth about what the mock did: counts, distributions, and both as JSON (/stats) and Prometheus text (/metrics).

Every request that reaches an API is `started` and ends in one way: `done` (its reply went out whole), `failed` (refused
with an error status, or spoilt on purpose, see `injected`), or `aborted` (the client left).
So started = done + failed + aborted + in_flight, always.
"""

import time
from bisect import bisect_right
from collections import Counter
from collections.abc import Sequence
from itertools import accumulate
from typing import Any

_RESOLUTION = 1e5  # counts per second: 10 us
_TTFT_BUCKETS_S = (
    0.001,
    0.005,
    0.01,
    0.02,
    0.04,
    0.06,
    0.08,
    0.1,
    0.25,
    0.5,
    0.75,
    1.0,
    2.5,
    5.0,
    7.5,
    10.0,
    20.0,
    40.0,
)


class Durations:
    """Seconds, counted in steps of 10 us: bounded however long it runs, with exact mean and maximum."""

    __slots__ = ("counts", "max", "total")

    def __init__(self) -> None:
        self.counts: dict[int, int] = {}
        self.total = 0.0
        self.max = 0.0

    def add(self, value_s: float) -> None:
        step = int(value_s * _RESOLUTION)
        try:
            self.counts[step] += 1
        except KeyError:
            self.counts[step] = 1
        self.total += value_s
        if value_s > self.max:
            self.max = value_s

    @property
    def count(self) -> int:
        return sum(self.counts.values())

    def quantile(self, share: float) -> float:
        """Seconds, interpolated as numpy does, to be compared with a client's; a value is its step's middle. 0 when empty."""
        if not self.counts:
            return 0.0
        steps = sorted(self.counts)
        ends = list(accumulate(self.counts[step] for step in steps))
        rank = share * (ends[-1] - 1)
        below = int(rank)
        low, high = (
            min((steps[bisect_right(ends, min(place, ends[-1] - 1))] + 0.5) / _RESOLUTION, self.max)
            for place in (below, below + 1)
        )
        return low + (high - low) * (rank - below)

    def below(self, bounds_s: Sequence[float]) -> list[int]:
        """How many are at most so many seconds, for ascending bounds; in one pass: the mock's loop waits for it."""
        limits = [bound_s * _RESOLUTION for bound_s in bounds_s]
        found = [0] * (len(limits) + 1)
        for step, count in self.counts.items():
            found[bisect_right(limits, step)] += count
        return list(accumulate(found[:-1]))

    def summary_ms(self) -> dict[str, float]:
        count = self.count
        values = {
            "mean": self.total / count if count else 0.0,
            "p50": self.quantile(0.5),
            "p99": self.quantile(0.99),
            "max": self.max,
        }
        return {"n": count} | {name: round(value * 1e3, 4) for name, value in values.items()}


class Stats:
    """Counters of one server. Plain attributes: the hot path adds to them once per token."""

    def __init__(self) -> None:
        self.in_flight = 0
        self.open_connections = 0
        self.reset()

    def reset(self) -> None:
        """Forget the past; what is under way stays counted."""
        self.started = self.peak_in_flight = self.in_flight
        self.done = self.failed = self.aborted = 0
        self.connections = 0
        self.by_status: Counter[int] = Counter()
        self.injected: Counter[str] = Counter()
        self.prompt_tokens = self.output_tokens = 0
        self.backlogged = 0
        self.ttft, self.itl, self.lateness = Durations(), Durations(), Durations()
        self.first_s = self.last_s = 0.0
        self._cpu_s = time.process_time()

    def begin(self, now_s: float) -> None:
        self.started += 1
        self.first_s = self.first_s or now_s

    def enter(self) -> None:
        """A reply is under way."""
        self.in_flight += 1
        self.peak_in_flight = max(self.peak_in_flight, self.in_flight)

    def as_dict(self) -> dict[str, Any]:
        return {
            "started": self.started,
            "done": self.done,
            "failed": self.failed,
            "aborted": self.aborted,
            "in_flight": self.in_flight,
            "peak_in_flight": self.peak_in_flight,
            "by_status": {str(status): count for status, count in sorted(self.by_status.items())},
            "injected": dict(self.injected),
            "connections": self.connections,
            "open_connections": self.open_connections,
            "prompt_tokens": self.prompt_tokens,
            "output_tokens": self.output_tokens,
            "ttft_ms": self.ttft.summary_ms(),
            "itl_ms": self.itl.summary_ms(),
            "lateness_ms": self.lateness.summary_ms(),
            "backlogged": self.backlogged,
            "window_s": round(max(self.last_s - self.first_s, 0.0), 6),
            "cpu_s": round(time.process_time() - self._cpu_s, 6),
        }

    def prometheus(self, model: str, kv_cache_usage: float, waiting: int) -> str:
        """The part of vLLM's metrics that benchmarks look at, under vLLM's names; `waiting` of those in flight queue."""
        labels = 'model_name="' + model.replace("\\", "\\\\").replace('"', '\\"').replace("\n", "\\n") + '",engine="0"'
        plain: tuple[tuple[str, str, float], ...] = (
            ("num_requests_running", "gauge", self.in_flight - waiting),
            ("num_requests_waiting", "gauge", waiting),
            ("kv_cache_usage_perc", "gauge", kv_cache_usage),
            ("prompt_tokens_total", "counter", self.prompt_tokens),
            ("generation_tokens_total", "counter", self.output_tokens),
        )
        lines = []
        for name, kind, value in plain:
            lines += [f"# TYPE vllm:{name} {kind}", f"vllm:{name}{{{labels}}} {value}"]
        name, count = "vllm:time_to_first_token_seconds", self.ttft.count
        lines.append(f"# TYPE {name} histogram")
        below = zip(_TTFT_BUCKETS_S, self.ttft.below(_TTFT_BUCKETS_S), strict=True)
        lines += [f'{name}_bucket{{{labels},le="{bound}"}} {number}' for bound, number in below]
        lines += [f'{name}_bucket{{{labels},le="+Inf"}} {count}']
        lines += [f"{name}_sum{{{labels}}} {self.ttft.total}", f"{name}_count{{{labels}}} {count}"]
        return "\n".join(lines) + "\n"
