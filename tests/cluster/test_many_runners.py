"""One run of several runner pods: together they send what was asked for, and one that is lost is named."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest
from benchmarks import LONG, Release, benchmark, condition, installed, restricted_namespace, results, until
from kube import Cluster, Namespace, wait_for


@pytest.fixture(scope="module")
def release(cluster: Cluster, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Release]:
    """The operator for the whole cluster, with the demo endpoint."""
    folder = tmp_path_factory.mktemp("chart")
    with (
        restricted_namespace(cluster) as space,
        installed(
            cluster, space, folder, demo={"enabled": True, "ttftSeconds": 0.02, "itlSeconds": 0.002}, startTimeout="60s"
        ) as found,
    ):
        yield found


def workers_of(space: Namespace) -> list[dict[str, Any]]:
    found: list[dict[str, Any]] = space.get("pods", "--selector=app.kubernetes.io/component=worker")["items"]
    return found


@pytest.mark.parametrize(
    ("replicas", "stage", "least", "most"),
    [
        (4, {"concurrency": 6, "requests": 121}, 121, 121),
        (3, {"rate": 20, "duration": "6s", "arrival": "constant"}, 119, 121),
    ],
    ids=["closed by count", "open by time"],
)
def test_runner_pods_share_one_load_and_leave_one_result(
    release: Release, namespace: Namespace, replicas: int, stage: dict[str, Any], least: int, most: int
) -> None:
    namespace.apply(benchmark("many", release.demo, load={"stages": [stage]}, runner={"replicas": replicas}))
    found = until(namespace, "many", "Succeeded", timeout_s=120)
    assert least <= found["results"]["rows"] <= most
    assert found["results"]["rows"] == found["summary"][0]["requests"]["total"]
    assert found["summary"][0]["requests"]["succeeded"] == found["results"]["rows"]
    assert len(workers_of(namespace)) == replicas - 1
    stored = results(namespace, found)
    assert (stored["rows"], stored["sha256"]) == (found["results"]["rows"], found["results"]["sha256"])
    assert len(stored["runners"]) == replicas
    assert sum(stored["runners"]) == stored["rows"]
    assert min(stored["runners"]) > 0, "each has sent a part"
    namespace.kubectl("delete", "pb", "many", "--wait=true", timeout_s=60)
    kinds = "jobs,services,secrets,pods"
    wait_for(
        lambda: (
            not namespace.kubectl("get", kinds, "--selector=app.kubernetes.io/name=perfbench", "-o", "name").strip()
        ),
        60,
        "nothing of the run is left",
    )


def test_a_worker_that_is_lost_fails_the_run_and_is_named(release: Release, namespace: Namespace) -> None:
    namespace.apply(benchmark("lossy", release.demo, **LONG, runner={"replicas": 3}))
    until(namespace, "lossy", "Running", timeout_s=60)
    wait_for(lambda: len(workers_of(namespace)) == 2, 60, "two workers")
    lost = workers_of(namespace)[0]["metadata"]["name"]
    wait_for(
        lambda: int(namespace.get("pb", "lossy")["status"].get("live", {}).get("requests", 0)) > 20,
        60,
        "the load is under way",
    )
    namespace.kubectl("delete", "pod", lost, "--force", "--grace-period=0")
    found = until(namespace, "lossy", "Failed", timeout_s=120)
    assert condition(found, "Failed")[0] == "True"
    name = lost.rpartition("-")[0]  # as pods of an Indexed Job call themselves: by Job and index
    assert name in found["message"], found["message"]
    assert "SIGTERM" in found["message"]
    assert found["results"]["rows"] > 0


def test_a_search_tells_what_the_endpoint_carries(release: Release, namespace: Namespace) -> None:
    search = {"concurrency": {"from": 1, "to": 4}, "requests": 120, "maxDuration": "90s"}
    namespace.apply(
        benchmark(
            "search",
            release.demo,
            load={"search": search, "gracePeriod": "2s"},
            objectives=[{"metric": "ttft", "statistic": "p90", "max": "5s"}],
        )
    )
    found = until(namespace, "search", "Succeeded", timeout_s=150)
    assert condition(found, "LoadFound")[0] == "True", found["conditions"]
    assert found["search"]["low"] == 4, "the objectives hold at the highest load of the range"
    assert "4" in namespace.kubectl("get", "pb", "search").splitlines()[1]
