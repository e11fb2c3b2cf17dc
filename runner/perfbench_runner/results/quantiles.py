"""Statistics of values, some of which may be known only by a lower bound. Pure functions.

Quantiles are numpy's, linearly interpolated between the two nearest values. With lower bounds among the values they are
Kaplan and Meier's (1958), scaled so that without any they are numpy's again: docs/metrics.md.
"""

from collections.abc import Iterable
from typing import Any

import numpy as np

from perfbench_runner.results.measured import Distribution

QUANTILES = {"p50": 0.5, "p90": 0.9, "p95": 0.95, "p99": 0.99, "p99_9": 0.999}

Array = np.ndarray[Any, np.dtype[np.float64]]
Counts = np.ndarray[Any, np.dtype[np.int64]]


def distribution(values: Iterable[float] | Array, censored: Array | None = None) -> Distribution:
    """Statistics of `values`, and of others that are known only to be larger than `censored`. NaN are left out."""
    known = _known(values)
    if censored is not None and len(bounds := _known(censored)):
        return _censored_distribution(known, bounds)
    if not len(known):
        return Distribution()
    quantiles = np.quantile(known, list(QUANTILES.values()))
    return Distribution(
        mean=float(known.mean()),
        std=float(known.std()),
        min=float(known.min()),
        max=float(known.max()),
        count=len(known),
        **dict(zip(QUANTILES, map(float, quantiles), strict=True)),
    )


def _known(values: Iterable[float] | Array) -> Array:
    array = np.asarray(values if isinstance(values, np.ndarray) else list(values), dtype=np.float64)
    known: Array = array[~np.isnan(array)]
    return known


def _censored_distribution(events: Array, bounds: Array) -> Distribution:
    times, before, after = kaplan_meier(events, bounds)
    total = len(events) + len(bounds)
    largest = float(max(events.max(initial=0.0), bounds.max()))
    left = float(after[-1]) if len(after) else 1.0
    found = {name: censored_quantile(q, times, before, after, total) for name, q in QUANTILES.items()}
    least = {name: largest for name, value in found.items() if value is None}
    steps = before - after
    restricted = float((steps * times).sum()) + left * largest
    known: dict[str, float] = {}
    if len(events):
        known["min"] = float(times[0])
    if left <= 0.0:  # the largest value is known: nothing is open
        deviation = float(np.sqrt((steps * (times - restricted) ** 2).sum()))
        known |= {"mean": restricted, "std": deviation, "max": float(times[-1])}
    else:
        least |= {"mean": restricted, "max": largest}
    return Distribution(**found, **known, count=len(events), censored=len(bounds), lower_bounds=least)


def kaplan_meier(events: Array, bounds: Array) -> tuple[Array, Array, Array]:
    """The share of values that is larger, just before and just after each event; events in ascending order."""
    times = np.concatenate([events, bounds])
    is_event = np.arange(len(times)) < len(events)
    order = np.lexsort((~is_event, times))  # at equal times events come first: what is bounded there is larger
    at_risk = len(times) - np.arange(len(times))
    after = np.cumprod(1.0 - is_event[order] / at_risk).astype(np.float64)
    before = np.concatenate([[1.0], after[:-1]])
    event = is_event[order]
    return times[order][event], before[event], after[event]


def censored_quantile(q: float, times: Array, before: Array, after: Array, total: int) -> float | None:
    """A quantile of what `kaplan_meier` found; None beyond the last event, where only a lower bound is known."""
    if not len(times) or q > 1.0 - after[-1] + 1e-12:
        return None
    scale = total / (total - 1) if total > 1 else 1.0
    return float(np.interp(q, (1.0 - before) * scale, times))


class GapHistogram:
    """Counts of gaps by whole microseconds, in which they are stored: exact statistics in 16 MB, however many there are."""

    DENSE = 2**20
    """Gaps below this many microseconds, about a second, are counted in an array, the few longer ones in a dict."""

    def __init__(self) -> None:
        self._dense = np.zeros(self.DENSE, dtype=np.int64)
        self._sparse: dict[int, int] = {}

    def add(self, gaps_us: Counts) -> None:
        """Count gaps, in whole microseconds."""
        is_dense = (gaps_us >= 0) & (gaps_us < self.DENSE)
        if not is_dense.all():
            for value, count in zip(*np.unique(gaps_us[~is_dense], return_counts=True), strict=True):
                self._sparse[int(value)] = self._sparse.get(int(value), 0) + int(count)
            gaps_us = gaps_us[is_dense]
        if len(gaps_us):
            counts = np.bincount(gaps_us)
            self._dense[: len(counts)] += counts

    def counts(self) -> tuple[Counts, Counts]:
        """The gaps that there were, in microseconds and ascending, and how often."""
        values = np.flatnonzero(self._dense)
        counts = self._dense[values]
        if self._sparse:
            values = np.concatenate([values, list(self._sparse)])
            counts = np.concatenate([counts, list(self._sparse.values())])
            order = np.argsort(values)
            values, counts = values[order], counts[order]
        return values, counts

    def distribution(self) -> Distribution:
        """Statistics of all gaps, in seconds."""
        values, counts = self.counts()
        if not len(values):
            return Distribution()
        seconds, cumulated = values / 1e6, np.cumsum(counts)
        total = int(cumulated[-1])
        mean = float((seconds * counts).sum() / total)
        return Distribution(
            mean=mean,
            std=float(np.sqrt((counts * (seconds - mean) ** 2).sum() / total)),
            min=float(seconds[0]),
            max=float(seconds[-1]),
            count=total,
            **{name: quantile_of_counts(q, seconds, cumulated) for name, q in QUANTILES.items()},
        )


def quantile_of_counts(q: float, values: Array, cumulated: Counts) -> float:
    """numpy's quantile of values that occur several times."""
    rank = q * (int(cumulated[-1]) - 1)
    low = int(rank)
    pair = np.searchsorted(cumulated, [low, min(low + 1, int(cumulated[-1]) - 1)], side="right")
    return float(np.quantile(values[pair], rank - low))
