"""When requests are due: pure sequences of offsets from the start of a stage, in seconds. No clock, no sleeping.

A process is a sequence of *masses*: how many requests are expected until each arrival, at any rate whatever. The rate turns
masses into times: divided by it where it is constant, by inversion of its integral where it changes (`rates`). So every
process goes with every rate, and a process is one function and one entry in PROCESSES.
"""

from collections.abc import Callable, Iterable, Iterator
from itertools import count
from random import Random

from perfbench_runner.load.rates import Segment, inverted


def constant(random: Random, cv: float = 0.0) -> Iterator[float]:
    """Equal gaps, the first arrival at once; each is computed from its number, so that no error adds up."""
    return map(float, count())


def poisson(random: Random, cv: float = 1.0) -> Iterator[float]:
    """A Poisson process: exponential gaps, independent of each other, not rescaled to hit a total."""
    mass = 0.0
    while True:
        mass += random.expovariate(1.0)
        yield mass


SMALLEST_CV = 1e-9
"""Of a smaller one gaps would differ by less than a clock can tell, and its square might be 0."""


def gamma(random: Random, cv: float) -> Iterator[float]:
    """Gaps of a gamma distribution with this coefficient of variation: above 1 they come in clumps."""
    mass, scale = 0.0, max(cv, SMALLEST_CV) ** 2
    shape = 1 / scale
    while True:
        mass += random.gammavariate(shape, scale)
        yield mass


PROCESSES: dict[str, Callable[[Random, float], Iterator[float]]] = {
    "constant": constant,
    "poisson": poisson,
    "gamma": gamma,
}
"""By the name of `arrival`: masses of its arrivals, whose gaps have mean 1; of a random generator and a cv."""


def in_rounds(masses: Iterable[float], together: int) -> Iterator[float]:
    """So many requests at each arrival, which are so much rarer; the rate stays what it is."""
    return (together * mass for mass in masses for _ in range(together))


def arrivals(
    rate: float | Iterable[Segment], arrival: str, random: Random, cv: float | None = None, together: int = 1
) -> Iterator[float]:
    """The offsets of an open loop at a rate, requests a second, or at one that changes; without end as long as that has none.

    `together`: so many requests come at a time.
    """
    masses = in_rounds(PROCESSES[arrival](random, 1.0 if cv is None else cv), together)
    return (mass / rate for mass in masses) if isinstance(rate, (int, float)) else inverted(masses, rate)
