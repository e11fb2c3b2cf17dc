"""Faults and the benchmarks that meet them: a namespace with an operator of its own, and the ways that a benchmark can go."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import threading
import time
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from benchmarks import FINAL, benchmark, condition
from kube import Cluster, pod_spec, wait_for
from proxy import Proxy, Rest

MOCK = {"mock": {"ttft": "20ms", "itl": "2ms"}}
SHORT: dict[str, Any] = {"load": {"stages": [{"rate": 10, "duration": "4s"}], "gracePeriod": "2s"}}
LONG: dict[str, Any] = {"load": {"stages": [{"rate": 10, "duration": "3m"}], "gracePeriod": "2s"}}
GROUP = "/apis/perfbench.io/v1alpha1"
TIMEOUT_S = 240


@dataclass
class Bench:
    """What the cases share."""

    cluster: Cluster
    rest: Rest
    nursery: subprocess.Popen[str]
    folder: Path
    lock: threading.Lock = field(default_factory=threading.Lock)

    def fork(self, environment: dict[str, str]) -> int:
        """Start an operator; return its process id."""
        assert self.nursery.stdin is not None
        assert self.nursery.stdout is not None
        with self.lock:
            self.nursery.stdin.write(json.dumps(environment) + "\n")
            self.nursery.stdin.flush()
            return int(self.nursery.stdout.readline())


@dataclass
class Place:
    """A namespace and the operator that serves it."""

    bench: Bench
    name: str
    proxy: Proxy
    lives: int = 0
    pid: int = 0
    settings: dict[str, str] = field(default_factory=dict)

    def start(self) -> None:
        """Start the operator, or the next one."""
        self.lives += 1
        config = self.bench.folder / f"{self.name}.kubeconfig"
        config.write_text(_kubeconfig(self.proxy.url))
        self.pid = self.bench.fork(
            {
                "KUBECONFIG": str(config),
                "LOG": str(self.bench.folder / f"{self.name}.log"),
                "PERFBENCH_NAMESPACES": self.name,
                "PERFBENCH_IDENTITY": self.name,
                "PERFBENCH_RUNNER_IMAGE": self.bench.cluster.images["runner"],
                "PERFBENCH_RUNNER_RESOURCES": '{"requests": {"cpu": "20m", "memory": "64Mi"}}',
                "PERFBENCH_METRICS_PORT": "0",
                "PERFBENCH_HEALTH_PORT": "0",
                "PERFBENCH_START_TIMEOUT": "2m",
                **self.settings,
            }
        )

    def kill(self) -> None:
        with suppress(ProcessLookupError):
            os.kill(self.pid, signal.SIGKILL)

    def keep_alive(self) -> None:
        """As Kubernetes does: an operator that is dead is started again."""
        if self.pid and not Path(f"/proc/{self.pid}").exists():
            self.start()

    # Objects

    def path(self, plural: str, name: str = "") -> str:
        group = {"perfbenchmarks": GROUP, "jobs": "/apis/batch/v1"}.get(plural, "/api/v1")
        return f"{group}/namespaces/{self.name}/{plural}" + (f"/{name}" if name else "")

    def items(
        self, plural: str, selector: str = "app.kubernetes.io/managed-by=perfbench-operator"
    ) -> list[dict[str, Any]]:
        found: list[dict[str, Any]] = self.bench.rest("GET", f"{self.path(plural)}?labelSelector={selector}")["items"]
        return found

    def apply(self, name: str, target: dict[str, Any] = MOCK, **spec: Any) -> None:
        self.bench.rest("POST", self.path("perfbenchmarks"), benchmark(name, target, **spec))

    def status(self, name: str) -> dict[str, Any]:
        found: dict[str, Any] = self.bench.rest("GET", self.path("perfbenchmarks", name)).get("status") or {}
        return found

    def until(self, what: str, check: Callable[[], Any], timeout_s: float = TIMEOUT_S) -> Any:
        """Wait, and start the operator again whenever it is dead."""
        deadline_s = time.monotonic() + timeout_s
        while time.monotonic() < deadline_s:
            self.keep_alive()
            with suppress(KeyError, IndexError):
                if found := check():
                    return found
            time.sleep(0.3)
        raise AssertionError(f"{self.name}: {what}: not within {timeout_s:.0f} s; log: {self.log()[-3000:]}")

    def until_final(self, name: str) -> dict[str, Any]:
        def final() -> dict[str, Any] | None:
            found = self.status(name)
            return found if found.get("phase") in FINAL else None

        found: dict[str, Any] = self.until(f"{name} is over", final)
        return found

    def until_loaded(self, name: str) -> None:
        self.until(f"{name} is under load", lambda: (self.status(name).get("live") or {}).get("requests", 0) > 3)

    def pods(self, name: str) -> list[dict[str, Any]]:
        return self.items("pods", f"perfbench.io/benchmark={name},app.kubernetes.io/component=runner")

    def log(self) -> str:
        file = self.bench.folder / f"{self.name}.log"
        return file.read_text() if file.exists() else ""


def _kubeconfig(server: str) -> str:
    return json.dumps(
        {
            "apiVersion": "v1",
            "kind": "Config",
            "clusters": [{"name": "c", "cluster": {"server": server}}],
            "users": [{"name": "u", "user": {}}],
            "contexts": [{"name": "c", "context": {"cluster": "c", "user": "u"}}],
            "current-context": "c",
        }
    )


# The ways that a benchmark can go, with what is done to it on its way


@dataclass(frozen=True)
class End:
    """How a benchmark ended, as the table has it."""

    end: str
    runs: int
    results: str

    @classmethod
    def of(cls, place: Place, name: str) -> End:
        found = place.until_final(name)
        reason = condition(found, "Failed")[1] if found["phase"] == "Failed" else ""
        runs = sum(_has_run(runner) for runner in found.get("runners") or [])
        stored = {"True": "stored", "False": "none", "Unknown": "unknown"}[condition(found, "ResultsStored")[0]]
        return cls(" ".join(filter(None, (found["phase"], reason))), runs, stored)


def _has_run(runner: dict[str, Any]) -> bool:
    return runner.get("phase") in ("Succeeded", "Failed", "Unknown")


def succeed(place: Place) -> End:
    place.apply("way", **SHORT)
    return End.of(place, "way")


def fail(place: Place) -> End:
    place.apply("way", {"url": "http://127.0.0.1:9/v1/chat/completions", "model": "none", "waitFor": "2s"})
    return End.of(place, "way")


def cancel(place: Place) -> End:
    place.apply("way", **LONG)
    place.until_loaded("way")
    place.bench.rest.patch(place.path("perfbenchmarks", "way"), {"spec": {"cancel": True}})
    return End.of(place, "way")


def expire(place: Place) -> End:
    place.apply("way", ttlSecondsAfterFinished=2, **SHORT)
    place.until("way is gone", lambda: not place.bench.rest("GET", place.path("perfbenchmarks"))["items"])
    [claim] = place.items("persistentvolumeclaims")
    return End("deleted by its ttl", 1, "kept" if claim["metadata"]["name"] == "way-results" else "none")


def queue(place: Place) -> End:
    """Two at one target: the second one starts when the first one is over."""
    target = {"service": {"name": "target", "port": 8000}, "model": "mock"}
    _serve_target(place)
    place.apply("first", target, **SHORT)
    place.until("first has started", lambda: place.status("first").get("startTime"))
    place.apply("way", target, **SHORT)
    place.until("way is queued", lambda: place.status("way").get("phase") in ("Queued", *FINAL), 60)
    first, second = End.of(place, "first"), End.of(place, "way")
    assert first == second
    ended, began = place.status("first")["completionTime"], place.status("way")["startTime"]
    assert ended <= began, f"the first one ended at {ended}, the second one began at {began}"
    return second


def retry(place: Place) -> End:
    """An eviction, as a drain makes it."""
    place.apply("way", **{**SHORT, "load": {"stages": [{"rate": 10, "duration": "25s"}], "gracePeriod": "2s"}})
    place.until_loaded("way")
    [pod] = place.pods("way")
    name = pod["metadata"]["name"]
    eviction = {"apiVersion": "policy/v1", "kind": "Eviction", "metadata": {"name": name, "namespace": place.name}}
    place.bench.rest("POST", f"{place.path('pods', name)}/eviction", eviction)
    return End.of(place, "way")


def _serve_target(place: Place) -> None:
    """A mock endpoint as Service `target`."""
    command = ("perfbench", "mock", "--host", "0.0.0.0", "--port", "8000", "--ttft-s", "0.02", "--itl-s", "0.002")
    spec = pod_spec(place.bench.cluster.images["runner"], *command, env=[{"name": "HOME", "value": "/tmp"}])
    labels = {"app": "target"}
    place.bench.rest(
        "POST", place.path("pods"),
        {"apiVersion": "v1", "kind": "Pod", "metadata": {"name": "target", "labels": labels}, "spec": spec},
    )  # fmt: skip
    service = {"selector": labels, "ports": [{"port": 8000}]}
    place.bench.rest(
        "POST", place.path("services"),
        {"apiVersion": "v1", "kind": "Service", "metadata": {"name": "target"}, "spec": service},
    )  # fmt: skip


def delete(
    plural: str, selector: str = "perfbench.io/benchmark=way", propagation: str = "Background"
) -> Callable[[Place], End]:
    """Delete the benchmark's objects of a kind in the middle of its run."""

    def way(place: Place) -> End:
        place.apply("way", **LONG if plural != "persistentvolumeclaims" else SHORT)
        place.until_loaded("way")
        for item in place.items(plural, selector):
            options = {"propagationPolicy": propagation}
            place.bench.rest("DELETE", place.path(plural, item["metadata"]["name"]), options)
        if plural == "configmaps":
            place.bench.rest.patch(place.path("perfbenchmarks", "way"), {"spec": {"cancel": True}})
        return End.of(place, "way")

    return way


