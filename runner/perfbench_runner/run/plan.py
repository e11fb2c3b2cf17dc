"""How many runners a load needs, and what they need: from the ceiling that was measured of one on a machine like theirs. Pure.

Rates follow from streams, and streams from rates, by Little's law, with the latencies that the endpoint is expected to have.
"""

from itertools import takewhile
from math import ceil, inf
from typing import NamedTuple

from perfbench_api.resource import Spec
from perfbench_api.sections import Stage
from perfbench_runner.load.parts import reserved
from perfbench_runner.load.rates import rate_of
from perfbench_runner.load.shares import lanes_of
from perfbench_runner.run.calibrate import Ceiling

HEADROOM = 0.7
"""So much of its ceiling a runner is to be given: beyond, it is judged degraded sooner or later."""
PORTS = 0.8 * 28_000
"""Connections of one host to one address."""
BASE_MB, STREAM_MB, ROW_MB = 120.0, 0.12, 430e-6
"""Memory of a runner, of each of its streams, and of the summary for each request, at the leader: bench/README.md."""
REQUEST_BYTES = {"all": (1340, 26.0), "failed": (190, 6.4), "none": (190, 6.4)}
"""What a request takes on the disk, and each of its tokens, by `results.messages`: docs/results.md."""


class Expected(NamedTuple):
    """What the endpoint is expected to do."""

    ttft_s: float
    itl_s: float
    output_tokens: int

    @property
    def latency_s(self) -> float:
        """How long a request takes."""
        return self.ttft_s + self.itl_s * max(0, self.output_tokens - 1)


class StageNeeds(NamedTuple):
    """What a stage asks of its runners together."""

    name: str
    requests_per_s: float | None
    """At its peak; None where a dataset's recorded times say it."""
    streams: float | None
    requests: int | None
    """None where nobody knows."""
    replicas: int
    why: str
    """What one runner would run out of."""


class Plan(NamedTuple):
    """What a run needs."""

    stages: list[StageNeeds]
    replicas: int
    workers: int
    """Load-generating processes of each runner."""
    cpus: int
    """Of each runner."""
    memory_mb: int
    """Of each runner: the leader, which needs the most, says it."""
    disk_mb: int | None
    """Of the leader's claim; None where nobody knows how many requests there will be."""


def plan(spec: Spec, ceiling: Ceiling, expected: Expected, workers: int, ceiling_tokens: int) -> Plan:
    """What a benchmark needs. `workers` is how many the ceiling was measured with, in answers of `ceiling_tokens`."""
    stages = [stage_needs(stage, ceiling, expected, ceiling_tokens) for stage in spec.load.stages]
    replicas = max(stage.replicas for stage in stages)
    rows = [stage.requests for stage in stages]
    known = None if None in rows else sum(filter(None, rows))
    streams = max((stage.streams or 0.0) for stage in stages) / replicas
    each, token = REQUEST_BYTES[spec.results.messages]
    row_bytes = each + token * expected.output_tokens
    # The leader's file, and beside it one worker's and the log of its rows while they are put in.
    share = 1.0 + (2.0 / replicas if replicas > 1 else 0.0)
    return Plan(
        stages,
        replicas,
        workers,
        workers + 1,
        ceil(BASE_MB + STREAM_MB * streams + ROW_MB * (known or 1_000_000)),
        None if known is None else ceil(known * row_bytes * share / 1e6),
    )


def stage_needs(stage: Stage, ceiling: Ceiling, expected: Expected, ceiling_tokens: int) -> StageNeeds:
    """What a stage needs."""
    lanes, peak = lanes_of(stage), peak_rate(stage)
    rate = lanes / expected.latency_s if lanes is not None else peak
    streams = float(lanes) if lanes is not None else None if peak is None else peak * expected.latency_s
    if stage.max_concurrency is not None and streams is not None:
        streams = min(streams, float(stage.max_concurrency))
    # A request of few tokens costs more a token, and one of many more a request: whichever is scarcer counts.
    by = {
        "requests/s": (rate or 0.0) / (HEADROOM * ceiling.requests_per_s),
        "tokens/s": (rate or 0.0) * expected.output_tokens / (HEADROOM * ceiling.requests_per_s * ceiling_tokens),
        "ports": (streams or 0.0) / PORTS,
    }
    why = max(by, key=lambda name: by[name])
    replicas = max(1, ceil(by[why] - 1e-9))
    requests = stage.requests if stage.duration is None else _requests(stage, rate)
    return StageNeeds(stage.title, rate, streams, requests, replicas, why if replicas > 1 else "")


def _requests(stage: Stage, rate: float | None) -> int | None:
    by_time = None if rate is None or stage.duration is None else ceil(rate * stage.duration)
    known = [count for count in (stage.requests, by_time) if count is not None]
    return min(known) if known else None if rate is None else reserved(stage)


def peak_rate(stage: Stage) -> float | None:
    """The highest rate of an open loop; None for a closed one, and where times are given one by one."""
    rate = rate_of(stage)
    if rate is None or isinstance(rate, (int, float)):
        return rate
    end_s = inf if stage.duration is None else stage.duration
    parts = takewhile(lambda part: part.begin_s < min(end_s, 1e6), rate)
    return max((max(part.from_rps, part.to_rps) for part in parts), default=None)
