"""The operator's Prometheus metrics: about its own work, and about the benchmarks that exist.

Benchmarks are read from their status at every scrape, so a restart loses nothing, and a benchmark's figures disappear
with it. Whatever cannot be read of one benchmark is left out, so that it does not hide the others.
"""

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import suppress
from datetime import datetime
from functools import partial
from itertools import islice
from typing import Any

from prometheus_client import (
    CollectorRegistry,
    Counter,
    Gauge,
    GCCollector,
    Histogram,
    PlatformCollector,
    ProcessCollector,
)
from prometheus_client.core import GaugeMetricFamily, Metric

from perfbench_api.outcome import CLIENT_STATES, LATENCIES, VERDICTS
from perfbench_api.status import BENCHMARK_PHASES, FINAL
from perfbench_operator.kube import Data, namespaced_name

BUCKETS_S = (0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30)
SHOWN = 200
"""Benchmarks that have series of their own: Prometheus keeps those of older ones, and every series costs it memory."""
SHOWN_STAGES = 300
"""Stages that have figures, of the newest benchmarks: about 20 series each."""
_KEY_LABELS = ("namespace", "benchmark")
_STATISTICS = ("mean", "p50", "p99")


class OperatorMetrics:
    """All metrics in one registry. The event loop writes them, Prometheus' thread reads them."""

    def __init__(self) -> None:
        self.registry = CollectorRegistry()
        for collector in (ProcessCollector, PlatformCollector, GCCollector):
            collector(registry=self.registry)
        self.reconciles = Counter(
            "perfbench_operator_reconciles",
            "Reconciles of benchmarks, by outcome: ok, conflict or error.",
            ["outcome"],
            registry=self.registry,
        )
        self.reconcile_seconds = Histogram(
            "perfbench_operator_reconcile_duration_seconds",
            "Duration of one reconcile of a benchmark.",
            buckets=BUCKETS_S,
            registry=self.registry,
        )
        self.errors = Counter(
            "perfbench_operator_errors",
            "Errors, by kind: the name of the exception.",
            ["kind"],
            registry=self.registry,
        )
        self.watch_events = Counter(
            "perfbench_operator_watch_events",
            "Events that the watches have reported, by resource.",
            ["resource"],
            registry=self.registry,
        )
        self.queue_depth = Gauge(
            "perfbench_operator_queue_depth", "Benchmarks that wait to be reconciled.", registry=self.registry
        )
        self.queue_delayed = Gauge(
            "perfbench_operator_queue_delayed",
            "Benchmarks that are scheduled for a later reconcile: those under way, and those to be retried.",
            registry=self.registry,
        )
        self.queue_wait_seconds = Histogram(
            "perfbench_operator_queue_wait_seconds",
            "How long benchmarks waited to be reconciled.",
            buckets=BUCKETS_S,
            registry=self.registry,
        )
        self.unreadable = Gauge(
            "perfbench_operator_unreadable_collections",
            "Collections that cannot be read, such as those of a namespace that is gone.",
            registry=self.registry,
        )
        self.benchmarks = BenchmarkCollector()
        self.registry.register(self.benchmarks)


class BenchmarkCollector:
    """Gauges of all benchmarks that exist. The event loop sets its attributes, Prometheus' thread calls `collect`."""

    def __init__(self) -> None:
        self.known: Mapping[Any, Data] = {}
        """All benchmarks."""
        self.watch_lag_s = 0.0
        """For how long the watch has not reported a change that a list showed, in seconds."""
        self.listed_at_s = 0.0
        """When all benchmarks were last listed, or there was nothing to list; in seconds since the epoch."""

    def describe(self) -> list[Metric]:
        """Nothing is collected at registration."""
        return []

    def collect(self) -> Iterator[Metric]:
        """Called at every scrape, in Prometheus' thread."""
        bodies = list(self.known.values())
        lag = GaugeMetricFamily(
            "perfbench_operator_watch_lag_seconds",
            "For how long the watch has not reported a change that a list showed.",
        )
        lag.add_metric([], self.watch_lag_s)
        yield lag
        listed = GaugeMetricFamily(
            "perfbench_operator_last_list_timestamp_seconds",
            "When all benchmarks were last listed, or an operator without a Lease had none to list; 0 for never.",
        )
        listed.add_metric([], self.listed_at_s)
        yield listed
        yield _counts(bodies)
        shown = newest(bodies, SHOWN)
        hidden = GaugeMetricFamily(
            "perfbench_operator_benchmarks_without_series",
            "Finished benchmarks that have no series of their own, because there are newer ones.",
        )
        hidden.add_metric([], len(bodies) - len(shown))
        yield hidden
        yield from _facts(shown)
        yield from _figures(shown)


def newest(bodies: Iterable[Data], count: int) -> list[Data]:
    """All benchmarks that are not over, and of the others those that ended last, `count` in all."""

    def age(body: Data) -> tuple[bool, str, str]:
        status = _status(body)
        ended = str(status.get("completionTime") or "")
        return status.get("phase") not in FINAL, ended, str(body["metadata"].get("creationTimestamp", ""))

    return sorted(bodies, key=age, reverse=True)[:count]


def _mapping(value: Any) -> Data:
    """A mapping; empty for anything else, such as null."""
    return value if isinstance(value, Mapping) else {}


def _list(value: Any) -> list[Any]:
    return value if isinstance(value, list) else []


def _status(body: Data) -> Data:
    return _mapping(body.get("status"))


def _spec(body: Data, section: str) -> Data:
    return _mapping(_mapping(body.get("spec")).get(section))


