"""The status that follows from what was observed.

The status so far is an input, because Kubernetes forgets: events expire and pods are deleted. A final phase never changes.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime

from perfbench_api.outcome import Outcome, Progress, Verdict
from perfbench_api.status import MESSAGE_LENGTH, ClientStatus, ResultsStatus, RunnerPod, RunProgress, Status
from perfbench_operator.kube import Data
from perfbench_operator.objects.layout import RESULTS
from perfbench_operator.status import troubles
from perfbench_operator.status.draft import Draft
from perfbench_operator.status.figures import final_figures, live_figures, run_progress, stages_of
from perfbench_operator.status.pods import ended_at, is_running, is_true, outcome_of, terminated
from perfbench_operator.status.troubles import Trouble

_LOADING = ("warmup", "running", "storing", "done")
"""Phases of a runner whose target has answered."""
_BINDING_S = 8.0
"""How long a provisioner usually takes to bind a new claim."""
_RUNNERS = 32
"""How many pods the status names."""
_REASONS = (8, 300)
"""How many reasons of the client's state are kept, and how many characters of each."""


@dataclass(frozen=True)
class Observed:
    """Everything that a status is computed from."""

    body: Data
    """The PerfBenchmark."""
    now: datetime
    job: Data | None = None
    pods: Sequence[Data] = ()
    """The benchmark's pods, the newest last."""
    events: Sequence[Data] = ()
    """Events of Job and pod; only fetched while no runner is running."""
    progress: Progress | None = None
    """What the runner reports; None if it could not be asked."""
    outcome: Outcome | None = None
    """The whole outcome of a runner that is done; None if it is not, or could not be asked."""
    claim: str = ""
    """Name of the claim that holds the results."""
    blocked: Trouble | None = None
    """Why there is no Job yet."""
    start_timeout_s: float = 600.0

    @property
    def is_cancelled(self) -> bool:
        """Whether the user has cancelled the benchmark."""
        return bool(self.body["spec"].get("cancel"))

    @property
    def pod(self) -> Data | None:
        """The newest pod."""
        return self.pods[-1] if self.pods else None


def invalid(body: Data, now: datetime, problems: Sequence[str]) -> Status:
    """The status of a benchmark that cannot be run as it is written."""
    draft = Draft.of(body, now)
    _fail(draft, Trouble("InvalidSpec", "; ".join(problems), is_final=True))
    return draft.status


def compute(observed: Observed) -> Status:
    """The status that follows from what was observed."""
    draft = Draft.of(observed.body, observed.now)
    if observed.job is None:
        _without_job(draft, observed)
        return draft.status
    status = draft.status
    status.model = _model(observed.body)
    status.job = observed.job["metadata"]["name"]
    status.start_time = status.start_time or observed.job["metadata"].get("creationTimestamp") or draft.now
    status.runners = _runners(status.runners or [], observed)
    if _is_over(observed):
        _finish(draft, observed)
    else:
        _under_way(draft, observed)
    return status


def _model(body: Data) -> str | None:
    """The model that is measured, as a column shows it."""
    target = body["spec"].get("target") or {}
    model = target.get("model") or ("mock" if target.get("mock") is not None else None)
    return None if model is None else str(model)[:256]


def _without_job(draft: Draft, observed: Observed) -> None:
    if observed.is_cancelled:
        _cancel(draft, "cancelled before it started")
    elif draft.status.start_time:
        _fail(draft, Trouble("JobGone", f"its Job {draft.status.job} was deleted; run again under a new name"))
    else:
        _wait_or_fail(draft, observed, observed.blocked)


def _wait_or_fail(draft: Draft, observed: Observed, trouble: Trouble | None) -> None:
    """Wait for the start, unless that is pointless or has taken too long."""
    if trouble and (trouble.is_final or _waited_s(observed) > observed.start_timeout_s):
        _fail(draft, trouble)
    else:
        _wait(draft, trouble)


def _waited_s(observed: Observed) -> float:
    """How long the benchmark has been waiting to start, in seconds."""
    source = observed.job if observed.job is not None else observed.body
    text = source["metadata"].get("creationTimestamp")
    return (observed.now - datetime.fromisoformat(text)).total_seconds() if text else 0.0


# Under way


def _under_way(draft: Draft, observed: Observed) -> None:
    pod = observed.pod
    if pod is not None and (is_running(pod) or terminated(pod)):
        _follow(draft, observed)
        return
    trouble = troubles.starting(pod, observed.events)
    if trouble and trouble.reason == "ClaimNotBound" and _waited_s(observed) < _BINDING_S:
        trouble = None  # a new claim is bound some seconds after the scheduler first tried its pod
    _wait_or_fail(draft, observed, trouble)


