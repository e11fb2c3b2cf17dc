"""The models of summary.json. Definitions of all figures: docs/metrics.md."""

from typing import Any, Literal

from perfbench_api.outcome import Verdict
from perfbench_runner.results.client_summary import ClientHealth, RunnerSummary, StageRunner
from perfbench_runner.results.client_summary import Model as _Model
from perfbench_runner.results.measured import (
    Answers,
    Conversations,
    Cost,
    Distribution,
    Goodput,
    PromptCache,
    PromptRange,
    Prompts,
    Requests,
    Retries,
    ServerFigure,
    Steady,
    Throughput,
    TtftByPrompt,
    Window,
)


class Figures(_Model):
    """Figures of some requests. Latencies are of succeeded ones, and of unfinished and unsent ones by lower bounds."""

    name: str
    """Of the stage, or of its workload or target."""
    requests: Requests
    notes: list[str] = []
    """What one must know to read the figures right, in words."""
    request_throughput_rps: float | None
    """Succeeded requests that ended in the window, a second."""
    output_token_throughput_tps: float | None
    """Output tokens that arrived in the window, a second; also those of requests that did not end in it."""
    total_token_throughput_tps: float | None
    input_token_throughput_tps: float | None = None
    """Prompt tokens of requests whose first content arrived in the window, a second; null where nobody counted them."""
    goodput: Goodput | None = None
    """Null where no limits of a single request were given."""
    retries: Retries | None = None
    """Null where they were not asked for (`load.retry`)."""
    ttft_s: Distribution
    """From sent, the first time, to the first non-empty content."""
    ttft_by_prompt: TtftByPrompt | None = None
    """Null where prompts are all of one range of lengths, or were not counted."""
    itl_s: Distribution
    """Gaps between chunks with content, of all requests together."""
    token_gap_s: Distribution = Distribution()
    """Gaps between tokens: a gap between chunks, spread over the tokens that came after it. Where usage came with each chunk."""
    tpot_s: Distribution
    """(e2e - TTFT) / (output tokens - 1) of each request with two tokens or more."""
    e2e_latency_s: Distribution
    """From sent to the end of the answer."""
    scheduled_latency_s: Distribution
    """From scheduled to the end of the answer."""
    output_tokens: Distribution
    prompt_tokens: Distribution
    errors: dict[str, int]
    """Failed requests by kind."""
    status_codes: dict[str, int] = {}
    """Requests by the HTTP status of their answer; those without any answer are in `errors` alone."""
    token_sources: dict[str, int] = {}
    """Who counted the tokens: usage, tokenizer, chunks, plugin or none."""
    conversations: Conversations | None = None
    cached_prompt_share: float | None = None
    """Prompt tokens that answers report as cached, of all prompt tokens; null where no answer does."""
    prompt_cache: PromptCache | None = None
    """Null in summaries of older versions."""
    answers: Answers | None = None
    """Null in summaries of older versions."""


class PartSummary(Figures):
    """Figures of a part of a stage's requests. Its throughputs are over the stage's window."""

    weight: int
    """As asked for."""
    share: float | None
    """Its share of the requests of the stage, or of its target, as they were sent."""


class WorkloadSummary(PartSummary):
    """Figures of a workload's requests of a stage. Its throughputs are over the stage's window."""


class TargetSummary(PartSummary):
    """Figures of the requests of a stage that went to one target. Its throughputs are over the stage's window."""

    workloads: list[WorkloadSummary] = []
    """The same by workload, where there are several."""


class Difference(_Model):
    """By how much a figure of one target is above another's: docs/load.md."""

    metric: str
    statistic: str | None
    """Null for a share."""
    baseline: float | None
    """That of the earlier target; in seconds, or share of 1."""
    value: float | None
    """That of the later one."""
    difference: float | None = None
    """`value` - `baseline`."""
    low: float | None = None
    """The true difference is at least this; null where `reason` says why."""
    high: float | None = None
    """And at most this."""
    is_seen: bool | None = None
    """Whether it is beyond doubt that there is any; null where nothing can be said."""
    reason: str = ""


class Comparison(_Model):
    """By how much one target differs from another, over the same prompts and the same time."""

    baseline: str
    target: str
    confidence: float
    """With which all intervals of the stage hold together."""
    differences: list[Difference]
    """Of figures that both targets have; that of failed requests only where any failed."""


class StageSummary(Figures):
    """Figures of one stage."""

    load: str = ""
    """The load that was asked for, in words, with the seed that draws its schedule again."""
    duration_s: float
    """From the first request sent to the last answer's end."""
    window: Window | None = None
    """What the throughputs are over; null without requests."""
    overall: Throughput | None = None
    dispatch_lag_s: Distribution
    """From scheduled to sent, connecting left out: the client's own delay."""
    connect_s: Distribution
    """TCP connect and TLS of new connections."""
    steady: Steady | None = None
    """Null where there are too few requests to say, where the load itself changes, and in summaries of older versions."""
    offered_rate_rps: float | None = None
    """Open loop: the rate asked for."""
    sent_rate_rps: float | None = None
    """Open loop: the rate at which requests were really sent."""
    prompts: Prompts | None = None
    """Null where prompts were not told apart."""
    server: dict[str, ServerFigure] = {}
    """What the server said of itself from the first request sent to the last end, by neutral name; see docs/monitoring.md."""
    cost: Cost | None = None
    """Null where neither a price nor the power of the server's GPUs is known."""
    client: ClientHealth = ClientHealth()
    runners: list[StageRunner] = []
    """What each of several runners made of it; empty in a run of one."""
    workloads: list[WorkloadSummary] = []
    """The same by workload, where there are several; all other figures are of all together."""
    targets: list[TargetSummary] = []
    """The same by target, likewise."""
    comparisons: list[Comparison] = []
    """Of each two targets, in their order."""


