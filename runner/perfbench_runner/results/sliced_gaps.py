"""Gaps between chunks by when they were: all sequences of a batch share its steps, so what is independent is time, not gaps."""

import sqlite3
from collections.abc import Callable
from dataclasses import dataclass
from functools import cached_property

import numpy as np

from perfbench_runner.results.dependence import BATCHES, design_effect_of_tenths
from perfbench_runner.results.intervals import Share
from perfbench_runner.results.measured import Distribution
from perfbench_runner.results.quantiles import Array, Counts, GapHistogram, quantile_of_counts
from perfbench_runner.results.rows import Part, read_gaps, read_gaps_in_time, read_token_gaps

SLICES = max(BATCHES)


class GapSlices:
    """Counts of gaps in ten equal slices of a stage's time, while they are read."""

    def __init__(self, start_s: float, end_s: float) -> None:
        self._start_s, self._step_s = start_s, max(end_s - start_s, 1e-9) / SLICES
        self._parts = [GapHistogram() for _ in range(SLICES)]

    def add(self, gaps_us: Counts, ends_s: Array) -> None:
        """Count gaps, in whole microseconds, that were over at these times."""
        which = np.clip(((ends_s - self._start_s) / self._step_s).astype(np.int64), 0, SLICES - 1)
        for number in np.unique(which).tolist():  # few: requests are stored as they end
            self._parts[number].add(gaps_us[which == number])

    def measured(self) -> "SlicedGaps":
        """What was counted."""
        return SlicedGaps([part.counts() for part in self._parts])


@dataclass(frozen=True)
class SlicedGaps:
    """Gaps of a stage, as quantiles of them are judged: `intervals.Measured`."""

    parts: list[tuple[Counts, Counts]]
    """Of each slice: gaps in microseconds, ascending, and how often there were."""

    @cached_property
    def _all(self) -> tuple[Array, Counts]:
        """Seconds, ascending, and how many gaps were at most as long."""
        values = np.unique(np.concatenate([values for values, _ in self.parts]))
        counts = np.zeros(len(values), dtype=np.int64)
        for of_part, how_often in self.parts:
            counts[np.searchsorted(values, of_part)] += how_often
        return values / 1e6, np.cumsum(counts)

    @property
    def count(self) -> int:
        """How many there are."""
        return int(self._all[1][-1]) if len(self._all[1]) else 0

    @property
    def largest_s(self) -> float:
        """The longest."""
        return float(self._all[0][-1]) if self.count else 0.0

    @property
    def beyond_s(self) -> float:
        """There are none of which it is not known."""
        return self.largest_s

    def quantile(self, p: float) -> float | None:
        """numpy's quantile."""
        return quantile_of_counts(p, *self._all) if self.count else None

    def share_up_to(self, value: float) -> Share:
        """The share of gaps of `value` seconds at most."""
        limit = int(np.floor(value * 1e6 + 1e-6))
        inside = [
            int(how_often[: np.searchsorted(values, limit, side="right")].sum()) for values, how_often in self.parts
        ]
        sizes = [int(how_often.sum()) for _, how_often in self.parts]
        share = sum(inside) / sum(sizes) if sum(sizes) else 0.0
        return Share(share, self.count, design_effect_of_tenths(inside, sizes))

    def means(self) -> Array:
        """The mean gap of each slice that has any, in seconds."""
        means = [float((values * how_often).sum() / how_often.sum()) for values, how_often in self.parts if len(values)]
        return np.array(means) / 1e6

    def first_at(self, share: float) -> float | None:
        """The shortest gap up to which the share is at least so large."""
        return self._value(int(np.ceil(share * self.count - 1e-6)))

    def first_above(self, share: float) -> float | None:
        """The shortest gap up to which the share is larger."""
        return self._value(int(np.floor(share * self.count + 1e-6)) + 1)

    def _value(self, rank: int) -> float | None:
        values, cumulated = self._all
        index = int(np.searchsorted(cumulated, rank, side="left"))
        return float(values[index]) if index < len(values) else None


def gap_distribution(
    db: sqlite3.Connection, part: Part, read: Callable[[int], None], slices: GapSlices | None
) -> Distribution:
    """Statistics of a part's gaps, which are counted in `slices`, too; `read` is told how many rows were read."""
    histogram = GapHistogram()
    if slices is None:
        for gaps_us in read_gaps(db, part, read):
            histogram.add(gaps_us)
    else:
        for gaps_us, ends_s in read_gaps_in_time(db, part, read):
            histogram.add(gaps_us)
            slices.add(gaps_us, ends_s)
    return histogram.distribution()


def token_gap_distribution(db: sqlite3.Connection, part: Part, slices: GapSlices | None) -> Distribution:
    """The same of gaps between tokens, where the server counts them chunk by chunk."""
    histogram = GapHistogram()
    if slices is None:
        for gaps_us in read_token_gaps(db, part):
            histogram.add(gaps_us)
    else:
        for gaps_us, ends_s in read_gaps_in_time(db, part, lambda more: None, of_tokens=True):
            histogram.add(gaps_us)
            slices.add(gaps_us, ends_s)
    return histogram.distribution()
