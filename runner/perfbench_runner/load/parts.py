"""Which part of the dataset each stage gets: fixed by the manifest alone, never by how fast the endpoint is.

The dataset is one endless sequence of numbered entries. The warm-up takes the first ones; each stage begins where the
one before it ends at the latest. So two runs of one manifest send the same prompts in the same stages, whatever they
measure, and stages do not share prompts as long as the dataset has enough of them.
"""

from math import ceil, sqrt

from perfbench_api.sections import Load, Stage
from perfbench_runner.load.lanes import sides
from perfbench_runner.load.rates import expected

MOST_RESERVED = 20_000
"""Entries set aside for a closed loop that ends by time, where nobody knows how many it will need."""


USUAL_LANES = 8
"""Of a warm-up before a stage that says nothing of concurrency."""


def warmup_stage(load: Load) -> Stage | None:
    """The warm-up as a stage: a closed loop; None where none is asked for."""
    warmup, first = load.warmup, load.stages[0]
    if not warmup.requests and warmup.duration is None:
        return None
    lanes = warmup.concurrency or first.concurrency or first.max_concurrency or USUAL_LANES
    requests = warmup.requests or None
    return Stage(concurrency=min(lanes, requests or lanes), requests=requests, duration=warmup.duration)


def first_entries(load: Load, offset: int = 0, together: int = 1) -> list[int]:
    """For each stage the number of its first entry; `offset` entries at the start are left out.

    `together`: so many targets are sent to side by side.
    """
    warmup, found = warmup_stage(load), list[int]()
    begin = offset + (reserved(warmup.at_each(sides(warmup, together))) if warmup else 0)
    for stage in load.stages:
        found.append(begin)
        begin += reserved(stage.at_each(sides(stage, together)))
    return found


def reserved(stage: Stage) -> int:
    """How many entries are set aside for a stage: as many as it asks for, or hardly ever fewer than it can use."""
    by_time = _by_time(stage)
    return by_time if stage.requests is None else min(stage.requests, by_time)


def _by_time(stage: Stage) -> int:
    if stage.duration is None:
        return stage.requests or 0
    mean = expected(stage)
    if mean is not None:
        # A Poisson process has more once in a billion runs; counts of other gaps spread by their cv.
        return ceil(mean + 6 * max(1.0, stage.cv or 1.0) * sqrt(mean))
    if stage.requests is not None:
        return stage.requests
    return min(MOST_RESERVED, (stage.concurrency or 1) * ceil(stage.duration))