class ObjectiveResult(_Model):
    """Whether one objective was kept in one stage, and how sure that is: docs/objectives.md."""

    metric: str
    statistic: str | None
    stage: str
    workload: str | None = None
    """Null where it is of the requests of all workloads."""
    target: str | None = None
    """Null where it is of the requests to all targets."""
    prompt_tokens: PromptRange | None = None
    """Null where it is of prompts of any length."""
    bound: str
    value: float | None
    """In seconds, per second or share of 1; null where there is none, or so many requests failed that it is infinite."""
    low: float | None = None
    """The true value is at least this, with the confidence; null where that is not known, or the value is of this run alone."""
    high: float | None = None
    """The true value is at most this, likewise; null where there is no such end."""
    confidence: float | None = None
    """That of each end (`spec.confidence`); null where the value is of this run alone, or there is none."""
    kept: bool | None
    """Null where it is open: the bound lies between `low` and `high`, or there are too few values for either."""
    reason: str = ""
    """Why it is open, or has no value."""
    needed: int | None = None
    """So many requests more would probably decide it, an order of magnitude; null where that is not known, or far too many."""


class Spread(_Model):
    """A figure of a stage that was run several times."""

    values: list[float | None]
    """Of each repeat, in their order; null where it has none."""
    mean: float | None = None
    low: float | None = None
    high: float | None = None
    """Ends of the 95 % interval of the mean, by how much repeats differ; null where one has no value, or there is one only."""
    between: float | None = None
    """Standard deviation of the values."""
    within: float | None = None
    """What it would be if repeats differed by chance alone, as far as their requests tell; null where one cannot say."""


class RepeatedStage(_Model):
    """A stage that was run several times (`load.repeat`): docs/load.md."""

    name: str
    """As the manifest has it."""
    stages: list[str]
    """Its repeats."""
    figures: dict[str, Spread]
    """By the names that figures of a stage have: request_throughput_rps, ttft_s.p99."""


class SearchPoint(_Model):
    """One load that a search has tried."""

    stage: str
    load: float
    role: Literal["bracket", "local", "confirm"]
    """What it was for: to find the neighbourhood, to find the load, to confirm it."""
    requests: int
    """That count."""
    settling: int = 0
    """Sent before those, to let the queue become what it is at this load: in no figure."""
    shares: list[float] = []
    """The share of requests that kept each objective, in their order."""
    throughput_rps: float | None = None
    latency_s: float | None = None
    """Without objectives: throughput and mean latency, whose ratio is greatest at the knee."""


class SearchResult(_Model):
    """The highest load that the target carries, and how sure that is; see docs/search.md."""

    kind: Literal["rate", "concurrency"]
    """What was searched for: requests a second, or requests in flight."""
    goal: Literal["objectives", "knee"]
    """The highest load at which the objectives hold, or, without objectives, the knee."""
    load: float | None
    """The estimate; null where there is none in the range."""
    low: float | None
    high: float | None
    """Ends of its 90 % interval; high is null where the end of the range was reached."""
    confirmed: bool | None
    """Whether the objectives held in a run at `low`; null where that was left open, or not tried."""
    reason: str
    requests: int
    """Sent by the search."""
    duration_s: float
    points: list[SearchPoint] = []


class Summary(_Model):
    """summary.json."""

    name: str
    verdict: Verdict | None
    """Whether all objectives were kept; null without objectives."""
    verdict_reasons: list[str] = []
    state: Literal["complete", "interrupted", "failed"] = "complete"
    """interrupted: stopped before its end; failed: could not go on. What was measured until then is summarised."""
    message: str = ""
    started_at: str = ""
    """UTC, ISO 8601."""
    perfbench_version: str = ""
    client: ClientHealth = ClientHealth()
    objectives: list[ObjectiveResult] = []
    unmeasured_requests: dict[str, int] = {}
    """Requests sent beside the measured ones: connection tests and warm-up."""
    calibration: dict[str, Any] | None = None
    """This client's own error on this machine, if `--calibrate` asked for it."""
    search: SearchResult | None = None
    """What `load.search` has found; null without it."""
    runners: list[RunnerSummary] = []
    """The runners of a run that has several, the leader first."""
    repeated: list[RepeatedStage] = []
    """Of `load.repeat`: each stage of the manifest, and how much its figures differ between repeats."""
    stages: list[StageSummary]
