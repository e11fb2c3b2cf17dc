"""What a runner reports: its progress while it runs, and its outcome in its termination message.

The runner writes them, the operator reads them; both are plain JSON. The outcome is the pod's termination message, so
it must fit into 4096 bytes. Keys of the summary are those of summary.json, fewer and rounded.
"""

import json
from typing import Annotated, Any, Literal, get_args

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, model_validator

from perfbench_api.values import Section

TERMINATION_BYTES = 4096
"""Kubernetes truncates a termination message at this length."""
MESSAGE_LENGTH = 2048
"""Of a text in the status."""

Verdict = Literal["Passed", "Failed", "Inconclusive"]
VERDICTS: tuple[Verdict, ...] = get_args(Verdict)
ClientState = Literal["valid", "degraded", "invalid"]
CLIENT_STATES: tuple[ClientState, ...] = get_args(ClientState)
RunPhase = Literal["starting", "waiting", "warmup", "running", "pausing", "storing", "done"]
"""What a runner is doing; a benchmark's phase in its status is coarser."""
Latency = Literal["ttft", "itl", "tpot", "e2e_latency", "scheduled_latency"]
LATENCIES: tuple[Latency, ...] = get_args(Latency)
"""Latencies of a stage, as objectives and metrics name them; the summary adds the unit: `ttft_s`."""


class FoundLoad(Section):
    """The highest load that the target carries, as far as the search knows it."""

    model_config = ConfigDict(extra="ignore", allow_inf_nan=True)  # whatever a runner of another version says is read
    kind: Literal["rate", "concurrency"]
    """What is searched for: requests a second, or requests in flight."""
    goal: Literal["objectives", "knee"] = "objectives"
    """The highest load at which the objectives hold, or the knee of throughput against latency."""
    load: float | None = None
    """The estimate; absent where no load of the range is carried."""
    low: float | None = None
    """Lower end of its 90 % interval: what is carried for sure."""
    high: float | None = None
    """Upper end; absent where the search came to the end of its range."""
    confirmed: bool | None = None
    """Whether the objectives held in a run at low; absent where that is open."""
    points: int = 0
    """How many loads were tried."""
    reason: Annotated[str, BeforeValidator(lambda text: str(text)[:MESSAGE_LENGTH])] = Field(
        "", max_length=MESSAGE_LENGTH
    )
    """How it is known."""


class Progress(BaseModel):
    """GET /progress of a runner."""

    model_config = ConfigDict(extra="ignore", defer_build=True)
    phase: RunPhase = "starting"
    """waiting: for the target to answer; pausing: between two stages; storing: the load is over, results are being written."""
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
    itl_p50_s: float | None = None
    """Of gaps between chunks."""
    itl_p99_s: float | None = None
    client: ClientState | None = None
    message: str = ""
    """One line for people, such as why the target does not answer."""
    search: FoundLoad | None = None
    """Of a search: what is known so far."""


class StoredResults(BaseModel):
    """The results file of a run."""

    path: str
    bytes: int
    sha256: str
    rows: int
    is_complete: bool = True
    """False of a file that could not be finished, such as on a full disk: it does not open without the files beside it."""


FIGURES = (
    "requests.total", "requests.succeeded", "requests.failed", "request_throughput_rps", "ttft_s.p99",
    "goodput.share", "goodput.rate_rps",
    "cached_prompt_share", "output_token_throughput_tps", "e2e_latency_s.p99", "requests.unfinished",
    "requests.unsent", "differences", "itl_s.p99", "ttft_s.p50", "scheduled_latency_s.p99", "tpot_s.p50", "e2e_latency_s.p50",
    "itl_s.p50", "duration_s", "total_token_throughput_tps", "errors", "requests.resent", "requests.retried",
    "scheduled_latency_s.p50", "tpot_s.p99", "ttft_s.mean", "itl_s.mean", "tpot_s.mean", "e2e_latency_s.mean",
    "scheduled_latency_s.mean",
)  # fmt: skip
"""Figures of a stage by how much they are missed; where space is short, the last ones go from all stages."""
FEWEST_FIGURES = 4
"""Stages are not left out as long as they fit with their name and so many figures."""


