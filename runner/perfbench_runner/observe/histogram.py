"""Counts of durations in buckets: of constant size, for live figures and for Prometheus; never used for the summary."""

from bisect import bisect_left
from collections.abc import Iterable, Sequence
from typing import Any


class Histogram:
    """Counts by upper bound, and the sum of all values. `bounds` ascend; values above the last are counted, too."""

    __slots__ = ("bounds", "count", "counts", "total")

    def __init__(self, bounds: tuple[float, ...]) -> None:
        self.bounds, self.counts, self.total, self.count = bounds, [0] * (len(bounds) + 1), 0.0, 0

    def add(self, values: Iterable[Any]) -> None:
        """Count values; those that are no number, as a plugin may leave them, are left out."""
        bounds, counts = self.bounds, self.counts
        for value in values:
            try:
                if value == value:  # no NaN
                    self.total += value
                    counts[bisect_left(bounds, value)] += 1
                    self.count += 1
            except TypeError:
                continue

    def add_counts(self, counts: Sequence[int], total: float) -> None:
        """Count what another one of the same bounds has counted; one of other bounds is left out."""
        if len(counts) == len(self.counts):
            self.counts = [own + more for own, more in zip(self.counts, counts, strict=True)]
            self.total, self.count = self.total + total, self.count + sum(counts)

    def buckets(self) -> list[tuple[str, float]]:
        """Cumulative counts, as Prometheus' exposition wants them."""
        seen, made = 0, []
        for bound, count in zip((*map(str, self.bounds), "+Inf"), self.counts, strict=True):
            seen += count
            made.append((bound, float(seen)))
        return made
