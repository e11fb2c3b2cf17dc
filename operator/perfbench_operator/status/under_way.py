"""The status of a run that is not over: starting, under way, or being stopped."""

from perfbench_api.outcome import Progress
from perfbench_api.status import ClientStatus
from perfbench_api.values import format_duration
from perfbench_operator.kube import timestamp
from perfbench_operator.status import troubles
from perfbench_operator.status.draft import Draft
from perfbench_operator.status.figures import found_load, live_figures, run_progress, stages_of
from perfbench_operator.status.observed import Observed
from perfbench_operator.status.over import fail
from perfbench_operator.status.pods import condition, has_ended, is_disrupted, is_running, terminated
from perfbench_operator.status.troubles import Trouble

LOADING = ("warmup", "running", "pausing", "storing", "done")
"""Phases of a runner whose target has answered."""
_BEFORE = ("Pending", "Queued", "Suspended")
_BINDING_S = 8.0
"""How long a provisioner usually takes to bind a new claim."""
SILENT_S = 45.0
"""A running runner that has not answered for so long is told of."""


def follow(draft: Draft, observed: Observed) -> None:
    """Show how far the run is, or why it does not start."""
    pod = observed.pod
    if pod is not None and is_running(pod) and not has_ended(pod):
        _show(draft, observed)
        return
    if pod is not None and terminated(pod) and not is_disrupted(pod):
        return  # its end is being reported, or its Job is about to try again: the status so far holds
    if observed.is_cancelled:
        _stop(draft)  # whatever kept it from starting does not matter any more
        return
    if observed.is_queued_in_parts:
        fail(draft, troubles.QUEUED_IN_PARTS)
        return
    if observed.is_queued and not observed.is_unmanaged:
        _queue(draft, observed)
        return
    trouble = None if pod is not None and has_ended(pod) else troubles.starting(pod, observed.events, observed.now)
    if observed.is_unmanaged:
        trouble = troubles.unmanaged(observed.queue)
    if trouble and trouble.reason == "ClaimNotBound" and observed.waited_s < _BINDING_S:
        trouble = None  # a new claim is bound some seconds after the scheduler first tried its pod
    if trouble is None and observed.disruptions:
        text = "Kubernetes took the runner from its node; it begins again, and only a whole run counts"
        trouble = Trouble("RunnerDisrupted", text)
    wait_or_fail(draft, observed, trouble)


def wait_or_fail(draft: Draft, observed: Observed, trouble: Trouble | None) -> None:
    """Wait for the start, unless that is pointless or has taken too long."""
    is_late = observed.waited_s > observed.start_timeout_s
    if trouble and (trouble.is_final or is_late):
        fail(draft, trouble)
    elif is_late and observed.job is not None:
        limit, name = format_duration(observed.start_timeout_s), observed.job["metadata"]["name"]
        text = (
            f"the runner has not started within startTimeout ({limit}); see kubectl describe job,pod -l job-name={name}"
        )
        fail(draft, Trouble("StartTimeout", text))
    else:
        _wait(draft, trouble)


def _wait(draft: Draft, trouble: Trouble | None) -> None:
    reason, message = (trouble.reason, trouble.message) if trouble else ("Starting", "the runner is starting")
    draft.set_phase("Pending", message)
    draft.set_condition("Running", False, reason, message)


def _queue(draft: Draft, observed: Observed) -> None:
    """Kueue says when it starts; no timeout runs meanwhile."""
    where = (
        f"Kueue to admit it (LocalQueue {observed.queue})"
        if observed.queue
        else "its Job, which somebody has suspended"
    )
    message = f"waits for {where}; see kubectl get workloads.kueue.x-k8s.io"
    draft.set_phase("Queued", message)
    draft.set_condition("Queued", True, "Kueue", message)
    draft.set_condition("Running", False, "Queued", message)


def _stop(draft: Draft) -> None:
    """A runner that has not started is taken back: its Job is being suspended, and so its pod is deleted."""
    message = "cancelled before the runner started; its pod is being deleted"
    draft.set_phase("Pending", message)
    draft.set_condition("Running", False, "Cancelled", message)


def _show(draft: Draft, observed: Observed) -> None:
    """Show the runner's progress."""
    status, progress = draft.status, observed.progress
    if progress is None:  # busy, or just starting: the status so far still holds
        if observed.silent_s > SILENT_S:
            _tell_of_silence(draft, observed)
        elif status.phase in _BEFORE:
            _wait(draft, None)
        return
    _show_phase(draft, observed, progress)
    if progress.phase != "done":
        status.summary = status.stages_omitted = None  # those of an attempt before
    elif observed.outcome:
        status.summary, status.stages_omitted = stages_of(observed.outcome)
    if progress.phase != "starting":
        status.progress, status.live = run_progress(progress), live_figures(progress)
        if progress.search is not None:
            status.search = found_load(progress.search)
    if progress.client:
        status.client = ClientStatus(state=progress.client)


def _show_phase(draft: Draft, observed: Observed, progress: Progress) -> None:
    if progress.phase == "waiting":
        message = progress.message or "waiting for the first answer of the target"
        draft.set_phase("Waiting", message)
        draft.set_condition("TargetReady", False, "TargetNotReady", message)
        draft.set_condition("Running", False, "WaitingForTarget", "the load starts when the target answers")
    elif progress.phase in LOADING:
        draft.set_phase("Running", _doing(progress, observed))
        draft.set_condition("TargetReady", True, "TargetAnswers", "")
        draft.set_condition("Running", True, "Running", "")
    elif draft.status.phase in _BEFORE:
        _wait(draft, None)


def _tell_of_silence(draft: Draft, observed: Observed) -> None:
    """The runner runs, and does not answer: its node may be lost, or the network may be closed."""
    pod, contact = observed.pod or {}, observed.contact
    since = f"the runner has not answered since {timestamp(contact)}" if contact else "the runner does not answer"
    ready = condition(pod, "Ready").get("status")
    why = (
        f"and node {pod.get('spec', {}).get('nodeName')} does not report it as ready"
        if ready in ("False", "Unknown")
        else "though its node reports it as running: may the operator reach port 9090 of runners?"
    )
    draft.set_phase("Running", f"{since}, {why}")
    draft.set_condition("Running", None, "RunnerSilent", draft.status.message)


def _doing(progress: Progress, observed: Observed) -> str:
    if observed.is_cancelled:
        return "stopping; results are being stored"
    if observed.job is None:
        return "its Job was deleted: stopping the runner; results are being stored"
    texts = {"warmup": "warming up", "pausing": "pausing between stages", "storing": "storing results", "done": "done"}
    stage = f"stage {progress.stage_index + 1} of {progress.stage_count}: {progress.stage}"
    return texts.get(progress.phase, stage)
