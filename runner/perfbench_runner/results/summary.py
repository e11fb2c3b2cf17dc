"""The models of summary.json. Definitions of all figures: docs/metrics.md."""

from typing import Any, Literal

from pydantic import BaseModel, ConfigDict

from perfbench_api.outcome import ClientState, Verdict


class _Model(BaseModel):
    model_config = ConfigDict(extra="forbid", use_attribute_docstrings=True)


class Distribution(_Model):
    """Statistics of a figure; null where there is no value, or where too many values are known only by a lower bound."""

    mean: float | None = None
    std: float | None = None
    min: float | None = None
    p50: float | None = None
    p90: float | None = None
    p95: float | None = None
    p99: float | None = None
    p99_9: float | None = None
    max: float | None = None
    count: int = 0
    """Values that are known."""
    censored: int = 0
    """Values that are known only to be larger than what was seen of them: of unfinished and unsent requests."""
    lower_bounds: dict[str, float] = {}
    """Of statistics that are null for that reason: what they are at least."""


class Requests(_Model):
    """Counts of requests."""

    total: int
    """Sent: succeeded, failed and unfinished."""
    succeeded: int
    failed: int
    unfinished: int = 0
    """Cut off at the end of the grace period; in latencies they count as longer than that."""
    unsent: int = 0
    """Due, but never sent: a limit on concurrency held them until the stage was over, or it was stopped."""
    resent: int = 0
    """Sent again, since their idle connection proved to be closed."""

    @property
    def failed_share(self) -> float | None:
        """Failed requests, of those that came to an end."""
        ended = self.succeeded + self.failed
        return self.failed / ended if ended else None


class Window(_Model):
    """The part of a stage in which the load was as asked: throughputs are over it. Times are since the load began."""

    start_s: float
    end_s: float
    duration_s: float
    kind: Literal["all_lanes_busy", "schedule", "duration", "overall"]
    """Closed loop by count; open loop by count; by duration; from the first sent to the last end, where there is no other."""
    reason: str = ""
    """Why it is the overall one."""


class Throughput(_Model):
    """Throughputs from the first request sent to the last answer's end, ramps included, as most other tools report."""

    duration_s: float
    request_throughput_rps: float | None = None
    output_token_throughput_tps: float | None = None
    total_token_throughput_tps: float | None = None
    input_token_throughput_tps: float | None = None


class Prompts(_Model):
    """How often the same prompts were sent."""

    distinct: int
    """Different prompts in this stage."""
    repeated: int
    """Requests whose prompt had been sent before in this run, warm-up included."""
    dataset_passes: float | None = None
    """Entries of the dataset that the stage used, of all it has; null where it did not come to its end in this run."""


class ClientHealth(_Model):
    """Whether the client itself was the bottleneck."""

    state: ClientState = "valid"
    reasons: list[str] = []
    figures: dict[str, float] = {}
    """What was judged, by the names of docs/client-health.md, of the worst process; seconds and shares of 1."""


class Conversations(_Model):
    """Figures of conversations, where a stage had any."""

    total: int
    completed: int
    """Conversations that came to their end, every turn succeeded."""
    turns: Distribution
    duration_s: Distribution
    """From the first turn sent to the last answer's end, think time included."""
    first_turn_ttft_s: Distribution
    later_turn_ttft_s: Distribution


class StageSummary(_Model):
    """Figures of one stage. Latencies are of succeeded requests, and of unfinished and unsent ones by lower bounds."""

    name: str
    requests: Requests
    notes: list[str] = []
    """What one must know to read the figures right, in words."""
    duration_s: float
    """From the first request sent to the last answer's end."""
    window: Window | None = None
    """What the throughputs are over; null without requests."""
    request_throughput_rps: float | None
    """Succeeded requests that ended in the window, a second."""
    output_token_throughput_tps: float | None
    """Output tokens that arrived in the window, a second; also those of requests that did not end in it."""
    total_token_throughput_tps: float | None
    input_token_throughput_tps: float | None = None
    """Prompt tokens of requests whose first content arrived in the window, a second; null where nobody counted them."""
    overall: Throughput | None = None
    ttft_s: Distribution
    """From sent to the first non-empty content."""
    itl_s: Distribution
    """Gaps between chunks with content, of all requests together."""
    tpot_s: Distribution
    """(e2e - TTFT) / (output tokens - 1) of each request with two tokens or more."""
    e2e_latency_s: Distribution
    """From sent to the end of the answer."""
    scheduled_latency_s: Distribution
    """From scheduled to the end of the answer."""
    dispatch_lag_s: Distribution
    """From scheduled to sent, connecting left out: the client's own delay."""
    connect_s: Distribution
    """TCP connect and TLS of new connections."""
    output_tokens: Distribution
    prompt_tokens: Distribution
    errors: dict[str, int]
    """Failed requests by kind."""
    status_codes: dict[str, int] = {}
    """Requests by the HTTP status of their answer; those without any answer are in `errors` alone."""
    token_sources: dict[str, int] = {}
    """Who counted the tokens: usage, tokenizer, chunks, plugin or none."""
    offered_rate_rps: float | None = None
    """Open loop: the rate asked for."""
    sent_rate_rps: float | None = None
    """Open loop: the rate at which requests were really sent."""
    conversations: Conversations | None = None
    prompts: Prompts | None = None
    """Null where prompts were not told apart."""
    cached_prompt_share: float | None = None
    """Prompt tokens that the server reported as cached, of all prompt tokens of requests with such a report."""
    server: dict[str, dict[str, float]] = {}
    """What the server said of itself from the first request sent to the last end, by neutral name; see docs/monitoring.md."""
    client: ClientHealth = ClientHealth()


class ObjectiveResult(_Model):
    """Whether one objective was kept in one stage."""

    metric: str
    statistic: str | None
    stage: str
    bound: str
    value: float | None
    """In seconds, per second or share of 1; null where there is nothing to judge."""
    kept: bool | None
    """Null where the value cannot be judged."""


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
    stages: list[StageSummary]