def kill_pod(place: Place) -> End:
    place.apply("way", **LONG)
    place.until_loaded("way")
    [pod] = place.pods("way")
    place.bench.rest("DELETE", place.path("pods", pod["metadata"]["name"]), {"gracePeriodSeconds": 0})
    return End.of(place, "way")


def delete_namespace(place: Place) -> End:
    place.apply("way", **LONG)
    place.until_loaded("way")
    place.bench.rest("DELETE", f"/api/v1/namespaces/{place.name}", {})

    def is_gone() -> bool:
        try:
            place.bench.rest("GET", f"/api/v1/namespaces/{place.name}")
        except KeyError:
            return True
        return False

    place.until("namespace is gone", is_gone)
    time.sleep(2)
    assert Path(f"/proc/{place.pid}").exists(), "the operator waits for its namespace"
    return End("deleted with its namespace", 1, "none")


def lose_api_server(place: Place) -> End:
    """For a minute, from the middle of the run until after its end."""
    place.apply("way", **{**SHORT, "load": {"stages": [{"rate": 10, "duration": "20s"}]}})
    place.until_loaded("way")
    place.proxy.is_away = True
    time.sleep(60)
    place.proxy.is_away = False
    return End.of(place, "way")


def be_away(place: Place) -> End:
    """The operator is away when the run ends, and its pod is gone when it comes back."""
    place.apply("way", **SHORT)
    place.until_loaded("way")
    place.kill()
    wait_for(lambda: (place.items("jobs")[0].get("status") or {}).get("succeeded"), 90, "Job is complete")
    for pod in place.pods("way"):
        place.bench.rest("DELETE", place.path("pods", pod["metadata"]["name"]), {})
    wait_for(lambda: not place.pods("way"), 60, "pod is gone")
    return End.of(place, "way")


