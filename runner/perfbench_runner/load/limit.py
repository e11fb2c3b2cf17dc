"""Where a share falls to its bound as load grows: a local logistic fit of points around the limit. Pure.

At each point of load a share F of requests keeps an objective, such as TTFT <= 500 ms, and the objective "p90 <= 500 ms"
holds where F >= 0.9. Near the limit logit F is a line in ln load. It is fitted by iteratively reweighted least squares
(McCullagh & Nelder 1989) to points weighted by their requests and by a Gaussian kernel around the limit itself.

Not weighted by what requests are worth: lucky runs of a queue look as if their requests were worth more. Not by the
majority of runs: at the limit two in three short runs of a queue look good, so that bisection comes out too high.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from math import exp, inf, log, sqrt
from statistics import NormalDist
from typing import NamedTuple

KERNEL = 0.15
"""Standard deviation of the kernel, in ln load."""
PRIOR, PRIOR_WEIGHT, LEAST_SLOPE = -1.6, 0.2, -1.5
"""A weak prior of slope -8 keeps the fit of few points finite; shares fall with load, by this slope at least."""
WIDER = 1.25
"""Intervals are widened by so much; bench/search.py measures what they cover."""
FARTHEST = 8.0
"""Logits beyond this are shares of 0 and 1."""


class Share(NamedTuple):
    """How often one objective was kept at one point."""

    kept: int
    total: int
    deff: float = 1.0
    """Design effect: so many requests are worth one independent one."""

    @property
    def value(self) -> float:
        """From 0 to 1; 0 of nothing."""
        return self.kept / self.total if self.total else 0.0


@dataclass(frozen=True)
class Limit:
    """The load at which the share is at its bound."""

    load: float
    half_width: float
    """Of its two-sided 90 % interval, in ln load; infinite where there are too few points."""
    points: float
    """How many points' worth of weight the fit rests on."""
    requests: float = 0.0
    """... and how many requests' worth."""
    middle: float = 0.0
    """Load in the middle of that weight."""

    @property
    def low(self) -> float:
        """Lower end of the interval."""
        return self.load * exp(-self.half_width)

    @property
    def high(self) -> float:
        """Upper end of the interval."""
        return self.load * exp(min(self.half_width, 700.0))


class _Weighted(NamedTuple):
    """One round of the fit: points with working responses and weights, and the line through them."""

    xs: list[float]
    means: list[float]
    responses: list[float]
    weights: list[float]
    kernel: list[float]
    x_mean: float
    z_mean: float
    slope: float
    spread: float


def fit_limit(points: Sequence[tuple[float, Share]], bound: float, start: float) -> Limit:
    """`points` are loads and shares, `bound` is the share that is to be kept, `start` the load to begin at."""
    used = [(log(load), share) for load, share in points if share.total]
    if not used:
        return Limit(start, inf, 0.0)
    lowest, highest = min(x for x, _ in used) - KERNEL, max(x for x, _ in used) + KERNEL
    root, slope = log(start), PRIOR / PRIOR_WEIGHT
    for _ in range(60):
        line = _round(used, bound, root, slope)
        moved = line.x_mean + (_logit(bound) - line.z_mean) / line.slope
        moved = min(max(moved, lowest, root - KERNEL), highest, root + KERNEL)
        is_still, root, slope = abs(moved - root) < 1e-6, moved, line.slope
        if is_still:
            break
    line = _round(used, bound, root, slope)
    effective = _effective(line.kernel, used)
    requests = sum(k * share.total for k, (_, share) in zip(line.kernel, used, strict=True))
    return Limit(exp(root), _half_width(line, used, root, effective), effective, requests, exp(line.x_mean))


