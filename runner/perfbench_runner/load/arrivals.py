"""When requests are due: pure sequences of offsets from the start of a stage, in seconds. No clock, no sleeping."""

from collections.abc import Iterator
from itertools import count
from random import Random


def constant(rate_rps: float) -> Iterator[float]:
    """Equal gaps; each offset is computed from its number, so that no error adds up."""
    return (number / rate_rps for number in count())


def poisson(rate_rps: float, random: Random) -> Iterator[float]:
    """A Poisson process: exponential gaps, independent of each other, not rescaled to hit a total."""
    at_s = 0.0
    while True:
        at_s += random.expovariate(rate_rps)
        yield at_s


def arrivals(rate_rps: float, arrival: str, random: Random) -> Iterator[float]:
    """The offsets of an open loop, without end."""
    return constant(rate_rps) if arrival == "constant" else poisson(rate_rps, random)


def share(total: int, parts: int, part: int) -> int:
    """Part `part` of a whole number split as evenly as it goes; the parts add up exactly."""
    return total // parts + (part < total % parts)
