"""Objectives and the verdict: pure functions from a stage's evidence to Passed, Failed or Inconclusive.

How sure a figure is, and what that allows to say, is in `judging`; here is which figure an objective is about, and the words.
"""

from collections.abc import Callable, Collection, Sequence
from dataclasses import replace
from math import isinf

from perfbench_api.outcome import Verdict
from perfbench_api.sections import Objective
from perfbench_api.sections.objectives import COUNTS, DISTRIBUTIONS, LATENCIES, SHARES
from perfbench_runner.results import written
from perfbench_runner.results.evidence import GAPS, Evidence
from perfbench_runner.results.intervals import Interval
from perfbench_runner.results.judging import (
    BETWEEN,
    NO_VALUES,
    Bounds,
    Finding,
    Levels,
    judge_known,
    judge_mean,
    judge_quantile,
    judge_share,
    more_requests,
)
from perfbench_runner.results.measured import Distribution, PromptRange, Steady
from perfbench_runner.results.prompt_lengths import judge_by_prompt
from perfbench_runner.results.quantiles import QUANTILES, Array
from perfbench_runner.results.rows import Part
from perfbench_runner.results.summary import Figures, ObjectiveResult, Summary

THROUGHPUTS = {
    "request_throughput": "request_throughput_rps",
    "output_token_throughput": "output_token_throughput_tps",
    "input_token_throughput": "input_token_throughput_tps",
    "total_token_throughput": "total_token_throughput_tps",
}
MINIMUM_SAMPLES = {"mean": 1, "std": 2, "min": 1, "p50": 2, "p90": 10, "p95": 20, "p99": 100, "p99_9": 1000, "max": 1}
"""So many values a statistic needs to differ from the next more extreme one: a p99 of ten requests is their maximum."""
FEWEST_FOR_RATES = 10
"""Requests that must have ended in a window before its tenths are compared."""


class Judging:
    """Judges stages one by one, while their requests are in memory: `evidence.Judge`."""

    def __init__(
        self,
        objectives: Sequence[Objective],
        confidence: float,
        judged: Callable[[Sequence[str]], Collection[str]] = lambda stages: stages,
    ) -> None:
        """`judged`: of the names of all stages, those that are judged at all."""
        self._objectives, self._confidence, self._judged = objectives, confidence, judged
        self._found: list[tuple[int, ObjectiveResult]] = []

    def gaps(self, part: Part) -> Collection[str]:
        """Metrics of gaps that are judged by how they differ over time."""
        judged = (*QUANTILES, "mean")
        own = [each for each in self._objectives if (each.workload, each.target) == (part.workload, part.target)]
        return {each.metric for each in own if each.metric in GAPS and each.statistic in judged}

    def see(self, evidence: Evidence) -> None:
        """Judge a stage, or one workload or target of it, by the objectives that are meant for it."""
        names = self._judged(evidence.stages)
        if evidence.name not in names:
            return
        count = sum(len(names) if each.stage is None else 1 for each in self._objectives)
        levels = Levels.of(self._confidence, count, evidence.looks)
        for number, objective in enumerate(self._objectives):
            is_of_part = (objective.workload, objective.target) == (evidence.workload, evidence.target)
            if objective.stage in (None, evidence.name) and is_of_part:
                found = while_steady(judge(objective, evidence, levels), objective, evidence.steady)
                self._found.append((number, _result(objective, evidence, found, self._confidence)))

    @property
    def results(self) -> list[ObjectiveResult]:
        """Every objective in every stage that it is meant for: by objective, then by stage."""
        return [result for _, result in sorted(self._found, key=lambda pair: pair[0])]


