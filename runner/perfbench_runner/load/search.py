"""How much does it carry? Which load to try next, and when the answer is known: a pure function of what was measured.

`propose` is asked after each point and sees all of them, so that nothing else is to be remembered. In turn:

    bracket   bisection in ln load by short points, for far from the limit few requests tell; until the limit is known to
              about a third, or a point is so near it that it tells neither
    local     a little below or above the limit as fitted (`load.limit`), until its interval is narrow enough; each point
              as long as what is still missing
    confirm   one more point at the lower end of the interval, which is what the endpoint carries for sure; where the
              objectives do not hold there, the points before were lucky: it is one of them, and the search goes on

docs/search.md compares it with what other tools do.
"""

from collections.abc import Sequence
from dataclasses import replace
from math import ceil, exp, inf, log, sqrt

from perfbench_runner.load.limit import Limit, Share, fit_limit
from perfbench_runner.load.points import Answer, Budget, Next, Point, Range

BRACKET = 1.35
"""The bracket is narrow enough when its ends are no farther apart than by this factor."""
BELOW, ABOVE = 0.04, 0.06
"""Points are so far below or above the limit."""
FEWEST_POINTS, FEWEST_LOCAL = 10.0, 7
"""No interval is believed that rests on less: half points near the limit, by weight, and points around it."""
WORTH, CONFIRM_WORTH = 25, 10
"""A point should have as many requests as so many independent ones are worth; one that confirms needs fewer."""
TAIL = 40
"""... and so many in the tail that is judged: 40 / (1 - 0.9) = 400 requests for a p90."""
BRACKET_TAIL = 10
"""Of a point that only has to tell on which side of the limit it is."""
LARGEST, LONGER = 5, 2
"""... but at most so many times what the tail needs; and what is missing, up to so many times what a point should have."""
SPARE = 1.1
"""So much more than what is missing, so that it is enough more often than not."""
SURE = 1.645
"""Standard deviations: on one side in 95 %."""

AGAIN = 2
"""Confirmations that fail and make the search go on."""


def propose(wanted: Range, points: Sequence[Point], budget: Budget) -> Next | Answer:
    """The next point to measure, or the answer."""
    if points and points[-1].role == "confirm" and not _goes_on(wanted, points):
        return _confirmed(wanted, points)
    bracket = _bracket(wanted, points)
    if isinstance(bracket, Answer):
        end = wanted.high if bracket.load is not None else wanted.low
        if sum(point.load == end for point in points) > 1 or _bracketing(wanted) >= _least(wanted):
            return bracket
        return _if_paid(wanted, points, budget, Next(end, _least(wanted), "bracket"))  # a short one is not enough
    low, high, is_narrow = bracket
    if not (is_narrow or _is_near(wanted, points) or any(point.role == "local" for point in points)):
        load = _bisect(wanted, points, low, high)
        return _if_paid(wanted, points, budget, Next(load, _bracketing(wanted), "bracket"))
    limit = limit_of(wanted, points)
    confirmation = _confirmation(wanted, points, limit, budget)
    if confirmation is not None and _is_known(wanted, limit) and _is_enough(points):
        return confirmation
    following = Next(_around(wanted, limit, points), requests_of(wanted, points, limit), "local")
    return _if_paid(wanted, points, budget, following)


def limit_of(wanted: Range, points: Sequence[Point]) -> Limit:
    """The limit by all objectives: that of the first one to break, with an interval that holds for all."""
    tried = [point for point in points if point.role != "confirm" or not keeps(wanted, point)]
    start = _middle(wanted, tried)
    found = [
        fit_limit(
            [(point.felt, each[index]) for point in tried for each in point.halves or (point.shares,)], bound, start
        )
        for index, bound in enumerate(wanted.bounds)
    ]
    first = min(found, key=lambda limit: limit.load)
    rivals = [limit for limit in found if limit.low < first.load]  # whose interval reaches below is not out of the race
    low = min(limit.low for limit in (first, *rivals))
    return replace(first, half_width=max(first.half_width, log(first.load / low) if low > 0 else inf))


def requests_of(wanted: Range, points: Sequence[Point], limit: Limit) -> int:
    """Requests of the next local point: more where those of the former ones proved to be worth little, or more are missing."""
    if wanted.requests is not None:
        return wanted.requests
    least, usual = _least(wanted), _worth(wanted, points, WORTH)
    if limit.half_width == inf or sum(point.role == "local" for point in points) < FEWEST_LOCAL:
        return usual
    missing = SPARE * limit.requests * ((limit.half_width / log(1 + wanted.precision)) ** 2 - 1)
    return min(LARGEST * least, max(least, ceil(min(missing, LONGER * usual))))


def first_cost(wanted: Range) -> int:
    """Requests of the first point and of one that confirms it: the least that a search takes."""
    counts = (_bracketing(wanted), _confirming(wanted, []))
    return sum(Next(wanted.low, count, "bracket").total for count in counts)


def _least(wanted: Range) -> int:
    """Requests that put enough of them into the tail of each objective."""
    return wanted.requests or max(ceil(TAIL / min(bound, 1 - bound) - 1e-6) for bound in wanted.bounds)


