"""The chart's admission policies: what they refuse, and that the operator works within its own."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from typing import Any

import pytest
from benchmarks import LONG, Release, benchmark, condition, installed, restricted_namespace, status, until
from kube import Cluster, CommandError, Namespace, pod, pod_spec, wait_for

MOCK = {"mock": {"ttft": "5ms", "itl": "1ms"}}
POLICIES = {
    "podOverrides": "Scheduling",
    "images": ["registry.example/perfbench:1", "registry.example/team/*"],
    "secrets": ["perfbench-*"],
    "plugins": "Image",
    "targets": "Namespace",
    "targetHosts": ["llm.example.com"],
    "excludedNamespaces": ["kube-system"],
    "operator": True,
}


@pytest.fixture(scope="module")
def release(cluster: Cluster, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Release]:
    """The operator for the whole cluster, under every policy."""
    with (
        restricted_namespace(cluster) as home,
        installed(cluster, home, tmp_path_factory.mktemp("chart"), policies=POLICIES) as found,
    ):
        wait_for(lambda: is_enforced(home), 30, "policies are enforced")
        yield found


def is_enforced(space: Namespace) -> bool:
    """A new policy takes the API server some seconds."""
    try:
        dry_run(space, benchmark("probe", MOCK, runner={"env": [{"name": "A", "value": "b"}]}))
    except CommandError as error:
        return "podOverrides" in str(error)
    return False


def dry_run(space: Namespace, item: Mapping[str, Any], *flags: str) -> str:
    return space.kubectl("create", "-f", "-", "--dry-run=server", *flags, stdin=json.dumps(item))


def test_policies_are_well_typed(release: Release, cluster: Cluster) -> None:
    def checked() -> list[dict[str, Any]]:
        found = cluster.get("validatingadmissionpolicies")["items"]
        own = [item for item in found if release.namespace.name in item["metadata"]["name"]]
        return own if all("typeChecking" in item.get("status", {}) for item in own) else []

    policies = wait_for(checked, 30, "types are checked")
    assert len(policies) == 8
    for policy in policies:
        warnings = policy["status"]["typeChecking"].get("expressionWarnings", [])
        assert not warnings, f"{policy['metadata']['name']}: {warnings}"


@pytest.mark.parametrize(
    ("spec", "value"),
    [
        ({"runner": {"env": [{"name": "A", "value": "b"}]}}, "podOverrides"),
        ({"runner": {"envFrom": [{"secretRef": {"name": "x"}}]}}, "podOverrides"),
        ({"runner": {"volumes": [{"name": "t", "projected": {"sources": []}}]}}, "podOverrides"),
        ({"runner": {"serviceAccountName": "admin"}}, "podOverrides"),
        ({"runner": {"securityContext": {"privileged": True}}}, "podOverrides"),
        ({"runner": {"podSecurityContext": {}}}, "podOverrides"),
        ({"runner": {"labels": {"app": "web"}}}, "podOverrides"),
        ({"runner": {"image": "evil.example/perfbench:1"}}, "images"),
        ({"runner": {"image": "registry.example/perfbench:12"}}, "images"),
        ({"runner": {"imagePullSecrets": [{"name": "x"}]}}, "secrets"),
        ({"target": {**MOCK, "apiKey": {"secretKeyRef": {"name": "x", "key": "k"}}}}, "secrets"),
        ({"target": {**MOCK, "headers": [{"name": "A", "secretKeyRef": {"name": "x", "key": "k"}}]}}, "secrets"),
        ({"target": {**MOCK, "tls": {"ca": {"secretKeyRef": {"name": "x", "key": "k"}}}}}, "secrets"),
        ({"plugins": [{"configMap": {"name": "p"}}]}, "plugins"),
        ({"plugins": [{"file": "/data/p.py"}]}, "plugins"),
        ({"target": {"service": {"name": "llm", "namespace": "other"}}}, "policies.targets "),
        ({"target": {**MOCK, "metrics": [{"service": {"name": "llm", "namespace": "other"}}]}}, "policies.targets "),
        ({"target": {"url": "http://llm.other.svc:8000"}}, "targetHosts"),
        ({"target": {"url": "http://10.0.0.1/v1"}}, "targetHosts"),
        ({"target": {"url": "http://llm.example.com.evil.example/"}}, "targetHosts"),
        ({"target": {"url": "http://llm.example.com@evil.example/"}}, "targetHosts"),
        ({"target": {"url": "http://evil.example\\@llm.example.com/"}}, "targetHosts"),
        ({"target": {"url": "http://evil.example?llm.example.com"}}, "targetHosts"),
        ({"target": {**MOCK, "metrics": [{"url": "http://evil.example/metrics"}]}}, "targetHosts"),
        ({"results": {"push": "http://evil.example"}}, "targetHosts"),
    ],
)
def test_what_a_policy_forbids_is_refused_at_once_and_names_its_value(
    release: Release, namespace: Namespace, spec: dict[str, Any], value: str
) -> None:
    with pytest.raises(CommandError) as caught:
        dry_run(namespace, benchmark("greedy", spec.pop("target", MOCK), **spec))
    assert "denied request" in str(caught.value)
    assert value in str(caught.value)


@pytest.mark.parametrize(
    "spec",
    [
        {"runner": {"resources": {"requests": {"cpu": "100m"}}, "nodeSelector": {"a": "b"}}},
        {"runner": {"image": "registry.example/perfbench:1", "imagePullSecrets": [{"name": "perfbench-pull"}]}},
        {"runner": {"image": "registry.example/team/perfbench:2"}},
        {"target": {**MOCK, "apiKey": {"secretKeyRef": {"name": "perfbench-key", "key": "k"}}}},
        {"target": {"service": {"name": "llm", "port": 8000}}},
        {"target": {"url": "https://llm.example.com:8443/v1/chat/completions"}},
        {"plugins": [{"module": "team_plugins"}]},
    ],
)
def test_what_no_policy_forbids_is_admitted(release: Release, namespace: Namespace, spec: dict[str, Any]) -> None:
    dry_run(namespace, benchmark("modest", spec.pop("target", MOCK), **spec))


def test_nothing_runs_in_a_namespace_of_the_system(release: Release, cluster: Cluster) -> None:
    with pytest.raises(CommandError, match="excludedNamespaces"):
        dry_run(Namespace(cluster, "kube-system"), benchmark("hidden", MOCK))


def test_the_operator_runs_cancels_and_deletes_within_its_policies(release: Release, namespace: Namespace) -> None:
    namespace.apply(
        benchmark("short", MOCK),
        benchmark("long", MOCK, **LONG),
        benchmark("pending", MOCK, runner={"nodeSelector": {"no-such": "node"}}),
        benchmark("passing", MOCK, ttlSecondsAfterFinished=0),
    )
    wait_for(lambda: condition(status(namespace, "pending"), "Running")[1] == "Unschedulable", 15, "no node is found")
    cancel(namespace, "pending")  # before its startTimeout; its Job is suspended
    assert condition(until(namespace, "short", "Succeeded"), "ResultsStored")[0] == "True"
    until(namespace, "long", "Running")
    cancel(namespace, "long")  # by the pod's deadline
    wait_for(lambda: "passing" not in namespace.kubectl("get", "pb", "--output", "name"), 60, "ttl is over")
    assert "denied request" not in release.log()


def cancel(space: Namespace, name: str) -> None:
    space.kubectl("patch", "pb", name, "--type=merge", "--patch", '{"spec": {"cancel": true}}')
    until(space, name, "Cancelled")


# The operator's account in other hands


def job(namespace: Namespace, owner: Mapping[str, Any], **pod_fields: Any) -> dict[str, Any]:
    spec = {**pod_spec("busybox", "id"), **pod_fields}
    spec["containers"] = [{**container, "name": "runner"} for container in spec["containers"]]
    meta = {"name": "forged", "namespace": namespace.name, "ownerReferences": [owner]}
    return {"apiVersion": "batch/v1", "kind": "Job", "metadata": meta, "spec": {"template": {"spec": spec}}}


OWNER = {"apiVersion": "perfbench.io/v1alpha1", "kind": "PerfBenchmark", "name": "a", "uid": "u", "controller": True}


@pytest.mark.parametrize(
    ("owner", "fields", "message"),
    [
        ({**OWNER, "kind": "Deployment", "apiVersion": "apps/v1"}, {}, "of PerfBenchmarks alone"),
        ({**OWNER, "controller": False}, {}, "of PerfBenchmarks alone"),
        (OWNER, {"automountServiceAccountToken": True}, "no token"),
        (OWNER, {"hostNetwork": True}, "nothing of its node"),
        (OWNER, {"hostPID": True}, "nothing of its node"),
    ],
)
def test_the_operators_account_makes_no_jobs_but_runners(
    release: Release, namespace: Namespace, owner: dict[str, Any], fields: dict[str, Any], message: str
) -> None:
    with pytest.raises(CommandError, match=message):
        dry_run(namespace, job(namespace, owner, **fields), as_operator(release))
    dry_run(namespace, job(namespace, OWNER), as_operator(release))


def test_the_operators_account_makes_no_jobs_in_the_system(release: Release, cluster: Cluster) -> None:
    system = Namespace(cluster, "kube-system")
    with pytest.raises(CommandError, match="namespaces of the system"):
        dry_run(system, job(system, OWNER), as_operator(release))


def test_the_operators_account_changes_no_jobs_and_pods_of_others_and_little_of_its_own(
    release: Release, namespace: Namespace
) -> None:
    namespace.apply(
        pod("theirs", pod_spec(namespace.cluster.images["busybox"], "sleep", "60")),
        benchmark("ours", MOCK, **LONG),
    )
    found = until(namespace, "ours", "Running")
    [own] = [runner["name"] for runner in found["runners"]]
    refused: list[tuple[str, str, dict[str, Any], str]] = [
        ("Pod", "theirs", {"spec": {"activeDeadlineSeconds": 1}}, "no pods but runners"),
        ("Pod", own, {"metadata": {"labels": {"app": "web"}}}, "nothing but activeDeadlineSeconds"),
        ("Pod", own, {"metadata": {"finalizers": ["a.example/b"]}}, "nothing but activeDeadlineSeconds"),
        ("Pod", own, {"spec": {"containers": [{"name": "runner", "image": "evil"}]}}, "nothing but activeDeadlineSec"),
        ("Job", found["job"], {"spec": {"parallelism": 3}}, "nothing but suspend"),
        ("Job", found["job"], {"spec": {"backoffLimit": 9}}, "nothing but suspend"),
    ]
    for kind, name, change, message in refused:
        with pytest.raises(CommandError, match=message):
            patch(release, namespace, kind, name, change)
    patch(release, namespace, "Pod", own, {"spec": {"activeDeadlineSeconds": 3600}})
    patch(release, namespace, "Job", found["job"], {"spec": {"suspend": True}})
    assert status(namespace, "ours")["phase"] == "Running", "nothing was done: dry runs only"
    job = f"/apis/batch/v1/namespaces/{namespace.name}/jobs/{found['job']}"
    with pytest.raises(CommandError, match="in a queue of Kueue"):
        namespace.kubectl("delete", "--raw", job, as_operator(release))
    with pytest.raises(CommandError, match="changes no spec"):
        patch(release, namespace, "PerfBenchmark", "ours", {"spec": {"cancel": True}})
    path = f"/apis/perfbench.io/v1alpha1/namespaces/{namespace.name}/perfbenchmarks/ours"
    with pytest.raises(CommandError, match="without ttlSecondsAfterFinished"):
        namespace.kubectl("delete", "--raw", path, as_operator(release))


def as_operator(release: Release) -> str:
    return f"--as=system:serviceaccount:{release.namespace.name}:perfbench"


def patch(release: Release, space: Namespace, kind: str, name: str, change: Mapping[str, Any]) -> None:
    """Patch as the operator; by server-side apply, since it may not read single pods, which `kubectl patch` does first."""
    versions = {"Job": "batch/v1", "PerfBenchmark": "perfbench.io/v1alpha1"}
    item = {"apiVersion": versions.get(kind, "v1"), "kind": kind, **change}
    item["metadata"] = {"name": name, **change.get("metadata", {})}
    flags = ("--server-side", "--force-conflicts", "--dry-run=server", as_operator(release))
    space.kubectl("apply", "-f", "-", *flags, stdin=json.dumps(item))
