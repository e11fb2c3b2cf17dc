"""Reading a runner's pod and its Job: container state, conditions, termination message. Pure."""

import json
from collections.abc import Sequence

from perfbench_api.outcome import Outcome
from perfbench_operator.kube import Data
from perfbench_operator.objects.layout import CONTAINER


def condition(resource: Data, kind: str) -> Data:
    """A condition of a pod or Job; empty if it has none of this type."""
    conditions = resource.get("status", {}).get("conditions") or []
    return next((one for one in conditions if one.get("type") == kind), {})


def is_true(resource: Data, kind: str) -> bool:
    """Whether a condition of a pod or Job is true."""
    return condition(resource, kind).get("status") == "True"


GONE = "perfbench.io/gone"
"""Key of a pod that the cluster does not have any more, beside the state in which it was last seen."""


def is_gone(pod: Data) -> bool:
    """Whether the cluster does not have this pod any more."""
    return bool(pod.get(GONE))


def has_ended(pod: Data) -> bool:
    """Whether the runner in a pod has ended, or never will run."""
    return is_gone(pod) or bool(terminated(pod)) or pod.get("status", {}).get("phase") in ("Succeeded", "Failed")


def has_run(pod: Data) -> bool:
    """Whether the runner in a pod has run, so that it may have stored something."""
    return is_running(pod) or bool(terminated(pod).get("startedAt"))


def is_disrupted(pod: Data) -> bool:
    """Whether Kubernetes took the pod from its node: a drain, a preemption, a lack of memory or disk. No failure of the run."""
    return is_true(pod, "DisruptionTarget")


def is_finished(job: Data) -> bool:
    """Whether a Job makes no more pods."""
    return is_true(job, "Complete") or is_true(job, "Failed")


def is_running(pod: Data) -> bool:
    """Whether the runner's container is running."""
    return "running" in _state(pod)


def waiting(pod: Data) -> Data:
    """Why the runner's container waits; empty if it does not."""
    return _state(pod).get("waiting") or {}


def terminated(pod: Data) -> Data:
    """How the runner's container ended; empty if it has not."""
    return _state(pod).get("terminated") or {}


def ended_at(job: Data, pods: Sequence[Data]) -> str | None:
    """When the run ended: when its last container did, else when its Job did; None if neither says."""
    finished = [str(terminated(pod).get("finishedAt") or "") for pod in pods]
    conditions = [condition(job, kind) for kind in ("Complete", "Failed") if is_true(job, kind)]
    return max(finished, default="") or next((one.get("lastTransitionTime") for one in conditions), None)


def outcome_of(pod: Data) -> Outcome | None:
    """What the runner's termination message says; None if there is no message or it is not an outcome."""
    text = terminated(pod).get("message", "")
    try:
        return Outcome.model_validate(json.loads(text, parse_constant=lambda _: None))
    except ValueError:  # not JSON, or not an outcome: the end of a log
        return None


def _state(pod: Data) -> Data:
    containers = pod.get("status", {}).get("containerStatuses") or []
    found: Data = next((status for status in containers if status.get("name") == CONTAINER), {})
    state: Data = found.get("state", {})
    return state
