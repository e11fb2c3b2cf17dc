"""A real Prometheus beside the cluster: Debian's binary, which scrapes pods through `kubectl proxy`.

The proxy makes it work with any cluster that kubectl reaches, whatever the network between. Debian's Prometheus knows no
Kubernetes, so a thread tells it of pods in a file, as they come and go.
"""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
import threading
import time
import urllib.error
import urllib.parse
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml
from kube import Cluster, wait_for

_OPENER = urllib.request.build_opener(urllib.request.ProxyHandler({}))
JOBS = {"runners": ("runner", "perfbench-operator"), "operator": ("operator", "Helm")}
"""Component and manager of the pods of each job."""


@dataclass(frozen=True)
class Prometheus:
    """A running Prometheus; times are seconds since the epoch."""

    url: str

    def ask(self, path: str, **parameters: Any) -> Any:
        """The data of an answer of its API; a query that it does not understand fails the test."""
        query = urllib.parse.urlencode(parameters)
        try:
            with _OPENER.open(f"{self.url}/api/v1/{path}?{query}", timeout=30) as response:
                return json.load(response)["data"]
        except urllib.error.HTTPError as error:
            raise AssertionError(f"{parameters}: {error.read().decode()}") from None

    def at(self, expr: str, at_s: float) -> list[dict[str, Any]]:
        """The vector of a query at one moment."""
        found: list[dict[str, Any]] = self.ask("query", query=expr, time=at_s)["result"]
        return found

    def over(self, expr: str, start_s: float, end_s: float, step_s: float = 1.0) -> list[dict[str, Any]]:
        """The series of a query over a time."""
        found: list[dict[str, Any]] = self.ask("query_range", query=expr, start=start_s, end=end_s, step=step_s)[
            "result"
        ]
        return found

    def value(self, expr: str, at_s: float) -> float:
        """The one number that a query makes."""
        [sample] = self.at(expr, at_s)
        return float(sample["value"][1])


@contextmanager
def scraping(cluster: Cluster, folder: Path, *namespaces: str) -> Iterator[Prometheus]:
    """Prometheus, every second, of all runners and operators in these namespaces."""
    environment = {**os.environ, "KUBECONFIG": str(cluster.kubeconfig)}
    with _process([cluster.programs["kubectl"], "proxy", "--port=0"], folder / "proxy.log", environment) as log:
        found = wait_for(lambda: re.search(r"127\.0\.0\.1:(\d+)", log.read_text()), 20, "kubectl proxy")
        assert found
        config = {"global": {"scrape_interval": "1s", "scrape_timeout": "1s"}, "scrape_configs": _jobs(folder)}
        (folder / "prometheus.yaml").write_text(yaml.safe_dump(config))
        command = [
            str(shutil.which("prometheus")),
            f"--config.file={folder / 'prometheus.yaml'}",
            f"--storage.tsdb.path={folder / 'tsdb'}",
            "--web.listen-address=127.0.0.1:0",
        ]
        with (
            _finding(found[0], folder, namespaces),
            _process(command, folder / "prometheus.log", environment) as log,
        ):
            found = wait_for(lambda: re.search(r"Listening on\D+(127\.0\.0\.1:\d+)", log.read_text()), 20, "Prometheus")
            assert found
            yield Prometheus(f"http://{found[1]}")


@contextmanager
def _process(command: list[str], log: Path, environment: dict[str, str]) -> Iterator[Path]:
    with log.open("w") as file:
        process = subprocess.Popen(command, stdout=file, stderr=subprocess.STDOUT, env=environment)
        try:
            yield log
        finally:
            process.terminate()
            try:
                process.wait(10)
            except subprocess.TimeoutExpired:
                process.kill()
                process.wait(10)


def _jobs(folder: Path) -> list[dict[str, Any]]:
    """Scrape jobs that keep our labels, as the chart's monitors do."""
    return [
        {"job_name": name, "honor_labels": True, "file_sd_configs": [{"files": [str(folder / f"{name}.json")]}]}
        for name in JOBS
    ]


@contextmanager
def _finding(proxy: str, folder: Path, namespaces: tuple[str, ...]) -> Iterator[None]:
    """Keep the files of targets up to date."""
    is_over = threading.Event()

    def find() -> None:
        known: dict[str, str] = {}
        while not is_over.wait(0.3):
            for name, labels in JOBS.items():
                text = json.dumps([target for space in namespaces for target in _targets(proxy, space, *labels)])
                if known.get(name) != text:
                    known[name] = text
                    (folder / f"{name}.tmp").write_text(text)
                    (folder / f"{name}.tmp").rename(folder / f"{name}.json")

    thread = threading.Thread(target=find)
    thread.start()
    try:
        yield
    finally:
        is_over.set()
        thread.join()


def _targets(proxy: str, namespace: str, component: str, manager: str) -> list[dict[str, Any]]:
    """Running pods, as file_sd wants them."""
    selector = f"app.kubernetes.io/component={component},app.kubernetes.io/managed-by={manager}"
    pods = f"/api/v1/namespaces/{namespace}/pods"
    try:
        with _OPENER.open(f"http://{proxy}{pods}?labelSelector={urllib.parse.quote(selector)}", timeout=10) as response:
            items = json.load(response)["items"]
    except OSError:
        return []
    names = [item["metadata"]["name"] for item in items if item["status"].get("phase") == "Running"]
    return [
        {"targets": [proxy], "labels": {"__metrics_path__": f"{pods}/{name}:9090/proxy/metrics", "instance": name}}
        for name in names
    ]


def now_s() -> float:
    """Seconds since the epoch."""
    return time.time()
