"""A list of stages that is run several times: the whole list, so that what changes with time meets every stage alike."""

from collections.abc import Sequence
from typing import NamedTuple

from perfbench_api.resource import PerfBenchmark, SpecError
from perfbench_api.sections import Load, Objective, Stage

LONGEST = 63
"""Characters of a stage's name."""


class Repeats(NamedTuple):
    """What the results file says of a run whose stages were repeated."""

    times: int
    stages: list[str]
    """The names of the stages as the manifest has them; stage i of the run is one of number i mod their count."""


def name_of(title: str, number: int) -> str:
    """The name of a stage's repeat: c8-1 for the first time of c8."""
    return f"{title}-{number}"


def repeats_of(benchmark: PerfBenchmark) -> Repeats | None:
    """What a manifest asks for; None where each stage is run once."""
    load = benchmark.spec.load
    return Repeats(load.repeat, [stage.title for stage in load.stages]) if load.repeat > 1 else None


def with_repeats(benchmark: PerfBenchmark, repeats: Repeats | None) -> PerfBenchmark:
    """The benchmark with each repeat of a stage as one of its own, and objectives for each; raises SpecError."""
    if repeats is None:
        return benchmark
    benchmark = benchmark.model_copy(deep=True)
    spec = benchmark.spec
    stages = [
        stage.model_copy(update={"name": name_of(stage.title, number + 1)}, deep=True)
        for number in range(repeats.times)
        for stage in spec.load.stages
    ]
    _check_names(stages)
    spec.objectives = [each for objective in spec.objectives for each in _for_each(objective, repeats.times)]
    spec.load.stages, spec.load.repeat = stages, 1
    return benchmark


def refuse_repeated_schedule(load: Load, repeats: Repeats | None, has_schedule: bool) -> None:
    """Raise SpecError where a dataset's recorded times would have to be played again."""
    if repeats is not None and has_schedule and any(stage.is_open_loop for stage in load.stages):
        raise SpecError(["spec.load.repeat: recorded times are played once; run the benchmark several times instead"])


def _check_names(stages: Sequence[Stage]) -> None:
    """Names that differ still do: what is put behind them has no hyphen but its first."""
    for title in (stage.title for stage in stages):
        if len(title) > LONGEST:
            raise SpecError(
                [f"spec.load.repeat: {title!r} is too long for a stage's name; give the stage a shorter one"]
            )


def _for_each(objective: Objective, times: int) -> list[Objective]:
    """An objective of one stage is one of each of its repeats."""
    if objective.stage is None:
        return [objective]
    return [objective.model_copy(update={"stage": name_of(objective.stage, number + 1)}) for number in range(times)]
