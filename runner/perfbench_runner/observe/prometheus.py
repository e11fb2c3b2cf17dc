"""Prometheus metrics of a run: a sink of results, and gauges of the live state.

Everything is counted in plain lists; prometheus_client only writes it down when somebody asks. Its own Histogram takes
a microsecond and more for each of a request's inter-token gaps, this sink about a sixth of one (bench/scrape_cost.py).
"""

from collections.abc import Callable, Collection, Iterator, Mapping, Sequence

from prometheus_client import CollectorRegistry
from prometheus_client.core import Metric
from prometheus_client.exposition import choose_encoder

from perfbench_api.outcome import Outcome, Progress
from perfbench_api.resource import PerfBenchmark, Spec
from perfbench_api.sections import Stage
from perfbench_runner.observe.counts import OF_PARTS, SUMS, TIMES, Counts, PartCounts, client_figures
from perfbench_runner.observe.families import FAMILIES, PHASES, SERVER, Samples
from perfbench_runner.observe.observer import Observer, RunView
from perfbench_runner.results.client_health import STATES
from perfbench_runner.results.result import LATENCIES, Result


class Metrics(Observer):
    """All metrics of one run. Labels are bounded: those of the benchmark, its stages, kinds of failure."""

    def __init__(
        self, benchmark: PerfBenchmark, model: str, server: Callable[[], Mapping[str, float]] = dict[str, float]
    ) -> None:
        spec, metadata = benchmark.spec, benchmark.metadata
        self._run = (metadata.namespace or "", metadata.name, model, spec.datasets)
        self.identity = {"namespace": metadata.namespace or "", "benchmark": metadata.name}
        """Labels that tell this benchmark from all others."""
        self._spec, self._server = spec, server
        self._counts = Counts(spec)
        self._progress = Progress()
        self._client: dict[str, float] = {}
        self.registry = CollectorRegistry()
        self.registry.register(self)

    @property
    def _names(self) -> list[str]:
        """Of the stages so far: a search goes on adding to them."""
        return [stage.title for stage in self._spec.load.stages]

    def add(self, result: Result) -> None:
        """Count one more measured request."""
        self._counts.add(result)

    def tick(self, run: RunView) -> None:
        """Take over the live state."""
        self._progress, self._client = run.progress(), worst_of_all(run)
        self._counts.tick(run)

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
        values = {**self._counted(), **self._live(), **_stages(self._spec), **self._served()}
        values |= {name: [((), value)] for name, value in self._client.items()}
        for name, family in FAMILIES.items():
            samples = list(values.get(name, ()))
            if samples:
                yield family.metric(self._run, samples)

    def _counted(self) -> dict[str, Samples]:
        stages = [(self._names[number], counts) for number, counts in self._counts.of_all().items()]
        made: dict[str, Samples] = {
            "requests": [((name, kind), count) for name, of in stages for kind, count in of.outcomes.items()],
            "requests_sent": [((name,), max(of.sent, of.ended)) for name, of in stages],
            "requests_scheduled": [((name,), max(of.scheduled, of.ended)) for name, of in stages],
            "requests_good": [((name,), of.good) for name, of in stages if any(of.limits.values())],
            "output_tokens": [((name,), of.output_tokens) for name, of in stages],
            "prompt_tokens": [((name,), of.prompt_tokens) for name, of in stages],
        }
        for latency in TIMES:
            made[f"{latency}_seconds"] = [((name,), of.latencies[latency]) for name, of in stages]
        if self._spec.load.retry is not None:
            made["retries"] = [((name, why), count) for name, of in stages for why, count in of.retries.items()]
        workloads = [((part, name), counts) for name, of in stages for part, counts in of.workloads.items()]
        targets = [((part, name), counts) for name, of in stages for part, counts in of.targets.items()]
        limits = self._spec.limits
        return (
            made
            | _of_parts("workload", workloads, [each.name for each in self._spec.workloads if limits[each.name]])
            | _of_parts("target", targets, [each.name for each in self._spec.targets if any(limits.values())])
        )

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


def _of_parts(
    what: str, parts: Sequence[tuple[tuple[str, str], PartCounts]], with_limits: Collection[str]
) -> dict[str, Samples]:
    """What is counted of each workload or target, whose name is the first label."""
    made: dict[str, Samples] = {
        f"{what}_requests": [((*own, kind), count) for own, of in parts for kind, count in of.outcomes.items()],
        f"{what}_requests_good": [(own, of.good) for own, of in parts if own[0] in with_limits],
        f"{what}_output_tokens": [(own, of.output_tokens) for own, of in parts],
        f"{what}_prompt_tokens": [(own, of.prompt_tokens) for own, of in parts],
    }
    for latency in OF_PARTS:
        made[f"{what}_{latency}_seconds"] = [(own, of.latencies[latency]) for own, of in parts]
    return made


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
    whole = [stage.at_each(spec.side_by_side) for stage in stages]
    limits = [(stage.title, stage.concurrency or stage.max_concurrency) for stage in whole]
    return {
        "stage_info": [((stage.title, str(number), *_loop(stage)), 1) for number, stage in enumerate(stages)],
        "stage_concurrency": [((name,), limit) for name, limit in limits if limit],
        "stage_requests_per_second": [((stage.title,), stage.rate) for stage in stages if stage.rate],
        "objective_threshold": list(_objectives(spec).items()),
    }


def _loop(stage: Stage) -> tuple[str, str]:
    return ("open", "timestamps" if stage.timestamps else stage.arrival) if stage.is_open_loop else ("closed", "")


def _objectives(spec: Spec) -> dict[tuple[str, ...], float]:
    """Bounds by stage, metric, statistic and kind; of several the strictest.

    Those on the requests of one workload or target, or with prompts of some lengths, are no bounds of the figures, which are
    of all.
    """
    found: dict[tuple[str, ...], float] = {}
    of_all = (
        each for each in spec.objectives if (each.workload, each.target, each.prompt_tokens) == (None, None, None)
    )
    for objective in of_all:
        statistic = objective.statistic if objective.metric in LATENCIES else ""
        for stage in spec.load.stages:
            if objective.stage not in (None, stage.title):
                continue
            for bound, value, strictest in (("max", objective.max, min), ("min", objective.min, max)):
                if value is not None:
                    labels = (stage.title, objective.metric, statistic, bound)
                    found[labels] = strictest(value, found.get(labels, value))
    return found


def worst_of_all(run: RunView) -> dict[str, float]:
    """The client's figures, the worst of all runners."""
    found = client_figures(run.samples)
    for figures in (other.client.figures for other in run.others(run.stage_index)):
        for name, value in figures.items():
            if name in FAMILIES:
                found[name] = value + found.get(name, 0.0) if name in SUMS else max(value, found.get(name, value))
    return found