def _model(body: Data) -> str:
    """The model that is measured; those of several targets and workloads, each once."""
    common = str(_spec(body, "target").get("model") or "")
    targets = [_mapping(each) for each in _list(_mapping(body.get("spec")).get("targets"))] or [{}]
    workloads = _workloads(body) or [{}]
    models = [str(each.get("model") or own.get("model") or common) for own in targets for each in workloads]
    return ", ".join(dict.fromkeys(filter(None, models)))


def _workloads(body: Data) -> list[Data]:
    return [_mapping(each) for each in _list(_mapping(body.get("spec")).get("workloads"))]


def _counts(bodies: list[Data]) -> Metric:
    family = GaugeMetricFamily("perfbench_operator_benchmarks", "Benchmarks that exist, by phase.", labels=["phase"])
    for phase in BENCHMARK_PHASES:
        family.add_metric([phase], sum(_status(body).get("phase", "Pending") == phase for body in bodies))
    return family


Values = Iterable[tuple[Sequence[str], float]]
"""Label values after those of the benchmark, and the value."""


def _facts(bodies: list[Data]) -> Iterator[Metric]:
    """Facts about each benchmark as a whole."""
    yield _of_each(bodies, "info", "1 for every benchmark.", ["model", "workload"], _info)
    text = "1 for every label of a benchmark, as name=value; empty if it has none."
    yield _of_each(bodies, "label", text, ["label"], _labels)
    text = "Phase of a benchmark: 1 for the current one."
    yield _of_each(
        bodies, "phase", text, ["phase"], lambda body: _one_of(BENCHMARK_PHASES, _status(body).get("phase", "Pending"))
    )
    text = "Verdict of a benchmark: 1 for the one that it has."
    yield _of_each(bodies, "verdict", text, ["verdict"], lambda body: _one_of(VERDICTS, _status(body).get("verdict")))
    text = "State of the load generator in a benchmark: 1 for the current one."
    yield _of_each(bodies, "client_state", text, ["state"], lambda body: _one_of(CLIENT_STATES, _client(body)))
    for event in ("start", "completion"):
        text = f"{event.capitalize()} of a benchmark's run; seconds since the epoch."
        yield _of_each(bodies, f"{event}_timestamp_seconds", text, [], partial(_time, f"{event}Time"))


def _of_each(
    bodies: list[Data], name: str, text: str, labels: Sequence[str], values: Callable[[Data], Values]
) -> Metric:
    family = GaugeMetricFamily(f"perfbench_benchmark_{name}", text, labels=[*_KEY_LABELS, *labels])
    for body in bodies:
        for own, value in values(body):
            family.add_metric([*namespaced_name(body), *own], value)
    return family


def _info(body: Data) -> Values:
    return [((_model(body), _datasets(body)), 1.0)]


def _datasets(body: Data) -> str:
    """The name of the dataset; those of several workloads, each once."""
    own = _spec(body, "dataset")
    datasets = [_mapping(each.get("dataset")) or own for each in _workloads(body)] or [own]
    return ", ".join(dict.fromkeys(str(each.get("name") or "") for each in datasets))


def _labels(body: Data) -> Values:
    labels = _mapping(body["metadata"].get("labels"))
    return [((f"{name}={value}",), 1.0) for name, value in labels.items()] or [(("",), 1.0)]


def _one_of(states: Sequence[str], now: Any) -> Values:
    return [((state,), float(state == now)) for state in states if now]


def _client(body: Data) -> Any:
    return _mapping(_status(body).get("client")).get("state")


def _time(key: str, body: Data) -> Values:
    try:
        return [((), datetime.fromisoformat(_status(body).get(key, "")).timestamp())]
    except (TypeError, ValueError, OverflowError):  # not a string, not a time, or one before the epoch's range
        return []


def _figures(bodies: list[Data]) -> Iterator[Metric]:
    stage = [*_KEY_LABELS, "model", "stage"]
    rates = {
        "request_throughput_rps": ("requests_per_second", "Succeeded requests per second of a stage."),
        "output_token_throughput_tps": ("output_tokens_per_second", "Output tokens per second of a stage."),
        "total_token_throughput_tps": ("total_tokens_per_second", "Tokens in and out per second of a stage."),
    }
    families = {
        key: GaugeMetricFamily(f"perfbench_benchmark_{name}", text, labels=stage) for key, (name, text) in rates.items()
    }
    requests = GaugeMetricFamily(
        "perfbench_benchmark_requests", "Requests of a stage, by outcome.", labels=[*stage, "outcome"]
    )
    latency = GaugeMetricFamily(
        "perfbench_benchmark_latency_seconds",
        "Latencies of a stage: what is measured, and which statistic of it.",
        labels=[*stage, "metric", "statistic"],
    )
    for labels, figures in islice(_stages(bodies), SHOWN_STAGES):
        for key, family in families.items():
            _add(family, labels, figures.get(key))
        for outcome in ("succeeded", "failed"):
            _add(requests, [*labels, outcome], _mapping(figures.get("requests")).get(outcome))
        for metric in LATENCIES:
            for statistic in _STATISTICS:
                _add(latency, [*labels, metric, statistic], _mapping(figures.get(f"{metric}_s")).get(statistic))
    yield from (*families.values(), requests, latency)


def _stages(bodies: list[Data]) -> Iterator[tuple[list[str], Data]]:
    for body in bodies:
        for stage in _list(_status(body).get("summary")):
            figures = _mapping(stage)
            yield [*namespaced_name(body), _model(body), str(figures.get("name", ""))], figures


def _add(family: GaugeMetricFamily, labels: list[str], value: Any) -> None:
    if isinstance(value, (int, float)) and not isinstance(value, bool):
        with suppress(OverflowError):  # JSON has integers that are too large for a float
            family.add_metric(labels, float(value))
