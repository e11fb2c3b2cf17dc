"""Why a runner does not start, or was lost: one CamelCase reason and one sentence with the way out. Pure.

Kubernetes tells it in many places (conditions, container states, events of pod and Job); this reads them.
"""

import re
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from perfbench_operator.objects import CONTAINER

Data = Mapping[str, Any]


@dataclass(frozen=True)
class Trouble:
    """Something that stands in the way of a run."""

    reason: str
    message: str
    is_final: bool = False
    """Waiting cannot help."""


_TEXT = 400
"""Characters of a message of Kubernetes that are kept."""
_PULL = ("ErrImagePull", "ImagePullBackOff", "RegistryUnavailable")
_NEVER = ("InvalidImageName", "ErrImageNeverPull")
_CANNOT_START = ("CreateContainerError", "RunContainerError", "CrashLoopBackOff")

_SCHEDULING: tuple[tuple[str, str, str], ...] = (
    (
        r'persistentvolumeclaim "[^"]*" not found',
        "ClaimMissing",
        "create the claim, or leave results.claim and dataset.claim out",
    ),
    (
        r"unbound immediate PersistentVolumeClaims|persistentvolumeclaim.* is being deleted|pvc",
        "ClaimNotBound",
        "no volume fits the claim: check results.storageClass, storage and accessMode (kubectl describe pvc)",
    ),
    (
        r"volume node affinity|didn't find available persistent volumes",
        "ClaimNotBound",
        "the volume is on no usable node",
    ),
    ("", "Unschedulable", "check runner.resources, nodeSelector, affinity and tolerations against the nodes"),
)
_MOUNTING: tuple[tuple[str, str, str], ...] = (
    (r'configmap "[^"]*" not found', "ConfigMapMissing", "create it in the benchmark's namespace"),
    (r'secret "[^"]*" not found', "SecretMissing", "create it in the benchmark's namespace"),
    (r"references non-existent (config|secret) key", "KeyMissing", "check the key in the ConfigMap or Secret"),
    ("", "VolumeNotMounted", "check the claim's volume"),
)
_CREATING: tuple[tuple[str, str, str], ...] = (
    ("exceeded quota", "QuotaExceeded", "raise the namespace's ResourceQuota, or lower runner.resources"),
    ("must specify|failed quota", "QuotaExceeded", "the ResourceQuota wants requests or limits: give runner.resources"),
    (
        "violates PodSecurity",
        "PodSecurityViolation",
        "the namespace forbids what runner.podSecurityContext, securityContext or volumes ask for",
    ),
    (r"serviceaccounts? .*not found", "ServiceAccountMissing", "create it, or leave runner.serviceAccountName out"),
    ("no PriorityClass|priority class", "PriorityClassMissing", "create it, or leave runner.priorityClassName out"),
    ("", "PodsCannotBeMade", "the API server refuses the runner's pod"),
)
_CONFIG: tuple[tuple[str, str, str], ...] = (
    (r"secret .*not found", "SecretMissing", "create it in the benchmark's namespace"),
    (r"configmap .*not found", "ConfigMapMissing", "create it in the benchmark's namespace"),
    (r"couldn't find key", "KeyMissing", "check the key in the Secret or ConfigMap"),
    (
        r"run as non-root|runAsNonRoot",
        "RunsAsRoot",
        "the image wants to run as root; use perfbench's, or give runner.securityContext",
    ),
    ("", "ContainerConfigInvalid", "check runner.env and envFrom"),
)


def forbidden(text: str) -> Trouble:
    """Why the API server refused an object of ours."""
    if "exceeded quota" in text or "failed quota" in text:
        return _matched(_CREATING, text)
    return Trouble("OperatorForbidden", f"the operator may not do this: {_short(text)}; check its RBAC (helm upgrade)")


def starting(pod: Data | None, events: Iterable[Data]) -> Trouble | None:
    """Why a runner has not started yet; None while nothing is wrong. Events are those of pod and Job."""
    found = list(events)
    if pod is None:
        return _from_events(found, ("FailedCreate",), _CREATING)
    waiting = _container(pod).get("state", {}).get("waiting") or {}
    return _unscheduled(pod) or _waiting(pod, waiting) or _from_events(found, _MOUNT_EVENTS, _MOUNTING)


_MOUNT_EVENTS = ("FailedMount", "FailedAttachVolume", "FailedMapVolume")


def _unscheduled(pod: Data) -> Trouble | None:
    condition = _condition(pod, "PodScheduled")
    if condition.get("status") != "False" or condition.get("reason") == "SchedulingGated":
        return None
    return _matched(_SCHEDULING, condition.get("message", ""))


