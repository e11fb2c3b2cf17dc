"""Prometheus metrics of a run: a fold over results, and gauges of the live state.

Everything is counted in plain lists; prometheus_client only writes it down when somebody asks. Its own Histogram takes
a microsecond and more for each of a request's inter-token gaps, this fold about a sixth of one (bench/scrape_cost.py).
"""

from bisect import bisect_left
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Literal

from prometheus_client import CollectorRegistry
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, HistogramMetricFamily, Metric
from prometheus_client.exposition import choose_encoder

from perfbench_api.outcome import Outcome, Progress
from perfbench_api.resource import PerfBenchmark, Spec
from perfbench_api.sections import Stage
from perfbench_plugins.exchange import FailureKind
from perfbench_runner.engine.control import Control
from perfbench_runner.observe.observer import Observer
from perfbench_runner.results.client_health import STATES, Sample
from perfbench_runner.results.result import Result

SECONDS = (
    0.001, 0.002, 0.003, 0.005, 0.0075, 0.01, 0.015, 0.02, 0.03, 0.05, 0.075, 0.1, 0.15, 0.2, 0.3, 0.5, 0.75,
    1.0, 1.5, 2.0, 3.0, 5.0, 7.5, 10.0, 15.0, 20.0, 30.0, 60.0, 120.0, 300.0, 600.0,
)  # fmt: skip
"""Buckets of latencies: 1 ms to 10 min, each at most 2.5 times the one before."""
LAGS = (
    0.0001, 0.0002, 0.0005, 0.001, 0.002, 0.005, 0.01, 0.02, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 60.0,
)  # fmt: skip
"""Buckets of the client's own delay: 0.1 ms, where it should be, to 1 min."""
PHASES = ("starting", "waiting", "warmup", "running", "storing", "done")
RUN = ("namespace", "benchmark", "model", "workload")
STAGE = (*RUN, "stage")
OUTCOMES = ("success", *(value for name, value in vars(FailureKind).items() if name.isupper()))
Samples = Iterable[tuple[Sequence[str], Any]]
"""Label values after those of the run, and the value."""


@dataclass(frozen=True)
class Family:
    """A metric as it is declared: documentation and exposition are made from this."""

    name: str
    kind: Literal["counter", "gauge", "histogram"]
    labels: tuple[str, ...]
    text: str

    def metric(self, run: Sequence[str], samples: Samples) -> Metric:
        """The metric with its samples; `run` has the values of the run's labels."""
        makers = {"counter": CounterMetricFamily, "gauge": GaugeMetricFamily, "histogram": HistogramMetricFamily}
        made: Any = makers[self.kind](self.name, self.text, labels=self.labels)
        for labels, value in samples:
            if isinstance(value, Counts):
                made.add_metric([*run, *labels], value.buckets(), value.total)
            else:
                made.add_metric([*run, *labels], value)
        return made  # type: ignore[no-any-return]