def _wait(draft: Draft, trouble: Trouble | None) -> None:
    reason, message = (trouble.reason, trouble.message) if trouble else ("Starting", "the runner is starting")
    draft.set_phase("Pending", message)
    draft.set_condition("Running", False, reason, message)


def _follow(draft: Draft, observed: Observed) -> None:
    """Show the runner's progress."""
    status, progress = draft.status, observed.progress
    if progress is None:  # busy, or just starting: the status so far still holds
        if status.phase == "Pending":
            _wait(draft, None)
        return
    if progress.phase == "waiting":
        message = progress.message or "waiting for the first answer of the target"
        draft.set_phase("Waiting", message)
        draft.set_condition("TargetReady", False, "TargetNotReady", message)
        draft.set_condition("Running", False, "WaitingForTarget", "the load starts when the target answers")
    elif progress.phase in _LOADING:
        message = "stopping; results are being stored" if observed.is_cancelled else _doing(progress)
        draft.set_phase("Running", message)
        draft.set_condition("TargetReady", True, "TargetAnswers", "")
        draft.set_condition("Running", True, "Running", "")
    elif status.phase == "Pending":
        _wait(draft, None)
    if progress.phase != "done":
        status.summary = status.stages_omitted = None  # those of an attempt before
    elif observed.outcome:
        status.summary, status.stages_omitted = stages_of(observed.outcome)
    if progress.phase != "starting":
        status.progress, status.live = run_progress(progress), live_figures(progress)
    if progress.client:
        status.client = ClientStatus(state=progress.client)


def _doing(progress: Progress) -> str:
    texts = {"warmup": "warming up", "storing": "storing results", "done": "done"}
    stage = f"stage {progress.stage_index + 1} of {progress.stage_count}: {progress.stage}"
    return texts.get(progress.phase, stage)


def _runners(known: Sequence[RunnerPod], observed: Observed) -> list[RunnerPod] | None:
    """The pods, the newest last; those that are gone stay, as they were last seen."""
    seen = [_runner(pod, observed.is_cancelled) for pod in observed.pods]
    names = {runner.name for runner in seen}
    gone = [
        runner.model_copy(update={"phase": "Unknown", "reason": runner.reason or "PodGone"} if _is_open(runner) else {})
        for runner in known
        if runner.name not in names
    ]
    return [*gone, *seen][-_RUNNERS:] or None


def _is_open(runner: RunnerPod) -> bool:
    return runner.phase not in ("Succeeded", "Failed")


def _runner(pod: Data, is_cancelled: bool) -> RunnerPod:
    status, ended = pod.get("status", {}), terminated(pod)
    reason = status.get("reason") or ended.get("reason")
    phase = status.get("phase", "Pending")
    if ended and phase == "Running":  # the kubelet reports the end of a container before that of its pod
        phase = "Succeeded" if ended.get("exitCode") == 0 else "Failed"
    return RunnerPod(
        name=pod["metadata"]["name"],
        node=pod["spec"].get("nodeName"),
        phase=phase,
        # A cancelled runner is ended by a deadline that the operator sets on its pod; the user did not set it.
        reason="Cancelled" if is_cancelled and reason == "DeadlineExceeded" else reason,
    )


# Over


def _is_over(observed: Observed) -> bool:
    job = observed.job or {}
    if is_true(job, "Complete") or is_true(job, "Failed"):
        return True
    ended = bool(observed.pods) and all(terminated(pod) for pod in observed.pods)
    if observed.is_cancelled:
        suspended = bool(job.get("spec", {}).get("suspend"))
        return ended or (suspended and not observed.pods)
    # With a termination message the runner is over, even if the Job controller has not noticed yet.
    return ended and outcome_of(observed.pods[-1]) is not None


def _finish(draft: Draft, observed: Observed) -> None:
    pod = observed.pod
    outcome = outcome_of(pod) if pod is not None else None
    draft.status.completion_time = draft.status.completion_time or ended_at(observed.job or {}, observed.pods)
    if outcome:
        _record(draft, outcome, observed.claim)
    if outcome and outcome.outcome == "succeeded":
        _complete(draft, outcome)
    elif observed.is_cancelled:
        stored = "; what was measured is stored" if outcome and outcome.results else ""
        _cancel(draft, "cancelled" + stored + (_omitted(draft.status)))
    else:
        _fail(draft, _cause(observed, outcome))


