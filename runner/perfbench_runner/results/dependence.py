"""How much requests tell that depend on each other, and what is known of a share of them. Pure functions of numbers, without
numpy: figures are made by these, and what ends a stage while there is load.

n requests of one run tell as much as n / d independent ones, d being the design effect. It is seen in how much batches of
successive requests differ (Schmeiser 1982). Limits of a share are Clopper and Pearson's with n / d for n, and Student's
quantile for what ten batches say of d (Korn and Graubard 1998).
"""

from collections.abc import Sequence

from perfbench_runner.results.student import beta_quantile, t_quantile

BATCHES = (10, 5)
"""More would be shorter than a queue's memory; fewer say too little of the variance."""
FREEDOM = 9
"""Degrees of freedom of a variance between ten batches."""


def design_effect_of_parts(inside: Sequence[int], sizes: Sequence[int], share: float | None = None) -> float:
    """Of a share of requests, by parts of any size: how many of each are in the share, and how many there are; 1 at least.

    `share`: that of all requests, where some are in no part.
    """
    total, parts = sum(sizes), len(sizes)
    of_parts = sum(inside) / total if total else 0.0
    share = of_parts if share is None else share
    if not 0.0 < share < 1.0 or parts < 2:
        return 1.0
    spread = sum((hits - of_parts * size) ** 2 for hits, size in zip(inside, sizes, strict=True))
    return max(1.0, parts / (parts - 1) * spread / (total * share * (1.0 - share)))


def design_effect_of_tenths(inside: Sequence[int], sizes: Sequence[int]) -> float:
    """The same of ten parts, and of each two neighbours together: the larger one."""

    def together(counts: Sequence[int], width: int) -> list[int]:
        return [sum(counts[at : at + width]) for at in range(0, len(counts), width)]

    widths = (len(sizes) // batches for batches in BATCHES)
    return max(design_effect_of_parts(together(inside, width), together(sizes, width)) for width in widths)


def effective_count(count: int, design_effect: float, level: float) -> float:
    """So many independent requests tell as much, at most as many as there are.

    `level` is the probability that an end misses. Student's quantiles allow for what is not known of the design effect.
    """
    if count < 2:
        return float(count)
    known = (t_quantile(1.0 - level, count - 1) / t_quantile(1.0 - level, FREEDOM)) ** 2
    return min(float(count), count / design_effect * known)


def share_limits(
    share: float, count: int, design_effect: float, low_level: float, high_level: float
) -> tuple[float, float]:
    """Limits of a share of so many requests, one at least; each end misses with the probability of its level."""
    least = effective_count(count, design_effect, low_level)
    most = effective_count(count, design_effect, high_level)
    return (
        beta_quantile(low_level, share * least, least - share * least + 1.0),
        beta_quantile(1.0 - high_level, share * most + 1.0, most - share * most),
    )
