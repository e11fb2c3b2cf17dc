"""Does a sequence of arrivals keep the law that it is said to have? Statistics of tests, without scipy."""

from collections.abc import Callable, Iterable, Sequence
from itertools import pairwise
from math import exp, sqrt
from statistics import fmean, pstdev

from perfbench_runner.load.rates import Segment


def gaps_of(times: Sequence[float]) -> list[float]:
    """From the beginning to the first, and from each to the next."""
    return [after - before for before, after in pairwise([0.0, *times])]


def cv(gaps: Sequence[float]) -> float:
    return pstdev(gaps) / fmean(gaps)


def ks_p_value(values: Sequence[float], distribution: Callable[[float], float]) -> float:
    """Of Kolmogorov and Smirnov's test that these values are of a distribution, given by its cumulated probability."""
    ordered, count = sorted(values), len(values)
    at = [distribution(value) for value in ordered]
    distance = max(max((n + 1) / count - p, p - n / count) for n, p in enumerate(at))
    scaled = (sqrt(count) + 0.12 + 0.11 / sqrt(count)) * distance
    return min(1.0, 2 * sum((-1) ** (k - 1) * exp(-2 * (k * scaled) ** 2) for k in range(1, 101)))


def exponential(mass: float) -> float:
    """Cumulated probability of gaps of a Poisson process, in units of the mean."""
    return 1 - exp(-mass)


def gamma_2(mass: float) -> float:
    """The same of gamma gaps with shape 2, cv 1/sqrt(2)."""
    return 1 - exp(-2 * mass) * (1 + 2 * mass)


def masses_at(segments: Iterable[Segment], times: Sequence[float]) -> list[float]:
    """The integral of a rate until each of some times, which rise: by trapezoids, as the code under test does not."""
    parts, found, before = iter(segments), [], 0.0
    part = next(parts)
    for at_s in times:
        while at_s > part.end_s:
            before += (part.from_rps + part.to_rps) / 2 * (part.end_s - part.begin_s)
            part = next(parts)
        length_s = at_s - part.begin_s
        height = part.from_rps + (part.to_rps - part.from_rps) * length_s / (part.end_s - part.begin_s)
        found.append(before + (part.from_rps + height) / 2 * length_s)
    return found


def dispersion(masses: Sequence[float], windows: int) -> float:
    """Standard deviations by which counts in windows of equal mass spread more than those of a Poisson process."""
    each = masses[-1] / windows
    counts = [0] * windows
    for mass in masses:
        counts[min(windows - 1, int(mass / each))] += 1
    mean = fmean(counts)
    found = sum((count - mean) ** 2 for count in counts) / mean
    return (found - (windows - 1)) / sqrt(2 * (windows - 1))