def end_runner(after_s: float) -> Callable[[Place], End]:
    """End the runner so long after its container has started."""

    def way(place: Place) -> End:
        place.apply("way", **LONG)
        place.until(
            "container runs", lambda: "running" in place.pods("way")[0]["status"]["containerStatuses"][0]["state"]
        )
        time.sleep(after_s)
        [pod] = place.pods("way")
        place.bench.rest("DELETE", place.path("pods", pod["metadata"]["name"]), {})
        return End.of(place, "way")

    return way


def lose_node(place: Place) -> End:
    """A node whose kubelet has stopped: it is only an object, and the test has said what a kubelet would."""
    node = f"ghost-{place.name}"
    labels = {"kubernetes.io/hostname": node, "ghost": place.name}
    place.bench.rest(
        "POST", "/api/v1/nodes", {"apiVersion": "v1", "kind": "Node", "metadata": {"name": node, "labels": labels}}
    )
    try:
        capacity = {"cpu": "4", "memory": "8Gi", "pods": "10"}
        ready = [{"type": "Ready", "status": "True", "reason": "KubeletReady", "message": "",
                  "lastHeartbeatTime": _now(), "lastTransitionTime": _now()}]  # fmt: skip
        place.bench.rest.patch(
            f"/api/v1/nodes/{node}/status",
            {"status": {"capacity": capacity, "allocatable": capacity, "conditions": ready}},
        )
        _make_claim(place)
        place.apply(
            "way",
            results={"claim": {"name": "anywhere"}},
            runner={"nodeSelector": {"ghost": place.name}, "tolerations": [{"operator": "Exists"}]},
            **LONG,
        )
        pod = place.until(
            "pod is on the node", lambda: [one for one in place.pods("way") if one["spec"].get("nodeName")]
        )[0]
        running = {"name": "runner", "ready": True, "restartCount": 0, "image": "i", "imageID": "", "started": True,
                   "state": {"running": {"startedAt": _now()}}}  # fmt: skip
        state = {"phase": "Running", "containerStatuses": [running], "startTime": _now(),
                 "conditions": [{"type": "Ready", "status": "True", "lastTransitionTime": _now()}]}  # fmt: skip
        place.bench.rest.patch(f"{place.path('pods', pod['metadata']['name'])}/status", {"status": state})
        return End.of(place, "way")
    finally:
        place.bench.rest("DELETE", f"/api/v1/nodes/{node}", {})
        with suppress(KeyError):
            place.bench.rest("DELETE", f"/api/v1/persistentvolumes/{place.name}", {})


def _make_claim(place: Place) -> None:
    """A claim whose volume every node has; nobody ever uses it."""
    size, modes = {"storage": "1Gi"}, ["ReadWriteOnce"]
    volume = {
        "capacity": size,
        "accessModes": modes,
        "hostPath": {"path": f"/tmp/{place.name}"},
        "claimRef": {"namespace": place.name, "name": "anywhere"},
        "persistentVolumeReclaimPolicy": "Retain",
    }
    claim = {"accessModes": modes, "resources": {"requests": size}, "storageClassName": "", "volumeName": place.name}
    place.bench.rest("POST", "/api/v1/persistentvolumes", {"metadata": {"name": place.name}, "spec": volume})
    place.bench.rest("POST", place.path("persistentvolumeclaims"), {"metadata": {"name": "anywhere"}, "spec": claim})


def _now() -> str:
    return time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime())