def judge(objective: Objective, evidence: Evidence, levels: Levels) -> Finding:
    """What can be said of one objective in one stage."""
    bounds = Bounds(objective.min, objective.max)
    if objective.prompt_tokens is not None:
        return judge_by_prompt(objective, objective.prompt_tokens, evidence, levels)
    if objective.metric in DISTRIBUTIONS:
        return _statistic(objective, evidence, bounds, levels)
    if objective.metric == "failed_share":
        share, bursts = evidence.failures()
        found = judge_share(share, bounds, levels, bursts)
        return replace(found, needed=more_requests(found.needed, share.count, share.count))
    if objective.metric == "goodput_share":
        return _goodput_share(evidence, bounds, levels)
    return _rate(objective.metric, evidence, bounds, levels)


def while_steady(found: Finding, objective: Objective, steady: Steady | None) -> Finding:
    """Open where latencies still went up or down at the end of a stage, so that a longer one might be decided otherwise.

    What goes on as it went can only confirm a bound that is broken while things get worse, or kept while they get better.
    """
    change = 0.0 if steady is None else steady.change
    if not change or found.value is None or objective.metric in COUNTS:
        return found
    grows_worse, lower_is_better = change > 0, objective.metric in LATENCIES or objective.metric == "failed_share"
    is_usual = (objective.min if lower_is_better else objective.max) is None
    if is_usual and found.kept is (not grows_worse):
        return found
    way = "growing" if change > 0 else "falling"
    reason = (
        f"the stage was not steady: latencies were still {way}, by {abs(change):.0%} from its beginning to its end;"
        " make it longer, or warm up"
    )
    return replace(found, kept=None, reason=reason, needed=None)


def _goodput_share(evidence: Evidence, bounds: Bounds, levels: Levels) -> Finding:
    """Judged as the share of requests that were not good: a bound of 99 % is one of 1 %, and as far as that from 2 %."""
    goodput = evidence.stage.goodput
    if goodput is None or goodput.share is None:
        return Finding(None, reason=goodput.reason if goodput and goodput.reason else NO_VALUES)
    bad = evidence.bad()
    found = judge_share(bad, bounds.of_the_rest(), levels, memory=evidence.memory())
    needed = more_requests(found.needed, bad.count, bad.count)
    return replace(found, value=goodput.share, interval=found.interval and found.interval.of_the_rest(), needed=needed)


def _statistic(objective: Objective, evidence: Evidence, bounds: Bounds, levels: Levels) -> Finding:
    metric, statistic = objective.metric, objective.statistic
    figures: Distribution = getattr(evidence.stage, metric if metric in COUNTS else f"{metric}_s")
    if statistic in QUANTILES:
        measured = evidence.measured(metric)
        if measured is None:
            return Finding(None, reason=NO_VALUES)
        found = judge_quantile(measured, QUANTILES[statistic], bounds, levels)
        found = replace(found, needed=more_requests(found.needed, measured.count, evidence.stage.requests.total))
        return found if found.value is not None else replace(found, reason=_infinite(found, evidence))
    if statistic in figures.lower_bounds:
        return _by_lower_bound(figures.lower_bounds[statistic], bounds)
    if statistic == "max" and metric in LATENCIES and metric not in GAPS and evidence.stage.requests.failed:
        return Finding(bounds.most is None, None, reason=_of_failures(evidence.stage))
    if metric in GAPS and statistic == "mean" and metric in evidence.gaps:
        return judge_mean(evidence.gaps[metric].means(), bounds, levels, exact=figures.mean)
    if statistic in ("min", "max") or metric in GAPS:
        return judge_known(getattr(figures, statistic), bounds)
    return _moment(statistic, evidence.succeeded(metric), bounds, levels)


def _moment(statistic: str, values: Array, bounds: Bounds, levels: Levels) -> Finding:
    """The mean of values; their deviation is the root of the mean of squared ones."""
    if statistic == "mean" or not len(values):
        return judge_mean(values, bounds, levels)
    squares = Bounds(*(None if bound is None else bound**2 for bound in bounds))
    found = judge_mean((values - values.mean()) ** 2, squares, levels)
    ends = found.interval and Interval(*(None if end is None else max(0.0, end) ** 0.5 for end in found.interval))
    return replace(found, value=found.value and found.value**0.5, interval=ends)


