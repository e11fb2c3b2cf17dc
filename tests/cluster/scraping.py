"""A real Prometheus beside the cluster, told by the chart's own monitors what to scrape and which alerts to watch.

Debian's binary knows no Kubernetes, so what the Prometheus operator makes of a PodMonitor or ServiceMonitor is done here,
as far as ours go: a thread reads which pods they select, as they come and go, and writes them into files. It scrapes
through `kubectl proxy`, which works with any cluster that kubectl reaches, whatever the network between.
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
MONITORING = "/apis/monitoring.coreos.com/v1/namespaces"
Data = dict[str, Any]


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


@dataclass(frozen=True)
class Api:
    """The cluster's API behind `kubectl proxy`."""

    address: str

    def get(self, path: str, selector: dict[str, str] | None = None) -> Data:
        """An object, or a list by labels."""
        labels = ",".join(f"{name}={value}" for name, value in (selector or {}).items())
        query = f"?labelSelector={urllib.parse.quote(labels)}" if labels else ""
        with _OPENER.open(f"http://{self.address}{path}{query}", timeout=10) as response:
            found: Data = json.load(response)
        return found

    def items(self, kind: str, namespace: str, selector: dict[str, str]) -> list[Data]:
        """Objects of the core API, in one namespace or (empty) in all."""
        where = f"/api/v1/namespaces/{namespace}/{kind}" if namespace else f"/api/v1/{kind}"
        return list(self.get(where, selector)["items"])


@contextmanager
def scraping(cluster: Cluster, folder: Path, namespace: str) -> Iterator[Prometheus]:
    """Prometheus, with the monitors and rules that a release has brought into its namespace."""
    environment = {**os.environ, "KUBECONFIG": str(cluster.kubeconfig)}
    with _process([cluster.programs["kubectl"], "proxy", "--port=0"], folder / "proxy.log", environment) as log:
        found = wait_for(lambda: re.search(r"127\.0\.0\.1:(\d+)", log.read_text()), 20, "kubectl proxy")
        assert found
        api = Api(found[0])
        monitors = [
            monitor
            for kind in ("podmonitors", "servicemonitors")
            for monitor in api.get(f"{MONITORING}/{namespace}/{kind}")["items"]
        ]
        for rule in api.get(f"{MONITORING}/{namespace}/prometheusrules")["items"]:
            (folder / f"rules-{rule['metadata']['name']}.yaml").write_text(yaml.safe_dump(rule["spec"]))
        config = {
            "global": {"evaluation_interval": "1s"},
            "rule_files": [str(folder / "rules-*.yaml")],
            "scrape_configs": [
                *(_job(monitor, folder) for monitor in monitors),
                *(_job(monitor, folder, "-again") for monitor in monitors if monitor["kind"] == "ServiceMonitor"),
            ],
        }
        (folder / "prometheus.yaml").write_text(yaml.safe_dump(config))
        command = [
            str(shutil.which("prometheus")),
            f"--config.file={folder / 'prometheus.yaml'}",
            f"--storage.tsdb.path={folder / 'tsdb'}",
            "--web.listen-address=127.0.0.1:0",
        ]
        with (
            _finding(api, folder, monitors),
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


def _endpoint(monitor: Data) -> Data:
    """What is said of the only port that ours scrape."""
    spec = monitor["spec"]
    [endpoint] = spec.get("podMetricsEndpoints") or spec["endpoints"]
    found: Data = endpoint
    return found


def _job(monitor: Data, folder: Path, suffix: str = "") -> Data:
    """The scrape job of a monitor; the file of its targets has its name.

    With a suffix it is one that scrapes the same again, under another instance: for a while Prometheus has an operator's
    series twice whenever its pod is replaced.
    """
    name, endpoint = monitor["metadata"]["name"], _endpoint(monitor)
    relabelings = [
        {_RELABELING.get(key, key): value for key, value in rule.items()}
        for rule in endpoint.get("metricRelabelings", [])
    ]
    return {
        "job_name": name + suffix,
        "honor_labels": endpoint.get("honorLabels", False),
        "scrape_interval": endpoint["interval"],
        "metric_relabel_configs": relabelings,
        "file_sd_configs": [{"files": [str(folder / f"{name}.json")]}],
        "relabel_configs": [{"target_label": "instance", "replacement": "again"}] if suffix else [],
    }


_RELABELING = {"sourceLabels": "source_labels", "targetLabel": "target_label"}


@contextmanager
def _finding(api: Api, folder: Path, monitors: list[Data]) -> Iterator[None]:
    """Keep the files of targets up to date."""
    is_over = threading.Event()

    def find() -> None:
        known: dict[str, str] = {}
        while not is_over.wait(0.3):
            for monitor in monitors:
                name = monitor["metadata"]["name"]
                try:
                    text = json.dumps(list(_targets(api, monitor)))
                except OSError:
                    continue
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


def _targets(api: Api, monitor: Data) -> Iterator[Data]:
    """Running pods that a monitor selects, as file_sd wants them, with the labels that the Prometheus operator gives them."""
    spec, meta, endpoint = monitor["spec"], monitor["metadata"], _endpoint(monitor)
    chosen = spec.get("namespaceSelector", {})
    spaces = [""] if chosen.get("any") else chosen.get("matchNames", [meta["namespace"]])
    selector = spec["selector"]["matchLabels"]
    for space in spaces:
        if monitor["kind"] == "PodMonitor":
            found = [(f"{meta['namespace']}/{meta['name']}", selector, space, endpoint["port"])]
        else:
            found = [
                (service["metadata"]["name"], service["spec"]["selector"], space, port["targetPort"])
                for service in api.items("services", space, selector)
                for port in service["spec"]["ports"]
                if port["name"] == endpoint["port"]
            ]
        for job, pods, where, port in found:
            for pod in api.items("pods", where, pods):
                if pod["status"].get("phase") == "Running":
                    yield _target(api, pod, job, port, endpoint["path"])


def _target(api: Api, pod: Data, job: str, port: str, path: str) -> Data:
    name, space = pod["metadata"]["name"], pod["metadata"]["namespace"]
    number = next(
        one["containerPort"] for box in pod["spec"]["containers"] for one in box["ports"] if one.get("name") == port
    )
    proxied = f"/api/v1/namespaces/{space}/pods/{name}:{number}/proxy{path}"
    labels = {"__metrics_path__": proxied, "instance": f"{name}:{number}", "job": job, "namespace": space, "pod": name}
    return {"targets": [api.address], "labels": labels}


def now_s() -> float:
    """Seconds since the epoch."""
    return time.time()
