"""Quantiles of Student's and of the beta distribution, which intervals are made of. Pure functions of numbers.

scipy has them too, at a hundred megabytes and half a second of loading. These agree with it to nine digits and more.
"""

from functools import cache
from math import exp, lgamma, log, log1p, sqrt

_TINY, _STEPS, _HALVINGS = 1e-300, 100_000, 200


def beta_share(x: float, a: float, b: float) -> float:
    """The share of a beta distribution with parameters `a` and `b` (both above 0) that is below `x`."""
    if x <= 0.0:
        return 0.0
    if x >= 1.0:
        return 1.0
    front = exp(lgamma(a + b) - lgamma(a) - lgamma(b) + a * log(x) + b * log1p(-x))
    if x < (a + 1.0) / (a + b + 2.0):
        return front * _fraction(x, a, b) / a
    return 1.0 - front * _fraction(1.0 - x, b, a) / b


def _fraction(x: float, a: float, b: float) -> float:
    """The continued fraction of the incomplete beta function, by Lentz's method."""
    c, d = 1.0, 1.0 / _far_from_zero(1.0 - (a + b) * x / (a + 1.0))
    found = d
    for m in range(1, _STEPS):
        for step in (
            m * (b - m) * x / ((a + 2 * m - 1) * (a + 2 * m)),
            -(a + m) * (a + b + m) * x / ((a + 2 * m) * (a + 2 * m + 1)),
        ):
            d = 1.0 / _far_from_zero(1.0 + step * d)
            c = _far_from_zero(1.0 + step / c)
            found *= c * d
        if abs(c * d - 1.0) < 1e-15:
            break
    return found


def _far_from_zero(value: float) -> float:
    return value if abs(value) > _TINY else _TINY


def beta_quantile(share: float, a: float, b: float) -> float:
    """The value below which this share of a beta distribution is; 0 or 1 where a parameter is 0, all of it being there."""
    if a <= 0.0:
        return 0.0
    if b <= 0.0:
        return 1.0
    low, high = 0.0, 1.0
    for _ in range(_HALVINGS):
        middle = (low + high) / 2
        if middle in (low, high):
            break
        low, high = (middle, high) if beta_share(middle, a, b) < share else (low, middle)
    return (low + high) / 2


@cache
def t_quantile(share: float, freedom: int) -> float:
    """The value below which this share, of 1/2 and more, of Student's distribution with so many degrees of freedom is."""
    x = beta_quantile(2.0 * (1.0 - share), freedom / 2, 0.5)
    return sqrt(freedom * (1.0 / x - 1.0)) if x > 0.0 else float("inf")
