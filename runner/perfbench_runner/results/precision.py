"""How well a figure is known after so many requests, and whether that is enough to stop. Pure Python: used during the load,
and once more for a stage that came to its end without it (`results.reached`).

Requests of one run depend on each other (`results.dependence`). The interval is that of a share, with the design effect of
ten and five batches, inverted to values (Woodruff). To look again and
again at growing data until an interval happens to be short picks lucky ones: so looks are few (each after 15 % more), and two
in a row must say the same. bench/until.py measures what that achieves.
"""

from array import array
from bisect import bisect_right
from collections import Counter
from collections.abc import Callable, Sequence
from functools import partial
from itertools import accumulate
from math import ceil, exp, floor, inf, log, sqrt
from typing import Generic, NamedTuple, TypeVar

from perfbench_runner.results.dependence import (
    BATCHES,
    FREEDOM,
    design_effect_of_parts,
    design_effect_of_tenths,
    share_limits,
)
from perfbench_runner.results.looks import FEWEST, TAIL, first_look
from perfbench_runner.results.student import t_quantile

GROWTH = 1.15
"""The next look comes after so many times the requests."""
IN_A_ROW = 2
"""So many looks, one after the other, must find the figure precise enough."""
CONFIDENCE = 0.95
LEVEL = (1 - CONFIDENCE) / 2
"""Each end of an interval misses so often."""


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


def known(values: Sequence[float], p: float) -> Known:
    """The p-quantile of values in the order in which their requests were sent."""
    ordered, count = sorted(values), len(values)
    value = _interpolated(ordered, p)
    is_below = [x <= value for x in values]
    median = _interpolated(ordered, 0.5)
    deff = design_effect(is_below)
    worst = max(deff, design_effect([x <= median for x in values]))
    low, high = share_limits(p, count, deff, LEVEL, LEVEL)
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
        if size := count // batches:
            inside = [sum(flags[number * size : (number + 1) * size]) for number in range(batches)]
            found = max(found, design_effect_of_parts(inside, [size] * batches, share))
    return found


STEP = log(1.005)
"""Gaps are counted in steps of half a percent: there are a hundred for each request."""


LONGEST_S = 1e9
"""Longer ones, which a plugin may tell, are taken for this."""


def steps_of(gaps_s: Sequence[float]) -> "array[int]":
    """Gaps, as numbers of their steps above a microsecond."""
    return array(
        "h", [max(0, floor(log(min(gap_s, LONGEST_S) * 1e6) / STEP)) if gap_s > 1e-6 else 0 for gap_s in gaps_s]
    )


def known_of_gaps(requests: Sequence["array[int]"], p: float) -> Known:
    """The p-quantile of all gaps of requests in the order in which they were sent; each is in its steps.

    Gaps of one request, and of those beside it, share a server's steps: what is independent are stretches of time.
    """
    parts = [Counter[int]() for _ in range(BATCHES[0])]
    for number, gaps in enumerate(requests):
        parts[part_of_gaps(number, len(requests))].update(gaps)
    return known_of_steps(parts, p)


def part_of_gaps(number: int, requests: int) -> int:
    """Which tenth of so many requests that have gaps one of them is of, by its number in the order of sending."""
    return ((number + 1) * BATCHES[0] - 1) // requests


def known_of_steps(parts: Sequence["Counter[int]"], p: float) -> Known:
    """The same of the gaps of tenths of the requests: of each how many gaps there are of each step."""
    total = sum(parts, Counter[int]())
    steps = sorted(total)
    sums = list(accumulate(total[step] for step in steps))
    count = sums[-1] if sums else 0
    if count < 2 * BATCHES[0]:
        return Known(0.0, 0.0, inf, is_tail_too_thin=True)

    def at(share: float) -> float:
        """The middle of the step in which this share is reached."""
        return exp((steps[min(bisect_right(sums, share * count), len(steps) - 1)] + 0.5) * STEP) / 1e6

    effects = [design_effect_of_tenths(*_below(parts, round(log(at(share) * 1e6) / STEP - 0.5))) for share in (p, 0.5)]
    low, high = share_limits(p, count, effects[0], LEVEL, LEVEL)
    is_thin = count * min(p, 1 - p) < TAIL * max(effects)
    return Known(at(p), at(low) if low > 0 else 0.0, at(high) if high < 1 else inf, is_thin)


