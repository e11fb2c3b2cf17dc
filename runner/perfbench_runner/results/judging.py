"""What can be said of a bound: that it is kept, that it is broken, or how many requests more would tell. Pure functions.

docs/objectives.md explains it to those who know no statistics.
"""

from collections.abc import Iterable
from dataclasses import dataclass, replace
from typing import NamedTuple

from perfbench_runner.results.intervals import (
    Interval,
    Measured,
    Share,
    mean_interval,
    needed_for_share,
    rounded_up,
    share_interval,
    shares_around,
    within_reach,
)
from perfbench_runner.results.quantiles import Array

FEW_EPISODES = 10
"""Failures in fewer bursts than this do not say how many there will be: a bound must be further away."""
FEW_FACTOR = 3.0
FAR = 1.5
"""An interval that is so many times below a bound, or above it, is far from it. A run that is too short to see the memory of
its queue rarely looks like that."""


class Needs(NamedTuple):
    """How many effective values it takes, lest a run is shorter than the memory of its queue."""

    tail: float
    """Beyond a quantile, to be kept."""
    kept: float
    """In all, to be kept: fewer may all be of the time at which the queue was short, which is longer than the other."""
    broken: float
    """In all, to be broken."""


NEEDS, NEEDS_FAR_AWAY = Needs(10.0, 50.0, 20.0), Needs(3.0, 30.0, 10.0)
_ROUNDING = 1e-9
NO_VALUES = "there are no values"
BETWEEN = "the bound lies within what it may be"


class Bounds(NamedTuple):
    """What is asked of a figure; None is no bound on that side."""

    least: float | None = None
    most: float | None = None

    def keep(self, value: float) -> bool:
        """Whether a figure that is known exactly is within."""
        return (self.least is None or value >= self.least) and (self.most is None or value <= self.most)

    def of_the_rest(self) -> "Bounds":
        """Those of one less a share."""
        least, most = (None if bound is None else 1.0 - bound for bound in self)
        return Bounds(most, least)

    def given(self) -> list[float]:
        """Those that there are."""
        return [bound for bound in self if bound is not None]


class Levels(NamedTuple):
    """With which probability it may be wrong to call an objective kept, and broken."""

    kept: float
    broken: float

    @classmethod
    def of(cls, confidence: float, objectives: int = 1, looks: int = 1) -> "Levels":
        """Of one of several objectives, each judged so many times while data grow.

        A run passes if all are kept, which needs no correction; it fails if any is broken, by chance sooner or later.
        """
        level = (1.0 - confidence) / looks
        return cls(level, level / max(1, objectives))

    def of_ends(self, bounds: Bounds) -> tuple[float, float]:
        """Those of the lower and the upper end of an interval, by what is decided with them."""
        if len(bounds.given()) == 2:
            return min(self), min(self)
        return (self.broken, self.kept) if bounds.least is None else (self.kept, self.broken)


@dataclass(frozen=True)
class Finding:
    """What was found of one objective in one stage."""

    kept: bool | None
    """None where it is open."""
    value: float | None = None
    interval: Interval | None = None
    """None where the value is exact."""
    reason: str = ""
    """Why it is open, or why there is no value."""
    needed: int | None = None
    """So many values in all would probably decide it, an order of magnitude; None where not known, or far too many."""


def judge_known(value: float | None, bounds: Bounds) -> Finding:
    """A bound on a figure of this run alone, such as the slowest request: nothing is uncertain about it."""
    if value is None:
        return Finding(None, reason=NO_VALUES)
    return Finding(bounds.keep(value), value)


def judge_quantile(measured: Measured, p: float, bounds: Bounds, levels: Levels) -> Finding:
    """A bound on a quantile: whether the true share of values up to the bound is `p` at least.

    The interval is made of the same comparison, so that an objective is kept or broken exactly where it lies on one side.
    """
    if not measured.count:
        return Finding(None, reason=NO_VALUES)
    value = measured.quantile(p)
    own = measured.share_up_to(measured.largest_s if value is None else value).design_effect
    median = measured.share_up_to(_or(measured.first_at(0.5), measured.largest_s)).design_effect
    shares = [measured.share_up_to(bound) for bound in bounds.given()]
    effect = max(own, *(share.design_effect for share in shares))
    smaller, larger = shares_around(p, measured.count, effect, levels.of_ends(bounds))
    low = None if smaller < 0.0 else _or(measured.first_above(smaller), measured.beyond_s)
    interval = Interval(low, measured.first_at(larger))
    found = Finding(_beside(interval, bounds), value, interval)
    if found.kept is None:
        needed = [needed_for_share(replace(each, design_effect=effect), p, levels.kept) for each in shares]
        found = replace(found, reason=BETWEEN, needed=max((each or 0 for each in needed), default=0) or None)
    return _with_memory(found, bounds, measured.count, min(p, 1.0 - p), max(own, median))


