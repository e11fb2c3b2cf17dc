"""Why a runner does not start, or was lost: a CamelCase reason and one sentence that says what to do. Pure.

Kubernetes reports this in many places: conditions, container states, events of pod and Job.
"""

import re
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from datetime import datetime

from perfbench_api.values import format_duration
from perfbench_operator.kube import Data
from perfbench_operator.status.pods import condition, is_true, terminated, waiting


@dataclass(frozen=True)
class Trouble:
    """Why a run cannot start, or has failed."""

    reason: str
    message: str
    is_final: bool = False
    """Waiting will not help."""


Patterns = tuple[tuple[str, str, str], ...]
"""Pattern in a message of Kubernetes, reason, what to do; the first match counts, and the last one always matches."""
_MESSAGE_LENGTH = 400
"""Characters of a message of Kubernetes that are kept."""
_PULL = ("ErrImagePull", "ImagePullBackOff", "RegistryUnavailable")
_NEVER = ("InvalidImageName", "ErrImageNeverPull")
_CANNOT_START = ("CreateContainerError", "RunContainerError", "CrashLoopBackOff")

_SCHEDULING: Patterns = (
    (
        r'persistentvolumeclaim "[^"]*" not found',
        "ClaimMissing",
        "create the claim, or leave results.claim and dataset.claim out",
    ),
    (
        r"unbound immediate PersistentVolumeClaims|persistentvolumeclaim.* is being deleted|pvc",
        "ClaimNotBound",
        "no volume matches the claim: check results.storageClass, storage and accessMode (kubectl describe pvc)",
    ),
    (
        r"volume node affinity|didn't find available persistent volumes",
        "ClaimNotBound",
        "the volume is not available on any usable node",
    ),
    ("", "Unschedulable", "check runner.resources, nodeSelector, affinity and tolerations against the nodes"),
)
_MOUNTING: Patterns = (
    (r'configmap "[^"]*" not found', "ConfigMapMissing", "create it in the benchmark's namespace"),
    (r'secret "[^"]*" not found', "SecretMissing", "create it in the benchmark's namespace"),
    (r"references non-existent (config|secret) key", "KeyMissing", "check the key in the ConfigMap or Secret"),
    ("", "VolumeNotMounted", "check the claim's volume"),
)
_CREATING: Patterns = (
    (
        "failed calling webhook",
        "WebhookFailed",
        "whatever has to admit the object does not answer: ask whoever runs it",
    ),
    ("exceeded quota", "QuotaExceeded", "raise the namespace's ResourceQuota, or lower runner.resources"),
    (
        "must specify|failed quota",
        "QuotaExceeded",
        "the ResourceQuota requires requests or limits: set runner.resources",
    ),
    (
        "violates PodSecurity",
        "PodSecurityViolation",
        "the namespace forbids what runner.podSecurityContext, securityContext or volumes ask for",
    ),
    (
        "AdmissionPolicy .*denied request|admission webhook .*denied the request",
        "PolicyDenied",
        "a policy of the cluster forbids it: change the benchmark, or ask whoever set the policy",
    ),
    (r"serviceaccounts? .*not found", "ServiceAccountMissing", "create it, or leave runner.serviceAccountName out"),
    ("no PriorityClass|priority class", "PriorityClassMissing", "create it, or leave runner.priorityClassName out"),
    ("", "PodsCannotBeMade", "the API server rejects the runner's pod"),
)
_CONFIG: Patterns = (
    (r"secret .*not found", "SecretMissing", "create it in the benchmark's namespace"),
    (r"configmap .*not found", "ConfigMapMissing", "create it in the benchmark's namespace"),
    (r"couldn't find key", "KeyMissing", "check the key in the Secret or ConfigMap"),
    (
        r"run as non-root|runAsNonRoot",
        "RunsAsRoot",
        "the image runs as root; use perfbench's image, or set runner.securityContext",
    ),
    ("", "ContainerConfigInvalid", "check runner.env and envFrom"),
)


def refused(text: str, is_invalid: bool) -> Trouble:
    """Why the API server rejected an object of ours. One that is invalid stays so; quotas, policies and rights may change."""
    found = _matched(_CREATING, text)
    if found.reason in ("PolicyDenied", "WebhookFailed") or (found.reason == "QuotaExceeded" and not is_invalid):
        return found
    if is_invalid:
        return Trouble("InvalidSpec", text, is_final=True)
    return Trouble(
        "OperatorForbidden", f"the operator is not allowed to do this: {_short(text)}; check its RBAC (helm upgrade)"
    )


def starting(pod: Data | None, events: Iterable[Data], now: datetime) -> Trouble | None:
    """Why a runner has not started yet; None while nothing is wrong. Events are those of the pod, or of its Job."""
    found = list(events)
    if pod is None:
        return _from_events(found, ("FailedCreate",), _CREATING)
    return _unscheduled(pod) or _waiting(pod) or _from_events(_current(found, now), _MOUNT_EVENTS, _MOUNTING)


_MOUNTING_S = 300.0
"""A kubelet that cannot mount tries again every two minutes or so, and says so: older events are overcome."""


def _current(events: list[Data], now: datetime) -> list[Data]:
    """The newest event, if it is a recent one: what a later one follows is overcome."""
    newest = max(events, key=_event_time, default=None)
    try:
        age_s = (now - datetime.fromisoformat(_event_time(newest or {}))).total_seconds()
    except ValueError:
        return []
    return [newest] if newest and age_s < _MOUNTING_S else []


_MOUNT_EVENTS = ("FailedMount", "FailedAttachVolume", "FailedMapVolume")