def _by_lower_bound(least: float, bounds: Bounds) -> Finding:
    """What can be said of a statistic that is only known to be at least so much: too many requests were cut off."""
    reason = f"so many requests were cut off that it is only known to be {written.time(least)} at least"
    if bounds.most is not None:
        return Finding(False if least > bounds.most else None, reason=reason)
    return Finding(True if bounds.least is not None and least >= bounds.least else None, reason=reason)


def _infinite(found: Finding, evidence: Evidence) -> str:
    """Why a quantile has no value: failed requests are slower than any bound, and those cut off were not seen to their end."""
    requests = evidence.stage.requests
    parts = [_of_failures(evidence.stage)] if requests.failed else []
    parts += ["requests were cut off before they had taken so long"] if requests.unfinished or requests.unsent else []
    return "; ".join([*parts, *([found.reason] if found.reason else [])])


def _of_failures(stage: Figures) -> str:
    return f"{stage.requests.failed} of {stage.requests.total} requests failed, which is slower than any bound"


def _rate(metric: str, evidence: Evidence, bounds: Bounds, levels: Levels) -> Finding:
    """A throughput: as much as it differs between tenths of its window."""
    goodput = evidence.stage.goodput
    value: float | None = getattr(evidence.stage, THROUGHPUTS[metric]) if metric in THROUGHPUTS else None
    if metric == "goodput_rate" and goodput:
        value = goodput.rate_rps
    if value is None or evidence.span.duration_s <= 0.0:
        return Finding(None, reason=goodput.reason if metric == "goodput_rate" and goodput else NO_VALUES)
    requests = evidence.stage.requests
    found = judge_mean(evidence.rates(metric), bounds, levels, exact=value)
    if evidence.span.kind == "overall" or requests.succeeded < FEWEST_FOR_RATES:
        reason = "too few requests to see in how far it is steady"
        return replace(found, kept=None, interval=Interval(), reason=reason, needed=None)
    return replace(found, needed=more_requests(found.needed, len(evidence.rates(metric)), requests.total))


def _result(objective: Objective, evidence: Evidence, found: Finding, confidence: float) -> ObjectiveResult:
    low, high = (None if end is None or isinf(end) else end for end in found.interval or (None, None))
    within = objective.prompt_tokens
    return ObjectiveResult(
        metric=objective.metric,
        statistic=objective.statistic if objective.metric in DISTRIBUTIONS else None,
        stage=evidence.name,
        workload=evidence.workload,
        target=evidence.target,
        prompt_tokens=within and PromptRange(from_tokens=within.least or 0, to_tokens=within.to),
        bound=_bound(objective),
        value=found.value,
        low=low,
        high=high,
        confidence=None if found.interval is None else confidence,
        kept=found.kept,
        reason=found.reason,
        needed=found.needed if found.kept is None else None,
    )


def _bound(objective: Objective) -> str:
    bounds = {">=": objective.min, "<=": objective.max}
    return " and ".join(
        f"{sign} {_exactly(objective.metric, value)}" for sign, value in bounds.items() if value is not None
    )


def verdict(summary: Summary) -> tuple[Verdict | None, list[str]]:
    """The run's verdict and why. An invalid client, an interrupted run or too little data leave it open."""
    if not summary.objectives:
        return None, []
    is_believed = _is_believed(summary)
    reasons = doubts(summary, is_believed)
    reasons += [open_in_words(result) for result in summary.objectives if result.kept is None]
    broken = [result for result in summary.objectives if result.kept is False]
    if broken and is_believed:
        return "Failed", [broken_in_words(result) for result in broken]
    return ("Inconclusive", reasons) if reasons else ("Passed", _of_a_cache(summary))