def _with_memory(found: Finding, bounds: Bounds, count: int, tail: float, memory: float) -> Finding:
    """Open where the run may be shorter than the memory of a queue, which no interval can see.

    To be kept, it takes enough effective values in the tail, a share of `tail`, and in all; to be broken, in all; fewer of
    them far from a bound.
    """
    is_far = found.kept is not None and _beside(found.interval or Interval(), bounds, FAR) is found.kept
    needs, there = NEEDS_FAR_AWAY if is_far else NEEDS, count / memory
    least = needs.broken if found.kept is False else max(needs.tail / tail, needs.kept)
    if there >= least:
        return found
    least = NEEDS.broken if found.kept is False else max(NEEDS.tail / tail, NEEDS.kept)
    reason = f"too few values: they tell as much as {there:,.3g} independent ones, and it takes {least:,.0f}"
    needed = max(found.needed or 0, count * least / there)
    return replace(found, kept=None, reason=reason, needed=within_reach(needed, count))


def _all(verdicts: Iterable[bool | None]) -> bool | None:
    """Broken if any is, open if any is, else kept."""
    found = list(verdicts)
    return False if False in found else None if None in found else True


def _or(value: float | None, other: float) -> float:
    return other if value is None else value


def judge_share(
    share: Share, bounds: Bounds, levels: Levels, episodes: int | None = None, memory: float | None = None
) -> Finding:
    """A bound on a share of requests.

    `episodes`: in how many bursts they came, where few of them tell little. `memory`: the design effect of what the share
    is made of, such as latencies, where a run may be too short to see a long queue.

    Bounds of 0 and of 1 are of this run alone: of no number of requests could it be said that none will ever fail.
    """
    if not share.count:
        return Finding(None, reason=NO_VALUES)
    if all(bound in (0.0, 1.0) for bound in bounds.given()):
        return judge_known(share.value, bounds)
    low, high = share_interval(share, *levels.of_ends(bounds))
    found = Finding(_beside(Interval(low, high), bounds), share.value, Interval(low, high))
    is_few = episodes is not None and episodes < FEW_EPISODES
    if is_few and found.kept and bounds.most is not None and _or(high, 1.0) > bounds.most / FEW_FACTOR:
        reason = f"only {episodes} bursts of them were seen, so that the upper end must be below a third of the bound"
        needed = within_reach(share.count * _or(high, 1.0) / (bounds.most / FEW_FACTOR), share.count)
        return replace(found, kept=None, reason=reason, needed=needed)
    if found.kept is not None:
        return found if memory is None else _share_with_memory(found, bounds, share, memory)
    inner = [bound for bound in bounds.given() if 0.0 < bound < 1.0]
    worst = max((needed_for_share(share, bound, levels.kept) or 0 for bound in inner), default=0)
    return replace(found, reason=BETWEEN, needed=worst or None)


def _share_with_memory(found: Finding, bounds: Bounds, share: Share, memory: float) -> Finding:
    tail = min(min(bound, 1.0 - bound) for bound in bounds.given() if 0.0 < bound < 1.0)
    return _with_memory(found, bounds, share.count, tail, max(memory, share.design_effect))


def judge_mean(values: Array, bounds: Bounds, levels: Levels, exact: float | None = None) -> Finding:
    """A bound on the mean of values in the order in which they came.

    `exact` is the figure itself where `values` only show how much it differs within the run.
    """
    if not len(values):
        return Finding(None, reason=NO_VALUES)
    mean = float(values.mean())
    value = mean if exact is None else exact
    low, high = mean_interval(values, levels.of_ends(bounds))
    if low is None or high is None:
        return Finding(None, value, Interval(), "a single value does not say how much they differ")
    interval = Interval(low + value - mean, high + value - mean)
    found = Finding(_beside(interval, bounds), value, interval)
    return (
        found
        if found.kept is not None
        else replace(found, reason=BETWEEN, needed=_needed_for_mean(found, bounds, len(values)))
    )


def _beside(interval: Interval, bounds: Bounds, factor: float = 1.0) -> bool | None:
    """On which side of the bounds an interval lies, by this factor."""
    low, high = interval
    verdicts: list[bool | None] = []
    if bounds.most is not None:
        is_kept = high is not None and high * factor <= bounds.most
        verdicts.append(True if is_kept else False if low is not None and low > bounds.most * factor else None)
    if bounds.least is not None:
        is_kept = low is not None and low >= bounds.least * factor
        verdicts.append(True if is_kept else False if high is not None and high * factor < bounds.least else None)
    return _all(verdicts)


def _needed_for_mean(found: Finding, bounds: Bounds, count: int) -> int | None:
    """An interval shrinks as the root of the number of values does."""
    if found.value is None or found.interval is None or None in found.interval:
        return None
    distance = min(abs(found.value - bound) for bound in bounds.given())
    half = max(abs(found.value - end) for end in found.interval if end is not None)
    return within_reach(count * (1.5 * half / distance) ** 2, count) if distance > 0.0 else None


def more_requests(needed: int | None, count: int, requests: int) -> int | None:
    """Of values that are needed in all, how many requests that is beside those there were."""
    if needed is None or not count:
        return None
    return rounded_up(max(1.0, needed * requests / count - requests))
