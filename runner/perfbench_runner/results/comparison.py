"""How much targets of one run differ, and how sure that is. Pure functions of arrays.

All targets get the same prompts over the same time, so that what changes with time changes for all of them: the difference
is taken in each tenth of the stage, and its interval is Student's of these ten. Requests that depend on each other are in
one tenth mostly, so that tenths hardly depend on each other. The middle is the difference of the whole stage, for a
quantile of a tenth is more biased than one of the whole (sectioning: Asmussen and Glynn 2007). Where fifths differ more than
tenths let expect, since requests depend on each other over longer, theirs counts. Latencies are compared by
the logarithm of their ratio, failed requests by the difference of their shares. All intervals of a stage hold together
(Bonferroni), since whoever looks at six differences would see one in a quarter of all runs of equal targets.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import combinations
from math import exp, log, sqrt

import numpy as np

from perfbench_runner.results.differing import FAILED
from perfbench_runner.results.quantiles import QUANTILES, Array
from perfbench_runner.results.rows import Rows
from perfbench_runner.results.student import t_quantile
from perfbench_runner.results.summary import Comparison, Difference

TENTHS = 10
FEWEST = {"p50": 30, "p99": 100}
"""Values that a tenth of a stage needs for a quantile: with fewer, requests that depend on each other reach into the next."""
FEWEST_EFFECTIVE = {"p50": 30, "p99": 60}
"""Independent requests that those of a target must be worth: what is made of fewer may all be of one short moment."""
FEWEST_ANSWERS = 30
"""Requests that it needs for a share."""
COMPARED = (("ttft", "p50"), ("ttft", "p99"), ("tpot", "p50"), ("e2e_latency", "p50"), ("e2e_latency", "p99"))
"""Latencies, and their statistics."""


@dataclass(frozen=True)
class Compared:
    """The requests of one target. Arrays have one value for each, in any order."""

    name: str
    at_s: Array
    """When it was due."""
    is_failed: Array
    """1.0 where it failed; NaN where it was cut off, so that nobody knows."""
    latencies: dict[str, Array]
    """By metric, seconds: infinite where it was cut off before, NaN where it has none."""


def compared(name: str, rows: Rows, tpot: Array) -> Compared:
    """A target's requests; `tpot` has seconds per output token of each of them."""
    ok, cut = rows.is_ok, rows.is_unfinished
    first = rows["first_chunk_latency"]
    took = rows["completed_time"] - rows["start_time"]
    unknown = np.where(cut, np.inf, np.nan)
    latencies = {
        "ttft": np.where(ok | cut & ~np.isnan(first), first, unknown),
        "tpot": np.where(ok, tpot, np.nan),
        "e2e_latency": np.where(ok, took, unknown),
    }
    return Compared(name, rows["scheduled_time"], np.where(cut, np.nan, 1.0 - ok), latencies)


def comparisons(targets: Sequence[Compared], confidence: float) -> list[Comparison]:
    """Of each two targets, in their order, how much the later one differs from the earlier one.

    All intervals hold together with the confidence.
    """
    pairs = list(combinations(targets, 2))
    level = (1.0 - confidence) / 2 / max(1, len(pairs) * (len(COMPARED) + 1))
    wide = t_quantile(1.0 - level, TENTHS - 1)
    return [
        Comparison(
            baseline=one.name,
            target=other.name,
            confidence=confidence,
            differences=list(_differences(one, other, wide)),
        )
        for one, other in pairs
    ]


def _differences(one: Compared, other: Compared, wide: float) -> Iterator[Difference]:
    edges = _edges(np.concatenate([one.at_s, other.at_s]))
    for metric, statistic in COMPARED:
        values = one.latencies[metric], other.latencies[metric]
        if not all(np.isfinite(each).any() for each in values):
            continue  # such as of answers that are not streamed
        parts = [_parts(each, at_s, edges) for each, at_s in zip(values, (one.at_s, other.at_s), strict=True)]
        yield _of_latency(metric, statistic, parts[0], parts[1], wide)
    failed = [_parts(each.is_failed, each.at_s, edges) for each in (one, other)]
    if any(np.concatenate(each).any() for each in failed):
        yield _of_share(failed[0], failed[1], wide)


def _edges(at_s: Array) -> Array:
    """Between tenths of all requests together."""
    inner: Array = np.quantile(at_s, np.arange(1, TENTHS) / TENTHS) if len(at_s) else np.zeros(TENTHS - 1)
    return inner


