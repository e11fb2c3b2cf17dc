"""How sure figures are that were made of the requests of one run. Pure functions of arrays.

Requests of one run share queues and batches, so that they tell less than as many independent ones: `results.dependence`. Limits
of a quantile are the values at which such limits of the share below them meet it (Woodruff 1952). With requests that were
cut off, the share is Aalen and Johansen's (1978; Kaplan and Meier's where nothing failed) and its variance that of its
influence function, summed by batch. docs/objectives.md says what they achieve, by bench/coverage.py.
"""

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from functools import cached_property
from math import ceil, inf, log, sqrt
from typing import Literal, NamedTuple, Protocol

import numpy as np

from perfbench_runner.results.dependence import (
    BATCHES,
    FREEDOM,
    design_effect_of_parts,
    effective_count,
    share_limits,
)
from perfbench_runner.results.quantiles import Array
from perfbench_runner.results.rows import Ints, Mask
from perfbench_runner.results.student import beta_share, t_quantile

POWER = 0.84
"""Normal quantile of 80 %: so likely is a decision with the number of requests that is said to be needed."""
OUT_OF_REACH = 50
"""More than so many times the requests there were are not worth naming."""
_ROUNDING = 1e-9


class Interval(NamedTuple):
    """Where the true figure is. Each end holds at its own level; None is no end on that side."""

    low: float | None = None
    high: float | None = None

    def of_the_rest(self) -> "Interval":
        """That of one less a share."""
        low, high = (None if end is None else 1.0 - end for end in self)
        return Interval(high, low)


@dataclass(frozen=True)
class Share:
    """A share of requests, and how much is known of it."""

    value: float
    count: int
    """Requests that it is of."""
    design_effect: float
    """So many requests tell as much as one independent one; 1 and more."""


class Measured(Protocol):
    """Values of which quantiles are judged: those of requests, or of gaps."""

    @property
    def count(self) -> int:
        """How many there are, whatever became of them."""

    @property
    def largest_s(self) -> float:
        """The longest time that was seen."""

    @property
    def beyond_s(self) -> float:
        """What those took at least whose time is in no share: infinity where they failed."""

    def quantile(self, p: float) -> float | None:
        """numpy's quantile, failed requests counted as infinite; None where it is infinite, or later than what was seen."""

    def share_up_to(self, value: float) -> Share:
        """The share of them that took `value` seconds at most."""

    def first_at(self, share: float) -> float | None:
        """The shortest time up to which the share is at least so large; None where it never is."""

    def first_above(self, share: float) -> float | None:
        """The shortest time up to which the share is larger; None where it never is."""


@dataclass(frozen=True)
class Sample:
    """One value for each request, in the order in which they began; arrays of one length.

    Failed requests never came to their end: they are slower than any bound.
    """

    values: Array
    """Seconds until the end, the failure or the cut."""
    is_cut: Mask
    """Which were cut off: they would have taken longer."""
    is_failed: Mask

    @classmethod
    def of(cls, values: Iterable[float] | Array) -> "Sample":
        """Of requests that all succeeded."""
        array = np.asarray(values if isinstance(values, np.ndarray) else list(values), dtype=np.float64)
        nothing: Mask = np.zeros(len(array), dtype=np.bool_)
        return cls(array, nothing, nothing)

    @property
    def count(self) -> int:
        """How many requests there are."""
        return len(self.values)

    @cached_property
    def largest_s(self) -> float:
        """The longest time that any request was seen to take."""
        return float(self.values.max(initial=0.0))

    @cached_property
    def beyond_s(self) -> float:
        """As `Measured` has it."""
        return self.largest_s if self.is_cut.any() else inf

    @cached_property
    def _curve(self) -> "_Curve":
        return _curve(self)

    @cached_property
    def _is_plain(self) -> bool:
        return not (self.is_cut.any() or self.is_failed.any())

    def quantile(self, p: float) -> float | None:
        """As `Measured` has it."""
        times, shares = self._curve
        if not len(times) or p > shares[-1] + _ROUNDING:
            return None
        if self._is_plain:
            return float(np.quantile(self.values, p))
        before = np.concatenate([[0.0], shares[:-1]]) * (self.count / max(1, self.count - 1))
        if p > before[-1] + _ROUNDING and not self.is_cut.any():
            return None  # it lies between the slowest success and a failure
        return float(np.interp(p, before, times))

    def share_up_to(self, value: float) -> Share:
        """As `Measured` has it."""
        times, shares = self._curve
        index = int(np.searchsorted(times, value, side="right"))
        share = float(shares[index - 1]) if index else 0.0
        return Share(share, self.count, self._design_effect(value, share))

    def _design_effect(self, value: float, share: float) -> float:
        if not 0.0 < share < 1.0:
            return 1.0
        if not self.is_cut.any():
            is_below: Mask = (self.values <= value) & ~self.is_failed
            return design_effect(is_below)
        influence = _influence(self, value)
        variance = max(float((influence**2).sum()), *(_between(influence, batches) for batches in BATCHES))
        return max(1.0, self.count * variance / (share * (1.0 - share)))

    def first_at(self, share: float) -> float | None:
        """As `Measured` has it."""
        return self._time("left", share - _ROUNDING)

    def first_above(self, share: float) -> float | None:
        """As `Measured` has it."""
        return self._time("right", share + _ROUNDING)

    def _time(self, side: Literal["left", "right"], share: float) -> float | None:
        times, shares = self._curve
        index = int(np.searchsorted(shares, share, side=side))
        return float(times[index]) if index < len(times) else None


