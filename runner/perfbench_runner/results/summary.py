"""The models of summary.json. Definitions of all figures: docs/metrics.md."""

from typing import Any, Literal

from pydantic import BaseModel, ConfigDict

from perfbench_api.outcome import ClientState, Verdict


class _Model(BaseModel):
    model_config = ConfigDict(extra="forbid", use_attribute_docstrings=True)


class Distribution(_Model):
    """Statistics of a figure; null where there is no value."""

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


class Requests(_Model):
    """Counts of requests."""

    total: int
    succeeded: int
    failed: int


class ClientHealth(_Model):
    """Whether the client itself was the bottleneck."""

    state: ClientState = "valid"
    reasons: list[str] = []
    figures: dict[str, float] = {}
    """What was judged, by the names of docs/client-health.md; seconds and shares of 1."""


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
    """Figures of one stage. Latencies are of succeeded requests."""

    name: str
    requests: Requests
    duration_s: float
    """The measured window: from the first request sent to the last answer's end."""
    request_throughput_rps: float | None
    """Succeeded requests over the measured window."""
    output_token_throughput_tps: float | None
    total_token_throughput_tps: float | None
    input_token_throughput_tps: float | None = None
    """Prompt tokens of succeeded requests over the measured window; null where nobody counted them."""
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
    token_sources: dict[str, int] = {}
    """Who counted the tokens: usage, tokenizer, chunks, plugin or none."""
    offered_rate_rps: float | None = None
    """Open loop: the rate asked for."""
    sent_rate_rps: float | None = None
    """Open loop: the rate at which requests were really sent."""
    conversations: Conversations | None = None
    cached_prompt_share: float | None = None
    """Prompt tokens that the server reported as cached, of all prompt tokens of requests with such a report."""
    server: dict[str, dict[str, float]] = {}
    """What the server said of itself over the measured window, by neutral name; see docs/monitoring.md."""
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
