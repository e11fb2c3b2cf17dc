"""Every way to install the operator, each seen working by a benchmark."""

from __future__ import annotations

from pathlib import Path

from benchmarks import CHART, REPOSITORY, benchmark, has_crd, installed, restricted_namespace, until, wait_established
from kube import Cluster, CommandError, Namespace, wait_for

MOCK = {"mock": {"ttft": "5ms", "itl": "1ms"}}


def test_namespaced_mode_serves_its_namespaces_with_rights_nowhere_else(
    cluster: Cluster, namespace: Namespace, tmp_path: Path
) -> None:
    with (
        restricted_namespace(cluster) as elsewhere,
        restricted_namespace(cluster) as home,
        installed(
            cluster,
            home,
            tmp_path,
            namespaces=[namespace.name, home.name],
            networkPolicy={"enabled": True},
            podDisruptionBudget={"enabled": True},
            rbac={"aggregate": False},
        ),
    ):
        elsewhere.apply(benchmark("unseen", MOCK))
        namespace.apply(benchmark("one", MOCK))
        home.apply(benchmark("two", MOCK))
        until(namespace, "one", "Succeeded")
        until(home, "two", "Succeeded")
        assert not elsewhere.get("pb", "unseen").get("status")
        user = f"--as=system:serviceaccount:{home.name}:perfbench"
        assert namespace.kubectl("auth", "can-i", "list", "pods", user).strip() == "yes"
        try:
            answer = elsewhere.kubectl("auth", "can-i", "list", "pods", user)
        except CommandError:
            answer = "no"
        assert answer.strip() == "no"


def test_raw_install_without_helm_works(cluster: Cluster, namespace: Namespace) -> None:
    """`kubectl apply -f crds/`, and the rendered manifests of the operator."""
    had_crd = has_crd(cluster)
    cluster.kubectl("apply", "-f", str(REPOSITORY / "crds"))
    wait_established(cluster, "crd/perfbenchmarks.perfbench.io")
    settings = [
        "crds.enabled=false",
        f"image.repository={cluster.images['operator'].rpartition(':')[0]}",
        f"image.tag={cluster.images['operator'].rpartition(':')[2]}",
        f"runner.image.repository={cluster.images['runner'].rpartition(':')[0]}",
        f"runner.image.tag={cluster.images['runner'].rpartition(':')[2]}",
        f"namespaces={{{namespace.name}}}",
    ]
    flags = [flag for setting in settings for flag in ("--set", setting)]
    rendered = namespace.helm("template", "perfbench", str(CHART), "--skip-tests", *flags)
    namespace.apply(rendered)
    try:
        namespace.kubectl("rollout", "status", "deployment/perfbench", "--timeout=60s")
        namespace.apply(benchmark("raw", MOCK))
        until(namespace, "raw", "Succeeded")
    finally:
        namespace.kubectl("delete", "-f", "-", "--wait=false", stdin=rendered)
        if not had_crd:
            cluster.kubectl("delete", "crd", "perfbenchmarks.perfbench.io")
            wait_for(lambda: not has_crd(cluster), 30, "CRD is gone")