class _Curve(NamedTuple):
    """The estimated share of requests that took at most so long; ascending times of those that succeeded."""

    times_s: Array
    shares: Array
    """Up to and with each time."""


def _curve(sample: Sample) -> _Curve:
    if not sample.is_cut.any():
        times = np.sort(sample.values[~sample.is_failed])
        return _Curve(times, np.arange(1, len(times) + 1) / max(1, sample.count))
    order, _, _, grown = _aalen_johansen(sample)
    is_success = ~(sample.is_cut | sample.is_failed)[order]
    return _Curve(sample.values[order][is_success], grown[is_success])


def _aalen_johansen(sample: Sample) -> tuple[Ints, Array, Array, Array]:
    """The order of ends (cuts last among equal times), who is still under way, the share that is, the share that succeeded."""
    order = np.lexsort((sample.is_cut, sample.values))
    at_risk = (sample.count - np.arange(sample.count)).astype(np.float64)
    is_end = ~sample.is_cut[order]
    after = np.cumprod(1.0 - is_end / at_risk)
    before = np.concatenate([[1.0], after[:-1]])
    grown = np.cumsum(np.where(is_end & ~sample.is_failed[order], before / at_risk, 0.0))
    return order, at_risk, before, grown


def _influence(sample: Sample, value: float) -> Array:
    """What each request adds to the error of the share up to `value`: their squares sum to Greenwood's variance."""
    order, at_risk, before, grown = _aalen_johansen(sample)
    is_end = ~sample.is_cut[order] & (sample.values[order] <= value)
    is_success = is_end & ~sample.is_failed[order]
    to_come = (float(grown[is_success][-1]) if is_success.any() else 0.0) - grown
    weight = np.where(is_end, np.where(is_success, before, 0.0) - to_come, 0.0)
    found = np.empty(sample.count)
    found[order] = weight / at_risk - np.cumsum(weight / at_risk**2)
    return found


def _between(influence: Array, batches: int) -> float:
    """The variance of a sum of influences, by how much its batches differ."""
    if len(influence) < 2 * batches:
        return 0.0
    sums = np.add.reduceat(influence, _edges(len(influence), batches))
    return float(batches / (batches - 1) * ((sums - sums.mean()) ** 2).sum())


def _edges(count: int, batches: int) -> Ints:
    """Where batches of nearly equal size begin."""
    edges: Ints = (np.arange(batches) * count) // batches
    return edges


