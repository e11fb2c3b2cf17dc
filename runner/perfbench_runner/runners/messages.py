"""What runners of a run say to each other: typed, bounded, of one version; JSON over HTTP, never pickle over a network.

Workers ask, the leader answers; nothing is sent for each request. Every message but the first carries the worker's
instance, so that a pod that came back does not speak for the one that was lost. Times are seconds of the leader's clock.
"""

from typing import Annotated, Literal

from pydantic import BaseModel, ConfigDict, Field

from perfbench_api.sections import Stage
from perfbench_runner.observe.told import RunnerFigures

VERSION = 3
"""Of the protocol: runners of one run must have the same."""
MOST_RUNNERS = 1000
BODY_BYTES = 2**19
"""No message is longer."""
CHUNK_BYTES = 2**20
"""Of a file that is handed over, at once."""

Number = Annotated[int, Field(ge=1, lt=MOST_RUNNERS)]
Count = Annotated[int, Field(ge=0, le=2**53)]
Seconds = Annotated[float, Field(allow_inf_nan=False)]
Name = Annotated[str, Field(max_length=253)]
Instance = Annotated[str, Field(min_length=1, max_length=64)]
Text = Annotated[str, Field(max_length=4000)]
LongText = Annotated[str, Field(max_length=BODY_BYTES)]


class Message(BaseModel):
    """Anything that is said."""

    model_config = ConfigDict(extra="forbid", frozen=True)


class Hello(Message):
    """A worker reports in."""

    version: int
    program: Name
    """Version of perfbench."""
    runner: Number
    instance: Instance
    """A random name of this process."""
    name: Name
    """Its pod or host."""
    node: Name = ""
    load: Name
    """Digest of the load that its manifest asks for."""


class Welcome(Message):
    """The leader takes a worker."""

    version: int = VERSION
    runners: Annotated[int, Field(ge=2, le=MOST_RUNNERS)]
    seed: int
    """Of prompts, their order and arrivals: the run's."""
    silence_s: Seconds
    """Who is not heard of for so long is lost; a worker that does not hear from the leader ends itself."""


class ClockAnswer(Message):
    """The leader's clock."""

    received_s: Seconds
    answered_s: Seconds


class FromWorker(Message):
    """Anything that a worker says once it was taken."""

    instance: Instance


class Ready(FromWorker):
    """All processes of a worker are ready for a stage."""

    stage: Annotated[int, Field(ge=-1, le=10_000)]


class LeaseRequest(FromWorker):
    """A worker needs requests of a stage."""

    stage: Annotated[int, Field(ge=-1, le=10_000)]
    outstanding: Count
    most: Count


class LeaseAnswer(Message):
    """What it gets."""

    first: Count
    size: Count
    ahead: Count
    is_last: bool


class Beat(FromWorker):
    """Once a second: a worker lives, and this is how far it is."""

    number: Count
    """Rises: what comes late is older than what was told since."""
    stage: Annotated[int, Field(ge=-2, le=10_000)]
    figures: RunnerFigures = RunnerFigures()


class Leaving(FromWorker):
    """A worker ends its load before its work is done."""

    state: Literal["interrupted", "failed"]
    reason: Name
    message: Text


class Start(Message):
    """A stage begins for all."""

    kind: Literal["start"] = "start"
    stage: int
    at_s: Seconds


class Stop(Message):
    """The load ends for all."""

    kind: Literal["stop"] = "stop"
    state: Literal["complete", "interrupted", "failed"]
    reason: Name
    message: Text


class EndStage(Message):
    """A stage ends for all before its time."""

    kind: Literal["end stage"] = "end stage"
    stage: int
    at_s: Seconds
    reason: Text


class NextStage(Message):
    """The next stage of a search."""

    kind: Literal["next"] = "next"
    stage: int
    what: Stage | None
    """None: there is none."""


class Rows(FromWorker):
    """Rows of a stage of a search, or some of them."""

    stage: Annotated[int, Field(ge=0, le=10_000)]
    first: Count
    """So many were told before."""
    requests: list[list[int | Annotated[float, Field(allow_inf_nan=False)] | LongText | None]] = Field(max_length=5000)
    unsent: list[tuple[Seconds, Name | None]] = Field(max_length=20_000)
    is_last: bool


class News(Message):
    """What all workers are told, in order, from the one that was asked for on."""

    news: list[Annotated[Start | Stop | EndStage | NextStage, Field(discriminator="kind")]] = Field(max_length=1000)
    following: Count
    """What to ask for next."""


class FileState(Message):
    """How much of a worker's file the leader has."""

    received: Count


class FileDone(FromWorker):
    """A worker's file is whole."""

    size: Count
    sha256: Annotated[str, Field(pattern="^[0-9a-f]{64}$")]
    workers: Annotated[int, Field(ge=1, le=100_000)]
    """Load-generating processes of the runner."""
    state: Literal["merged", "cut"]
    reason: Text = ""
    offset_s: Seconds
    drift: Annotated[float, Field(gt=-0.01, lt=0.01)]
    at_s: Seconds
    bound_s: Annotated[float, Field(ge=0, allow_inf_nan=False)]
    residual_s: Annotated[float, Field(ge=0, allow_inf_nan=False)]


class Delivered(Message):
    """Kept beside a worker's file until its rows are in the leader's: what a leader that dies meanwhile would take with it."""

    name: str
    node: str
    why: str
    """Why its load ended early, as the leader knows it; empty where it did not, or only the worker does."""
    done: FileDone
