"""What a runner reports: its progress while it runs, and its outcome in its termination message.

The runner writes them, the operator reads them; both are plain JSON. The outcome is the pod's termination message, so
it must fit into 4096 bytes. Keys of the summary are those of summary.json, fewer and rounded.
"""

from typing import Any, Literal, get_args

from pydantic import BaseModel, ConfigDict, Field

TERMINATION_BYTES = 4096
"""Kubernetes truncates a termination message at this length."""

Verdict = Literal["Passed", "Failed", "Inconclusive"]
VERDICTS: tuple[Verdict, ...] = get_args(Verdict)
ClientState = Literal["valid", "degraded", "invalid"]
CLIENT_STATES: tuple[ClientState, ...] = get_args(ClientState)
RunPhase = Literal["starting", "waiting", "warmup", "running", "storing", "done"]
"""What a runner is doing; a benchmark's phase in its status is coarser."""
Latency = Literal["ttft", "itl", "tpot", "e2e_latency", "scheduled_latency"]
LATENCIES: tuple[Latency, ...] = get_args(Latency)
"""Latencies of a stage, as objectives and metrics name them; the summary adds the unit: `ttft_s`."""


class Progress(BaseModel):
    """GET /progress of a runner."""

    model_config = ConfigDict(extra="ignore")
    phase: RunPhase = "starting"
    """waiting: for the target to answer; storing: the load is over, results are being written."""
    stage: str | None = None
    stage_index: int = 0
    stage_count: int = 0
    percent: float = Field(0.0, ge=0, le=100)
    eta_s: float | None = None
    requests: int = 0
    failed: int = 0
    in_flight: int = 0
    request_throughput_rps: float | None = None
    output_token_throughput_tps: float | None = None
    ttft_p50_s: float | None = None
    ttft_p99_s: float | None = None
    client: ClientState | None = None
    message: str = ""
    """One line for people, such as why the target does not answer."""


class StoredResults(BaseModel):
    """The results file of a run."""

    path: str
    bytes: int
    sha256: str
    rows: int


class Outcome(BaseModel):
    """How a run ended: the runner's termination message."""

    model_config = ConfigDict(extra="ignore")
    outcome: Literal["succeeded", "failed", "interrupted"]
    reason: str = ""
    """CamelCase reason for conditions: Completed, TooManyFailures, TargetUnreachable, InvalidSpec, Interrupted, …"""
    message: str = ""
    """One sentence for people, with what to do."""
    verdict: Verdict | None = None
    """None without objectives."""
    client: ClientState | None = None
    client_reasons: list[str] = []
    stages: list[dict[str, Any]] = []
    """Of each stage: name, requests {total, succeeded, failed}, throughputs, {mean, p50, p99} of the latencies."""
    results: StoredResults | None = None

    def message_bytes(self) -> bytes:
        """The outcome as JSON that fits a termination message; if it is too long, the last stages are dropped, then reasons."""
        outcome = self.model_copy(deep=True)
        while True:
            data = outcome.model_dump_json(exclude_none=True, exclude_defaults=False).encode()
            if len(data) <= TERMINATION_BYTES:
                return data
            if outcome.stages:
                outcome.stages.pop()
            elif outcome.client_reasons:
                outcome.client_reasons.pop()
            else:
                outcome.message = outcome.message[: len(outcome.message) // 2]