def design_effect(is_in: Mask) -> float:
    """Of a share of requests, in the order in which they began; 1 where all or none are in it."""
    effects = [
        design_effect_of_parts(
            np.add.reduceat(is_in.astype(np.int64), edges).tolist(), np.diff(np.append(edges, len(is_in))).tolist()
        )
        for batches in BATCHES
        if len(is_in) >= 2 * batches
        for edges in [_edges(len(is_in), batches)]
    ]
    return max(effects, default=1.0)


def share_interval(share: Share, low_level: float, high_level: float) -> Interval:
    """Limits of a share of 1; each end misses with the probability of its level."""
    if not share.count:
        return Interval()
    return Interval(*share_limits(share.value, share.count, share.design_effect, low_level, high_level))


def shares_around(p: float, count: int, design_effect: float, levels: tuple[float, float]) -> tuple[float, float]:
    """Shares of a sample from which a true share of `p` can be told: a smaller one, and a larger one.

    Of at most the first, the upper limit (at the first level) is below `p`; of at least the second, the lower limit (at the
    second level) is not. They are below 0 and above 1 where no share of so few requests tells.
    """
    least = effective_count(count, design_effect, levels[0])
    most = effective_count(count, design_effect, levels[1])

    def of_smaller(share: float) -> float:
        """Above 0 where the upper limit of a share is below `p`."""
        return beta_share(p, share * least + 1.0, least - share * least) - (1.0 - levels[0]) if share < 1.0 else -1.0

    def of_larger(share: float) -> float:
        """Above 0 where the lower limit of a share is above `p`."""
        return levels[1] - beta_share(p, share * most, most - share * most + 1.0) if share > 0.0 else -1.0

    smaller = _zero(of_smaller, 0.0, p) if of_smaller(0.0) > 0.0 else -1.0
    larger = _zero(of_larger, 1.0, p) if of_larger(1.0) >= 0.0 else 2.0
    return smaller, larger


def _zero(function: Callable[[float], float], good: float, bad: float) -> float:
    """Where a monotone function comes down to 0, on the way from `good`, where it is above, to `bad`; by false position."""
    at_good, at_bad = function(good), function(bad)
    for _ in range(60):
        if abs(good - bad) < _ROUNDING / 10 or at_good == at_bad:
            break
        middle = good - at_good * (bad - good) / (at_bad - at_good)
        at = function(middle)
        if at > 0.0:
            good, at_good, at_bad = middle, at, at_bad / 2  # the end that stays weighs less: Illinois
        else:
            bad, at_bad, at_good = middle, at, at_good / 2
        if abs(at) < 1e-10:
            return middle
    return good


def mean_interval(values: Array, levels: tuple[float, float]) -> Interval:
    """Limits of the mean of values in the order in which their requests began; each end at its level."""
    count = len(values)
    if count < 2:
        return Interval()
    mean = float(values.mean())
    influence = (values - mean) / count
    variance = max(float(values.var()) / (count - 1), *(_between(influence, batches) for batches in BATCHES))
    low, high = (t_quantile(1.0 - level, min(FREEDOM, count - 1)) * sqrt(variance) for level in levels)
    return Interval(mean - low, mean + high)


def needed_for_share(share: Share, p: float, level: float) -> int | None:
    """How many requests in all would decide whether the share is `p`, if it is what it seems; None where out of reach."""
    distance = abs(share.value - p)
    if not share.count or distance <= 0.0:
        return None
    normal = (t_quantile(1.0 - level, FREEDOM) + POWER) ** 2 * p * (1.0 - p) * share.design_effect / distance**2
    return within_reach(max(normal, _least_count(p, share.value > p, level) * share.design_effect), share.count)


def _least_count(p: float, is_above: bool, level: float) -> float:
    """So many independent requests are needed, even if all are on one side."""
    return log(level) / log(p if is_above else 1.0 - p) if 0.0 < p < 1.0 else 0.0


def within_reach(needed: float, count: int) -> int | None:
    """A number of requests in all; None where it is so large that it need not be named."""
    return ceil(needed) if needed <= OUT_OF_REACH * count else None


def rounded_up(value: float) -> int:
    """To one digit, since it is an order of magnitude: 1,234 as 2,000."""
    size = 10 ** max(0, len(str(ceil(value))) - 1)
    return int(ceil(value / size) * size)
