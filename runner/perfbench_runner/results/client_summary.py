"""The models of summary.json that say who made the load, and whether they can be believed."""

from typing import Literal

from pydantic import ConfigDict

from perfbench_api.described import Described
from perfbench_api.outcome import ClientState


class Model(Described):
    """A part of summary.json."""

    model_config = ConfigDict(extra="forbid")


class ClientHealth(Model):
    """Whether the client itself had a part in the figures."""

    state: ClientState = "valid"
    """The worse of the next two."""
    latencies: ClientState = "valid"
    """Whether they are true."""
    load: ClientState = "valid"
    """Whether it was as asked."""
    stamps: Literal["kernel", "program", "mixed"] | None = None
    """Who took the times of arrival; null where nothing arrived, and of files that do not say."""
    reasons: list[str] = []
    """Each says what it speaks against: latencies, load, or both."""
    figures: dict[str, float] = {}
    """What was judged, by the names of docs/client-health.md, of the worst process; seconds and shares of 1."""


class StageRunner(Model):
    """What one of several runners made of a stage. Times are since the stage's load began, by the leader's clock."""

    runner: int
    """Its number; 0 is the leader."""
    requests: int
    """Sent by it."""
    begin_s: float | None = None
    """When its load was to begin: 0 for all, but for the clocks' error; null where it had no part in the stage."""
    first_sent_s: float | None = None
    """When it sent its first request; null where it sent none."""
    end_s: float | None = None
    """When the stage was over for it."""
    client: ClientHealth = ClientHealth()
    """Its own health; that of the stage is the worst of all."""


class RunnerSummary(Model):
    """One of several runners, over the whole run."""

    runner: int
    """Its number; 0 is the leader."""
    name: str = ""
    """Its pod or host."""
    node: str = ""
    """The node of its pod."""
    state: Literal["merged", "cut", "lost"]
    """cut: it ended before its work was done, and what it had measured is here; lost: nothing of it is here."""
    reason: str = ""
    """Why, in words."""
    workers: int | None = None
    """Its load-generating processes; null where it was lost."""
    clock_offset_s: float | None = None
    """What was to be added to its clock to have the leader's, when its first stage began; null where it was lost."""
    clock_drift: float | None = None
    """By how much more that was with each second."""
    clock_bound_s: float | None = None
    """The offset is wrong by no more than this."""
    clock_residual_s: float | None = None
    """How far comparisons of the clocks are from a straight line."""
    requests: int = 0
    """Sent by it, in all stages."""
    client: ClientState = "valid"
    """Its worst health in any stage; the reasons are in the stages."""
