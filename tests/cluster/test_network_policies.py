"""The chart's NetworkPolicies, enforced: who reaches operator and runners, and whom the operator reaches."""

from __future__ import annotations

import os
from collections.abc import Iterator
from dataclasses import dataclass

import firewall
import pytest
from benchmarks import LONG, Release, benchmark, installed, restricted_namespace, until
from kube import Cluster, CommandError, Namespace, pod, pod_spec, wait_for

MOCK = {"mock": {"ttft": "5ms", "itl": "1ms"}}


@dataclass(frozen=True)
class Place:
    """The operator in a namespace of its own, Prometheus in another, and a benchmark that runs."""

    release: Release
    monitoring: Namespace
    team: Namespace
    operator: str
    """Address of the operator's pod."""
    runner: str
    """Address of the runner's pod."""


@pytest.fixture(scope="module")
def place(cluster: Cluster, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Place]:
    if os.environ.get("KUBECONFIG") and os.environ.get("PERFBENCH_TEST_IMAGES"):
        pytest.skip("whether the cluster of KUBECONFIG enforces NetworkPolicies is not known")
    with (
        firewall.enforced(),
        restricted_namespace(cluster) as home,
        restricted_namespace(cluster) as monitoring,
        restricted_namespace(cluster) as team,
        installed(cluster, home, tmp_path_factory.mktemp("chart"), networkPolicy=values(monitoring, team)) as release,
    ):
        for space in (home, monitoring, team):
            space.apply(pod("visitor", pod_spec(cluster.images["busybox"], "sleep", "3600")))
        team.apply(benchmark("watched", MOCK, **LONG))
        found = until(team, "watched", "Running")
        yield Place(
            *(release, monitoring, team),
            operator=address(home, "--selector=app.kubernetes.io/component=operator"),
            runner=address(team, f"--field-selector=metadata.name={found['runners'][0]['name']}"),
        )


def values(monitoring: Namespace, team: Namespace) -> dict[str, object]:
    prometheus = {"namespaceSelector": {"matchLabels": {"kubernetes.io/metadata.name": monitoring.name}}}
    return {"enabled": True, "metricsFrom": [prometheus], "runnerNamespaces": [team.name]}


def address(space: Namespace, *selection: str) -> str:
    found: str = space.get("pods", *selection)["items"][0]["status"]["podIP"]
    return found


def reaches(visitor: Namespace, host: str, port: int) -> bool:
    """Whether a pod of this namespace gets a connection; what a policy forbids is refused or never answered."""
    wait_for(lambda: visitor.phase("pod", "visitor") == "Running", 60, "visitor runs")
    try:
        visitor.kubectl("exec", "visitor", "--", "nc", "-w", "3", host, str(port), "-e", "/bin/true")
    except CommandError:
        return False
    return True


def expect(visitor: Namespace, host: str, port: int, *, reachable: bool) -> None:
    """Wait for it: a network plugin takes some seconds to learn of a pod or a policy."""
    what = f"{visitor.name} {'reaches' if reachable else 'does not reach'} {host}:{port}"
    wait_for(lambda: reaches(visitor, host, port) is reachable, 30, what)


def test_a_run_goes_its_way_under_the_policies(place: Place) -> None:
    """The operator has read the runner's progress through them: else the phase would not be Running."""
    found = until(place.team, "watched", "Running")
    assert wait_for(lambda: until(place.team, "watched", "Running").get("live"), 30, "live figures"), found


def test_only_prometheus_reads_metrics(place: Place) -> None:
    for host in (place.operator, place.runner):
        expect(place.monitoring, host, 9090, reachable=True)
        expect(place.team, host, 9090, reachable=False)
        expect(place.release.namespace, host, 9090, reachable=False)


def test_nobody_reads_the_health_page_but_the_kubelet_and_helms_test(place: Place) -> None:
    home = place.release.namespace
    for visitor in (place.monitoring, place.team, home):
        expect(visitor, place.operator, 8080, reachable=False)
    [item] = home.get("pods", "--selector=app.kubernetes.io/component=operator")["items"]
    ready = {condition["type"]: condition["status"] for condition in item["status"]["conditions"]}
    assert ready["Ready"] == "True"
    home.helm("test", "perfbench", "--timeout=90s")


def test_the_operator_reaches_nothing_but_the_api_server_dns_and_runners(place: Place) -> None:
    home = place.release.namespace
    place.monitoring.apply(
        pod("web", pod_spec(home.cluster.images["busybox"], "httpd", "-f", "-p", "8000", "-h", "/etc"))
    )
    wait_for(lambda: place.monitoring.phase("pod", "web") == "Running", 60, "web runs")
    target = address(place.monitoring, "--field-selector=metadata.name=web")
    expect(place.team, target, 8000, reachable=True)
    script = f"import socket; socket.create_connection(('{target}', 8000), 3)"
    with pytest.raises(CommandError, match=r"TimeoutError|ConnectionRefusedError"):
        home.kubectl("exec", "deployment/perfbench", "--", "python3", "-c", script)


def test_it_is_the_policies_that_keep_others_out(place: Place) -> None:
    """Last: it takes them away."""
    place.team.kubectl("delete", "networkpolicy", "perfbench-runners")
    expect(place.team, place.runner, 9090, reachable=True)