_DECLARED: tuple[tuple[Literal["counter", "gauge", "histogram"], tuple[str, ...], dict[str, str]], ...] = (
    (
        "counter",
        (*STAGE, "outcome"),
        {"requests": "Measured requests that ended: success, or the kind of failure."},
    ),
    (
        "counter",
        STAGE,
        {
            "requests_scheduled": "Measured requests that were due; in a closed loop those that were sent.",
            "requests_sent": "Measured requests that were sent; up to half a second late.",
            "output_tokens": "Output tokens of succeeded requests, counted when they end.",
            "prompt_tokens": "Prompt tokens of succeeded requests, counted when they end.",
        },
    ),
    (
        "histogram",
        STAGE,
        {
            "ttft_seconds": "Time from sending a request to its first content.",
            "itl_seconds": "Gaps between chunks with content.",
            "tpot_seconds": "Time per output token after the first.",
            "e2e_latency_seconds": "Time from sending a request to the end of its answer.",
            "scheduled_latency_seconds": "Time from when a request was due to the end of its answer.",
            "dispatch_lag_seconds": "Time from when a request was due to its sending, connecting left out.",
        },
    ),
    ("gauge", (*RUN, "phase"), {"phase": "1 for the phase that the run is in."}),
    (
        "gauge",
        RUN,
        {
            "progress_ratio": "Share of the run that is done.",
            "requests_in_flight": "Requests under way, warm-up included.",
        },
    ),
    (
        "gauge",
        (*STAGE, "number", "loop", "arrival"),
        {"stage_info": "1 for every stage: its position, closed or open loop, arrivals of an open one."},
    ),
    (
        "gauge",
        STAGE,
        {
            "stage_active": "1 for the stage under way.",
            "stage_concurrency": "Most requests under way that the stage asks for; absent without a limit.",
            "stage_requests_per_second": "Rate that the stage asks for; absent in a closed loop.",
        },
    ),
    (
        "gauge",
        (*STAGE, "metric", "statistic", "bound"),
        {"objective_threshold": "Bound of an objective (max or min): seconds, per second, or share of 1."},
    ),
    (
        "gauge",
        (*RUN, "state"),
        {"client_state": "1 for the state of the load generator: valid, degraded or invalid."},
    ),
    (
        "gauge",
        RUN,
        {
            "client_loop_lag_seconds": "How late the worst load-generating event loop is, on average of half a second.",
            "client_loop_lag_max_seconds": "How late it was at most in that half-second.",
            "client_cpu_ratio": "CPU use of the busiest load-generating process, of one CPU.",
            "client_cpu_wait_ratio": "Share of the time that a load-generating process waited for a CPU.",
            "client_gc_ratio": "Share of the time that garbage collection held up a load-generating process.",
            "client_throttled_ratio": "Share of the time that the CPU quota stopped the load generator.",
            "client_open_files_ratio": "Open files of a load-generating process, of its limit.",
            "client_ports_ratio": "Connections of a load-generating process, of the ephemeral ports.",
            "client_backlog_bytes": "Results that load-generating processes could not hand over yet.",
            "server_requests_running": "Requests that the server says it works on; all replicas together.",
            "server_requests_waiting": "Requests that wait in the server; all replicas together.",
            "server_kv_cache_usage_ratio": "Use of the server's KV cache; mean of all replicas.",
            "server_prefix_cache_hit_ratio": "Prefix cache hits, of all look-ups since the run began.",
            "server_spec_decode_acceptance_ratio": "Draft tokens accepted, of all since the run began.",
            "server_gpu_utilization_ratio": "Utilization of the GPUs; mean of all.",
            "server_gpu_power_watts": "Power of the GPUs; all together.",
            "server_gpu_memory_used_bytes": "Used memory of the GPUs; all together.",
        },
    ),
    (
        "counter",
        RUN,
        {
            "server_prompt_tokens": "Prompt tokens that the server says it processed; all replicas together.",
            "server_generation_tokens": "Tokens that the server says it generated; all replicas together.",
            "server_preemptions": "Requests that the server put back for lack of room; all replicas together.",
        },
    ),
)
FAMILIES = {
    name: Family(f"perfbench_{name}", kind, labels, text)
    for kind, labels, texts in _DECLARED
    for name, text in texts.items()
}
"""All metrics of a run; counters get `_total` when they are written."""
_SERVER = {
    "running": "server_requests_running",
    "waiting": "server_requests_waiting",
    "kv_cache_usage": "server_kv_cache_usage_ratio",
    "gpu_utilization": "server_gpu_utilization_ratio",
    "gpu_power_w": "server_gpu_power_watts",
    "gpu_memory_used_bytes": "server_gpu_memory_used_bytes",
    "prefix_cache_hit_ratio": "server_prefix_cache_hit_ratio",
    "spec_decode_acceptance": "server_spec_decode_acceptance_ratio",
    "prompt_tokens": "server_prompt_tokens",
    "generation_tokens": "server_generation_tokens",
    "preemptions": "server_preemptions",
}
"""Metrics by the neutral names of server_names.py."""
_LATENCIES = ("ttft", "itl", "tpot", "e2e_latency", "scheduled_latency", "dispatch_lag")


class Counts:
    """A histogram: counts of values by upper bound, and their total."""

    __slots__ = ("bounds", "counts", "total")

    def __init__(self, bounds: tuple[float, ...] = SECONDS) -> None:
        self.bounds, self.counts, self.total = bounds, [0] * (len(bounds) + 1), 0.0

    def add(self, values: Iterable[Any]) -> None:
        """Count values; those that are no number, as a plugin may leave them, are left out."""
        bounds, counts = self.bounds, self.counts
        for value in values:
            try:
                if value == value:  # no NaN
                    self.total += value
                    counts[bisect_left(bounds, value)] += 1
            except TypeError:
                continue

    def buckets(self) -> list[tuple[str, float]]:
        """Cumulative counts, as the exposition wants them."""
        seen, made = 0, []
        for bound, count in zip((*map(str, self.bounds), "+Inf"), self.counts, strict=True):
            seen += count
            made.append((bound, float(seen)))
        return made