def _round(used: Sequence[tuple[float, Share]], bound: float, root: float, slope: float) -> _Weighted:
    xs, means, responses, weights, kernels = [], [], [], [], []
    for x, share in used:
        eta = min(max(_logit(bound) + slope * (x - root), -FARTHEST), FARTHEST)
        mean = 1.0 / (1.0 + exp(-eta))
        variance = mean * (1.0 - mean)
        kernel = exp(-(((x - root) / KERNEL) ** 2) / 2)
        xs.append(x)
        means.append(mean)
        responses.append(eta + (share.value - mean) / variance)
        weights.append(share.total * kernel * variance)
        kernels.append(kernel)
    total = sum(weights) or 1e-300
    x_mean = sum(w * x for w, x in zip(weights, xs, strict=True)) / total
    z_mean = sum(w * z for w, z in zip(weights, responses, strict=True)) / total
    spread = sum(w * (x - x_mean) ** 2 for w, x in zip(weights, xs, strict=True))
    common = sum(w * (x - x_mean) * (z - z_mean) for w, x, z in zip(weights, xs, responses, strict=True))
    fitted = min(LEAST_SLOPE, (common + PRIOR) / (spread + PRIOR_WEIGHT))
    return _Weighted(xs, means, responses, weights, kernels, x_mean, z_mean, fitted, spread)


def _effective(kernel: Sequence[float], used: Sequence[tuple[float, Share]]) -> float:
    weights = [k * share.total for k, (_, share) in zip(kernel, used, strict=True)]
    squares = sum(weight**2 for weight in weights)
    return sum(weights) ** 2 / squares if squares else 0.0


def _half_width(line: _Weighted, used: Sequence[tuple[float, Share]], root: float, effective: float) -> float:
    """The larger of what points scatter about the line, and of what their requests are worth."""
    if effective <= 3:
        return inf
    total = sum(line.weights)
    scatter = worth = 0.0
    deff = _pooled_deff(line.kernel, used)
    for x, mean, response, weight, (_, share) in zip(
        line.xs, line.means, line.responses, line.weights, used, strict=True
    ):
        lever = weight * (1 / total + (root - line.x_mean) * (x - line.x_mean) / (line.spread + PRIOR_WEIGHT))
        scatter += (lever * (response - line.z_mean - line.slope * (x - line.x_mean))) ** 2
        worth += lever**2 * deff / (share.total * mean * (1 - mean))
    variance = max(scatter * effective / (effective - 2), worth) / line.slope**2
    return WIDER * t_quantile(0.95, effective - 2) * sqrt(variance)


def _pooled_deff(kernel: Sequence[float], used: Sequence[tuple[float, Share]]) -> float:
    """That of all points, each by how much it tells of it: one where all is kept tells nothing."""
    weights = [k * s.total * s.value * (1 - s.value) for k, (_, s) in zip(kernel, used, strict=True)]
    total = sum(weights)
    return sum(w * share.deff for w, (_, share) in zip(weights, used, strict=True)) / total if total else 1.0


def _logit(share: float) -> float:
    return log(share / (1 - share))


def t_quantile(level: float, freedom: float) -> float:
    """Quantile of Student's t by its expansion in 1 / freedom: 1e-5 at 9, 3e-4 at 5, a percent at 2 (of 95 %)."""
    z, v = NormalDist().inv_cdf(level), max(freedom, 1.0)
    return (
        z
        + (z**3 + z) / (4 * v)
        + (5 * z**5 + 16 * z**3 + 3 * z) / (96 * v**2)
        + (3 * z**7 + 19 * z**5 + 17 * z**3 - 15 * z) / (384 * v**3)
        + (79 * z**9 + 776 * z**7 + 1482 * z**5 - 1920 * z**3 - 945 * z) / (92160 * v**4)
    )


def share_of(kept: Sequence[tuple[int, int]]) -> Share:
    """The share of what `kept` counts, requests in order of their start: how many of each were kept, of how many.

    Requests share queues and batches with their neighbours; the design effect says so: the variance of ten or five
    consecutive batches' shares, over what it would be of independent requests.
    """
    good, total = sum(k for k, _ in kept), sum(n for _, n in kept)
    if not total or good in (0, total):
        return Share(good, total)
    share = good / total
    return Share(good, total, max(1.0, *(_batched(kept, share, total, batches) for batches in (10, 5))))


def _batched(kept: Sequence[tuple[int, int]], share: float, total: int, batches: int) -> float:
    size = len(kept) // batches
    if not size:
        return 1.0
    squares = 0.0
    for first in range(0, size * batches, size):
        part = kept[first : first + size]
        squares += (sum(k for k, _ in part) - share * sum(n for _, n in part)) ** 2
    return batches / (batches - 1) * squares / (total * share * (1 - share))
