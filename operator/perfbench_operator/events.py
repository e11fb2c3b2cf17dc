"""Kubernetes Events of a benchmark, one for each change of its phase or of the reason behind it. Pure."""

from datetime import datetime

from perfbench_api import GROUP, KIND, VERSION
from perfbench_operator.kube import Data, Resource, timestamp
from perfbench_operator.objects.identity import MANAGED_BY, MANAGED_LABEL

_NORMAL_PHASES = ("Queued", "Suspended", "Running", "Succeeded", "Cancelled")


def phase_event(body: Data, old: Data, new: Data, now: datetime) -> Resource | None:
    """The Event for a change of status from `old` to `new`; None if only figures have changed."""
    before, after = _phase_and_reason(old), _phase_and_reason(new)
    if before == after:
        return None
    phase, reason = after
    is_normal = phase in _NORMAL_PHASES or reason in ("Starting", "WaitingForTarget")
    meta, when = body["metadata"], timestamp(now)
    return {
        "apiVersion": "v1",
        "kind": "Event",
        "metadata": {
            # The same change has the same name, so it is reported only once, even after a restart.
            "name": f"{meta['name']}.{meta['uid'][:8]}.{phase}.{reason}".lower()[:253],
            "namespace": meta["namespace"],
            "labels": {MANAGED_LABEL: MANAGED_BY},
        },
        "involvedObject": {
            "apiVersion": f"{GROUP}/{VERSION}",
            "kind": KIND,
            "name": meta["name"],
            "namespace": meta["namespace"],
            "uid": meta["uid"],
            "resourceVersion": meta["resourceVersion"],
        },
        "type": "Normal" if is_normal else "Warning",
        "reason": phase if is_normal else reason,
        "message": new.get("message") or phase,
        "source": {"component": MANAGED_BY},
        "firstTimestamp": when,
        "lastTimestamp": when,
        "count": 1,
    }


def _phase_and_reason(status: Data) -> tuple[str, str]:
    """The phase, and why it failed if it has, otherwise why it is or is not running."""
    conditions = {item["type"]: item for item in status.get("conditions", [])}
    kind = "Failed" if status.get("phase") == "Failed" else "Running"
    return status.get("phase", ""), conditions.get(kind, {}).get("reason", "")
