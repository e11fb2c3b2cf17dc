"""How much does it carry? Which load to try next, and when the answer is known: a pure function of what was measured.

`propose` is asked after each point and sees all of them, so that nothing else is to be remembered. In turn:

    bracket   bisection in ln load, until the limit is known to about a third
    local     alternately 5 % below and 5 % above the limit as fitted (`load.limit`), until its interval is narrow
              enough twice in a row
    confirm   one more point at the lower end of the interval, which is what the endpoint carries for sure; where the
              objectives break there, the points before were lucky: it is one of them, and the search goes on

docs/search.md compares it with what other tools do.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from math import ceil, exp, inf, log, sqrt
from typing import Literal, NamedTuple

from perfbench_runner.load.limit import Limit, Share, fit_limit

BRACKET = 1.35
"""The bracket is narrow enough when its ends are no farther apart than by this factor."""
STEP = 0.05
"""Points are so far below and above the limit."""
FEWEST_POINTS = 8.0
"""No interval is believed that rests on less."""
WORTH = 30
"""A point should have as many requests as so many independent ones are worth."""
TAIL = 40
"""... and so many in the tail that is judged: 40 / (1 - 0.9) = 400 requests for a p90."""
LARGEST = 5
"""... but at most so many times what the tail needs."""

AGAIN = 2
"""Confirmations that fail and make the search go on."""

Role = Literal["bracket", "local", "confirm"]


class Point(NamedTuple):
    """What was measured at one load."""

    load: float
    shares: tuple[Share, ...]
    """How often each objective was kept, in their order."""
    role: Role = "local"


@dataclass(frozen=True)
class Range:
    """What is searched for."""

    low: float
    high: float
    precision: float
    """The answer's interval may reach so far, as a share, to either side."""
    bounds: tuple[float, ...]
    """For each objective the share of requests that must keep it: 0.99 for a p99."""
    is_whole: bool = False
    """Loads are whole numbers: of concurrency."""
    requests: int | None = None
    """Of each point; as many as the data need if None."""


@dataclass(frozen=True)
class Budget:
    """What may still be used."""

    requests: float = inf
    seconds: float = inf


@dataclass(frozen=True)
class Next:
    """A point to measure."""

    load: float
    requests: int
    """That count."""
    role: Role

    @property
    def settling(self) -> int:
        """Requests before those, in which the queue becomes what it is at this load."""
        return self.requests // 5

    @property
    def total(self) -> int:
        """All that are sent."""
        return self.requests + self.settling


@dataclass(frozen=True)
class Answer:
    """The highest load at which the objectives hold, and how sure that is."""

    load: float | None
    """None where they do not even hold at the lowest load of the range."""
    low: float | None
    high: float | None
    """None: nothing above `low` was tried, or nothing is known."""
    confirmed: bool | None
    """Whether they held in a run at `low`; None where there was none, or it left it open."""
    reason: str


def propose(wanted: Range, points: Sequence[Point], budget: Budget) -> Next | Answer:
    """The next point to measure, or the answer."""
    if points and points[-1].role == "confirm" and not _goes_on(wanted, points):
        return _confirmed(wanted, points)
    requests = requests_of(wanted, points)
    bracket = _bracket(wanted, points)
    if isinstance(bracket, Answer):
        return bracket
    low, high, is_narrow = bracket
    if not is_narrow and not any(point.role == "local" for point in points):
        load = _bisect(wanted, points, low, high)
        return _if_paid(wanted, points, budget, Next(load, requests, "bracket"))
    limit = limit_of(wanted, points)
    if _is_known(wanted, limit) and _is_known(wanted, limit_of(wanted, points[:-1])):
        return Next(_rounded(wanted, limit.low, down=True), requests, "confirm")
    return _if_paid(wanted, points, budget, Next(_around(wanted, limit, points), requests, "local"))


def limit_of(wanted: Range, points: Sequence[Point]) -> Limit:
    """The limit by all objectives: that of the first one to break, with an interval that holds for all."""
    tried = [point for point in points if point.role != "confirm" or is_broken(wanted, point)]
    start = _middle(wanted, tried)
    found = [
        fit_limit([(point.load, point.shares[index]) for point in tried], bound, start)
        for index, bound in enumerate(wanted.bounds)
    ]
    first = min(found, key=lambda limit: limit.load)
    rivals = [limit for limit in found if limit.low < first.load]  # whose interval reaches below is not out of the race
    low = min(limit.low for limit in (first, *rivals))
    return Limit(first.load, max(first.half_width, log(first.load / low) if low > 0 else inf), first.points)


def requests_of(wanted: Range, points: Sequence[Point]) -> int:
    """Requests of the next point: more where those of the former ones proved to be worth little."""
    if wanted.requests is not None:
        return wanted.requests
    least = max(ceil(TAIL / min(bound, 1 - bound) - 1e-6) for bound in wanted.bounds)
    near = [share.deff for point in points if point.role == "local" for share in point.shares if share.total]
    if not near:
        return least
    return min(LARGEST * least, max(least, ceil(WORTH * sum(near) / len(near))))


def keeps(wanted: Range, point: Point) -> bool:
    """Whether all objectives held at a point, as far as one point tells."""
    return all(share.total and share.value >= bound for share, bound in zip(point.shares, wanted.bounds, strict=True))


