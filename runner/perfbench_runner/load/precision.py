"""How well a quantile is known after so many requests, and whether that is enough to stop. Pure Python: used during the load.

Requests of one run depend on each other, since they share queues and batches: n of them are worth n / deff. The interval is
that of Korn and Graubard, with the design effect of ten and five batches, inverted to values (Woodruff). To look again and
again at growing data until an interval happens to be short picks lucky ones: so looks are few (each after 15 % more), and two
in a row must say the same. bench/until.py measures what that achieves.
"""

from collections.abc import Sequence
from math import ceil, exp, floor, inf, lgamma, log, log1p
from statistics import NormalDist
from typing import NamedTuple

GROWTH = 1.15
"""The next look comes after so many times the requests."""
IN_A_ROW = 2
"""So many looks, one after the other, must find the figure precise enough."""
FEWEST = 200
TAIL = 10
"""Values beyond the quantile, in independent ones: with fewer no interval can be believed."""
BATCHES = (10, 5)
CONFIDENCE = 0.95


class Known(NamedTuple):
    """A quantile with an interval that covers the truth at CONFIDENCE."""

    value: float
    low: float
    high: float
    """Infinite where there are too few values to bound it."""
    is_tail_too_thin: bool
    """Fewer than TAIL independent values are beyond it, so that the interval may be too short."""

    @property
    def half_width(self) -> float:
        """Half of the interval, as a share of the value; infinite where it is not known."""
        if self.is_tail_too_thin or self.value <= 0:
            return inf
        return (self.high - self.low) / 2 / self.value


def first_look(p: float) -> int:
    """How many values there must be before it is worth looking."""
    return max(FEWEST, ceil(TAIL / min(p, 1 - p)))


def known(values: Sequence[float], p: float) -> Known:
    """The p-quantile of values in the order in which their requests were sent."""
    ordered, count = sorted(values), len(values)
    value = _interpolated(ordered, p)
    is_below = [x <= value for x in values]
    median = _interpolated(ordered, 0.5)
    deff = design_effect(is_below)
    worst = max(deff, design_effect([x <= median for x in values]))
    low, high = share_limits(p, count, deff)
    first, last = floor(count * low), ceil(count * high) + 1
    return Known(
        value,
        ordered[first - 1] if first >= 1 else 0.0,
        ordered[last - 1] if last <= count else inf,
        count * min(p, 1 - p) < TAIL * worst,
    )


def _interpolated(ordered: Sequence[float], p: float) -> float:
    place = (len(ordered) - 1) * p
    below = floor(place)
    above = min(below + 1, len(ordered) - 1)
    return ordered[below] + (place - below) * (ordered[above] - ordered[below])


def design_effect(flags: Sequence[bool]) -> float:
    """How many requests are worth an independent one, by the spread of a share between batches; 1 at least."""
    count = len(flags)
    share = sum(flags) / count
    if share in (0.0, 1.0):
        return 1.0
    found = 1.0
    for batches in BATCHES:
        size = count // batches
        if not size:
            continue
        means = [sum(flags[number * size : (number + 1) * size]) / size for number in range(batches)]
        middle = sum(means) / batches
        variance = sum((mean - middle) ** 2 for mean in means) / (batches - 1)
        found = max(found, size * variance / (share * (1 - share)))
    return found


def share_limits(share: float, count: int, deff: float) -> tuple[float, float]:
    """Limits of a share of so many dependent requests, two-sided at CONFIDENCE (Clopper-Pearson of the effective ones)."""
    alpha = (1 - CONFIDENCE) / 2
    effective = (
        min(count, count / deff) * (t_quantile(1 - alpha, count - 1) / t_quantile(1 - alpha, BATCHES[0] - 1)) ** 2
    )
    hits = share * effective
    low = beta_quantile(alpha, hits, effective - hits + 1) if hits > 0 else 0.0
    high = beta_quantile(1 - alpha, hits + 1, effective - hits) if hits < effective else 1.0
    return low, high


def t_quantile(probability: float, degrees: int) -> float:
    """Student's t, by its expansion about the normal quantile; for five degrees of freedom and more."""
    z, v = NormalDist().inv_cdf(probability), degrees
    return (
        z
        + (z**3 + z) / (4 * v)
        + (5 * z**5 + 16 * z**3 + 3 * z) / (96 * v**2)
        + (3 * z**7 + 19 * z**5 + 17 * z**3 - 15 * z) / (384 * v**3)
        + (79 * z**9 + 776 * z**7 + 1482 * z**5 - 1920 * z**3 - 945 * z) / (92160 * v**4)
    )


def beta_quantile(probability: float, a: float, b: float) -> float:
    """The quantile of a beta distribution, by bisection."""
    low, high = 0.0, 1.0
    for _ in range(50):
        middle = (low + high) / 2
        low, high = (middle, high) if _beta(middle, a, b) < probability else (low, middle)
    return (low + high) / 2


def _beta(x: float, a: float, b: float) -> float:
    """The regularised incomplete beta function."""
    if x <= 0 or x >= 1:
        return float(x >= 1)
    front = exp(lgamma(a + b) - lgamma(a) - lgamma(b) + a * log(x) + b * log1p(-x))
    if x < (a + 1) / (a + b + 2):
        return front * _fraction(x, a, b) / a
    return 1 - front * _fraction(1 - x, b, a) / b


def _fraction(x: float, a: float, b: float) -> float:
    """Its continued fraction, by Lentz's method."""
    tiny = 1e-300
    c, d = 1.0, 1 - (a + b) * x / (a + 1)
    d = 1 / (d if abs(d) > tiny else tiny)
    found = d
    for m in range(1, 10_000):
        even = m * (b - m) * x / ((a + 2 * m - 1) * (a + 2 * m))
        odd = -(a + m) * (a + b + m) * x / ((a + 2 * m) * (a + 2 * m + 1))
        for term in (even, odd):
            d, c = 1 + term * d, 1 + term / c
            d = 1 / (d if abs(d) > tiny else tiny)
            c = c if abs(c) > tiny else tiny
            found *= d * c
        if abs(d * c - 1) < 1e-13:
            break
    return found


class Precision:
    """Watches a quantile become known: `look` as often as you like, it computes only when enough has come since."""

    def __init__(self, p: float, within: float) -> None:
        """`within`: the half-width to be reached, as a share of the quantile."""
        self._p, self._within = p, within
        self._next = first_look(p)
        self._in_a_row = 0
        self.known: Known | None = None
        """As of the last look."""
        self.requests = 0
        """How many it was of."""

    def is_due(self, count: int) -> bool:
        """Whether so many values are enough for another look."""
        return count >= self._next

    def look(self, values: Sequence[float]) -> bool:
        """Whether it is known well enough, by values in the order of sending."""
        if not self.is_due(len(values)):
            return False
        self.known, self.requests = known(values, self._p), len(values)
        self._next = ceil(len(values) * GROWTH)
        self._in_a_row = self._in_a_row + 1 if self.known.half_width <= self._within else 0
        return self._in_a_row >= IN_A_ROW