def _bracketing(wanted: Range) -> int:
    return wanted.requests or ceil(_least(wanted) * BRACKET_TAIL / TAIL)


def _confirming(wanted: Range, points: Sequence[Point]) -> int:
    return wanted.requests or _worth(wanted, points, CONFIRM_WORTH)


def _worth(wanted: Range, points: Sequence[Point], worth: float) -> int:
    """As many requests as so many independent ones are worth, within bounds."""
    least = _least(wanted)
    near = [share.deff for point in points if point.role == "local" for share in point.shares if share.total]
    return min(LARGEST * least, max(least, ceil(worth * sum(near) / len(near)))) if near else least


def keeps(wanted: Range, point: Point) -> bool:
    """Whether all objectives held at a point, as far as one point tells."""
    return all(share.total and share.value >= bound for share, bound in zip(point.shares, wanted.bounds, strict=True))


def is_broken(wanted: Range, point: Point) -> bool:
    """Whether one objective broke at a point for sure (95 %), given what its requests are worth."""
    return any(
        not share.total or share.value < bound - _noise(share, bound)
        for share, bound in zip(point.shares, wanted.bounds, strict=True)
    )


def _noise(share: Share, bound: float) -> float:
    """How far a share may be from its bound by chance."""
    return SURE * sqrt(max(share.deff, 1.0) * bound * (1 - bound) / share.total)


def _is_near(wanted: Range, points: Sequence[Point]) -> bool:
    """Whether the last point is so near the limit that it tells neither side; of a single one that may be chance."""
    if len(points) < 2 or is_broken(wanted, points[-1]):
        return False
    shares = zip(points[-1].shares, wanted.bounds, strict=True)
    return any(share.value < bound + _noise(share, bound) for share, bound in shares)


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
    """Below or above, where the fit knows less; of whole numbers at least the next ones."""
    below = BELOW
    if points[-1].role == "confirm":  # which has failed: the limit is lower than was believed
        up, below = False, 2 * BELOW
    else:
        up = _is_above(wanted, limit, points)
    load = limit.load * (1 + ABOVE if up else 1 - below)
    if wanted.is_whole:
        load = max(load, limit.load + 0.5) if up else min(load, limit.load - 0.5)
    return min(max(_rounded(wanted, load), wanted.low), wanted.high)


def _is_above(wanted: Range, limit: Limit, points: Sequence[Point]) -> bool:
    """The side that brings the loads of the fit, by their weights, around the limit: there its interval shrinks most."""
    local = [point for point in points if point.role == "local"]
    if not local:
        return bool(points) and keeps(wanted, points[-1])
    if len(local) > 1 and all(is_broken(wanted, point) for point in local[-2:]):
        return False
    if limit.half_width == inf:
        return local[-1].load < limit.load
    return log(limit.middle / limit.load) < (ABOVE - BELOW) / 2


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


def _is_enough(points: Sequence[Point]) -> bool:
    """Whether an interval rests on enough points around the limit, two of them since a confirmation has failed."""
    failed = max((number for number, point in enumerate(points) if point.role == "confirm"), default=None)
    since = 0 if failed is None else sum(point.role == "local" for point in points[failed:])
    return sum(point.role == "local" for point in points) >= FEWEST_LOCAL and (failed is None or since >= 2)


def _if_paid(wanted: Range, points: Sequence[Point], budget: Budget, following: Next) -> Next | Answer:
    """The point, if there is still something to pay for it and for a confirmation; else the confirmation, or the answer."""
    total = following.total + replace(following, requests=_confirming(wanted, points)).total
    seconds = 0.0 if wanted.is_whole else total / following.load
    if budget.requests >= total and budget.seconds > seconds:
        return following
    kept = [point.load for point in points if keeps(wanted, point)]
    limit = limit_of(wanted, points)
    confirmation = _confirmation(wanted, points, limit, budget)
    if confirmation is not None:
        return confirmation
    reason = f"the budget was used up by {len(points)} points before the limit was known to {wanted.precision:.3g}"
    if limit.half_width < inf:
        return Answer(limit.load, limit.low, limit.high, None, reason)
    broken = [point.load for point in points if not keeps(wanted, point)]
    return Answer(max(kept, default=None), max(kept, default=None), min(broken, default=None), None, reason)


def _confirmation(wanted: Range, points: Sequence[Point], limit: Limit, budget: Budget) -> Next | None:
    """The point that confirms, as long as it can be paid for; None where that is too short, or nothing is to be confirmed."""
    if limit.half_width == inf:
        return None
    load = max(wanted.low, _rounded(wanted, limit.low, down=True))
    paid = min(budget.requests, inf if wanted.is_whole else budget.seconds * load)
    requests = int(min(_confirming(wanted, points), paid / 1.2))
    return Next(load, requests, "confirm") if requests >= _least(wanted) else None


def _goes_on(wanted: Range, points: Sequence[Point]) -> bool:
    """Whether a confirmation has failed or was left open, and there was not too much of that already."""
    return not keeps(wanted, points[-1]) and sum(point.role == "confirm" for point in points) <= AGAIN


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
