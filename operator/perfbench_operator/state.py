"""From what is in the cluster to the benchmark's status. Pure: whoever calls it any number of times gets the same.

The status so far is an input, because Kubernetes forgets: events expire, pods go. A final phase is never left.
"""

import json
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any, Literal

from pydantic import ValidationError

from perfbench_api.outcome import Outcome, Progress
from perfbench_api.status import (
    FINAL,
    ClientStatus,
    Condition,
    ConditionType,
    LiveFigures,
    Phase,
    ResultsStatus,
    RunnerPod,
    RunProgress,
    Status,
)
from perfbench_api.values import format_duration
from perfbench_operator import troubles
from perfbench_operator.objects import RESULTS
from perfbench_operator.troubles import Trouble

Data = Mapping[str, Any]
_LOADING = ("warmup", "running", "storing", "done")
_MESSAGE = 2048
_BINDING_S = 8.0
"""What a provisioner takes for a volume, as a rule."""


@dataclass(frozen=True)
class Observed:
    """Everything a status is computed from."""

    body: Data
    """The PerfBenchmark."""
    now: datetime
    job: Data | None = None
    pods: Sequence[Data] = ()
    events: Sequence[Data] = ()
    """Events of Job and pod; asked for only while no runner runs."""
    progress: Progress | None = None
    """The runner's own word; None when it could not be asked."""
    claim: str = ""
    """Name of the claim that the results are on."""
    blocked: Trouble | None = None
    """Why there is no Job yet."""
    start_timeout_s: float = 600.0

    @property
    def is_cancelled(self) -> bool:
        """Whether the user wants it to end."""
        return bool(self.body["spec"].get("cancel"))


@dataclass
class _Draft:
    """A status in the making."""

    status: Status
    generation: int
    now: str
    old: dict[str, Condition] = field(default_factory=dict)

    def set(self, kind: ConditionType, state: bool | None, reason: str, message: str = "") -> None:
        """Set a condition; its time moves only when its state does."""
        text: Literal["True", "False", "Unknown"] = "Unknown" if state is None else "True" if state else "False"
        old = self.old.get(kind)
        since = old.last_transition_time if old and old.status == text else self.now
        fresh = Condition(
            type=kind,
            status=text,
            reason=reason,
            message=message[:_MESSAGE],
            last_transition_time=since,
            observed_generation=self.generation,
        )
        others = [condition for condition in self.status.conditions if condition.type != kind]
        self.status.conditions = sorted([*others, fresh], key=lambda condition: _ORDER.index(condition.type))

    def say(self, phase: Phase, message: str) -> None:
        """Set the phase and the sentence that goes with it."""
        self.status.phase, self.status.message = phase, message[:_MESSAGE]


_ORDER: tuple[ConditionType, ...] = ("TargetReady", "Running", "ResultsStored", "Complete", "Failed")


def timestamp(moment: datetime) -> str:
    """A time as Kubernetes writes it."""
    return moment.strftime("%Y-%m-%dT%H:%M:%SZ")


def previous(body: Data) -> Status:
    """The status so far; an empty one when it cannot be read, such as after an upgrade."""
    try:
        return Status.model_validate(body.get("status") or {})
    except ValidationError:
        return Status()


def is_final(body: Data) -> bool:
    """Whether the benchmark is over."""
    return (body.get("status") or {}).get("phase") in FINAL


def invalid(body: Data, now: datetime, problems: Sequence[str]) -> Status:
    """The status of a benchmark that cannot be run as it is written."""
    draft = _draft(body, now)
    _fail(draft, Trouble("InvalidSpec", "; ".join(problems), is_final=True))
    return draft.status


def compute(seen: Observed) -> Status:
    """The status that follows from what was seen."""
    draft = _draft(seen.body, seen.now)
    if seen.job is None:
        _without_job(draft, seen)
        return draft.status
    status = draft.status
    status.job = seen.job["metadata"]["name"]
    status.start_time = status.start_time or seen.job["metadata"].get("creationTimestamp") or draft.now
    if seen.pods:
        status.runners = [_runner(pod, seen.is_cancelled) for pod in seen.pods]
    if _is_over(seen):
        _finish(draft, seen)
    else:
        _under_way(draft, seen)
    return status


def _draft(body: Data, now: datetime) -> _Draft:
    status = previous(body)
    generation = body["metadata"].get("generation", 0)
    status.observed_generation = generation
    return _Draft(status, generation, timestamp(now), {condition.type: condition for condition in status.conditions})


def _without_job(draft: _Draft, seen: Observed) -> None:
    if seen.is_cancelled:
        _cancel(draft, "cancelled before it started")
    elif draft.status.start_time:
        _fail(
            draft, Trouble("JobGone", f"its Job {draft.status.job} was deleted by someone; run again under a new name")
        )
    elif seen.blocked and (seen.blocked.is_final or _waited_s(seen) > seen.start_timeout_s):
        _fail(draft, seen.blocked)
    else:
        _wait(draft, seen.blocked)