@dataclass
class StageCounts:
    """What is counted of one stage."""

    outcomes: dict[str, int] = field(default_factory=lambda: dict.fromkeys((*OUTCOMES, "other"), 0))
    output_tokens: int = 0
    prompt_tokens: int = 0
    scheduled: int = 0
    sent: int = 0
    latencies: dict[str, Counts] = field(
        default_factory=lambda: {name: Counts(LAGS if name == "dispatch_lag" else SECONDS) for name in _LATENCIES}
    )

    def add(self, result: Result) -> None:
        """Take one more result."""
        data, latencies = result.data, self.latencies
        outcome = _outcome(data.failure)
        self.outcomes[outcome] = self.outcomes.get(outcome, 0) + 1
        latencies["dispatch_lag"].add((result.dispatch_lag_s,))
        if not data.success:
            return
        self.output_tokens += data.completion_tokens or 0
        self.prompt_tokens += data.prompt_tokens or 0
        latencies["scheduled_latency"].add((result.scheduled_latency_s,))
        latencies["e2e_latency"].add((data.query_latency,))
        latencies["ttft"].add((data.first_chunk_latency,))
        latencies["tpot"].add((data.time_per_output_token,))
        latencies["itl"].add(data.inter_chunk_latency or ())

    @property
    def ended(self) -> int:
        """Requests that ended."""
        return sum(self.outcomes.values())


def _outcome(failure: str) -> str:
    """The failure's kind; one that a plugin made up is `other`, so that labels stay few."""
    if not failure:
        return "success"
    is_known = failure in OUTCOMES or (failure.startswith("http_") and failure[5:].isdigit() and len(failure) == 8)
    return failure if is_known else "other"


class Metrics(Observer):
    """All metrics of one run. Labels are bounded: those of the benchmark, its stages, kinds of failure."""

    def __init__(
        self, benchmark: PerfBenchmark, model: str, server: Callable[[], Mapping[str, float]] = dict[str, float]
    ) -> None:
        spec, metadata = benchmark.spec, benchmark.metadata
        self._run = (metadata.namespace or "", metadata.name, model, spec.dataset.name)
        self.identity = {"namespace": metadata.namespace or "", "benchmark": metadata.name}
        """Labels that tell this benchmark from all others."""
        self._spec, self._server = spec, server
        self._names = [stage.title for stage in spec.load.stages]
        self._stages = {0: StageCounts()}
        """A stage is counted from before it begins: what Prometheus has not seen at zero is no increase to it."""
        self._progress = Progress()
        self._samples: Sequence[Sample] = ()
        self.registry = CollectorRegistry()
        self.registry.register(self)

    def add(self, result: Result) -> None:
        """Count one more measured request."""
        self._counts(result.stage).add(result)

    def tick(self, control: Control) -> None:
        """Take over the live state."""
        self._progress, self._samples = control.progress(), control.samples
        if control.phase != "running":
            return
        stage = self._counts(control.stage_index)
        if control.stage_index + 1 < len(self._names):
            self._counts(control.stage_index + 1)
        stage.sent = max(stage.sent, control.sent)
        stage.scheduled = max(stage.scheduled, stage.sent, control.due)

    def stage(self, control: Control) -> None:
        """A stage's last numbers, before the next one's."""
        self.tick(control)

    async def close(self, outcome: Outcome) -> None:
        """The run is over."""
        self._progress = self._progress.model_copy(update={"phase": "done", "percent": 100.0, "in_flight": 0})

    def render(self, accept: str) -> tuple[bytes, str]:
        """The exposition, and its content type, in the format that the scraper prefers."""
        try:
            encoder, content_type = choose_encoder(accept)
        except (TypeError, ValueError):  # a version that is none
            encoder, content_type = choose_encoder("")
        return encoder(self.registry), content_type

    def describe(self) -> list[Metric]:
        """Nothing is collected at registration."""
        return []

    def collect(self) -> Iterator[Metric]:
        """Called when somebody asks; a metric without a sample is left out."""
        values = {**self._counted(), **self._live(), **_stages(self._spec), **_client(self._samples), **self._served()}
        for name, family in FAMILIES.items():
            samples = list(values.get(name, ()))
            if samples:
                yield family.metric(self._run, samples)

    def _counts(self, number: int) -> StageCounts:
        try:
            return self._stages[number]
        except KeyError:
            return self._stages.setdefault(number, StageCounts())

    def _counted(self) -> dict[str, Samples]:
        stages = [(self._names[number], counts) for number, counts in self._stages.items()]
        made: dict[str, Samples] = {
            "requests": [((name, kind), count) for name, of in stages for kind, count in of.outcomes.items()],
            "requests_sent": [((name,), max(of.sent, of.ended)) for name, of in stages],
            "requests_scheduled": [((name,), max(of.scheduled, of.ended)) for name, of in stages],
            "output_tokens": [((name,), of.output_tokens) for name, of in stages],
            "prompt_tokens": [((name,), of.prompt_tokens) for name, of in stages],
        }
        for latency in _LATENCIES:
            made[f"{latency}_seconds"] = [((name,), of.latencies[latency]) for name, of in stages]
        return made

    def _live(self) -> dict[str, Samples]:
        progress = self._progress
        now = progress.stage_index if progress.phase == "running" else None
        return {
            "requests_in_flight": [((), progress.in_flight)],
            "progress_ratio": [((), progress.percent / 100)],
            "phase": [((phase,), float(phase == progress.phase)) for phase in PHASES],
            "stage_active": [((name,), float(number == now)) for number, name in enumerate(self._names)],
            "client_state": [((state,), float(state == progress.client)) for state in STATES if progress.client],
        }

    def _served(self) -> dict[str, Samples]:
        return {_SERVER[name]: [((), value)] for name, value in self._server().items() if name in _SERVER}


