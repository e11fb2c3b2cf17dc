"""What tests do with PerfBenchmarks: install the operator, write benchmarks, wait for them, read their results."""

from __future__ import annotations

import json
import uuid
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from kube import Cluster, CommandError, Namespace, pod, pod_spec, wait_for
from planted import planted_secret, with_planted_key

REPOSITORY = Path(__file__).resolve().parents[2]
CHART = REPOSITORY / "charts" / "perfbench"
CRD = "perfbenchmarks.perfbench.io"
FINAL = ("Succeeded", "Failed", "Cancelled")


@dataclass(frozen=True)
class Release:
    """An installed chart."""

    namespace: Namespace
    name: str = "perfbench"

    @property
    def demo(self) -> dict[str, Any]:
        """The demo endpoint as a target, which the tests share."""
        service = {"name": "perfbench-demo", "namespace": self.namespace.name, "port": 8000}
        return {"service": service, "model": "mock", "exclusive": False}

    def scale(self, replicas: int) -> None:
        """Have the operator gone (0), at once, or back (1)."""
        self.namespace.kubectl("scale", "deployment/perfbench", f"--replicas={replicas}")
        if replicas:
            self.namespace.kubectl("rollout", "status", "deployment/perfbench", "--timeout=60s")
            return
        selector = "app.kubernetes.io/component=operator"
        self.namespace.kubectl("delete", "pods", f"--selector={selector}", "--force", "--grace-period=0")
        wait_for(lambda: not self.namespace.get("pods", f"--selector={selector}")["items"], 30, "operator is gone")

    def log(self) -> str:
        """What the operator has logged."""
        return self.namespace.kubectl("logs", "deployment/perfbench", "--tail=-1")


def values(cluster: Cluster, **more: Any) -> dict[str, Any]:
    """Values that install the images under test."""
    return {
        "image": image(cluster, "operator"),
        "runner": {"image": image(cluster, "runner"), "resources": {"requests": {"cpu": "100m", "memory": "128Mi"}}},
        "startTimeout": "20s",
        "crds": {"enabled": not has_crd(cluster)},
        **more,
    }


def image(cluster: Cluster, name: str) -> dict[str, str]:
    """An image as the chart's values name it."""
    repository, _, tag = cluster.images[name].rpartition(":")
    return {"repository": repository, "tag": tag}


def wait_established(cluster: Cluster, *what: str) -> None:
    """Wait until a CRD is served. Just after it was made its conditions are null, at which kubectl wait gives up."""
    wait_for(lambda: cluster.kubectl("wait", "--for=condition=Established", *what) or True, 60, "the CRD is served")


def has_crd(cluster: Cluster) -> bool:
    """Whether the CRD is there; then it is not ours to take away."""
    try:
        return bool(cluster.get("crd", CRD))
    except CommandError:
        return False


@contextmanager
def restricted_namespace(cluster: Cluster) -> Iterator[Namespace]:
    """A namespace that outlives a test."""
    name = f"test-{uuid.uuid4().hex[:8]}"
    labels = {"pod-security.kubernetes.io/enforce": "restricted"}
    cluster.apply({"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": name, "labels": labels}})
    space = Namespace(cluster, name)
    space.apply(planted_secret())
    wait_for(lambda: space.get("serviceaccount", "default"), 30, "default service account")
    try:
        yield space
    finally:
        cluster.kubectl("delete", "namespace", name, "--wait=false")


def described(space: Namespace) -> str:
    """What there is in a namespace, and what has happened there: for whoever looks for a test's mistake."""
    texts = []
    for command in (["describe", "pods"], ["get", "all,pvc"], ["get", "events", "--sort-by=.lastTimestamp"]):
        try:
            texts.append(f"--- kubectl {' '.join(command)}\n{space.kubectl(*command)}")
        except CommandError as error:
            texts.append(str(error))
    return "\n".join(texts)


def forget_lease(cluster: Cluster) -> None:
    """Take away what an operator that is gone held: it lost the right to release it, and the next one would wait for its end."""
    cluster.kubectl("delete", "lease", "perfbench-operator-all", "--namespace=default", "--ignore-not-found")


@contextmanager
def installed(cluster: Cluster, space: Namespace, folder: Path, **more: Any) -> Iterator[Release]:
    """The chart, installed into a namespace; nothing of it is left afterwards."""
    had_crd = has_crd(cluster)
    file = folder / "values.json"
    file.write_text(json.dumps(values(cluster, **more)))
    space.helm("install", "perfbench", str(CHART), "--values", str(file), "--wait", "--timeout=120s")
    try:
        yield Release(space)
    finally:
        space.helm("uninstall", "perfbench", "--wait")
        forget_lease(cluster)
        if not had_crd:
            assert has_crd(cluster), "the definition, and so everybody's benchmarks, survives an uninstall"
            cluster.kubectl("delete", "crd", CRD)


