"""Kubernetes objects as the API server sends them, as short as the tests allow."""

from datetime import UTC, datetime
from typing import Any

from perfbench_api.outcome import Outcome, StoredResults
from perfbench_api.status import Status
from perfbench_operator.kube import timestamp
from perfbench_operator.objects.identity import Identity
from perfbench_operator.status.observed import Observed, Recovery

UID = "0a1b2c3d-0000-4000-8000-000000000000"
JOB_UID = "j"
NOW = datetime(2026, 11, 24, 12, 0, 0, tzinfo=UTC)
EARLIER = "2026-11-24T11:59:30Z"


def timestamp_now() -> str:
    """The time as Kubernetes writes it."""
    return timestamp(datetime.now(UTC))


def body(spec: dict[str, Any] | None = None, status: dict[str, Any] | None = None, **meta: Any) -> dict[str, Any]:
    """A PerfBenchmark."""
    return {
        "apiVersion": "perfbench.io/v1alpha1",
        "kind": "PerfBenchmark",
        "metadata": {
            "name": "chat",
            "namespace": "models",
            "uid": UID,
            "generation": 1,
            "resourceVersion": "7",
            "creationTimestamp": EARLIER,
            **meta,
        },
        "spec": {"target": {"url": "http://llama:8000", "model": "llama"}, **(spec or {})},
        **({"status": status} if status else {}),
    }


def job(*conditions: str, suspend: bool = False, reason: str = "", at: str | None = None) -> dict[str, Any]:
    """A Job with conditions that are true."""
    since = {"lastTransitionTime": at} if at else {}
    return {
        "metadata": {
            "name": "chat-0a1b2c3d",
            "namespace": "models",
            "uid": JOB_UID,
            "creationTimestamp": EARLIER,
            "ownerReferences": [{"uid": UID}],
        },
        "spec": {"suspend": suspend},
        "status": {"conditions": [{"type": kind, "status": "True", "reason": reason, **since} for kind in conditions]},
    }


def pod(state: dict[str, Any] | None = None, phase: str = "Pending", **status: Any) -> dict[str, Any]:
    """A runner's pod; `state` is that of its container."""
    containers = [{"name": "runner", "state": state}] if state is not None else []
    return {
        "metadata": {
            "name": "chat-0a1b2c3d-x",
            "namespace": "models",
            "uid": "p",
            "creationTimestamp": EARLIER,
            "labels": Identity("models", "chat", UID).labels(),
            "ownerReferences": [{"uid": JOB_UID, "kind": "Job"}],
        },
        "spec": {"nodeName": "node", "containers": [{"name": "runner", "image": "perfbench-runner:1"}]},
        "status": {"phase": phase, "podIP": "10.0.0.1", "containerStatuses": containers, **status},
    }


def running(since: str = EARLIER, **status: Any) -> dict[str, Any]:
    """A pod whose runner runs."""
    return pod({"running": {"startedAt": since}}, phase="Running", **status)


def ended(
    text: str = "",
    code: int = 1,
    why: str = "Error",
    *,
    at: str | None = None,
    began: str | None = None,
    phase: str = "",
    **status: Any,
) -> dict[str, Any]:
    """A pod whose runner has ended."""
    times = {key: time for key, time in (("startedAt", began), ("finishedAt", at)) if time}
    state = {"exitCode": code, "reason": why, "message": text, **times}
    return pod({"terminated": state}, phase=phase or ("Succeeded" if code == 0 else "Failed"), **status)


def waiting(reason: str, message: str = "") -> dict[str, Any]:
    """A pod whose container waits."""
    return pod({"waiting": {"reason": reason, "message": message}})


def unscheduled(message: str) -> dict[str, Any]:
    """A pod that has no node."""
    condition = {"type": "PodScheduled", "status": "False", "reason": "Unschedulable", "message": message}
    return pod(conditions=[condition])


def event(reason: str, message: str, at: str = EARLIER) -> dict[str, Any]:
    """An Event."""
    return {"reason": reason, "message": message, "lastTimestamp": at}


def observed(*, pods: list[dict[str, Any]] | None = None, **given: Any) -> Observed:
    """An observation of a Job and of whatever is given; whoever has looked for results has found none."""
    options = {
        "body": body(),
        "now": NOW,
        "job": job(),
        "claim": "chat-results",
        "recovery": Recovery("done"),
        "pods": pods or [],
        **given,
    }
    return Observed(**options)


STORED = StoredResults(path="/results/models/chat/0a1b/benchmark.db", bytes=4096, sha256="ab", rows=80)


STAGE = {
    "name": "c8",
    "requests": {"total": 80, "succeeded": 79, "failed": 1},
    "request_throughput_rps": 12.345678,
    "output_token_throughput_tps": 789.1234,
    "ttft_s": {"mean": 0.05, "p50": 0.0512345, "p99": 1.2345},
    "itl_s": {"mean": 0.01, "p50": 0.0098765, "p99": 0.0212121},
}


def message(kind: str = "succeeded", **given: Any) -> str:
    """A termination message."""
    return Outcome.model_validate({"outcome": kind, "stages": [STAGE], "results": STORED, **given}).model_dump_json()


def conditions(status: Status) -> dict[str, tuple[str, str]]:
    return {condition.type: (condition.status, condition.reason) for condition in status.conditions}


CANCELLED = body({"cancel": True})


UNDER_WAY_BODY = body(status={"phase": "Running", "startTime": EARLIER, "job": "chat-0a1b2c3d"})


FAILED = job("Failed")
