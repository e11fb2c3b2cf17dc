"""The status that follows from what was observed.

The status so far is an input, because Kubernetes forgets: events expire and pods are deleted. A final phase never changes.
It is final only when nothing can run any more.
"""

from collections.abc import Sequence
from datetime import datetime

from perfbench_api.status import RunnerPod, Status
from perfbench_operator.kube import Data, timestamp
from perfbench_operator.status.draft import Draft
from perfbench_operator.status.observed import Observed
from perfbench_operator.status.over import cancel, fail, finish
from perfbench_operator.status.pods import terminated
from perfbench_operator.status.troubles import Trouble
from perfbench_operator.status.under_way import follow, wait_or_fail

_RUNNERS = 32
"""How many pods the status names."""


def invalid(body: Data, now: datetime, problems: Sequence[str]) -> Status:
    """The status of a benchmark that cannot be run as it is written."""
    draft = Draft.of(body, now)
    fail(draft, Trouble("InvalidSpec", "; ".join(problems), is_final=True))
    return draft.status


def compute(observed: Observed) -> Status:
    """The status that follows from what was observed."""
    draft = Draft.of(observed.body, observed.now)
    draft.status.model = _model(observed.body)
    if not observed.has_started:
        _before_the_start(draft, observed)
        return draft.status
    _name_objects(draft, observed)
    _warn(draft, observed)
    if observed.is_over:
        finish(draft, observed)
    else:
        follow(draft, observed)
    return draft.status


def _warn(draft: Draft, observed: Observed) -> None:
    """What speaks against the figures before there are any. The client's own judgement, of what it measured, comes later."""
    if observed.undersized:
        draft.set_condition("Undersized", True, "TooFewRunners", observed.undersized)
    if observed.shared_nodes:
        nodes, more = ", ".join(observed.shared_nodes[:3]), len(observed.shared_nodes) - 3
        text = (
            f"runners and the target's pods run on node {nodes}{f' and {more} more' if more > 0 else ''}: they take each other's"
            " CPUs; keep them apart with runner.nodeSelector or affinity"
        )
        draft.set_condition("SharesNode", True, "RunnerBesideTarget", text)


def _model(body: Data) -> str | None:
    """The model that is measured, as a column shows it; those of several targets and workloads, each once."""
    target, workloads = body["spec"].get("target") or {}, body["spec"].get("workloads") or [{}]
    models = dict[str, None]()
    for own in body["spec"].get("targets") or [{}]:
        has_mock = any(each.get("mock") is not None for each in (own, target))
        model = own.get("model") or target.get("model") or ("mock" if has_mock else None)
        models |= dict.fromkeys(str(each.get("model") or model) for each in workloads if each.get("model") or model)
    return ", ".join(models)[:256] if models else None


def _before_the_start(draft: Draft, observed: Observed) -> None:
    if observed.is_cancelled:
        cancel(draft, "cancelled before it started")
    elif observed.restored_from:
        _hold(
            draft,
            "Restored",
            "a copy of a benchmark that was started: it does not start by itself; see docs/kubernetes.md",
        )
    elif observed.is_suspended:
        _hold(draft, "Suspended", "held back by spec.suspend")
    elif observed.place:
        draft.set_phase("Queued", observed.place.message)
        draft.set_condition("Queued", True, "Queued", observed.place.message)
        draft.set_condition("Running", False, "Queued", observed.place.message)
    else:
        draft.set_condition("Queued", False, "Admitted", "")
        wait_or_fail(draft, observed, observed.blocked)


def _hold(draft: Draft, reason: str, message: str) -> None:
    draft.set_phase("Suspended", message)
    draft.set_condition("Queued", True, reason, message)
    draft.set_condition("Running", False, reason, message)


def _name_objects(draft: Draft, observed: Observed) -> None:
    status, job = draft.status, observed.job
    if job is not None:
        status.job, status.job_uid = job["metadata"]["name"], job["metadata"].get("uid")
        status.start_time = status.start_time or job["metadata"].get("creationTimestamp") or draft.now
    draft.set_condition("Queued", False, "Admitted", "")
    status.runners = _runners(status.runners or [], observed)
    if observed.progress is not None:
        status.last_contact = timestamp(observed.now)


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
        uid=pod["metadata"].get("uid"),
        node=pod["spec"].get("nodeName"),
        phase=phase,
        # A cancelled runner is ended by a deadline that the operator sets on its pod; the user did not set it.
        reason="Cancelled" if is_cancelled and reason == "DeadlineExceeded" else reason,
    )