def benchmark(name: str, target: Mapping[str, Any], **spec: Any) -> dict[str, Any]:
    """A short benchmark with a small claim; its API key is the planted one, unless its target says otherwise."""
    return keyless_benchmark(name, with_planted_key(target), **spec)


def keyless_benchmark(name: str, target: Mapping[str, Any], **spec: Any) -> dict[str, Any]:
    """One for a namespace that has no planted key."""
    defaults: dict[str, Any] = {
        "target": dict(target),
        "request": {"maxTokens": 8},
        "load": {"stages": [{"concurrency": 2, "requests": 10}]},
        "results": {"storage": "1Gi"},
    }
    return {
        "apiVersion": "perfbench.io/v1alpha1",
        "kind": "PerfBenchmark",
        "metadata": {"name": name},
        "spec": defaults | spec,
    }


LONG: Mapping[str, Any] = {"load": {"stages": [{"rate": 10, "duration": "5m"}], "gracePeriod": "2s"}}
"""A load that lasts until it is ended."""


def status(space: Namespace, name: str) -> dict[str, Any]:
    """The benchmark's status."""
    found: dict[str, Any] = space.get("perfbenchmark", name).get("status", {})
    return found


def until(space: Namespace, name: str, *phases: str, timeout_s: float = 60) -> dict[str, Any]:
    """The status when the benchmark has reached a phase; a final one that was not asked for ends the waiting."""

    def reached() -> dict[str, Any] | None:
        found = status(space, name)
        return found if found.get("phase") in (*phases, *FINAL) else None

    found = wait_for(reached, timeout_s, f"{name} is {' or '.join(phases)}")
    assert found is not None
    assert found["phase"] in phases, f"{name}: {json.dumps(found, indent=1)}"
    return found


def condition(found: Mapping[str, Any], kind: str) -> tuple[str, str]:
    """State and reason of a condition."""
    item = next((item for item in found.get("conditions", []) if item["type"] == kind), {})
    return item.get("status", ""), item.get("reason", "")


_READ = """
import base64, hashlib, json, sqlite3, sys
import numpy
path, needle, questions = "/results/" + sys.argv[1], sys.argv[2], sys.argv[3:]
data = open(path, "rb").read()
db = sqlite3.connect(f"file:{path}?mode=ro&immutable=1", uri=True)
requests = [row[0] for row in db.execute("SELECT request FROM result")]
ttft = [row[0] for row in db.execute("SELECT first_chunk_latency FROM result WHERE success")]
text = b"".join(base64.b64decode(request) for request in requests if request)
everything = data + text + "".join(db.iterdump()).encode()
print(json.dumps({
    "rows": len(requests), "bytes": len(data), "sha256": hashlib.sha256(data).hexdigest(),
    "ttft_p99_s": float(numpy.percentile(ttft, 99)) if ttft else None,
    "runners": [row[0] for row in db.execute("SELECT requests FROM runner ORDER BY runner")],
    "answers": [db.execute(question).fetchall() for question in questions],
    "has_needle": bool(needle) and needle.encode() in everything, "requests": text.decode("latin1")[-2000:],
}))
"""


def results(space: Namespace, found: Mapping[str, Any], needle: str = "", *questions: str) -> dict[str, Any]:
    """What a pod that mounts the claim reads from the results file, whether some text is anywhere in it, and what it says
    to questions in SQL (`answers`: rows of each)."""
    stored = found["results"]
    name = f"reader-{uuid.uuid4().hex[:6]}"
    spec = pod_spec(
        space.cluster.images["runner"],
        *("python3", "-c", _READ, stored["path"], needle, *questions),
        volumeMounts=[{"name": "results", "mountPath": "/results"}],
    )
    spec["volumes"] = [{"name": "results", "persistentVolumeClaim": {"claimName": stored["claim"]}}]
    space.apply(pod(name, spec))
    wait_for(lambda: space.phase("pod", name) in ("Succeeded", "Failed"), 60, "reader ends")
    answer: dict[str, Any] = json.loads(space.kubectl("logs", name).strip().splitlines()[-1])
    space.kubectl("delete", "pod", name, "--wait=false")
    return answer
