"""A stage that was run several times: how much its figures differ between repeats, beside what each repeat says by itself.

Within a run the spread is that of its requests, whose dependence the intervals know. Between runs there is more: another
placement of memory, other neighbours, a cache that was warm. Only repeats show it, so that an interval of one run holds for
that run alone.
"""

from collections import defaultdict
from collections.abc import Collection, Iterable, Mapping
from math import sqrt

import numpy as np

from perfbench_runner.results.dependence import FREEDOM
from perfbench_runner.results.evidence import Evidence
from perfbench_runner.results.intervals import Interval, Measured, mean_interval, shares_around
from perfbench_runner.results.quantiles import QUANTILES
from perfbench_runner.results.rows import Part
from perfbench_runner.results.student import t_quantile
from perfbench_runner.results.summary import RepeatedStage, Spread, StageSummary

LEVEL = 0.025
"""Each end of an interval at 95 %."""
RATES = {"request_throughput": "request_throughput_rps", "output_token_throughput": "output_token_throughput_tps"}
QUANTILES_OF = {
    "ttft": ("p50", "p90", "p99"),
    "tpot": ("p50",),
    "e2e_latency": ("p50", "p90", "p99"),
    "scheduled_latency": ("p50", "p99"),
}
"""Figures that are compared."""


class Repeated:
    """Looks at each stage while its requests are in memory: `evidence.Judge`."""

    def __init__(self) -> None:
        self._within: dict[str, dict[str, float]] = {}
        """By stage and figure: the standard deviation that its requests alone let expect."""

    def gaps(self, part: Part) -> Collection[str]:
        """None."""
        return ()

    def see(self, evidence: Evidence) -> None:
        """Note how well each figure is known within the stage."""
        if evidence.workload is None and evidence.target is None:
            self._within[evidence.name] = _within(evidence)

    def stages(self, names: Iterable[str], stages: Mapping[str, list[StageSummary]]) -> list[RepeatedStage]:
        """Of each stage that the manifest names, the figures of its repeats: `stages` has them by that name."""
        return [
            RepeatedStage(
                name=name,
                stages=[stage.name for stage in stages[name]],
                figures=_figures(stages[name], [self._within.get(stage.name, {}) for stage in stages[name]]),
            )
            for name in names
            if stages.get(name)
        ]


def by_name(names: list[str], stages: list[StageSummary]) -> dict[str, list[StageSummary]]:
    """The repeats of each stage: the whole list of stages was run again and again, so that every n-th is of the same."""
    found: dict[str, list[StageSummary]] = defaultdict(list)
    for index, stage in enumerate(stages):
        found[names[index % len(names)]].append(stage)
    return found


def _within(evidence: Evidence) -> dict[str, float]:
    found: dict[str, float | None] = {}
    for metric, statistics in QUANTILES_OF.items():
        measured = evidence.measured(metric)
        for statistic in statistics if measured else ():
            found[f"{metric}_s.{statistic}"] = _deviation(_of_quantile(measured, QUANTILES[statistic]))
    if evidence.span.duration_s > 0.0:
        for metric, name in RATES.items():
            found[name] = _deviation(mean_interval(evidence.rates(metric), (LEVEL, LEVEL)))
    return {name: value for name, value in found.items() if value is not None}


def _of_quantile(measured: Measured | None, p: float) -> Interval:
    value = measured.quantile(p) if measured else None
    if measured is None or value is None:
        return Interval()
    effect = measured.share_up_to(value).design_effect
    smaller, larger = shares_around(p, measured.count, effect, (LEVEL, LEVEL))
    return Interval(None if smaller < 0.0 else measured.first_above(smaller), measured.first_at(larger))


def _deviation(interval: Interval) -> float | None:
    """The standard deviation of a figure that has this interval; None where one end is not known."""
    low, high = interval
    return None if low is None or high is None else (high - low) / 2 / t_quantile(1.0 - LEVEL, FREEDOM)


def _figures(stages: list[StageSummary], within: list[dict[str, float]]) -> dict[str, Spread]:
    names = [*RATES.values(), *(f"{metric}_s.{each}" for metric, all_ in QUANTILES_OF.items() for each in all_)]
    found = {
        name: _spread([_value(stage, name) for stage in stages], [each.get(name) for each in within]) for name in names
    }
    return {name: spread for name, spread in found.items() if spread.mean is not None}


def _value(stage: StageSummary, name: str) -> float | None:
    value: object = stage
    for part in name.split("."):
        value = getattr(value, part)
    return value if isinstance(value, float) else None


def _spread(values: list[float | None], within: list[float | None]) -> Spread:
    known = np.array([value for value in values if value is not None])
    expected = [each for each in within if each is not None]
    alone = sqrt(sum(each**2 for each in expected) / len(expected)) if len(expected) == len(values) else None
    if not len(known):
        return Spread(values=values)
    mean = float(known.mean())
    if len(known) < 2 or len(known) < len(values):
        return Spread(values=values, mean=mean, within=alone)
    between = float(known.std(ddof=1))
    half = t_quantile(1.0 - LEVEL, len(known) - 1) * between / sqrt(len(known))
    return Spread(values=values, mean=mean, low=mean - half, high=mean + half, between=between, within=alone)
