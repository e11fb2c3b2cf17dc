"""Was the client itself the bottleneck? The judgement of what `shard.sampler` has sampled.

A benchmark that runs late reports its own delay as the server's. `judge` turns the samples of every load-generating
process and the dispatch lag of the results into valid, degraded or invalid, with reasons.
docs/client-health.md justifies the thresholds.
"""

from collections.abc import Iterable
from dataclasses import dataclass, fields
from typing import Any, Literal, NamedTuple

State = Literal["valid", "degraded", "invalid"]
STATES: tuple[State, ...] = ("valid", "degraded", "invalid")


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
