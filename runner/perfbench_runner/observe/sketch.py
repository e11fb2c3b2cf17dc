"""Quantiles of durations while a run goes on: counts in buckets that are narrow against their values, and add up exactly.

A bucket has the numbers whose float32 begins with the same 16 bits: sign, exponent and 7 bits of the fraction. So a
quantile of a sketch is within ERROR of the value that stands at that place, at any size, and sketches of several runners
together are that of one that saw all. To find 64 gaps their buckets takes some microseconds: all of it is done in C.
"""

import struct
import sys
from array import array
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping

ERROR = 1 / 257
"""Relative error of a value that is told by its bucket."""
LOWEST_S, HIGHEST_S = 1e-6, 1e5
"""Values beyond these are told as these, so that there are not too many buckets."""
_UPPER_HALF = slice(1, None, 2) if sys.byteorder == "little" else slice(0, None, 2)


def bucket_of(value: float) -> int:
    """The bucket of a positive number."""
    (found,) = memoryview(array("f", (value,))).cast("B").cast("H")[_UPPER_HALF]
    return int(found)


LOWEST, HIGHEST = bucket_of(LOWEST_S), bucket_of(HIGHEST_S)
MOST_BUCKETS = HIGHEST - LOWEST + 1
_ENDLESS, _NEGATIVE = 0x7F80, 0x8000
"""From these on the 16 bits are infinity and what is no number, and what is below zero."""


def value_of(bucket: int) -> float:
    """The value for which a bucket stands: no other is nearer to all of its values, relatively."""
    low, high = (struct.unpack(">f", struct.pack(">HH", number, 0))[0] for number in (bucket, bucket + 1))
    return float(2 * low * high / (low + high))


class Sketch:
    """Counts by bucket. Grows to no more than MOST_BUCKETS where values are durations."""

    __slots__ = ("_counts",)

    def __init__(self, counts: Mapping[int, int] | None = None) -> None:
        self._counts: Counter[int] = Counter(counts or {})

    def add(self, values: Iterable[float]) -> None:
        """Count values, seconds; those that are no number, as a plugin may leave them, are left out."""
        try:
            found = array("f", values)
        except TypeError:
            found = array("f", [value for value in values if isinstance(value, int | float)])
        self._counts.update(memoryview(found).cast("B").cast("H")[_UPPER_HALF])

    def merge(self, other: "Sketch") -> None:
        """Count what another one has counted, too."""
        self._counts.update(other._counts)

    def counts(self) -> dict[int, int]:
        """Counts of the buckets that have any, in the order of values, within LOWEST_S and HIGHEST_S."""
        found: dict[int, int] = {}
        for bucket, count in sorted(self._counts.items()):
            if bucket < _ENDLESS or bucket == _NEGATIVE:
                inside = min(max(bucket % _NEGATIVE, LOWEST), HIGHEST)
                found[inside] = found.get(inside, 0) + count
        return dict(sorted(found.items()))

    @property
    def count(self) -> int:
        """How many values there are."""
        return sum(self.counts().values())

    def quantile(self, q: float) -> float | None:
        """The value below which a share `q` of all is, within ERROR; None without values."""
        return next(self.quantiles(q), None)

    def quantiles(self, *shares: float) -> Iterator[float]:
        """Several of them, shares in rising order; none without values."""
        counts = self.counts()
        total, seen, items = sum(counts.values()), 0, iter(counts.items())
        bucket = LOWEST
        for share in shares if total else ():
            while seen == 0 or seen < share * total:
                bucket, count = next(items)
                seen += count
            yield value_of(bucket)