def doubts(summary: Summary, is_believed: bool) -> list[str]:
    """What leaves a verdict open whatever the figures are, in words. `is_believed`: whether the client allows it."""
    found = []
    if not is_believed:
        found.append("the client was too slow to be believed: " + "; ".join(summary.client.reasons))
    if summary.state != "complete":
        found.append(f"the run is {summary.state}")
    return found


def broken_in_words(result: ObjectiveResult) -> str:
    """ttft p99 is 612.3 ms (598.1 to 640.2 ms) in stage c8, not <= 500 ms."""
    if result.value is None:
        return f"{_name(result)} is larger in {_where(result)}, not {result.bound}: {result.reason}"
    between = f" ({interval_in_words(result)})" if result.confidence is not None else ""
    return (
        f"{_name(result)} is {with_unit(result.metric, result.value)}{between} in {_where(result)}, not {result.bound}"
    )


def open_in_words(result: ObjectiveResult) -> str:
    """ttft p99 in stage c8 is open: 412.0 ms (380.2 to 640.1 ms) for <= 500 ms: why; about 2,000 requests more would …"""
    value = "" if result.value is None else f" {with_unit(result.metric, result.value)}"
    between = f" ({interval_in_words(result)})" if result.confidence is not None else ""
    more = f"; about {result.needed:,} requests more would probably decide it" if result.needed else ""
    if result.reason == BETWEEN and not more:
        more = " and is so near that more requests would hardly decide it"
    shown = f":{value}{between}" if value else ""
    return f"{_name(result)} in {_where(result)} is open{shown} for {result.bound}: {result.reason}{more}"


def interval_in_words(result: ObjectiveResult) -> str:
    """380.2 ms to 640.1 ms; "at least" or "at most" where there is one end; "anything" without."""
    low, high = (None if end is None else with_unit(result.metric, end) for end in (result.low, result.high))
    if low is None or high is None:
        return f"at least {low}" if low else f"at most {high}" if high else "too few values for an interval"
    number, _, unit = low.rpartition(" ")
    return f"{number} to {high}" if unit == high.rpartition(" ")[2] else f"{low} to {high}"


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
    name = f"{result.metric} {result.statistic}" if result.statistic else result.metric
    return name if result.prompt_tokens is None else f"{name} of {prompts_in_words(result.prompt_tokens)}"


def prompts_in_words(within: PromptRange) -> str:
    """Prompts of 1,000 to 3,999 tokens."""
    if within.to_tokens is None:
        return f"prompts of {within.from_tokens:,} tokens and more"
    if not within.from_tokens:
        return f"prompts of fewer than {within.to_tokens:,} tokens"
    if within.to_tokens == within.from_tokens + 1:
        return f"prompts of {within.from_tokens:,} tokens"
    return f"prompts of {within.from_tokens:,} to {within.to_tokens - 1:,} tokens"


def _where(result: ObjectiveResult) -> str:
    """Stage c8; workload chat of stage c8; workload chat of target new of stage c8."""
    parts = (("workload", result.workload), ("target", result.target), ("stage", result.stage))
    return " of ".join(f"{what} {name}" for what, name in parts if name)


def with_unit(metric: str, value: float) -> str:
    """A figure that an objective is about, for people: 512.3 ms, 1.5 %, 98.77 tokens/s."""
    if metric in LATENCIES:
        return written.time(value)
    if metric in SHARES:
        return written.share(value)
    if metric in COUNTS:
        return f"{written.number(value)} tokens"
    return f"{written.number(value)} {_per_second(metric)}"


def _exactly(metric: str, value: float) -> str:
    """A bound, with all its digits."""
    if metric in LATENCIES:
        unit = written.unit_of([value])
        return f"{value / written.UNITS[unit]:.12g} {unit}"
    if metric in COUNTS:
        return f"{value:.12g} tokens"
    return f"{value * 100:.12g} %" if metric in SHARES else f"{value:.12g} {_per_second(metric)}"


def _per_second(metric: str) -> str:
    return "requests/s" if metric in ("request_throughput", "goodput_rate") else "tokens/s"
