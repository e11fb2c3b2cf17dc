"""What a runner of several tells of itself while a run goes on: typed, bounded, and such that those of all can be added.

Everything is of the stage under way from its beginning on, not since the last time: what was told twice counts once.
"""

from typing import Annotated

from pydantic import BaseModel, ConfigDict, Field

from perfbench_api.outcome import ClientState
from perfbench_runner.observe.sketch import HIGHEST, LOWEST, MOST_BUCKETS

Count = Annotated[int, Field(ge=0, le=2**53)]
Amount = Annotated[float, Field(ge=0, allow_inf_nan=False)]
Label = Annotated[str, Field(max_length=64)]
Buckets = Annotated[dict[Annotated[int, Field(ge=LOWEST, le=HIGHEST)], Count], Field(max_length=MOST_BUCKETS)]
"""A sketch."""


class Told(BaseModel):
    """Anything that is told."""

    model_config = ConfigDict(extra="forbid", frozen=True, defer_build=True)


class HistogramFigures(Told):
    """A histogram of known bounds."""

    counts: list[Count] = Field(max_length=64)
    """By bucket, the last one beyond all bounds."""
    total: Annotated[float, Field(allow_inf_nan=False)]
    """The sum of all values."""


class PartFigures(Told):
    """What Prometheus is told of the requests of a workload, or to a target."""

    outcomes: dict[Label, Count] = Field(max_length=128)
    output_tokens: Count
    prompt_tokens: Count
    good: Count
    latencies: dict[Label, HistogramFigures] = Field(max_length=16)


class StageFigures(PartFigures):
    """What Prometheus is told of a stage."""

    scheduled: Count
    sent: Count
    retries: dict[Label, Count] = Field({}, max_length=16)
    workloads: dict[Label, PartFigures] = Field({}, max_length=16)
    targets: dict[Label, PartFigures] = Field({}, max_length=8)


class ClientFigures(Told):
    """How the client is: the worst of its processes, by the names of the metrics."""

    state: ClientState | None = None
    figures: dict[Label, Amount] = Field({}, max_length=16)


class Tally(Told):
    """What guards go by."""

    ended: Count = 0
    """Requests of the stage that ended, but for those that were cut off; `failed` are among them."""
    failed: Count = 0
    requests: Count = 0
    """That ended in the whole run, warm-up included, with their tokens."""
    input_tokens: Count = 0
    output_tokens: Count = 0


class Settled(Told):
    """Values of the latency that a stage is to end by, of requests before the oldest that is still under way."""

    values: Count = 0
    """How many there are of the whole stage."""
    until_s: Amount = 0.0
    """Requests that were due before are settled; seconds since the stage's load began."""
    seconds: dict[Annotated[int, Field(ge=0, le=10**7)], Buckets] = Field({}, max_length=20_000)
    """By the second in which they were due, as sketches; only those of seconds that have changed."""


class RunnerFigures(Told):
    """Live figures of one runner's part of the stage under way."""

    requests: Count = 0
    """That ended; `failed` are among them."""
    failed: Count = 0
    in_flight: Count = 0
    requests_rps: Amount = 0.0
    tokens_tps: Amount = 0.0
    ttft: Buckets = {}
    itl: Buckets = {}
    client: ClientFigures = ClientFigures()
    due: Count = 0
    """Open loop: requests whose time has come, and those that were answered for."""
    answered: Count = 0
    tally: Tally = Tally()
    settled: Settled = Settled()
    stage: StageFigures | None = None
    """None of the warm-up."""