def _waited_s(seen: Observed) -> float:
    """How long the benchmark has waited to be started, in seconds."""
    source = seen.job if seen.job is not None else seen.body
    text = source["metadata"].get("creationTimestamp")
    return (seen.now - datetime.fromisoformat(text)).total_seconds() if text else 0.0


# Under way


def _under_way(draft: _Draft, seen: Observed) -> None:
    pod = seen.pods[-1] if seen.pods else None
    if pod is not None and (troubles.is_running(pod) or troubles.terminated(pod)):
        _runs(draft, seen)
        return
    trouble = troubles.starting(pod, seen.events)
    if trouble and trouble.reason == "ClaimNotBound" and _waited_s(seen) < _BINDING_S:
        trouble = None  # a fresh claim is bound after its pod was first looked at
    if trouble and (trouble.is_final or _waited_s(seen) > seen.start_timeout_s):
        _fail(draft, trouble)
    else:
        _wait(draft, trouble)


def _wait(draft: _Draft, trouble: Trouble | None) -> None:
    reason, message = (trouble.reason, trouble.message) if trouble else ("Starting", "the runner is being started")
    draft.say("Pending", message)
    draft.set("Running", False, reason, message)


def _runs(draft: _Draft, seen: Observed) -> None:
    status, progress = draft.status, seen.progress
    if progress is None:  # busy, or just starting: what was known holds
        if status.phase == "Pending":
            _wait(draft, None)
        return
    if progress.phase == "waiting":
        message = progress.message or "waiting for the first answer of the target"
        draft.say("Waiting", message)
        draft.set("TargetReady", False, "TargetNotReady", message)
        draft.set("Running", False, "WaitingForTarget", "the load begins when the target answers")
    elif progress.phase in _LOADING:
        message = {"warmup": "warming up", "storing": "storing results", "done": "done"}.get(progress.phase, "")
        message = message or f"stage {progress.stage_index + 1} of {progress.stage_count}: {progress.stage}"
        draft.say("Running", "ending as asked, results are being stored" if seen.is_cancelled else message)
        draft.set("TargetReady", True, "TargetAnswers", "")
        draft.set("Running", True, "Running", "")
    elif status.phase == "Pending":
        _wait(draft, None)
    if progress.phase != "starting":
        status.progress, status.live = _progress(progress), _live(progress)
    if progress.client:
        status.client = ClientStatus(state=progress.client)


def _progress(progress: Progress) -> RunProgress:
    percent = int(progress.percent)
    return RunProgress(
        stage=progress.stage,
        stage_index=progress.stage_index,
        stage_count=progress.stage_count,
        percent=percent,
        done=f"{percent}%",
        eta=None if progress.eta_s is None else format_duration(float(round(progress.eta_s))),
    )


def _live(progress: Progress) -> LiveFigures:
    return LiveFigures(
        requests=progress.requests,
        failed=progress.failed,
        in_flight=progress.in_flight,
        requests_per_second=_rounded(progress.request_throughput_rps),
        output_tokens_per_second=_rounded(progress.output_token_throughput_tps),
        ttft_p50=_duration(progress.ttft_p50_s),
        ttft_p99=_duration(progress.ttft_p99_s),
    )


def _rounded(value: float | None, digits: int = 4) -> float | None:
    """A number of few digits; None for what is no number."""
    if value is None or not math.isfinite(value):
        return None
    return float(f"{value:.{digits}g}")


def _duration(seconds: float | None) -> str | None:
    """Seconds as people read a latency: 31.2ms, 1.25s."""
    if seconds is None or not math.isfinite(seconds):
        return None
    return f"{seconds:.3g}s" if seconds >= 1 else f"{seconds * 1e3:.3g}ms"


def _runner(pod: Data, is_cancelled: bool) -> RunnerPod:
    status = pod.get("status", {})
    reason = status.get("reason") or troubles.terminated(pod).get("reason")
    return RunnerPod(
        name=pod["metadata"]["name"],
        node=pod["spec"].get("nodeName"),
        phase=status.get("phase", "Pending"),
        # A cancelled runner is ended by a deadline that we give its pod; nobody should look for it in the spec.
        reason="Cancelled" if is_cancelled and reason == "DeadlineExceeded" else reason,
    )


# Over


def _is_over(seen: Observed) -> bool:
    job = seen.job or {}
    if troubles.is_true(job, "Complete") or troubles.is_true(job, "Failed"):
        return True
    ended = bool(seen.pods) and all(troubles.terminated(pod) for pod in seen.pods)
    if seen.is_cancelled:
        suspended = bool(job.get("spec", {}).get("suspend"))
        return ended or (suspended and not seen.pods)
    # With its last word there the runner is over, whether the Job has noticed or not.
    return ended and outcome(seen.pods[-1]) is not None


def outcome(pod: Data) -> Outcome | None:
    """A runner's last word; None when it left none."""
    text = troubles.terminated(pod).get("message", "")
    try:
        return Outcome.model_validate(json.loads(text, parse_constant=lambda _: None))
    except ValueError:  # no JSON, or no outcome: the end of a log
        return None