def _unscheduled(pod: Data) -> Trouble | None:
    scheduled = condition(pod, "PodScheduled")
    if scheduled.get("status") != "False" or scheduled.get("reason") == "SchedulingGated":
        return None
    return _matched(_SCHEDULING, scheduled.get("message", ""))


def _waiting(pod: Data) -> Trouble | None:
    reason, text = waiting(pod).get("reason", ""), waiting(pod).get("message", "")
    image = pod["spec"]["containers"][0].get("image", "")
    advice = "check runner.image and imagePullSecrets"
    if reason in _NEVER:
        return Trouble("ImageCannotBePulled", f"image {image}: {_short(text or reason)}; {advice}", is_final=True)
    if reason in _PULL:
        return Trouble("ImageCannotBePulled", f"image {image} cannot be pulled: {_short(text or reason)}; {advice}")
    if reason == "CreateContainerConfigError":
        return _matched(_CONFIG, text)
    if reason in _CANNOT_START:
        return Trouble("ContainerCannotStart", f"{_short(text or reason)}; is runner.image a perfbench image?")
    return None


def _from_events(events: list[Data], reasons: tuple[str, ...], table: Patterns) -> Trouble | None:
    named = [event for event in events if event.get("reason") in reasons]
    if not named:
        return None
    return _matched(table, max(named, key=_event_time).get("message", ""))


def _event_time(event: Data) -> str:
    series = event.get("series") or {}
    return str(series.get("lastObservedTime") or event.get("lastTimestamp") or event.get("eventTime") or "")


def _matched(table: Patterns, text: str) -> Trouble:
    reason, advice = next((reason, advice) for pattern, reason, advice in table if re.search(pattern, text))
    return Trouble(reason, f"{_short(text)}; {advice}" if text else advice)


QUEUED_IN_PARTS = Trouble(
    "QueuedInParts",
    "Kueue queues each Job of this namespace alone (a LocalQueue named default, or manageJobsWithoutQueueName): two runs of"
    " several runners could each get a part and wait for each other; use a namespace where it does not, with the label"
    " kueue.x-k8s.io/queue-name",
    is_final=True,
)


def unmanaged(queue: str | None) -> Trouble:
    """Pods that wait for a Kueue that does not know them."""
    return Trouble(
        "NotManagedByKueue",
        f"the runners' pods are to wait in Kueue's LocalQueue {queue}, but Kueue does not manage them: install it, with its"
        " integration `pod`, for this namespace, or leave the label kueue.x-k8s.io/queue-name out",
    )


PREEMPTED = Trouble("Preempted", "Kueue stopped the run to make room for another one; run again")
_TOO_LONG = Trouble("DeadlineExceeded", "the run took longer than runner.activeDeadline")
_LOST = Trouble("RunnerLost", "the runner's pod is gone and left no termination message; run again")


def lost(pod: Data) -> Trouble:
    """Why a runner ended, if it did not say so itself."""
    return next(_losses(pod))


def _losses(pod: Data) -> Iterator[Trouble]:
    status = pod.get("status", {})
    ended = terminated(pod)
    if status.get("reason") == "DeadlineExceeded":
        yield _TOO_LONG
    if status.get("reason") == "Evicted":
        yield Trouble("RunnerEvicted", f"{_short(status.get('message', ''))}; set runner.resources.requests and limits")
    if ended.get("reason") == "OOMKilled":
        yield Trouble("RunnerOutOfMemory", "the runner exceeded its memory limit; raise runner.resources.limits.memory")
    if is_true(pod, "DisruptionTarget"):
        disruption = condition(pod, "DisruptionTarget")
        text = disruption.get("message") or disruption.get("reason", "")
        yield Trouble("RunnerDisrupted", f"{_short(text)}; Kubernetes removed the runner from its node: run again")
    if ended.get("exitCode") == 2:
        yield Trouble("InvalidSpec", _last_line(ended) or "the runner rejects the manifest; see its log")
    if ended.get("exitCode") in (137, 143):
        yield Trouble("RunnerKilled", f"the runner was killed (exit code {ended['exitCode']}); run again")
    if ended.get("reason") == "ContainerCannotRun" or ended.get("exitCode") in (126, 127, 128):
        yield Trouble("ContainerCannotStart", f"{_last_line(ended)}; is runner.image a perfbench image?")
    if ended:
        text = _last_line(ended)
        yield Trouble(
            "RunnerFailed", f"exit code {ended.get('exitCode')}{': ' + text if text else ''}; see the pod's log"
        )
    yield _LOST


def lost_node(pod: Data, timeout_s: float) -> Trouble:
    """A runner of which neither it nor its node has said anything for a long time."""
    node, limit = pod["spec"].get("nodeName"), format_duration(timeout_s)
    text = f"node {node} is lost: neither it nor the runner has answered for lostTimeout ({limit})"
    return Trouble("NodeLost", f"{text}; Kubernetes ends the runner when the node is back: run again")


def job_failure(job: Data) -> Trouble | None:
    """Why a Job without a pod failed; None if it has not."""
    if not is_true(job, "Failed"):
        return None
    if condition(job, "Failed").get("reason") == "DeadlineExceeded":
        return _TOO_LONG
    return _LOST


def _last_line(ended: Data) -> str:
    """The last line of a termination message; it may be log text, so only one line of it gets into the status."""
    lines = [line for line in str(ended.get("message", "")).splitlines() if line.strip()]
    return _short(lines[-1]) if lines else ""


def _short(text: str) -> str:
    text = " ".join(text.split()).rstrip(".")
    return text if len(text) <= _MESSAGE_LENGTH else text[: _MESSAGE_LENGTH - 1] + "…"
