"""Rates that change over time: pure sequences of segments, in each of which the rate is linear.

Times of arrivals come from them by inversion of the cumulated rate, in closed form: time t is where the integral of the rate
reaches an arrival's mass. Nothing is cut into a grid, and nothing is drawn and thrown away.
"""

from collections.abc import Callable, Iterable, Iterator
from itertools import count, pairwise
from math import inf, pi, sin, sqrt
from typing import Any, NamedTuple

from perfbench_api.sections import Burst, Point, Ramp, Sine, Stage, Steps

ARCS = 720
"""Straight parts of one swing of a sine; each is off by less than a hundred-thousandth of the amplitude."""


class Segment(NamedTuple):
    """A part of a stage, seconds from its beginning, in which the rate, requests a second, goes evenly from one to another."""

    begin_s: float
    end_s: float
    """May be infinite, where the rate stays as it is."""
    from_rps: float
    to_rps: float

    @property
    def mass(self) -> float:
        """Expected requests in it."""
        mean_rps = (self.from_rps + self.to_rps) / 2
        return mean_rps * (self.end_s - self.begin_s) if mean_rps else 0.0

    def reaches(self, mass: float) -> float:
        """When so many requests of it are expected to have come."""
        if mass <= 0:
            return self.begin_s
        gradient = (self.to_rps - self.from_rps) / (self.end_s - self.begin_s)
        root = sqrt(max(0.0, self.from_rps**2 + 2 * gradient * mass))
        return min(self.end_s, self.begin_s + 2 * mass / (self.from_rps + root))


def inverted(masses: Iterable[float], segments: Iterable[Segment]) -> Iterator[float]:
    """Times at which the cumulated rate reaches each of some rising masses; ends where the rate is 0 for ever."""
    parts = iter(segments)
    part, before = next(parts), 0.0
    for mass in masses:
        while mass >= before + part.mass:
            before += part.mass
            following = next(parts, None)
            if following is None:
                return
            part = following
        yield part.reaches(mass - before)


def cumulated(segments: Iterable[Segment], until_s: float) -> float:
    """Expected requests until a time."""
    found = 0.0
    for part in segments:
        if part.begin_s >= until_s:
            break
        length_s = min(until_s, part.end_s) - part.begin_s
        at_end = part.from_rps + (part.to_rps - part.from_rps) * length_s / (part.end_s - part.begin_s)
        found += length_s * (part.from_rps + at_end) / 2
    return found


def ramp(shape: Ramp, duration_s: float) -> Iterator[Segment]:
    """From one rate to another, which stays."""
    end_s = duration_s if shape.over is None else shape.over
    yield Segment(0.0, end_s, shape.start, shape.to)
    yield Segment(end_s, inf, shape.to, shape.to)


def steps(shape: Steps, duration_s: float) -> Iterator[Segment]:
    """Equal steps, equally long; the last one stays."""
    each_s, last = (duration_s / shape.steps if shape.each is None else shape.each), shape.steps - 1
    for number in range(shape.steps):
        rate_rps = shape.start + (shape.to - shape.start) * number / last
        yield Segment(number * each_s, inf if number == last else (number + 1) * each_s, rate_rps, rate_rps)


def sine(shape: Sine, duration_s: float) -> Iterator[Segment]:
    """Swings about a mean, in short straight parts."""
    rates = [shape.mean + shape.amplitude * sin(2 * pi * number / ARCS) for number in range(ARCS + 1)]
    arc_s = shape.period / ARCS
    for number in count():
        begin, end = rates[number % ARCS], rates[number % ARCS + 1]
        yield Segment(number * arc_s, (number + 1) * arc_s, begin, end)


def burst(shape: Burst, duration_s: float) -> Iterator[Segment]:
    """A base with bursts, one or one after the other without end."""
    if shape.at:
        yield Segment(0.0, shape.at, shape.base, shape.base)
    for number in count():
        begin_s = shape.at + number * (shape.every or 0.0)
        yield Segment(begin_s, begin_s + shape.length, shape.peak, shape.peak)
        next_s = inf if shape.every is None else shape.at + (number + 1) * shape.every
        yield Segment(begin_s + shape.length, next_s, shape.base, shape.base)
        if shape.every is None:
            return


def points(shape: list[Point], duration_s: float) -> Iterator[Segment]:
    """Straight between points; the last rate stays."""
    for before, after in pairwise(shape):
        if after.at > before.at:
            yield Segment(before.at, after.at, before.rate, after.rate)
    yield Segment(shape[-1].at, inf, shape[-1].rate, shape[-1].rate)


SHAPES: dict[str, Callable[[Any, float], Iterator[Segment]]] = {
    "ramp": ramp,
    "steps": steps,
    "sine": sine,
    "burst": burst,
    "points": points,
}
"""By the name in `profile`: the segments of a shape in a stage that lasts so long."""


def ramped(rate_rps: float, up_s: float, down_s: float, duration_s: float) -> Iterator[Segment]:
    """A rate that rises from 0 at the beginning, and falls to 0 at the end of the stage, or only one of both."""
    hold_s = duration_s - down_s
    if up_s:
        yield Segment(0.0, up_s, 0.0, rate_rps)
    yield Segment(up_s, hold_s, rate_rps, rate_rps)
    if down_s:
        yield Segment(hold_s, duration_s, rate_rps, 0.0)


def rate_of(stage: Stage) -> float | Iterable[Segment] | None:
    """The rate of an open loop, or how it changes; None where its times are given one by one, and for a closed loop."""
    duration_s = inf if stage.duration is None else stage.duration
    if stage.profile is not None:
        return SHAPES[stage.profile.title](getattr(stage.profile, stage.profile.title), duration_s)
    if stage.rate is not None and (stage.ramp_up or stage.ramp_down):
        return ramped(stage.rate, stage.ramp_up or 0.0, stage.ramp_down or 0.0, duration_s)
    return stage.rate


def expected(stage: Stage) -> float | None:
    """How many requests an open loop is expected to send in its duration; None where nobody can know."""
    rate = rate_of(stage)
    if rate is None or stage.duration is None:
        return None
    return rate * stage.duration if isinstance(rate, (int, float)) else cumulated(rate, stage.duration)
