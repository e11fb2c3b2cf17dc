"""Objectives and the verdict: pure functions from summaries to Passed, Failed or Inconclusive."""

from perfbench_api.outcome import Verdict
from perfbench_api.sections import Objective
from perfbench_runner.results import written
from perfbench_runner.results.result import LATENCIES
from perfbench_runner.results.summary import ObjectiveResult, StageSummary, Summary

THROUGHPUTS = {
    "request_throughput": "request_throughput_rps",
    "output_token_throughput": "output_token_throughput_tps",
    "total_token_throughput": "total_token_throughput_tps",
}
MINIMUM_SAMPLES = {"mean": 1, "std": 2, "min": 1, "p50": 2, "p90": 10, "p95": 20, "p99": 100, "p99_9": 1000, "max": 1}
"""So many values a statistic needs to differ from the next more extreme one: a p99 of ten requests is their maximum."""


def evaluate(objectives: list[Objective], stages: list[StageSummary]) -> list[ObjectiveResult]:
    """Every objective in every stage that it is meant for."""
    return [
        _judge(objective, stage)
        for objective in objectives
        for stage in stages
        if objective.stage is None or objective.stage == stage.name
    ]


def _judge(objective: Objective, stage: StageSummary) -> ObjectiveResult:
    value, count = _value(objective, stage)
    is_latency = objective.metric in LATENCIES
    kept = _is_kept(objective, value) if value is not None else _by_lower_bound(objective, stage)
    if is_latency and count < MINIMUM_SAMPLES[objective.statistic] and kept:
        kept = None  # too few values to say that a bound is kept; one that is broken stays broken
    return ObjectiveResult(
        metric=objective.metric,
        statistic=objective.statistic if is_latency else None,
        stage=stage.name,
        bound=_bound(objective),
        value=value,
        kept=kept,
    )


def _is_kept(objective: Objective, value: float) -> bool:
    above = objective.min is None or value >= objective.min
    return above and (objective.max is None or value <= objective.max)


def _by_lower_bound(objective: Objective, stage: StageSummary) -> bool | None:
    """What can be said of a statistic that is only known to be at least so much: too many requests were cut off."""
    if objective.metric not in LATENCIES:
        return None
    least = getattr(stage, f"{objective.metric}_s").lower_bounds.get(objective.statistic)
    if least is None:
        return None
    if objective.max is not None:
        return False if least > objective.max else None
    return True if objective.min is not None and least >= objective.min else None


def _value(objective: Objective, stage: StageSummary) -> tuple[float | None, int]:
    if objective.metric in LATENCIES:
        distribution = getattr(stage, f"{objective.metric}_s")
        return getattr(distribution, objective.statistic), distribution.count + distribution.censored
    if objective.metric == "failed_share":
        return stage.requests.failed_share, stage.requests.total
    return getattr(stage, THROUGHPUTS[objective.metric]), stage.requests.total


def _bound(objective: Objective) -> str:
    bounds = {">=": objective.min, "<=": objective.max}
    return " and ".join(
        f"{sign} {_exactly(objective.metric, value)}" for sign, value in bounds.items() if value is not None
    )


def verdict(summary: Summary) -> tuple[Verdict | None, list[str]]:
    """The run's verdict and why. An invalid client, an interrupted run or too little data leave it open."""
    if not summary.objectives:
        return None, []
    reasons = []
    is_believed = _is_believed(summary)
    if not is_believed:
        reasons.append("the client was too slow to be believed: " + "; ".join(summary.client.reasons))
    if summary.state != "complete":
        reasons.append(f"the run is {summary.state}")
    unknown = [result for result in summary.objectives if result.kept is None]
    reasons += [f"{_name(result)} in stage {result.stage}: not enough data" for result in unknown]
    broken = [result for result in summary.objectives if result.kept is False]
    texts = [f"{_name(result)} is {_said(result)} in stage {result.stage}, not {result.bound}" for result in broken]
    if broken and is_believed:
        return "Failed", texts
    return ("Inconclusive", reasons) if reasons else ("Passed", _of_a_cache(summary))


def _of_a_cache(summary: Summary) -> list[str]:
    """What must be said of objectives that were kept where a prefix cache, not meant to be measured, did the work."""
    return [
        f"stage {stage.name} measured a {stage.prompt_cache.state.replace('_', ' ')} prefix cache:"
        f" {stage.prompt_cache.share:.0%} of prompt tokens were in it"
        for stage in summary.stages
        if stage.prompt_cache
        and stage.prompt_cache.state in ("partly_warm", "warm")
        and not stage.prompt_cache.is_intended
    ]


def _is_believed(summary: Summary) -> bool:
    """Whether the client allows a verdict: every objective is of the load asked for, those on latencies need true ones."""
    is_of_latencies = any(result.metric in LATENCIES for result in summary.objectives)
    return summary.client.load != "invalid" and not (is_of_latencies and summary.client.latencies == "invalid")


def _name(result: ObjectiveResult) -> str:
    return f"{result.metric} {result.statistic}" if result.statistic else result.metric


def _said(result: ObjectiveResult) -> str:
    return "larger" if result.value is None else with_unit(result.metric, result.value)


def with_unit(metric: str, value: float) -> str:
    """A figure that an objective is about, for people: 512.3 ms, 1.5 %, 98.77 tokens/s."""
    if metric in LATENCIES:
        return written.time(value)
    if metric == "failed_share":
        return written.share(value)
    return f"{written.number(value)} {_per_second(metric)}"


def _exactly(metric: str, value: float) -> str:
    """A bound, with all its digits."""
    if metric in LATENCIES:
        unit = written.unit_of([value])
        return f"{value / written.UNITS[unit]:.12g} {unit}"
    return f"{value * 100:.12g} %" if metric == "failed_share" else f"{value:.12g} {_per_second(metric)}"


def _per_second(metric: str) -> str:
    return "requests/s" if metric == "request_throughput" else "tokens/s"