def _stages(spec: Spec) -> dict[str, Samples]:
    """What is fixed from the start: the stages and their objectives."""
    stages = spec.load.stages
    limits = [(stage.title, stage.concurrency or stage.max_concurrency) for stage in stages]
    return {
        "stage_info": [((stage.title, str(number), *_loop(stage)), 1) for number, stage in enumerate(stages)],
        "stage_concurrency": [((name,), limit) for name, limit in limits if limit],
        "stage_requests_per_second": [((stage.title,), stage.rate) for stage in stages if stage.rate],
        "objective_threshold": list(_objectives(spec).items()),
    }


def _loop(stage: Stage) -> tuple[str, str]:
    return ("open", stage.arrival) if stage.rate else ("closed", "")


def _objectives(spec: Spec) -> dict[tuple[str, ...], float]:
    """Bounds by stage, metric, statistic and kind; of several the strictest."""
    found: dict[tuple[str, ...], float] = {}
    for objective in spec.objectives:
        statistic = objective.statistic if objective.metric in _LATENCIES else ""
        for stage in spec.load.stages:
            if objective.stage not in (None, stage.title):
                continue
            for bound, value, strictest in (("max", objective.max, min), ("min", objective.min, max)):
                if value is not None:
                    labels = (stage.title, objective.metric, statistic, bound)
                    found[labels] = strictest(value, found.get(labels, value))
    return found


def _client(samples: Sequence[Sample]) -> dict[str, Samples]:
    """The latest samples of all load-generating processes, the worst of each figure."""
    if not samples:
        return {}
    worst = {
        "client_loop_lag_seconds": max(sample.loop_lag_mean_s for sample in samples),
        "client_loop_lag_max_seconds": max(sample.loop_lag_max_s for sample in samples),
        "client_cpu_ratio": max(sample.cpu_share for sample in samples),
        "client_cpu_wait_ratio": max(sample.wait_share for sample in samples),
        "client_gc_ratio": max(sample.gc_pause_s / sample.interval_s for sample in samples),
        "client_throttled_ratio": max(sample.throttled_s / sample.interval_s for sample in samples),
        "client_open_files_ratio": max(sample.open_files_share for sample in samples),
        "client_ports_ratio": max(sample.ports_share for sample in samples),
        "client_backlog_bytes": sum(sample.backlog_bytes for sample in samples),
    }
    return {name: [((), value)] for name, value in worst.items()}