def _parts(values: Array, at_s: Array, edges: Array) -> list[Array]:
    """Those values that are known, by tenth."""
    known = ~np.isnan(values)
    numbers = np.searchsorted(edges, at_s[known], side="right")
    return [values[known][numbers == number] for number in range(TENTHS)]


def _of_latency(metric: str, statistic: str, one: list[Array], other: list[Array], wide: float) -> Difference:
    p = QUANTILES[statistic]
    wholes = [_quantile(np.concatenate(each), p) for each in (one, other)]
    baseline, value = (whole if np.isfinite(whole) else None for whole in wholes)
    found = Difference(metric=metric, statistic=statistic, baseline=baseline, value=value)
    fewest = min(len(part) for part in (*one, *other))
    if fewest < FEWEST[statistic]:
        least = FEWEST[statistic] * TENTHS
        found.reason = f"too few requests: about {least:,} of each target are needed, evenly over the stage"
        return found
    tenths = [[_quantile(part, p) for part in each] for each in (one, other)]
    if not all(0.0 < each < np.inf for each in (*wholes, *tenths[0], *tenths[1])):
        found.reason = "too many requests were cut off to know it in every tenth of the stage"
        return found
    effective = min(_effective(*parts, wholes) for parts in ((one, other), (_joined(one), _joined(other))))
    if effective < FEWEST_EFFECTIVE[statistic]:
        least = FEWEST_EFFECTIVE[statistic]
        found.reason = f"too few requests: they tell as much as {effective:.0f} independent ones, and it takes {least}"
        return found
    middle = log(wholes[1] / wholes[0])
    of_tenths = _deviation([log(after / before) for before, after in zip(*tenths, strict=True)], middle)
    fifths = [[_quantile(part, p) for part in _joined(each)] for each in (one, other)]
    of_fifths = _deviation([log(after / before) for before, after in zip(*fifths, strict=True)], middle)
    half = wide * max(of_tenths, of_fifths)
    found.difference = wholes[1] - wholes[0]
    found.low, found.high = (wholes[0] * (exp(middle + sign * half) - 1.0) for sign in (-1, 1))
    found.is_seen = not found.low <= 0.0 <= found.high
    return found


def _of_share(one: list[Array], other: list[Array], wide: float) -> Difference:
    baseline, value = (float(np.concatenate(each).mean()) if sum(map(len, each)) else None for each in (one, other))
    found = Difference(metric=FAILED, statistic=None, baseline=baseline, value=value)
    if baseline is None or value is None or min(len(part) for part in (*one, *other)) < FEWEST_ANSWERS:
        least = FEWEST_ANSWERS * TENTHS
        found.reason = f"too few requests: about {least:,} of each target are needed, evenly over the stage"
        return found
    found.difference = value - baseline
    of_tenths = _deviation(_mean_differences(one, other), found.difference)
    half = wide * max(of_tenths, _deviation(_mean_differences(_joined(one), _joined(other)), found.difference))
    found.low, found.high = max(-1.0, found.difference - half), min(1.0, found.difference + half)
    found.is_seen = not found.low <= 0.0 <= found.high
    return found


def _effective(one: Sequence[Array], other: Sequence[Array], values: Sequence[float]) -> float:
    """As how many independent requests of each target these count, for the shares that took up to each one's own value.

    It is seen in the difference of both shares, part by part: what changes with time for both cancels out in it.
    """
    sizes = [np.array([len(part) for part in each]) for each in (one, other)]
    shares = [
        np.array([(part <= value).mean() for part in each]) for each, value in zip((one, other), values, strict=True)
    ]
    alone = sum(share * (1.0 - share) / size for share, size in zip(shares, sizes, strict=True))
    expected, fewest = float(np.mean(alone)), float(min(size.sum() for size in sizes))
    return fewest / max(1.0, float((shares[1] - shares[0]).var(ddof=1)) / expected) if expected else fewest


def _joined(parts: Sequence[Array]) -> list[Array]:
    """Each two of them together."""
    return [np.concatenate(parts[number : number + 2]) for number in range(0, len(parts), 2)]


def _mean_differences(one: Sequence[Array], other: Sequence[Array]) -> list[float]:
    return [float(after.mean() - before.mean()) for before, after in zip(one, other, strict=True)]


def _quantile(values: Array, p: float) -> float:
    """Without interpolation, which would be nothing beside an infinite value."""
    return float(np.quantile(values, p, method="inverted_cdf")) if len(values) else float("nan")


def _deviation(values: Sequence[float], middle: float) -> float:
    """That of the mean of such values."""
    return sqrt(sum((value - middle) ** 2 for value in values) / (len(values) - 1) / len(values))
