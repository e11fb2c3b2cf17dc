"""The status of a PerfBenchmark: what the operator says of it, small and rounded.

`phase` is for people, conditions are for programs (`kubectl wait`), `verdict` says whether the objectives were kept.
"""

from typing import Annotated, Any, Literal

from pydantic import Field

from perfbench_api.outcome import ClientState, Verdict
from perfbench_api.values import FreeList, Schema, Section

Phase = Literal["Pending", "Waiting", "Running", "Succeeded", "Failed", "Cancelled"]
FINAL: tuple[Phase, ...] = ("Succeeded", "Failed", "Cancelled")
"""Phases that a benchmark never leaves."""
ConditionType = Literal["TargetReady", "Running", "ResultsStored", "Complete", "Failed"]
Time = Annotated[str, Schema({"type": "string", "format": "date-time"})]


class Condition(Section):
    """One fact about the benchmark, as every Kubernetes resource tells them."""

    type: ConditionType
    """TargetReady, Running, ResultsStored, Complete or Failed."""
    status: Literal["True", "False", "Unknown"]
    """Whether it holds."""
    reason: str = Field(min_length=1, max_length=128)
    """Why, in one CamelCase word."""
    message: str = Field("", max_length=2048)
    """Why, and what to do."""
    last_transition_time: Time
    """Since when."""
    observed_generation: int = 0
    """Generation of the spec it speaks of."""


class RunProgress(Section):
    """How far the run is."""

    stage: str | None = None
    """Name of the stage that runs."""
    stage_index: int = 0
    """Its position, from 0."""
    stage_count: int = 0
    """How many stages there are."""
    percent: int = 0
    """Of the whole run."""
    done: str = "0%"
    """The same, for the column of `kubectl get`."""
    eta: str | None = None
    """Time that is left, such as 90s."""


class Live(Section):
    """Figures of the stage that runs; after the end those of the last stage."""

    requests: int = 0
    """Requests that ended."""
    failed: int = 0
    """Requests of them that failed."""
    in_flight: int = 0
    """Requests under way."""
    requests_per_second: float | None = None
    """Ended requests per second."""
    output_tokens_per_second: float | None = None
    """Tokens of the answers per second."""
    ttft_p50: str | None = None
    """Median time to first token, such as 31.2ms."""
    ttft_p99: str | None = None
    """99th percentile of the time to first token."""


class Client(Section):
    """Whether the load generator itself was fast enough for its figures to be believed."""

    state: ClientState
    """valid, degraded or invalid."""
    reasons: list[str] = Field([], max_length=8)
    """What limited it."""


class ResultsStatus(Section):
    """Where the results file is."""

    claim: str
    """PersistentVolumeClaim that holds it."""
    path: str
    """Path in the claim: namespace/name/uid/file."""
    bytes: int
    """Its size."""
    sha256: str
    """Its checksum."""
    rows: int
    """Requests in it."""


class RunnerPod(Section):
    """A runner pod."""

    name: str
    """Its name."""
    node: str | None = None
    """The node it runs on."""
    phase: str = "Pending"
    """Its phase."""
    reason: str | None = None
    """Why it is not running, if it is not."""


class Status(Section):
    """What became of the benchmark."""

    phase: Phase = "Pending"
    """Pending, Waiting (for the target), Running, Succeeded, Failed or Cancelled."""
    observed_generation: int = 0
    """Generation of the spec that this status speaks of."""
    message: str = Field("", max_length=2048)
    """One sentence: what it does, or why it cannot, and what to do."""
    verdict: Verdict | None = None
    """Whether the objectives were kept: Passed, Failed or Inconclusive; absent without objectives."""
    start_time: Time | None = None
    """When its Job was made."""
    completion_time: Time | None = None
    """When it ended."""
    conditions: Annotated[
        list[Condition],
        Field(
            max_length=16, json_schema_extra={"x-kubernetes-list-type": "map", "x-kubernetes-list-map-keys": ["type"]}
        ),
    ] = []
    """The facts by themselves, for `kubectl wait`."""
    job: str | None = None
    """Name of its Job."""
    progress: RunProgress | None = None
    """How far the run is."""
    live: Live | None = None
    """Figures of the run."""
    summary: FreeList | None = None
    """Figures of each stage: name, requests, throughputs, {mean, p50, p99} of the latencies, in seconds."""
    client: Client | None = None
    """Whether the load generator kept up."""
    results: ResultsStatus | None = None
    """Where the results file is."""
    runners: list[RunnerPod] | None = Field(None, max_length=256)
    """Its pods."""

    def dump(self) -> dict[str, Any]:
        """The status as data for Kubernetes, without what is not known."""
        return self.model_dump(by_alias=True, mode="json", exclude_none=True)
