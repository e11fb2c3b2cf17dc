"""Prometheus metrics of a run: a sink of results, and gauges of the live state.

Everything is counted in plain lists; prometheus_client only writes it down when somebody asks. Its own Histogram takes
a microsecond and more for each of a request's inter-token gaps, this sink about a sixth of one (bench/scrape_cost.py).
"""

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field

from prometheus_client import CollectorRegistry
from prometheus_client.core import Metric
from prometheus_client.exposition import choose_encoder

from perfbench_api.outcome import Outcome, Progress
from perfbench_api.resource import PerfBenchmark, Spec
from perfbench_api.sections import Stage
from perfbench_runner.observe.families import FAMILIES, OUTCOMES, PHASES, SERVER, Samples
from perfbench_runner.observe.histogram import Histogram
from perfbench_runner.observe.observer import Observer, RunView
from perfbench_runner.results.client_health import STATES, Sample
from perfbench_runner.results.result import LATENCIES, Result

SECONDS = (
    0.001, 0.002, 0.003, 0.005, 0.0075, 0.01, 0.015, 0.02, 0.03, 0.05, 0.075, 0.1, 0.15, 0.2, 0.3, 0.5, 0.75,
    1.0, 1.5, 2.0, 3.0, 5.0, 7.5, 10.0, 15.0, 20.0, 30.0, 60.0, 120.0, 300.0, 600.0,
)  # fmt: skip
"""Buckets of latencies: 1 ms to 10 min, each at most 2.5 times the one before."""
LAGS = (
    0.0001, 0.0002, 0.0005, 0.001, 0.002, 0.005, 0.01, 0.02, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 60.0,
)  # fmt: skip
"""Buckets of the client's own delay: 0.1 ms, where it should be, to 1 min."""
_TIMES = (*LATENCIES, "dispatch_lag")
"""What has a histogram."""


@dataclass
class StageCounts:
    """What is counted of one stage."""

    outcomes: dict[str, int] = field(default_factory=lambda: dict.fromkeys((*OUTCOMES, "other"), 0))
    output_tokens: int = 0
    prompt_tokens: int = 0
    scheduled: int = 0
    sent: int = 0
    good: int = 0
    """Requests that kept all of `limits`."""
    limits: Mapping[str, float] = field(default_factory=dict)
    """Of a single request, in seconds, by the metric that they are of."""
    latencies: dict[str, Histogram] = field(
        default_factory=lambda: {name: Histogram(LAGS if name == "dispatch_lag" else SECONDS) for name in _TIMES}
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
        self.good += _is_good(result, self.limits)

    @property
    def ended(self) -> int:
        """Requests that ended."""
        return sum(self.outcomes.values())


def _is_good(result: Result, limits: Mapping[str, float]) -> bool:
    """Whether a succeeded request kept all limits; without a first token it keeps none of those on it."""
    data = result.data
    is_single = data.time_per_output_token is None and data.first_chunk_latency is not None  # of one token
    took = {
        "ttft": data.first_chunk_latency,
        "tpot": 0.0 if is_single else data.time_per_output_token,
        "e2e_latency": data.query_latency,
        "scheduled_latency": result.scheduled_latency_s,
    }
    return all((value := took[name]) is not None and value <= limit for name, limit in limits.items())


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
        self._stages = {0: StageCounts(limits=spec.goodput.limits)}
        """A stage is counted from before it begins: what Prometheus has not seen at zero is no increase to it."""
        self._progress = Progress()
        self._samples: Sequence[Sample] = ()
        self.registry = CollectorRegistry()
        self.registry.register(self)

    @property
    def _names(self) -> list[str]:
        """Of the stages so far: a search goes on adding to them."""
        return [stage.title for stage in self._spec.load.stages]

    def add(self, result: Result) -> None:
        """Count one more measured request."""
        self._counts(result.stage).add(result)

    def tick(self, run: RunView) -> None:
        """Take over the live state."""
        self._progress, self._samples = run.progress(), run.samples
        if run.phase != "running":
            return
        stage = self._counts(run.stage_index)
        if run.stage_index + 1 < len(self._names):
            self._counts(run.stage_index + 1)
        stage.sent = max(stage.sent, run.sent)
        stage.scheduled = max(stage.scheduled, stage.sent, run.due)

    def stage(self, run: RunView) -> None:
        """A stage's last numbers, before the next one's."""
        self.tick(run)

    async def close(self, outcome: Outcome) -> None:
        """The run is over."""
        self._progress = self._progress.model_copy(update={"phase": "done", "percent": 100.0, "in_flight": 0})

    def render(self, accept: str) -> tuple[bytes, str]:
        """The exposition, and its content type, in the format that the scraper prefers."""
        try:
            encoder, content_type = choose_encoder(accept)
        except (TypeError, ValueError):  # the header holds no valid version
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
            return self._stages.setdefault(number, StageCounts(limits=self._spec.goodput.limits))

    def _counted(self) -> dict[str, Samples]:
        stages = [(self._names[number], counts) for number, counts in self._stages.items()]
        made: dict[str, Samples] = {
            "requests": [((name, kind), count) for name, of in stages for kind, count in of.outcomes.items()],
            "requests_sent": [((name,), max(of.sent, of.ended)) for name, of in stages],
            "requests_scheduled": [((name,), max(of.scheduled, of.ended)) for name, of in stages],
            "requests_good": [((name,), of.good) for name, of in stages if of.limits],
            "output_tokens": [((name,), of.output_tokens) for name, of in stages],
            "prompt_tokens": [((name,), of.prompt_tokens) for name, of in stages],
        }
        for latency in _TIMES:
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
            "search_load": list(_found(progress)),
            "client_state": [((state,), float(state == progress.client)) for state in STATES if progress.client],
        }

    def _served(self) -> dict[str, Samples]:
        return {SERVER[name]: [((), value)] for name, value in self._server().items() if name in SERVER}


def _found(progress: Progress) -> Iterator[tuple[tuple[str, ...], float]]:
    """What a search knows so far."""
    found = progress.search
    if found is not None:
        for end, value in (("low", found.low), ("estimate", found.load), ("high", found.high)):
            if value is not None:
                yield (found.kind, end), value


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
    return ("open", "timestamps" if stage.timestamps else stage.arrival) if stage.is_open_loop else ("closed", "")


def _objectives(spec: Spec) -> dict[tuple[str, ...], float]:
    """Bounds by stage, metric, statistic and kind; of several the strictest."""
    found: dict[tuple[str, ...], float] = {}
    for objective in spec.objectives:
        statistic = objective.statistic if objective.metric in LATENCIES else ""
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
