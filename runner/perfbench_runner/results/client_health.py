"""Can the client be believed? The judgement of what `shard.sampler` has sampled and of what results say of themselves.

Two things are judged apart: whether the latencies are true, and whether the load was as asked. With the kernel's stamps
a client that is late makes another load, and still measures what happened; with the program's clock its delay is in
every time. `judge` turns figures into valid, degraded or invalid, with reasons. Each figure is of one process, and the
worst one counts: a shard that is slow spoils what it measures, however well the others do. The control process stamps
nothing; it is judged by whether it can feed the shards and take their results.
docs/client-health.md justifies the thresholds.
"""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, fields
from typing import Any, Literal, NamedTuple

State = Literal["valid", "degraded", "invalid"]
STATES: tuple[State, ...] = ("valid", "degraded", "invalid")
Stamps = Literal["kernel", "program", "mixed"]
"""Who took the times of arrival of a stage."""


@dataclass(frozen=True, slots=True)
class Sample:
    """One process over one interval. Times are seconds; `at_s` is of the run's monotonic clock."""

    at_s: float
    shard: int
    """Number of the load-generating process; -1 is the control process."""
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
    """A shard: results that the control process has not taken yet; the control process: results not yet stored."""
    runner: int = 0
    """Number of the runner; 0 is the leader, or the only one."""


COLUMNS = tuple(field.name for field in fields(Sample))


CONTROL = -1
"""The control process among shards."""


class Threshold(NamedTuple):
    """From where on a figure makes a client degraded, and from where on invalid."""

    name: str
    degraded: float
    invalid: float
    text: str
    """Reason for people; `{value}` is the figure in the unit of `scale`."""
    scale: float
    advice: str


NEVER = float("inf")
MORE_CPUS = "give the client more CPUs, or lower the load"
ALONE = "run it alone; in a pod, request whole CPUs"

SHARED = (
    Threshold("wait_share", 0.10, 0.30, "waited for a CPU {value:.0f} % of the time", 100, ALONE),
    Threshold(
        "throttled_share", 0.01, 0.05, "stopped by the CPU quota {value:.1f} % of the time", 100,
        "remove the runner's CPU limit, keep its request",
    ),
    Threshold("cpu_share", 0.80, 0.95, "uses {value:.0f} % of a CPU", 100, "more runner.workers, or lower the load"),
)  # fmt: skip
"""What makes a process late: of the latencies where its own clock stamps them, else a warning of what the load will do."""

BY_KERNEL = (
    Threshold(
        "merged_share",
        0.005,
        0.10,
        "{value:.1f} % of segments were read with a later one, and have its time",
        100,
        MORE_CPUS,
    ),
)
"""Of latencies by the kernel's stamps."""

BY_PROGRAM = (
    Threshold("loop_lag_mean_s", 0.001, 0.010, "event loop {value:.1f} ms late on average", 1e3, MORE_CPUS),
    Threshold(
        "loop_lag_peak_s",
        0.020,
        0.100,
        "event loop {value:.0f} ms late once in every tenth half-second",
        1e3,
        MORE_CPUS,
    ),
    Threshold("loop_lag_max_s", 0.250, NEVER, "event loop {value:.0f} ms late once", 1e3, ALONE),
    Threshold("wakeup_delay_s", 0.00025, 0.002, "waited {value:.2f} ms for a CPU each time it wanted one", 1e3, ALONE),
    Threshold("gc_share", 0.01, 0.05, "garbage collection took {value:.1f} % of the time", 100, MORE_CPUS),
    *SHARED,
)
"""Of latencies by the program's clock, in which any delay is added to every time."""

LOAD = (
    Threshold("idle_share", 0.05, 0.25, "lanes were without a request {value:.1f} % of the time", 100, MORE_CPUS),
    Threshold(
        "dispatch_lag_mean_s", 0.002, 0.020, "requests sent {value:.1f} ms later than scheduled on average", 1e3, MORE_CPUS
    ),
    Threshold(
        "dispatch_lag_p99_s", 0.050, 0.250, "1 % of requests sent more than {value:.0f} ms late", 1e3, MORE_CPUS
    ),
    Threshold("open_files_share", 0.90, 0.99, "{value:.0f} % of the allowed files are open", 100, "raise ulimit -n"),
    Threshold(
        "ports_share", 0.80, 0.95, "{value:.0f} % of the ephemeral ports are in use", 100,
        "widen net.ipv4.ip_local_port_range",
    ),
    *(threshold._replace(invalid=NEVER) for threshold in SHARED),
)  # fmt: skip
"""Of the load: what was measured of it can make it invalid, what only threatens it does not."""

STORE_LESS = "results.messages: failed or none stores fewer bodies, a faster disk stores them sooner"

CONTROL_THRESHOLDS = (
    Threshold("cpu_share", 0.90, 0.99, "uses {value:.0f} % of a CPU: the load may not be as asked", 100, STORE_LESS),
    Threshold("loop_lag_mean_s", 0.100, 1.0, "takes {value:.0f} ms to answer: shards may wait for requests", 1e3, STORE_LESS),
    Threshold(
        "backlog_peak_bytes", 16e6, 256e6, "{value:.0f} MB of results wait to be stored", 1e-6, STORE_LESS
    ),
    Threshold(
        "feed_share", 0.50, 1.01, "generating requests took {value:.0f} % of the time: the dataset hardly keeps up", 100,
        "a simpler dataset, shorter prompts, or a prepared file",
    ),
)  # fmt: skip
"""Of the control process: it stamps nothing, but feeds the shards and takes their results."""

