"""Nodes that are only objects: the scheduler binds pods to them, and no kubelet ever starts one."""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import contextmanager

from rest import Rest

TOLERATED = {"key": "ghost", "operator": "Exists"}
"""What a pod tolerates that may go there."""


@contextmanager
def ghost_node(rest: Rest, name: str) -> Iterator[None]:
    """A node that is Ready for some 40 s, with a label `ghost` of its name and a taint that keeps others' pods away."""
    labels = {"kubernetes.io/hostname": name, "ghost": name}
    taint = {"taints": [{"key": "ghost", "effect": "NoSchedule"}]}
    made = {"apiVersion": "v1", "kind": "Node", "metadata": {"name": name, "labels": labels}, "spec": taint}
    rest("POST", "/api/v1/nodes", made)
    try:
        capacity = {"cpu": "4", "memory": "8Gi", "pods": "10"}
        ready = [{"type": "Ready", "status": "True", "reason": "KubeletReady", "message": "",
                  "lastHeartbeatTime": now(), "lastTransitionTime": now()}]  # fmt: skip
        status = {"capacity": capacity, "allocatable": capacity, "conditions": ready}
        rest.patch(f"/api/v1/nodes/{name}/status", {"status": status})
        yield
    finally:
        rest("DELETE", f"/api/v1/nodes/{name}", {})


def now() -> str:
    """As Kubernetes writes times."""
    return time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime())