def _finish(draft: _Draft, seen: Observed) -> None:
    pod = seen.pods[-1] if seen.pods else None
    word = outcome(pod) if pod is not None else None
    if word:
        _take(draft, word, seen.claim)
    if word and word.outcome == "succeeded":
        _complete(draft, word)
    elif seen.is_cancelled:
        _cancel(draft, "cancelled; what was measured is stored" if word and word.results else "cancelled")
    else:
        _fail(draft, _why(seen, pod, word))


def _why(seen: Observed, pod: Data | None, word: Outcome | None) -> Trouble:
    if pod is None:
        gone = Trouble("RunnerLost", "the runner's pod was deleted; run again")
        return troubles.job_failure(seen.job or {}) or gone
    if word is None:
        return troubles.lost(pod)
    if word.outcome == "failed":
        return Trouble(word.reason or "RunnerFailed", word.message or "see the pod's log")
    # Interrupted, and not by us: Kubernetes knows why.
    cause = troubles.lost(pod)
    if cause.reason in ("RunnerFailed", "RunnerKilled", "RunnerLost"):
        deleted = "its pod was deleted" if pod["metadata"].get("deletionTimestamp") else "it was told to stop"
        cause = Trouble("Interrupted", f"the runner ended early: {deleted}; run again")
    stored = "; what was measured until then is stored" if word.results else ""
    return Trouble(cause.reason, cause.message + stored)


def _take(draft: _Draft, word: Outcome, claim: str) -> None:
    """Put what the runner said at its end into the status."""
    status = draft.status
    status.verdict = word.verdict
    status.summary = [clean(stage) for stage in word.stages] or None
    if word.client:
        status.client = ClientStatus(state=word.client, reasons=[reason[:300] for reason in word.client_reasons[:8]])
    if status.summary:
        status.live = _final_live(status.summary[-1], status.live)
    if word.results:
        path = word.results.path.removeprefix(f"{RESULTS}/")
        status.results = ResultsStatus(
            claim=claim,
            path=path,
            bytes=word.results.bytes,
            sha256=word.results.sha256,
            rows=word.results.rows,
        )


def clean(value: Any) -> Any:
    """Rounded, and without what is no number: JSON has none, and a status should be small."""
    if isinstance(value, Mapping):
        return {key: item for key, item in ((key, clean(item)) for key, item in value.items()) if item is not None}
    if isinstance(value, list):
        return [clean(item) for item in value]
    return _rounded(value, 6) if isinstance(value, float) else value


def _final_live(stage: Data, live: LiveFigures | None) -> LiveFigures:
    requests = stage.get("requests") or {}
    ttft = stage.get("ttft_s") or {}
    return LiveFigures(
        requests=requests.get("total", live.requests if live else 0),
        failed=requests.get("failed", live.failed if live else 0),
        requests_per_second=_rounded(stage.get("request_throughput_rps")),
        output_tokens_per_second=_rounded(stage.get("output_token_throughput_tps")),
        ttft_p50=_duration(ttft.get("p50")),
        ttft_p99=_duration(ttft.get("p99")),
    )


def _complete(draft: _Draft, word: Outcome) -> None:
    status = draft.status
    draft.say("Succeeded", word.message or "the run is complete")
    if status.progress is None:
        status.progress = RunProgress()
    status.progress = status.progress.model_copy(update={"percent": 100, "done": "100%", "eta": None})
    draft.set("TargetReady", True, "TargetAnswers", "")
    _end(draft, "Completed")
    draft.set("Complete", True, word.reason or "Completed", word.message)
    draft.set("Failed", False, "Completed", "")


def _fail(draft: _Draft, trouble: Trouble) -> None:
    draft.say("Failed", trouble.message)
    if trouble.reason == "TargetUnreachable":
        draft.set("TargetReady", False, trouble.reason, trouble.message)
    _end(draft, trouble.reason)
    draft.set("Complete", False, trouble.reason, "")
    draft.set("Failed", True, trouble.reason, trouble.message)


def _cancel(draft: _Draft, message: str) -> None:
    """Neither complete nor failed: it was ended by the one who began it."""
    draft.say("Cancelled", message)
    _end(draft, "Cancelled")
    draft.set("Complete", False, "Cancelled", message)
    draft.set("Failed", False, "Cancelled", "")


def _end(draft: _Draft, reason: str) -> None:
    status = draft.status
    status.completion_time = status.completion_time or draft.now
    draft.set("Running", False, reason, "")
    if status.progress:
        status.progress.eta = None
    if status.live:
        status.live.in_flight = 0
    if status.results:
        draft.set("ResultsStored", True, "Stored", f"claim {status.results.claim}, {status.results.path}")
    else:
        draft.set("ResultsStored", False, reason, "no results were stored")


def merge_patch(old: Any, new: Any) -> Any:
    """The JSON merge patch that makes `new` of `old`; an empty dict when they are the same."""
    patch: dict[str, Any] = {}
    for key in old.keys() | new.keys():
        if key not in new:
            patch[key] = None
        elif isinstance(new[key], dict) and isinstance(old.get(key), dict):
            inner = merge_patch(old[key], new[key])
            patch |= {key: inner} if inner else {}
        elif key not in old or old[key] != new[key]:
            patch[key] = new[key]
    return patch