class Outcome(BaseModel):
    """How a run ended: the runner's termination message."""

    model_config = ConfigDict(extra="ignore", defer_build=True)
    outcome: Literal["succeeded", "failed", "interrupted"]
    reason: str = ""
    """CamelCase reason for conditions: Completed, TooManyFailures, TargetUnreachable, InvalidSpec, Interrupted, …"""
    message: str = ""
    """One sentence for people, with what to do."""
    verdict: Verdict | None = None
    """None without objectives."""
    verdict_reasons: list[str] = []
    """Why the verdict is not Passed: which objective was missed, with value and bound, or what leaves it open."""
    client: ClientState | None = None
    client_reasons: list[str] = []
    stages: list[dict[str, Any]] = []
    """Of each stage: name, requests {total, succeeded, failed, …}, throughputs, {mean, p50, p99} of the latencies."""
    stages_omitted: int = 0
    """So many more stages there were: the message had no space for them. summary.json has them all."""
    search: FoundLoad | None = None
    """Of a search: what it has found."""
    results: StoredResults | None = None

    @model_validator(mode="before")
    @classmethod
    def _rows_are_stages(cls, data: Any) -> Any:
        """Many stages are written as rows under `stage_figures`, their columns."""
        if isinstance(data, dict) and "stage_figures" in data:
            names = data["stage_figures"]
            return data | {"stages": [_nested(dict(zip(names, row, strict=False))) for row in data.get("stages", ())]}
        return data

    @property
    def is_cut(self) -> bool:
        """Whether a termination message has no space for all of it."""
        return len(_json(self.model_dump(mode="json", exclude_none=True))) > TERMINATION_BYTES

    def message_bytes(self) -> bytes:
        """The outcome as JSON that fits a termination message.

        Where it is too long, all stages get fewer figures, then become rows under common headings; then reasons and
        messages are cut. Only then are the last stages left out, and counted.
        """
        outcome = self.model_copy(deep=True)
        while True:
            data = outcome._shortest()
            if data is not None:
                return data
            if len(outcome.client_reasons) > 1:
                outcome.client_reasons.pop()
            elif len(outcome.verdict_reasons) > 1:
                outcome.verdict_reasons.pop()
            elif len(outcome.message) > 300 or (outcome.message and not outcome.stages):
                outcome.message = outcome.message[: len(outcome.message) // 2]
            elif outcome.stages:
                outcome.stages.pop()
                outcome.stages_omitted += 1
            elif outcome.client_reasons or outcome.verdict_reasons:
                (outcome.client_reasons or outcome.verdict_reasons).pop()
            else:
                raise ValueError("an outcome without stages, reasons and message does not fit a termination message")

    def _shortest(self) -> bytes | None:
        """As JSON with as many figures of the stages as fit, in their better form; None where even the fewest do not."""
        data = self.model_dump(mode="json", exclude_none=True)
        if len(text := _json(data)) <= TERMINATION_BYTES:
            return text
        flat = [_flat(stage) for stage in self.stages]
        used = [name for name in FIGURES if any(name in stage for stage in flat)]
        for count in range(len(used), FEWEST_FIGURES, -1):
            names = ["name", *used[:count]]
            stages = [_nested({name: stage[name] for name in names if name in stage}) for stage in flat]
            if len(text := _json(data | {"stages": stages})) <= TERMINATION_BYTES:
                return text
        for count in range(len(used), min(len(used), FEWEST_FIGURES) - 1, -1):
            names = ["name", *used[:count]]
            rows = [[stage.get(name) for name in names] for stage in flat]
            if len(text := _json(data | {"stage_figures": names, "stages": rows})) <= TERMINATION_BYTES:
                return text
        return None


def _json(data: Any) -> bytes:
    return json.dumps(data, separators=(",", ":"), ensure_ascii=False).encode()


def _flat(stage: dict[str, Any]) -> dict[str, Any]:
    """{"requests": {"total": 1}} as {"requests.total": 1}; `errors` is one figure."""
    found: dict[str, Any] = {}
    for name, value in stage.items():
        if isinstance(value, dict) and name != "errors":
            found |= {f"{name}.{key}": part for key, part in value.items()}
        else:
            found[name] = value
    return {name: value for name, value in found.items() if value is not None}


def _nested(flat: dict[str, Any]) -> dict[str, Any]:
    """The other way round."""
    found: dict[str, Any] = {}
    for name, value in flat.items():
        outer, _, inner = name.partition(".")
        if value is not None and inner:
            found.setdefault(outer, {})[inner] = value
        elif value is not None:
            found[outer] = value
    return found
