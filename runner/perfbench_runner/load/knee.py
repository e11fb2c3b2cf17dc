"""The knee of throughput against latency: the load of the greatest power, throughput / mean response time. Pure.

Kleinrock's definition (Power and deterministic rules of thumb for probabilistic problems, 1979): below the knee more
load buys throughput cheaply, beyond it mostly waiting; in M/M/1 it is at half of what can be carried. Close to its top
ln power is a parabola in ln load, which is fitted to the points around it: the top of a flat curve is known badly by
any single point, and the parabola says how badly.
"""

from collections.abc import Sequence
from math import exp, inf, log, sqrt
from typing import NamedTuple

from perfbench_runner.load.limit import t_quantile
from perfbench_runner.load.points import Answer, Budget, Next, Range

WINDOW = log(2)
"""Points so far from the top, in ln load, are fitted."""
AROUND = (1.0, 0.75, 1.33, 0.87, 1.15)
"""Where points are put around the top, in turn."""
FEWEST_POINTS, MOST_POINTS = 6, 24
REQUESTS = 200
"""Of each point."""


class Powered(NamedTuple):
    """What was measured at one load."""

    load: float
    throughput_rps: float
    latency_s: float

    @property
    def power(self) -> float:
        """0 where nothing was answered."""
        return self.throughput_rps / self.latency_s if self.latency_s > 0 else 0.0


def propose_knee(wanted: Range, points: Sequence[Powered], budget: Budget) -> Next | Answer:
    """The next point to measure, or the answer."""
    requests = wanted.requests or REQUESTS
    if _is_passed(wanted, points) and not _near(points):
        return _answer(wanted, points)
    following = Next(_next_load(wanted, points), requests, "local" if _is_passed(wanted, points) else "bracket")
    is_enough = _is_passed(wanted, points) and _is_known(wanted, points)
    seconds = 0.0 if wanted.is_whole else following.total / following.load
    if is_enough or budget.requests < following.total or budget.seconds <= seconds:
        return _answer(wanted, points)
    return following


def _next_load(wanted: Range, points: Sequence[Powered]) -> float:
    """Twice the last, until the top is passed; then around the top."""
    if not points:
        return wanted.low
    if not _is_passed(wanted, points):
        return min(wanted.high, 2 * max(point.load for point in points))
    top, _ = _top(points)
    load = top * AROUND[len(points) % len(AROUND)]
    load = float(max(1, round(load))) if wanted.is_whole else float(f"{load:.4g}")
    return min(max(load, wanted.low), wanted.high)


def _is_passed(wanted: Range, points: Sequence[Powered]) -> bool:
    """Whether two loads beyond the best one were tried, or the range is at its end."""
    if not points:
        return False
    best = max(points, key=lambda point: point.power)
    loads = {point.load for point in points}
    return sum(load > best.load for load in loads) >= 2 or max(loads) >= wanted.high


def _is_known(wanted: Range, points: Sequence[Powered]) -> bool:
    top, half_width = _top(points)
    enough = log(1 + wanted.precision)
    if wanted.is_whole:
        enough = max(enough, log((top + 0.5) / top))
    return len(points) >= MOST_POINTS or (len(_near(points)) >= FEWEST_POINTS and half_width <= enough)


def _near(points: Sequence[Powered]) -> list[tuple[float, float]]:
    """ln load and ln power of the points around the best one."""
    known = [point for point in points if point.power > 0]
    best = max(known, key=lambda point: point.power, default=None)
    if best is None:
        return []
    return [(log(p.load), log(p.power)) for p in known if abs(log(p.load / best.load)) <= WINDOW]


def _top(points: Sequence[Powered]) -> tuple[float, float]:
    """Load of the greatest power, and half the width of its 90 % interval in ln load; infinite where there is no parabola."""
    near = _near(points)
    if not near:
        return points[0].load if points else 1.0, inf
    best = max(near, key=lambda each: each[1])[0]
    fitted = _parabola(near) if len({x for x, _ in near}) >= 3 else None
    lowest, highest = min(x for x, _ in near), max(x for x, _ in near)
    if fitted is None or not lowest <= fitted[0] <= highest:
        return exp(best), inf
    return exp(fitted[0]), fitted[1]


def _parabola(near: Sequence[tuple[float, float]]) -> tuple[float, float] | None:
    """Top and half-width of y = a + b x + c x² by least squares; None where it has no top."""
    n = len(near)
    middle = sum(x for x, _ in near) / n
    xs, ys = [x - middle for x, _ in near], [y for _, y in near]
    sums = [sum(x**k for x in xs) for k in range(5)]
    inverse = _inverse([[sums[i + j] for j in range(3)] for i in range(3)])
    if inverse is None:
        return None
    moments = [sum(y * x**k for x, y in zip(xs, ys, strict=True)) for k in range(3)]
    a, b, c = (sum(inverse[i][j] * moments[j] for j in range(3)) for i in range(3))
    if c >= 0:
        return None
    top = -b / (2 * c)
    if n <= 3:
        return middle + top, inf
    rest = sum((y - a - b * x - c * x * x) ** 2 for x, y in zip(xs, ys, strict=True)) / (n - 3)
    slopes = (0.0, -1 / (2 * c), b / (2 * c * c))
    variance = rest * sum(slopes[i] * inverse[i][j] * slopes[j] for i in range(3) for j in range(3))
    return middle + top, t_quantile(0.95, n - 3) * sqrt(max(0.0, variance))


def _inverse(rows: list[list[float]]) -> list[list[float]] | None:
    """Of a symmetric 3 x 3 matrix, by cofactors; None where it has none."""
    (a, b, c), (_, d, e), (_, _, f) = rows
    cofactors = [
        [d * f - e * e, c * e - b * f, b * e - c * d],
        [c * e - b * f, a * f - c * c, b * c - a * e],
        [b * e - c * d, b * c - a * e, a * d - b * b],
    ]
    determinant = a * cofactors[0][0] + b * cofactors[0][1] + c * cofactors[0][2]
    if abs(determinant) < 1e-12:
        return None
    return [[value / determinant for value in row] for row in cofactors]


def _answer(wanted: Range, points: Sequence[Powered]) -> Answer:
    if not points:
        return Answer(None, None, None, None, "the budget was used up before anything was measured")
    top, half_width = _top(points)
    best = max(points, key=lambda point: point.power)
    if best.power <= 0:
        return Answer(None, None, None, None, "nothing was answered at any load")
    what = "the greatest throughput / latency"
    if half_width == inf:
        where = (
            "at the end of the range" if best.load in (wanted.low, wanted.high) else "from too few points to tell more"
        )
        return Answer(best.load, None, None, None, f"{what} of {len(points)} points, {where}")
    load = float(max(1, round(top))) if wanted.is_whole else float(f"{top:.4g}")
    reason = f"{what}, known to {exp(half_width) - 1:.1%} from {len(points)} points"
    low, high = top * exp(-half_width), top * exp(half_width)
    return Answer(load, max(wanted.low, low), min(wanted.high, high), None, reason)
