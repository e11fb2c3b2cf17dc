"""What is counted of each stage, and of each workload and target in it, for Prometheus: a sink of results.

Of several runners the leader adds up what all have told.

Everything is counted in plain lists, and written down only when somebody asks.
"""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field

from perfbench_api.resource import Spec
from perfbench_plugins.exchange import FailureKind
from perfbench_runner.observe.histogram import Histogram
from perfbench_runner.observe.observer import Observer, RunView
from perfbench_runner.observe.told import HistogramFigures, PartFigures, StageFigures
from perfbench_runner.results.asked import Limits
from perfbench_runner.results.client_health import Sample
from perfbench_runner.results.result import LATENCIES, Result

REFUSALS = tuple(map(FailureKind.http, (429, 503)))
"""Why a request may be sent again (`load.retry`)."""
OUTCOMES = ("success", *(value for name, value in vars(FailureKind).items() if name.isupper()))
SECONDS = (
    0.001, 0.002, 0.003, 0.005, 0.0075, 0.01, 0.015, 0.02, 0.03, 0.05, 0.075, 0.1, 0.15, 0.2, 0.3, 0.5, 0.75,
    1.0, 1.5, 2.0, 3.0, 5.0, 7.5, 10.0, 15.0, 20.0, 30.0, 60.0, 120.0, 300.0, 600.0,
)  # fmt: skip
"""Buckets of latencies: 1 ms to 10 min, each at most 2.5 times the one before."""
LAGS = (
    0.0001, 0.0002, 0.0005, 0.001, 0.002, 0.005, 0.01, 0.02, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 60.0,
)  # fmt: skip
"""Buckets of the client's own delay: 0.1 ms, where it should be, to 1 min."""
TIMES = (*LATENCIES, "dispatch_lag")
"""What has a histogram."""
OF_PARTS = ("ttft", "tpot", "e2e_latency")
"""What has a histogram for each workload and target: gaps are too many to be counted twice."""
SINGLE = ("output_tokens", "prompt_tokens", "good")
"""What is a single number."""
SUMS = ("client_backlog_bytes",)
"""Of the client's figures those that are of all of its processes together; of the others the worst counts."""


def _histograms(names: Iterable[str]) -> dict[str, Histogram]:
    return {name: Histogram(LAGS if name == "dispatch_lag" else SECONDS) for name in names}


@dataclass
class PartCounts:
    """What is counted of the requests of one workload, or to one target, in a stage."""

    outcomes: dict[str, int] = field(default_factory=lambda: dict.fromkeys((*OUTCOMES, "other"), 0))
    output_tokens: int = 0
    prompt_tokens: int = 0
    good: int = 0
    """Requests that kept all limits that they have (`spec.goodput`)."""
    latencies: dict[str, Histogram] = field(default_factory=lambda: _histograms(OF_PARTS))

    def add(self, result: Result, outcome: str, is_good: bool) -> None:
        """Take one more result."""
        data, latencies = result.data, self.latencies
        self.outcomes[outcome] = self.outcomes.get(outcome, 0) + 1
        if not data.success:
            return
        self.good += is_good
        self.output_tokens += data.completion_tokens or 0
        self.prompt_tokens += data.prompt_tokens or 0
        latencies["e2e_latency"].add((data.query_latency,))
        latencies["ttft"].add((data.first_chunk_latency,))
        latencies["tpot"].add((data.time_per_output_token,))

    @property
    def ended(self) -> int:
        """Requests that ended."""
        return sum(self.outcomes.values())

    def part_told(self) -> PartFigures:
        """The same, to be told to another runner."""
        return PartFigures(
            outcomes=self.outcomes,
            output_tokens=self.output_tokens,
            prompt_tokens=self.prompt_tokens,
            good=self.good,
            latencies={name: HistogramFigures(counts=of.counts, total=of.total) for name, of in self.latencies.items()},
        )

    def add_told(self, told: PartFigures) -> None:
        """Count what another runner has told, too."""
        for name in SINGLE:
            setattr(self, name, getattr(self, name) + getattr(told, name))
        for outcome, count in told.outcomes.items():
            self.outcomes[outcome] = self.outcomes.get(outcome, 0) + count
        for latency, histogram in self.latencies.items():
            if latency in told.latencies:
                histogram.add_counts(told.latencies[latency].counts, told.latencies[latency].total)


