"""What a load asks for and cannot come to: no mistake, perhaps, but to be told before anything is sent. Pure."""

from collections.abc import Iterator
from math import ceil

from perfbench_api.sections import Load, Stage
from perfbench_api.sections.profile import Burst, Point, Profile, Ramp, Sine, Steps
from perfbench_api.values import format_duration
from perfbench_runner.load.parts import reserved
from perfbench_runner.load.rates import expected
from perfbench_runner.results.looks import FEWEST, OF_REQUESTS, first_look
from perfbench_runner.results.precision import GROWTH


def unreachable(load: Load) -> list[str]:
    """In words, with the field: ends that no stage can come to early, and parts of profiles that come after its end."""
    found = []
    for index, stage in enumerate(load.stages):
        where = f"load.stages[{index}]"
        found += [f"{where}.until: {text}" for text in _never_precise(stage)]
        if stage.profile is not None and stage.duration is not None:
            found += [
                f"{where}.profile: {text}; the stage ends after {format_duration(stage.duration)}"
                for text in _beyond(stage.profile, stage.duration)
            ]
    return list(dict.fromkeys(found))


def _never_precise(stage: Stage) -> Iterator[str]:
    if stage.until is None or (stage.requests is None and expected(stage) is None):
        return
    most = reserved(stage)
    first = first_look(stage.until.probability) if stage.until.metric in OF_REQUESTS else FEWEST
    second = ceil(first * GROWTH)
    if most <= second:
        yield (
            f"{stage.until.figure} is looked at from {first:,} requests on, and two looks must agree, the second at"
            f" {second:,}; the stage has {most:,} at most, so that it cannot end early; allow more, or leave it out"
        )


def _beyond(profile: Profile, end_s: float) -> Iterator[str]:
    for shape in (profile.ramp, profile.steps, profile.sine, profile.burst, profile.points):
        match shape:
            case Ramp(over=float(over_s)) if over_s > end_s:
                rate = shape.start + (shape.to - shape.start) * end_s / over_s
                yield f"the ramp takes {format_duration(over_s)} and comes to {rate:.4g} requests/s only"
            case Steps(each=float(each_s)) if (begun := ceil(end_s / each_s)) < shape.steps:
                yield f"only {begun} of {shape.steps} steps of {format_duration(each_s)} begin"
            case Sine() if shape.period > end_s:
                yield f"one swing takes {format_duration(shape.period)}, of which only a part comes"
            case Burst() if shape.at >= end_s:
                yield f"the first burst would begin at {format_duration(shape.at)}"
            case Burst() if shape.at + shape.length > end_s:
                yield f"the burst at {format_duration(shape.at)} is cut short: it takes {format_duration(shape.length)}"
            case [*points] if late := [each for each in points if isinstance(each, Point) and each.at > end_s]:
                yield f"{len(late)} of {len(points)} points come later, the first at {format_duration(late[0].at)}"
            case _:
                pass