Figures = dict[str, float]


def figures(samples: Iterable[Mapping[str, Any]]) -> dict[int, Figures]:
    """What is judged of each process, by its number, over samples of one stage. Shares are of one process or CPU."""
    by_process: dict[int, list[Mapping[str, Any]]] = {}
    for row in samples:
        by_process.setdefault(row["shard"], []).append(row)
    return {
        number: _of_control(rows) if number == CONTROL else _of_shard(rows)
        for number, rows in sorted(by_process.items())
    }


def _of_shard(rows: list[Mapping[str, Any]]) -> Figures:
    return {
        "loop_lag_mean_s": _mean(rows, "loop_lag_mean_s"),
        "loop_lag_peak_s": _peak(rows, "loop_lag_max_s"),
        "loop_lag_max_s": max(row["loop_lag_max_s"] for row in rows),
        "cpu_share": _mean(rows, "cpu_share"),
        "wait_share": _mean(rows, "wait_share"),
        "wakeup_delay_s": _mean(rows, "wakeup_delay_s"),
        "gc_share": _rate(rows, "gc_pause_s"),
        "throttled_share": _rate(rows, "throttled_s"),
        "open_files_share": max(row["open_files_share"] for row in rows),
        "ports_share": max(row["ports_share"] for row in rows),
    }


def _of_control(rows: list[Mapping[str, Any]]) -> Figures:
    return {
        "cpu_share": _mean(rows, "cpu_share"),
        "loop_lag_mean_s": _mean(rows, "loop_lag_mean_s"),
        "backlog_peak_bytes": _peak(rows, "backlog_bytes"),
    }


def _mean(rows: list[Mapping[str, Any]], name: str) -> float:
    """Weighted by time."""
    return float(sum(row[name] * row["interval_s"] for row in rows) / sum(row["interval_s"] for row in rows))


def _rate(rows: list[Mapping[str, Any]], name: str) -> float:
    """The share of its time that a process lost."""
    return float(sum(row[name] for row in rows) / sum(row["interval_s"] for row in rows))


def _peak(rows: list[Mapping[str, Any]], name: str) -> float:
    """The 90 % quantile of what was largest in each interval."""
    ordered = sorted(float(row[name]) for row in rows)
    return ordered[int(0.9 * (len(ordered) - 1))]


class Judgement(NamedTuple):
    """Whether the client can be believed."""

    latencies: State
    """Whether they are true."""
    load: State
    """Whether it was as asked."""
    reasons: list[str]
    """One for each figure over its threshold, the worst first."""

    @property
    def state(self) -> State:
        """The worse of the two."""
        return max(self.latencies, self.load, key=STATES.index)


class _Hit(NamedTuple):
    """A figure over its threshold."""

    severity: int
    text: str


def judge(found: Mapping[int, Figures], shards: int | None = None) -> Judgement:
    """Judge figures by process. `shards` is how many of them generate load: as many as are known, if not given.

    A process of which it is not known who stamped its times (`program_stamps_share`) is judged as with its own clock.
    """
    numbers = [number for number in found if number != CONTROL]
    count = shards or len(numbers)

    def hits(thresholds: Iterable[Threshold], processes: list[int]) -> list[_Hit]:
        worst_of = [(each, _worst_process(each.name, found, processes)) for each in thresholds]
        return [
            hit
            for each, at in worst_of
            if at and (hit := _hit(each, found[at[0]][each.name], f"shard {at[0]} of {count}"))
        ]

    by_program = [number for number in numbers if found[number].get("program_stamps_share", 1.0) > 0]
    latencies = hits(BY_KERNEL, numbers) + hits(BY_PROGRAM, by_program)
    load = hits(LOAD, numbers)
    own = found.get(CONTROL, {})
    load += [
        hit
        for each in CONTROL_THRESHOLDS
        if each.name in own and (hit := _hit(each, own[each.name], "control process"))
    ]
    return Judgement(_state(latencies), _state(load), _reasons(latencies, load))


def _worst_process(name: str, found: Mapping[int, Figures], processes: list[int]) -> list[int]:
    """The process where a figure is largest, or none."""
    known = [(found[number][name], number) for number in processes if name in found[number]]
    return [max(known)[1]] if known else []


def _hit(threshold: Threshold, value: float, who: str) -> _Hit | None:
    if value <= threshold.degraded:
        return None
    text = threshold.text.format(value=value * threshold.scale)
    return _Hit(2 if value > threshold.invalid else 1, f"{who}: {text} ({threshold.advice})")


def _state(hits: list[_Hit]) -> State:
    return STATES[max((hit.severity for hit in hits), default=0)]


def _reasons(latencies: list[_Hit], load: list[_Hit]) -> list[str]:
    """Each once, with what it speaks against, the worst first."""
    against: dict[str, list[str]] = {}
    for hit in sorted(latencies + load, key=lambda hit: -hit.severity):
        against.setdefault(hit.text, [])
    for name, hits in (("latencies", latencies), ("load", load)):
        for hit in hits:
            against[hit.text].append(name)
    return [f"{' and '.join(names)}: {text}" for text, names in against.items()]


def worst(found: Mapping[int, Figures]) -> Figures:
    """Each figure of the process where it is largest; those of the control process by names of their own."""
    largest: Figures = {}
    for number, own in found.items():
        for name, value in own.items():
            key = f"control_{name}" if number == CONTROL and name != "feed_share" else name
            largest[key] = max(value, largest.get(key, value))
    return largest
