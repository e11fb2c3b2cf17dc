"""A namespace with an operator of its own, which a proxy may kill, and requests to look into it."""

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

from benchmarks import FINAL, benchmark
from kube import Cluster
from proxy import Proxy
from rest import Rest

GROUP = "/apis/perfbench.io/v1alpha1"
TIMEOUT_S = 240


MOCK = {"mock": {"ttft": "20ms", "itl": "2ms"}}


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

    def start(self, identity: str = "") -> None:
        """Start the operator, or the next one, or one that is another one's rival."""
        self.lives += 1
        config = self.bench.folder / f"{self.name}.kubeconfig"
        config.write_text(_kubeconfig(self.proxy.url))
        self.pid = self.bench.fork(
            {
                "KUBECONFIG": str(config),
                "LOG": str(self.bench.folder / f"{self.name}.log"),
                "PERFBENCH_NAMESPACES": self.name,
                "PERFBENCH_IDENTITY": identity or self.name,
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

    def until_loaded(self, name: str, requests: int = 4) -> None:
        def count() -> int:
            return (self.status(name).get("live") or {}).get("requests") or 0

        self.until(f"{name} is under load", lambda: count() >= requests)

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
