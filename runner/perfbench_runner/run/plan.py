"""How many runners a load needs, and what they need: from the ceiling that was measured of one on a machine like theirs. Pure."""

from math import ceil
from typing import NamedTuple

from perfbench_api.capacity import Carried, Expected, loads, needs
from perfbench_api.resource import Spec
from perfbench_api.sections import Stage
from perfbench_runner.load.parts import reserved
from perfbench_runner.run import disk
from perfbench_runner.run.calibrate import Ceiling

BASE_MB, STREAM_MB, ROW_MB, WORKER_MB = 120.0, 0.12, 430e-6, 1.1
"""Memory of a runner, of each of its streams, of the summary for each request, and of each worker that hands its file over, at
the leader: bench/README.md, docs/scale.md."""


class StageNeeds(NamedTuple):
    """What a stage asks of its runners together."""

    name: str
    requests_per_s: float | None
    """At its peak; None where a dataset's recorded times say it."""
    streams: float | None
    requests: int | None
    """Each time that the stage is run, at most; None where nobody knows."""
    replicas: int
    why: str
    """What one runner would run out of."""


class Plan(NamedTuple):
    """What a run needs."""

    stages: list[StageNeeds]
    repeat: int
    """How often the list of stages is run."""
    replicas: int
    workers: int
    """Load-generating processes of each runner."""
    cpus: int
    """Of each runner."""
    memory_mb: int
    """Of each runner: the leader, which needs the most, says it."""
    disk_mb: int | None
    """At most, of the leader's claim: while the results of all are put together."""
    disk_reason: str
    """Why that is not known, or what it is without; empty where nothing is to be said."""


def plan(spec: Spec, ceiling: Ceiling, expected: Expected, workers: int, ceiling_tokens: int) -> Plan:
    """What a benchmark needs. `workers` is how many the ceiling was measured with, in answers of `ceiling_tokens`."""
    carried = Carried(ceiling.requests_per_s, ceiling_tokens)
    stages = [stage_needs(stage.at_each(spec.side_by_side), carried, expected) for stage in loads(spec)]
    if spec.load.search is not None:
        stages = [stage._replace(requests=spec.load.search.max_requests) for stage in stages]
    replicas = max(stage.replicas for stage in stages)
    rows = [stage.requests for stage in stages]
    known = None if None in rows else spec.load.repeat * sum(filter(None, rows))
    streams = max((stage.streams or 0.0) for stage in stages) / replicas
    needed, reason = _room(spec, known, replicas, ceiling.body_bytes, expected.output_tokens)
    return Plan(
        stages,
        spec.load.repeat,
        replicas,
        workers,
        workers + 1,
        ceil(BASE_MB + STREAM_MB * streams + ROW_MB * (known or 1_000_000) + WORKER_MB * (replicas - 1)),
        needed,
        reason,
    )


def _room(
    spec: Spec, requests: int | None, replicas: int, body_bytes: float | None, tokens: int
) -> tuple[int | None, str]:
    """Megabytes that the leader's claim must have, and what is to be said of it."""
    if requests is None:
        return None, "nobody knows how many requests there will be"
    kinds = [each.request or spec.request for each in spec.workloads] or [spec.request]
    # That more answers than one, or a stream, take more is true of each size: the largest kind is one that has both.
    streams, answers = any(kind.stream for kind in kinds), max(kind.n_choices or 1 for kind in kinds)
    shape = disk.Shape(spec.results.messages, body_bytes or 0.0, tokens, streams, answers)
    seconds = 0.0 if spec.load.search is not None else spec.load.repeat * disk.seconds(spec.load.stages)
    found = disk.room(requests * disk.request_bytes(shape) + disk.SECOND_BYTES * seconds, replicas)
    if body_bytes is None and spec.results.messages == "all":
        each = disk.BASE64 * 1000 * requests * (1 if replicas == 1 else 1 + 2 / replicas)
        least = f"at least {disk.size(found.at_work)}"
        return None, f"{least}: nobody knows how long prompts are, and each kB of them adds {disk.size(each)}"
    failed = disk.each_failed(shape)
    more = f"{disk.size(failed)} more for each request that fails" if failed else ""
    return ceil(found.at_work / 1e6), more


def stage_needs(stage: Stage, carried: Carried, expected: Expected) -> StageNeeds:
    """What a stage needs."""
    found = needs(stage, carried, expected)
    requests = stage.requests if stage.duration is None else _requests(stage, found.requests_per_s)
    return StageNeeds(stage.title, found.requests_per_s, found.streams, requests, found.runners, found.why)


def _requests(stage: Stage, rate: float | None) -> int | None:
    by_time = None if rate is None or stage.duration is None else ceil(rate * stage.duration)
    known = [count for count in (stage.requests, by_time) if count is not None]
    return min(known) if known else None if rate is None else reserved(stage)
