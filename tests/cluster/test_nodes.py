"""A run whose runners are on two nodes, each with a kubelet and a bridge of its own: `make test-nodes`."""

from __future__ import annotations

import os
from pathlib import Path

import components
import pytest
from benchmarks import benchmark, installed, results, until
from kube import Cluster, Namespace
from second_node import second_node

COUNTS = "SELECT count(*), count(DISTINCT seq), sum(NOT success) FROM requests GROUP BY stage ORDER BY stage"
RUNNERS = "SELECT state, node, bound FROM runner ORDER BY runner"
STARTS = "SELECT max(begin_time) - min(begin_time) FROM runner_stage GROUP BY stage"
STAGES = [{"concurrency": 8, "requests": 400}, {"rate": 20, "duration": "10s", "arrival": "constant"}]


@pytest.mark.skipif(not os.environ.get("PERFBENCH_NODES"), reason="make test-nodes: a second node takes a minute")
def test_runners_on_two_nodes_are_one_run(cluster: Cluster, namespace: Namespace, tmp_path: Path) -> None:
    if cluster.kubeconfig != components.KUBECONFIG:
        pytest.skip("the second node is beside the cluster that the tests make")
    mock = {"demo": {"enabled": True, "ttftSeconds": 0.02, "itlSeconds": 0.002}, "startTimeout": "60s"}
    spread = {"replicas": 4}
    with second_node(cluster) as second, installed(cluster, namespace, tmp_path, **mock) as release:
        namespace.apply(benchmark("two", release.demo, load={"stages": STAGES}, runner=spread))
        found = until(namespace, "two", "Succeeded", timeout_s=150)
        counts, runners, starts = results(namespace, found, "", COUNTS, RUNNERS, STARTS)["answers"]
        namespace.kubectl("delete", "pb/two")
    assert counts == [[400, 400, 0], [200, 200, 0]]
    assert [state for state, *_ in runners] == ["merged"] * 4
    assert {node for _, node, _ in runners} == {components.NODE, second}
    bound_s = 2 * max(bound or 0.0 for *_, bound in runners)
    assert all(apart_s + bound_s < 0.005 for [apart_s] in starts), (starts, bound_s)