@dataclass
class StageCounts(PartCounts):
    """What is counted of one stage."""

    latencies: dict[str, Histogram] = field(default_factory=lambda: _histograms(TIMES))
    scheduled: int = 0
    sent: int = 0
    retries: dict[str, int] = field(default_factory=lambda: dict.fromkeys(REFUSALS, 0))
    """How often requests that have ended were sent again, by the failure that was the reason."""
    limits: Limits = field(default_factory=lambda: {None: {}})
    """Of a single request, by workload, in seconds, by the metric that they are of."""
    workloads: dict[str, PartCounts] = field(default_factory=dict)
    targets: dict[str, PartCounts] = field(default_factory=dict)

    @classmethod
    def of(cls, spec: Spec) -> "StageCounts":
        """Nothing yet, of any stage of a run."""
        return cls.blank(spec.limits, [each.name for each in spec.workloads], [each.name for each in spec.targets])

    @classmethod
    def blank(cls, limits: Limits, workloads: Iterable[str], targets: Iterable[str]) -> "StageCounts":
        """Nothing yet, of requests of these workloads to these targets."""
        return cls(
            limits=limits,
            workloads={name: PartCounts() for name in workloads},
            targets={name: PartCounts() for name in targets},
        )

    def count(self, result: Result) -> None:
        """Take one more result."""
        data, latencies, workload = result.data, self.latencies, result.workload
        outcome = _outcome(data.failure)
        limits = self.limits.get(workload, self.limits[None])
        is_good = data.success and (not limits or _is_good(result, limits))
        self.add(result, outcome, is_good)
        for part in (self.workloads.get(workload or ""), self.targets.get(result.target or "")):
            if part is not None:
                part.add(result, outcome, is_good)
        for refusal in result.refusals:
            self.retries[refusal] = self.retries.get(refusal, 0) + 1
        latencies["dispatch_lag"].add((result.dispatch_lag_s,))
        if data.success:
            latencies["scheduled_latency"].add((result.scheduled_latency_s,))
            latencies["itl"].add(data.inter_chunk_latency or ())

    def told(self) -> StageFigures:
        """The same, to be told to another runner."""
        return StageFigures(
            **dict(self.part_told()),
            scheduled=max(self.scheduled, self.ended),
            sent=max(self.sent, self.ended),
            retries=self.retries,
            workloads={name: each.part_told() for name, each in self.workloads.items()},
            targets={name: each.part_told() for name, each in self.targets.items()},
        )

    def with_others(self, others: Iterable[StageFigures]) -> "StageCounts":
        """These and those of other runners together."""
        whole = StageCounts.blank(self.limits, self.workloads, self.targets)
        for told in (self.told(), *others):
            whole.add_told(told)
            whole.scheduled += told.scheduled
            whole.sent += told.sent
            for refusal, count in told.retries.items():
                whole.retries[refusal] = whole.retries.get(refusal, 0) + count
            for parts, others_parts in ((whole.workloads, told.workloads), (whole.targets, told.targets)):
                for name in parts.keys() & others_parts.keys():
                    parts[name].add_told(others_parts[name])
        return whole


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


class Counts(Observer):
    """Counts of all stages of a run; of several runners, of all of them."""

    def __init__(self, spec: Spec) -> None:
        self._spec = spec
        self._stages = {0: self._blank()}
        """A stage is counted from before it begins: what Prometheus has not seen at zero is no increase to it."""
        self._others: dict[int, Sequence[StageFigures]] = {}
        """What other runners have told, by stage."""

    def _blank(self) -> StageCounts:
        return StageCounts.of(self._spec)

    def add(self, result: Result) -> None:
        """Count one more measured request."""
        self.of(result.stage).count(result)

    def tick(self, run: RunView) -> None:
        """Take over what is sent and due, and what others have told: of the stage before this one it may come late."""
        if run.phase in ("starting", "waiting", "warmup"):
            return
        for number in {max(0, run.stage_index - 1), run.stage_index}:
            self._others[number] = [other.stage for other in run.others(number) if other.stage is not None]
        if run.phase != "running":
            return
        stage = self.of(run.stage_index)
        if run.stage_index + 1 < len(self._spec.load.stages):
            self.of(run.stage_index + 1)
        stage.sent = max(stage.sent, run.sent)
        stage.scheduled = max(stage.scheduled, stage.sent, run.due)

    def of(self, number: int) -> StageCounts:
        """This runner's counts of a stage."""
        try:
            return self._stages[number]
        except KeyError:
            return self._stages.setdefault(number, self._blank())

    def of_all(self) -> Mapping[int, StageCounts]:
        """The counts of all runners, by stage."""
        return {
            number: own.with_others(others) if (others := self._others.get(number)) else own
            for number, own in self._stages.items()
        }


def client_figures(samples: Sequence[Sample]) -> dict[str, float]:
    """The latest samples of all load-generating processes: the worst of each figure, by the name of its metric."""
    if not samples:
        return {}
    return {
        "client_loop_lag_seconds": max(sample.loop_lag_mean_s for sample in samples),
        "client_loop_lag_max_seconds": max(sample.loop_lag_max_s for sample in samples),
        "client_cpu_ratio": max(sample.cpu_share for sample in samples),
        "client_cpu_wait_ratio": max(sample.wait_share for sample in samples),
        "client_gc_ratio": max(sample.gc_pause_s / sample.interval_s for sample in samples),
        "client_throttled_ratio": max(sample.throttled_s / sample.interval_s for sample in samples),
        "client_open_files_ratio": max(sample.open_files_share for sample in samples),
        "client_ports_ratio": max(sample.ports_share for sample in samples),
        "client_backlog_bytes": float(sum(sample.backlog_bytes for sample in samples)),
    }
