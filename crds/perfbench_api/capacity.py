"""How many runners a load needs, from what one of them carries. Pure; for `perfbench plan`, and for the operator.

Rates follow from streams, and streams from rates, by Little's law, with the latencies that the endpoint is expected to have.
"""

from itertools import pairwise
from math import ceil, pi, sin
from typing import NamedTuple

from perfbench_api.resource import Spec
from perfbench_api.sections import Profile, Request, Stage
from perfbench_api.sections.runner import MOST_REPLICAS

HEADROOM = 0.7
"""So much of its ceiling a runner is to be given: beyond, it is judged degraded sooner or later."""
PORTS = 0.8 * 28_000
"""Connections of one host to one address."""


class Carried(NamedTuple):
    """What one runner carries at most."""

    requests_per_s: float
    tokens: int
    """Of each answer when that was measured."""


class Expected(NamedTuple):
    """What the endpoint is expected to do."""

    ttft_s: float
    itl_s: float
    output_tokens: int

    @property
    def latency_s(self) -> float:
        """How long a request takes."""
        return self.ttft_s + self.itl_s * max(0, self.output_tokens - 1)


USUAL = Expected(0.2, 0.02, 256)
"""What is expected of an endpoint of which nothing is known."""


def expected_of(spec: Spec) -> Expected:
    """As of an endpoint of which nothing is known, but for the answers' length where requests bound it.

    Of several workloads it is the mean, by their weights.
    """
    kinds = [(each.weight, each.request or spec.request) for each in spec.workloads] or [(1, spec.request)]
    tokens = sum(weight * _tokens(request) for weight, request in kinds) / sum(weight for weight, _ in kinds)
    return USUAL._replace(output_tokens=ceil(tokens))


def _tokens(request: Request) -> int:
    most = request.max_tokens
    length = most[1] if isinstance(most, list) else most
    return USUAL.output_tokens if length is None else min(USUAL.output_tokens, length)


class Needs(NamedTuple):
    """What a stage asks of its runners together."""

    requests_per_s: float | None
    """At its peak; None where a dataset's recorded times say it."""
    streams: float | None
    runners: int
    why: str
    """What one runner would run out of."""


def needs(stage: Stage, carried: Carried, expected: Expected) -> Needs:
    """What a stage needs."""
    lanes, rate = stage.lanes, peak_rate(stage)
    if lanes is not None:
        rate = lanes / expected.latency_s
    streams = float(lanes) if lanes is not None else None if rate is None else rate * expected.latency_s
    if stage.max_concurrency is not None and streams is not None:
        streams = min(streams, float(stage.max_concurrency))
    # A request of few tokens costs more a token, and one of many more a request: whichever is scarcer counts.
    by = {
        "requests/s": (rate or 0.0) / (HEADROOM * carried.requests_per_s),
        "tokens/s": (rate or 0.0) * expected.output_tokens / (HEADROOM * carried.requests_per_s * carried.tokens),
        "ports": (streams or 0.0) / PORTS,
    }
    why = max(by, key=lambda name: by[name])
    runners = max(1, ceil(by[why] - 1e-9))
    return Needs(rate, streams, runners, why if runners > 1 else "")


def loads(spec: Spec) -> list[Stage]:
    """The stages of a benchmark; of a search the hardest that it may try."""
    search = spec.load.search
    if search is None:
        return spec.load.stages
    if search.rate is not None:
        return [Stage(name="search", rate=search.rate.to, duration=1.0, max_concurrency=search.max_concurrency)]
    return [Stage(name="search", concurrency=search.concurrency.to if search.concurrency else 1, duration=1.0)]


def runners_for(spec: Spec, carried: Carried, expected: Expected) -> int:
    """`runner.replicas: auto`: as many as the stage that needs the most, but none without a lane of its own."""
    found = (needs(stage.at_each(spec.side_by_side), carried, expected).runners for stage in loads(spec))
    return min(needs_at_most(spec), max(found))


def needs_at_most(spec: Spec) -> int:
    """More runners than this would have nothing to do in one of the stages."""
    given = [(stage.lanes, stage.max_concurrency, stage.requests) for stage in loads(spec)]
    return min([MOST_REPLICAS, *(limit for limits in given for limit in limits if limit is not None)])


def undersized(spec: Spec, carried: Carried, expected: Expected) -> str:
    """Why the runners of a benchmark are too few for its load; empty where they are enough."""
    found = [(stage, needs(stage.at_each(spec.side_by_side), carried, expected)) for stage in loads(spec)]
    stage, worst = max(found, key=lambda each: each[1].runners)
    runners = spec.runner.replicas
    if worst.runners <= runners:
        return ""
    rate = f"{worst.requests_per_s:.0f} requests/s" if worst.requests_per_s is not None else "its load"
    streams = f", {worst.streams:.0f} at a time" if worst.streams is not None else ""
    return (
        f"stage {stage.title} asks for {rate}{streams} of {expected.output_tokens} tokens (TTFT {1000 * expected.ttft_s:g} ms"
        f" and ITL {1000 * expected.itl_s:g} ms assumed), which needs {worst.runners} runners of {carried.requests_per_s:g}"
        f" requests/s of {carried.tokens} tokens for their {worst.why}, and runner.replicas is {runners}: raise it, or see"
        " perfbench plan"
    )


def peak_rate(stage: Stage) -> float | None:
    """The highest rate of an open loop; None for a closed one, and where times are given one by one."""
    if not stage.is_open_loop or stage.arrival == "recorded" or stage.timestamps is not None:
        return None
    return stage.rate if stage.profile is None else _peak(stage.profile, stage.duration)


def _peak(profile: Profile, duration_s: float | None) -> float:
    """The highest rate within a time from the beginning."""
    end_s = float("inf") if duration_s is None else duration_s
    if profile.ramp is not None:
        over_s = profile.ramp.over or end_s
        return max(
            profile.ramp.start, profile.ramp.start + (profile.ramp.to - profile.ramp.start) * min(1, end_s / over_s)
        )
    if profile.steps is not None:
        steps = profile.steps
        last = steps.steps - 1 if steps.each is None else min(steps.steps - 1, ceil(end_s / steps.each) - 1)
        return max(steps.start, steps.start + (steps.to - steps.start) * last / (steps.steps - 1))
    if profile.sine is not None:
        quarter = min(0.25, end_s / profile.sine.period)
        return profile.sine.mean + profile.sine.amplitude * sin(2 * pi * quarter)
    if profile.burst is not None:
        return max(profile.burst.base, profile.burst.peak) if profile.burst.at < end_s else profile.burst.base
    return _peak_of_points([(point.at, point.rate) for point in profile.points or ()], end_s)


def _peak_of_points(points: list[tuple[float, float]], end_s: float) -> float:
    """The highest rate on the straight lines between points, until a time."""
    found = points[0][1]
    for (begin_s, begin), (at_s, rate) in pairwise(points):
        if begin_s >= end_s:
            break
        is_cut = at_s > end_s
        found = max(found, begin, begin + (rate - begin) * (end_s - begin_s) / (at_s - begin_s) if is_cut else rate)
    return found