def _waiting(pod: Data, waiting: Data) -> Trouble | None:
    reason, text = waiting.get("reason", ""), waiting.get("message", "")
    image = pod["spec"]["containers"][0].get("image", "")
    way_out = "check runner.image and imagePullSecrets"
    if reason in _NEVER:
        return Trouble("ImageCannotBePulled", f"image {image}: {_short(text or reason)}; {way_out}", is_final=True)
    if reason in _PULL:
        return Trouble("ImageCannotBePulled", f"image {image} cannot be pulled: {_short(text or reason)}; {way_out}")
    if reason == "CreateContainerConfigError":
        return _matched(_CONFIG, text)
    if reason in _CANNOT_START:
        return Trouble("ContainerCannotStart", f"{_short(text or reason)}; is runner.image an image of perfbench?")
    return None


def _from_events(
    events: list[Data], reasons: tuple[str, ...], table: tuple[tuple[str, str, str], ...]
) -> Trouble | None:
    named = [event for event in events if event.get("reason") in reasons]
    if not named:
        return None
    return _matched(table, max(named, key=_event_time).get("message", ""))


def _event_time(event: Data) -> str:
    return str(event.get("lastTimestamp") or event.get("eventTime") or "")


def _matched(table: tuple[tuple[str, str, str], ...], text: str) -> Trouble:
    reason, way_out = next((reason, way_out) for pattern, reason, way_out in table if re.search(pattern, text))
    return Trouble(reason, f"{_short(text)}; {way_out}" if text else way_out)


def lost(pod: Data) -> Trouble:
    """Why a runner ended without saying so itself."""
    return next(_losses(pod))


def _losses(pod: Data) -> Iterator[Trouble]:
    status = pod.get("status", {})
    ended = terminated(pod)
    if status.get("reason") == "DeadlineExceeded":
        yield Trouble("DeadlineExceeded", "the run took longer than runner.activeDeadline")
    if status.get("reason") == "Evicted":
        yield Trouble(
            "RunnerEvicted", f"{_short(status.get('message', ''))}; give runner.resources.requests and limits"
        )
    if ended.get("reason") == "OOMKilled":
        yield Trouble(
            "RunnerOutOfMemory", "the runner used more memory than it may; raise runner.resources.limits.memory"
        )
    disruption = _condition(pod, "DisruptionTarget")
    if disruption.get("status") == "True":
        text = disruption.get("message") or disruption.get("reason", "")
        yield Trouble("RunnerDisrupted", f"{_short(text)}; the node took the runner away: run again")
    if ended.get("exitCode") == 2:
        yield Trouble("InvalidSpec", _last_line(ended) or "the runner refuses the manifest; see its log")
    if ended.get("exitCode") in (137, 143):
        yield Trouble("RunnerKilled", f"the runner was killed (exit code {ended['exitCode']}); run again")
    if ended.get("reason") == "ContainerCannotRun" or ended.get("exitCode") in (126, 127, 128):
        yield Trouble("ContainerCannotStart", f"{_last_line(ended)}; is runner.image an image of perfbench?")
    if ended:
        text = _last_line(ended)
        yield Trouble(
            "RunnerFailed", f"exit code {ended.get('exitCode')}{': ' + text if text else ''}; see the pod's log"
        )
    yield Trouble("RunnerLost", "the runner's pod went away without a word; run again")


def terminated(pod: Data) -> Data:
    """How the runner's container ended; empty while it has not."""
    return _container(pod).get("state", {}).get("terminated") or {}


def is_running(pod: Data) -> bool:
    """Whether the runner's container runs."""
    return "running" in _container(pod).get("state", {})


def _container(pod: Data) -> Data:
    states = pod.get("status", {}).get("containerStatuses") or []
    return next((state for state in states if state.get("name") == CONTAINER), {})


def _condition(resource: Data, kind: str) -> Data:
    conditions = resource.get("status", {}).get("conditions") or []
    return next((condition for condition in conditions if condition.get("type") == kind), {})


def is_true(resource: Data, kind: str) -> bool:
    """Whether a condition of a pod or Job holds."""
    return _condition(resource, kind).get("status") == "True"


def job_failure(job: Data) -> Trouble | None:
    """Why a Job failed that has no pod to ask."""
    condition = _condition(job, "Failed")
    if condition.get("status") != "True":
        return None
    if condition.get("reason") == "DeadlineExceeded":
        return Trouble("DeadlineExceeded", "the run took longer than runner.activeDeadline")
    return Trouble("RunnerLost", "the runner's pod went away without a word; run again")


def _last_line(ended: Data) -> str:
    """The last line of what a container said; it is log text, so no more than a line of it gets into the status."""
    lines = [line for line in str(ended.get("message", "")).splitlines() if line.strip()]
    return _short(lines[-1]) if lines else ""


def _short(text: str) -> str:
    text = " ".join(text.split()).rstrip(".")
    return text if len(text) <= _TEXT else text[: _TEXT - 1] + "…"