def _cause(observed: Observed, outcome: Outcome | None) -> Trouble:
    """Why the run failed."""
    pod = observed.pod
    if pod is None:
        deleted = Trouble("RunnerLost", "the runner's pod was deleted; run again")
        return troubles.job_failure(observed.job or {}) or deleted
    if outcome is None:
        return troubles.lost(pod)
    if outcome.outcome == "failed":
        return Trouble(outcome.reason or "RunnerFailed", outcome.message or "see the pod's log")
    # The runner was interrupted, and not by the operator: Kubernetes may know why.
    cause = troubles.lost(pod)
    if cause.reason in ("RunnerFailed", "RunnerKilled", "RunnerLost"):
        why = "its pod was deleted" if pod["metadata"].get("deletionTimestamp") else "it was told to stop"
        cause = Trouble("Interrupted", f"the runner ended early: {why}; run again")
    stored = "; what was measured until then is stored" if outcome.results else ""
    return Trouble(cause.reason, cause.message + stored)


def _record(draft: Draft, outcome: Outcome, claim: str) -> None:
    """Copy the runner's outcome into the status."""
    status = draft.status
    _judge(draft, outcome)
    if not status.summary:  # else the runner has told all of it before it ended
        status.summary, status.stages_omitted = stages_of(outcome)
    if outcome.client:
        count, length = _REASONS
        reasons = [reason[:length] for reason in outcome.client_reasons[:count]]
        status.client = ClientStatus(state=outcome.client, reasons=reasons)
    if status.summary and not (status.stages_omitted and status.live):
        _show_last_stage(status, status.summary)
    if outcome.results:
        status.results = ResultsStatus(
            claim=claim,
            path=outcome.results.path.removeprefix(f"{RESULTS}/"),
            bytes=outcome.results.bytes,
            sha256=outcome.results.sha256,
            rows=outcome.results.rows,
        )


_JUDGED: dict[Verdict, tuple[bool | None, str]] = {
    "Passed": (True, "ObjectivesMet"),
    "Failed": (False, "ObjectiveMissed"),
    "Inconclusive": (None, "Inconclusive"),
}


def _judge(draft: Draft, outcome: Outcome) -> None:
    """The verdict and its reason."""
    if outcome.verdict is None:
        return
    status, (state, reason) = draft.status, _JUDGED[outcome.verdict]
    status.verdict = outcome.verdict
    status.verdict_reason = "; ".join(outcome.verdict_reasons)[:MESSAGE_LENGTH] or None
    draft.set_condition("ObjectivesMet", state, reason, status.verdict_reason or "")


def _show_last_stage(status: Status, summary: Sequence[Data]) -> None:
    """Name and figures of the last stage: the columns show both, so both come from the same stage."""
    last = summary[-1]
    status.live = final_figures(last, status.live)
    name = str(last.get("name") or "") or None
    status.progress = (status.progress or RunProgress()).model_copy(update={"stage": name})


def _complete(draft: Draft, outcome: Outcome) -> None:
    status = draft.status
    why = f"; verdict {status.verdict}: {status.verdict_reason}" if status.verdict_reason else ""
    draft.set_phase("Succeeded", (outcome.message or "the run is complete") + why + _omitted(status))
    progress = status.progress or RunProgress()
    status.progress = progress.model_copy(update={"percent": 100, "done": "100%", "eta": None})
    draft.set_condition("TargetReady", True, "TargetAnswers", "")
    _end(draft, "Completed")
    draft.set_condition("Complete", True, outcome.reason or "Completed", outcome.message)
    draft.set_condition("Failed", False, "Completed", "")


def _omitted(status: Status) -> str:
    """What the summary leaves out, as the end of a sentence."""
    count = status.stages_omitted
    return f"; {count} more {'stage is' if count == 1 else 'stages are'} only in summary.json" if count else ""


def _fail(draft: Draft, trouble: Trouble) -> None:
    draft.set_phase("Failed", trouble.message)
    if trouble.reason == "TargetUnreachable":
        draft.set_condition("TargetReady", False, trouble.reason, trouble.message)
    _end(draft, trouble.reason)
    draft.set_condition("Complete", False, trouble.reason, "")
    draft.set_condition("Failed", True, trouble.reason, trouble.message)


def _cancel(draft: Draft, message: str) -> None:
    """Neither complete nor failed: the user ended it."""
    draft.set_phase("Cancelled", message)
    _end(draft, "Cancelled")
    draft.set_condition("Complete", False, "Cancelled", message)
    draft.set_condition("Failed", False, "Cancelled", "")


def _end(draft: Draft, reason: str) -> None:
    status = draft.status
    status.completion_time = status.completion_time or draft.now
    draft.set_condition("Running", False, reason, "")
    draft.set_condition("Finished", True, reason, status.message)
    if status.verdict is None:
        draft.set_condition("ObjectivesMet", None, reason if draft.has_objectives else "NoObjectives", "")
    if status.progress:
        status.progress.eta = None
    if status.live:
        status.live.in_flight = 0
    if status.results:
        draft.set_condition("ResultsStored", True, "Stored", f"claim {status.results.claim}, {status.results.path}")
    else:
        draft.set_condition("ResultsStored", False, reason, "no results were stored")