def _below(parts: Sequence["Counter[int]"], step: int) -> tuple[list[int], list[int]]:
    """Of each part: how many gaps are up to a step, and how many there are."""
    below = [sum(count for at, count in part.items() if at <= step) for part in parts]
    return below, [sum(part.values()) for part in parts]


class Done(NamedTuple):
    """What a request adds to a throughput: when it ended, and how much of it there is (1, or tokens)."""

    at_s: float
    amount: float


def known_rate(done: Sequence[Done]) -> Known:
    """Amounts a second since the first end, by how much tenths and fifths of that time differ."""
    ends = sorted(done)
    begin_s, end_s = ends[0].at_s, ends[-1].at_s
    if end_s <= begin_s:
        return Known(0.0, 0.0, inf, is_tail_too_thin=True)
    sums = [0.0] * BATCHES[0]
    for at_s, amount in ends[1:]:
        sums[min(BATCHES[0] - 1, int((at_s - begin_s) / (end_s - begin_s) * BATCHES[0]))] += amount
    mean = sum(sums) / (end_s - begin_s)
    half = 0.0
    for width in (1, 2):
        rates = [
            sum(sums[at : at + width]) / (end_s - begin_s) * BATCHES[0] / width for at in range(0, len(sums), width)
        ]
        variance = sum((rate - mean) ** 2 for rate in rates) / (len(rates) - 1) / len(rates)
        half = max(half, t_quantile(1 - LEVEL, FREEDOM) * sqrt(variance))
    return Known(mean, mean - half, mean + half, is_tail_too_thin=False)


def in_words(found: Known, requests: int, figure: str) -> str:
    """How well a figure is known, of so many requests."""
    if found.is_tail_too_thin:
        return f"{requests:,} requests depend on each other too much to say how well {figure} is known"
    if found.value <= 0:
        return f"after {requests:,} requests {figure} is 0"
    if found.half_width == inf:
        return f"after {requests:,} requests {figure} has no upper bound"
    return f"after {requests:,} requests {figure} is known to ±{found.half_width:.1%}"


T = TypeVar("T")


class Precision(Generic[T]):
    """Watches a figure become known: `look` as often as you like, it computes only when enough has come since."""

    def __init__(self, estimate: Callable[[Sequence[T]], Known], first: int, within: float) -> None:
        """`estimate` makes the figure of values; `first`: of how many at least. `within`: the half-width to be reached."""
        self._estimate, self._next, self._within = estimate, first, within
        self._in_a_row = 0
        self.known: Known | None = None
        """As of the last look."""
        self.requests = 0
        """How many it was of."""

    def is_due(self, count: int) -> bool:
        """Whether so many values are enough for another look."""
        return count >= self._next

    def look(self, values: Sequence[T]) -> bool:
        """Whether it is known well enough, by values in the order of sending."""
        if not self.is_due(len(values)):
            return False
        self.known, self.requests = self._estimate(values), len(values)
        self._next = ceil(len(values) * GROWTH)
        self._in_a_row = self._in_a_row + 1 if self.known.half_width <= self._within else 0
        return self._in_a_row >= IN_A_ROW


def of_quantile(p: float, within: float) -> Precision[float]:
    """Of latencies that each request has one of."""
    return Precision(partial(known, p=p), first_look(p), within)


def of_gaps(p: float, within: float) -> Precision["array[int]"]:
    """Of gaps, in the steps of `steps_of`; each request has several."""
    return Precision(partial(known_of_gaps, p=p), FEWEST, within)


def of_rate(within: float) -> Precision[Done]:
    """Of a throughput."""
    return Precision(known_rate, FEWEST, within)
