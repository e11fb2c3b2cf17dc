"""Kueue, built from its module: runs of several runners that do not fit together go one after the other.

Its build takes minutes once, so this is `make test-kueue` and no part of `make test`.
"""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import components
import pytest
from benchmarks import FINAL, benchmark, installed, restricted_namespace
from kube import Cluster, Namespace, wait_for
from kueue import kueue

LOAD = {"stages": [{"concurrency": 6, "requests": 90}]}
MOCK = {"mock": {"ttft": "20ms", "itl": "2ms"}}


@pytest.mark.skipif(not os.environ.get("PERFBENCH_KUEUE"), reason="make test-kueue: the build of Kueue takes minutes")
def test_two_runs_that_do_not_fit_together_go_one_after_the_other(
    cluster: Cluster, namespace: Namespace, tmp_path: Path
) -> None:
    """Each needs 0.3 CPUs for its three runners, and the queue has 0.4: all of one, and none of the other."""
    if cluster.kubeconfig != components.KUBECONFIG:
        pytest.skip("Kueue runs beside the cluster that the tests make")
    held: list[set[str]] = []

    def states() -> dict[str, dict[str, Any]]:
        items = namespace.get("perfbenchmarks")["items"]
        return {item["metadata"]["name"]: item.get("status", {}) for item in items}

    def are_over() -> bool:
        pods = namespace.get("pods", "--selector=perfbench.io/benchmark")["items"]
        held.append({of(pod) for pod in pods if is_admitted(pod)})
        found = states()
        return {status.get("phase") for status in found.values()} <= {*FINAL} and len(found) == 2

    with (
        restricted_namespace(cluster) as home,
        installed(cluster, home, tmp_path, startTimeout="60s"),
        kueue(cluster, namespace, tmp_path, cpu="400m") as queue,
    ):
        for name in ("first", "second"):
            made = benchmark(name, MOCK, load=LOAD, runner={"replicas": 3})
            made["metadata"]["labels"] = {"kueue.x-k8s.io/queue-name": queue}
            namespace.apply(made)
        wait_for(are_over, 240, "both are over")
        found = states()
        assert [status["phase"] for status in found.values()] == ["Succeeded"] * 2, found
        assert [status["results"]["rows"] for status in found.values()] == [90, 90]
        assert {len(names) for names in held} <= {0, 1}, "never pods of both"
        assert set().union(*held) == {"first", "second"}
        early, late = sorted(found.values(), key=lambda status: status["completionTime"])
        assert early["completionTime"] <= late["summary"][0].get("start_time", late["completionTime"])
        namespace.kubectl("delete", "perfbenchmarks", "--all", "--wait=true", timeout_s=60)


def of(pod: dict[str, Any]) -> str:
    return str(pod["metadata"]["labels"]["perfbench.io/benchmark"])


def is_admitted(pod: dict[str, Any]) -> bool:
    """Whether its resources are taken: it is let to start, and has not ended."""
    return not pod["spec"].get("schedulingGates") and pod["status"].get("phase") not in ("Succeeded", "Failed")
