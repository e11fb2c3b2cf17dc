"""The status of a PerfBenchmark, as the operator writes it; small, with rounded figures.

`phase` is for people, conditions are for programs (`kubectl wait`), `verdict` says whether the objectives were met.
"""

from typing import Annotated, Any, Literal, get_args

from pydantic import Field

from perfbench_api.outcome import MESSAGE_LENGTH, ClientState, FoundLoad, Verdict
from perfbench_api.stage_figures import StageFigures
from perfbench_api.values import Schema, Section

BenchmarkPhase = Literal["Suspended", "Queued", "Pending", "Waiting", "Running", "Succeeded", "Failed", "Cancelled"]
BENCHMARK_PHASES: tuple[BenchmarkPhase, ...] = get_args(BenchmarkPhase)
FINAL: tuple[BenchmarkPhase, ...] = ("Succeeded", "Failed", "Cancelled")
"""Phases that never change again."""
ConditionType = Literal[
    "Queued",
    "TargetReady",
    "Running",
    "Undersized",
    "SharesNode",
    "ResultsStored",
    "ObjectivesMet",
    "LoadFound",
    "Finished",
    "Complete",
    "Failed",
]
CONDITIONS: tuple[ConditionType, ...] = get_args(ConditionType)
"""The operator's own conditions, in the order in which they are shown; others may add theirs."""
REASON = r"^[A-Za-z]([A-Za-z0-9_,:]*[A-Za-z0-9_])?$"
REASON_LENGTH, MAX_CONDITIONS = 128, 32
Time = Annotated[str, Schema({"type": "string", "format": "date-time"})]


class Condition(Section):
    """One condition of the benchmark, as in every Kubernetes resource."""

    type: str = Field(min_length=1, max_length=316)
    """Queued, TargetReady, Running, Undersized, ResultsStored, ObjectivesMet, Finished and so on, or another program's."""
    status: Literal["True", "False", "Unknown"]
    """Whether the condition holds."""
    reason: str = Field(min_length=1, max_length=REASON_LENGTH)
    """Why, as a CamelCase reason."""
    message: str = Field("", max_length=MESSAGE_LENGTH)
    """Why, and what to do."""
    last_transition_time: Time
    """Since when it has had this status."""
    observed_generation: int = 0
    """Generation of the spec that it refers to."""


class RunProgress(Section):
    """How far the run is."""

    stage: str | None = None
    """Name of the stage under way."""
    stage_index: int = 0
    """Its position, from 0."""
    stage_count: int = 0
    """How many stages there are."""
    percent: int = 0
    """Share of the whole run that is done, in percent."""
    done: str = "0%"
    """The same, for the column of `kubectl get`."""
    eta: str | None = None
    """Time left, such as 90s."""


class LiveFigures(Section):
    """Figures of the stage under way; after the run, those of the last stage."""

    requests: int = 0
    """Requests that have ended."""
    failed: int = 0
    """Requests that have failed."""
    in_flight: int = 0
    """Requests in flight."""
    requests_per_second: float | None = None
    """Ended requests per second."""
    output_tokens_per_second: float | None = None
    """Tokens of the answers per second."""
    ttft_p50: str | None = None
    """Median time to first token, such as 31.2ms."""
    ttft_p99: str | None = None
    """99th percentile of the time to first token."""
    itl_p50: str | None = None
    """Median time between tokens; while it runs, of the gaps between chunks."""
    itl_p99: str | None = None
    """99th percentile of the same."""


class ClientStatus(Section):
    """Whether the load generator itself was fast enough for its figures to be trusted."""

    state: ClientState
    """valid, degraded or invalid."""
    reasons: list[str] = Field([], max_length=8)
    """What slowed it down."""


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
    complete: bool = True
    """False where it could not be finished, such as on a full disk: `perfbench recover` finishes it."""


class RunnerPod(Section):
    """A runner pod."""

    name: str
    """Its name."""
    uid: str | None = None
    """Its uid."""
    node: str | None = None
    """The node it runs on."""
    phase: str = "Pending"
    """Its phase."""
    reason: str | None = None
    """Why it is not running, if it is not."""


class Status(Section):
    """State of the benchmark."""

    phase: BenchmarkPhase = "Pending"
    """Suspended, Queued, Pending, Waiting (for the target), Running, Succeeded, Failed or Cancelled."""
    observed_generation: int = 0
    """Generation of the spec that this status refers to."""
    message: str = Field("", max_length=MESSAGE_LENGTH)
    """One sentence: what it is doing, or why it cannot, and what to do."""
    verdict: Verdict | None = None
    """Whether the objectives were met: Passed, Failed or Inconclusive; absent without objectives."""
    verdict_reason: str | None = Field(None, max_length=MESSAGE_LENGTH)
    """Why it is not Passed: the objectives that were missed, with value and bound, or what leaves the verdict open."""
    model: str | None = Field(None, max_length=256)
    """The model that is measured; mock for the bundled one."""
    start_time: Time | None = None
    """When its Job was created."""
    completion_time: Time | None = None
    """When it ended."""
    conditions: Annotated[
        list[Condition],
        Field(
            max_length=MAX_CONDITIONS,
            json_schema_extra={"x-kubernetes-list-type": "map", "x-kubernetes-list-map-keys": ["type"]},
        ),
    ] = []
    """The conditions, for `kubectl wait`."""
    job: str | None = None
    """Name of its Job."""
    job_uid: str | None = None
    """Uid of its Job."""
    last_contact: Time | None = None
    """When its runner answered the operator last; written at least once a minute."""
    progress: RunProgress | None = None
    """How far the run is."""
    live: LiveFigures | None = None
    """Figures of the run."""
    search: FoundLoad | None = None
    """Of a search: the load that it has found."""
    summary: StageFigures | None = None
    """Figures of each stage: name, requests, throughputs, {mean, p50, p99} of the latencies, in seconds."""
    stages_omitted: int | None = None
    """So many more stages there were than the summary has; summary.json, beside the results file, has them all."""
    client: ClientStatus | None = None
    """Whether the load generator kept up."""
    results: ResultsStatus | None = None
    """Where the results file is."""
    runners: list[RunnerPod] | None = Field(None, max_length=256)
    """Its pods."""

    def dump(self) -> dict[str, Any]:
        """The status as data for Kubernetes; unknown values are left out."""
        return self.model_dump(by_alias=True, mode="json", exclude_none=True)