def is_broken(wanted: Range, point: Point) -> bool:
    """Whether one objective broke at a point for sure (95 %), given what its requests are worth."""
    return any(
        not share.total or share.value < bound - 1.645 * sqrt(max(share.deff, 1.0) * bound * (1 - bound) / share.total)
        for share, bound in zip(point.shares, wanted.bounds, strict=True)
    )


def _bracket(wanted: Range, points: Sequence[Point]) -> tuple[float, float, bool] | Answer:
    """Loads between which the limit is, and whether that is narrow enough; or the answer, where it is beyond the range."""
    by_load = sorted(points, key=lambda point: point.load)
    broken = [point.load for point in by_load if not keeps(wanted, point)]
    kept = [point.load for point in by_load if keeps(wanted, point)]
    if kept and kept[-1] >= wanted.high and not broken:
        return Answer(wanted.high, wanted.high, None, True, "the objectives hold at the highest load of the range")
    if broken and broken[0] <= wanted.low and not kept:
        return Answer(None, None, wanted.low, None, "the objectives do not hold at the lowest load of the range")
    low = max([load for load in kept if not broken or load < broken[0]], default=wanted.low)
    high = min(broken, default=wanted.high)
    has_both = bool(kept and broken)
    step = 1.0 if wanted.is_whole else 0.0
    return low, high, has_both and (high / low <= BRACKET or high - low <= step)


def _bisect(wanted: Range, points: Sequence[Point], low: float, high: float) -> float:
    """The middle, until an end of the range is close: then the end itself."""
    loads = {point.load for point in points}
    for end in (wanted.low, wanted.high):
        is_left = end not in loads and end in (low, high)
        if is_left and (high / low <= BRACKET or _rounded(wanted, sqrt(low * high)) in loads):
            return end
    return _rounded(wanted, sqrt(low * high))


def _middle(wanted: Range, points: Sequence[Point]) -> float:
    broken = [point.load for point in points if not keeps(wanted, point)]
    kept = [point.load for point in points if keeps(wanted, point)]
    high = min(broken, default=wanted.high)
    low = max([load for load in kept if load < high], default=wanted.low)
    return sqrt(low * high)


def _around(wanted: Range, limit: Limit, points: Sequence[Point]) -> float:
    """Below and above in turn; of whole numbers at least the next ones."""
    turn = sum(point.role == "local" for point in points) % 2
    load = limit.load * (1 + STEP if turn else 1 - STEP)
    if wanted.is_whole:
        load = min(load, limit.load - 0.5) if not turn else max(load, limit.load + 0.5)
    return min(max(_rounded(wanted, load), wanted.low), wanted.high)


def _rounded(wanted: Range, load: float, down: bool = False) -> float:
    """A load that can be asked for: a whole number, or one of four digits."""
    if wanted.is_whole:
        return float(max(1, int(load + 1e-9) if down else round(load)))
    return float(f"{load:.4g}")


def _is_known(wanted: Range, limit: Limit) -> bool:
    """Whether the interval is as narrow as asked for; no narrower than between two whole numbers."""
    enough = log(1 + wanted.precision)
    if wanted.is_whole:
        enough = max(enough, log((limit.load + 0.5) / limit.load))
    return limit.points >= FEWEST_POINTS and limit.half_width <= enough


def _if_paid(wanted: Range, points: Sequence[Point], budget: Budget, following: Next) -> Next | Answer:
    """The point, if there is still something to pay for it and for a confirmation; else the confirmation, or the answer."""
    seconds = 0.0 if wanted.is_whole else following.total / following.load
    if budget.requests >= 2 * following.total and budget.seconds > 2 * seconds:
        return following
    kept = [point.load for point in points if keeps(wanted, point)]
    limit = limit_of(wanted, points)
    if limit.half_width < inf and budget.requests >= following.total and budget.seconds > seconds:
        return Next(max(wanted.low, _rounded(wanted, limit.low, down=True)), following.requests, "confirm")
    reason = f"the budget was used up by {len(points)} points before the limit was known to {wanted.precision:.3g}"
    if limit.half_width < inf:
        return Answer(limit.load, limit.low, limit.high, None, reason)
    broken = [point.load for point in points if not keeps(wanted, point)]
    return Answer(max(kept, default=None), max(kept, default=None), min(broken, default=None), None, reason)


def _goes_on(wanted: Range, points: Sequence[Point]) -> bool:
    """Whether a confirmation has failed, and there was not too much of that already."""
    return is_broken(wanted, points[-1]) and sum(point.role == "confirm" for point in points) <= AGAIN


def _confirmed(wanted: Range, points: Sequence[Point]) -> Answer:
    limit, last = limit_of(wanted, points), points[-1]
    precision = exp(limit.half_width) - 1
    reason = f"known to {precision:.1%} from {len(points) - 1} points"
    if not _is_known(wanted, limit):
        reason += f", not to the {wanted.precision:.3g} asked for: the budget was used up"
    low = last.load
    if keeps(wanted, last):
        return Answer(limit.load, low, limit.high, True, f"{reason}; the objectives held in a run at {low:g}")
    if is_broken(wanted, last):
        return Answer(limit.load, low, limit.high, False, f"{reason}; but they did not hold in a run at {low:g}")
    return Answer(limit.load, low, limit.high, None, f"{reason}; a run at {low:g} left it open")
