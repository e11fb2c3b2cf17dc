"""The definition in a real API server: what is refused, and what `kubectl explain` says."""

from __future__ import annotations

import json
import runpy
from collections.abc import Iterator
from typing import Any

import pytest
from benchmarks import CRD, REPOSITORY, benchmark, has_crd, keyless_benchmark
from kube import Cluster, CommandError, Namespace, wait_for

MOCK = {"mock": {}}


@pytest.fixture(scope="module")
def definition(cluster: Cluster) -> Iterator[None]:
    """The definition alone, applied as docs/kubernetes.md says; nobody serves it."""
    had_crd = has_crd(cluster)
    cluster.kubectl("apply", "-f", str(REPOSITORY / "crds"))
    try:
        # `kubectl wait` fails on a definition that has no conditions yet.
        wait_for(lambda: cluster.kubectl("get", "perfbenchmarks", "--all-namespaces") is not None, 30, "it is served")
        yield
    finally:
        if not had_crd:
            cluster.kubectl("delete", "crd", CRD)


def test_types_of_pods_are_those_that_this_version_of_kubernetes_publishes(cluster: Cluster) -> None:
    script = runpy.run_path(str(REPOSITORY / "scripts" / "pod-fields"), run_name="pod-fields")
    version = json.loads(cluster.kubectl("version", "--output", "json"))["serverVersion"]
    if script["VERSION"] != f"v{version['major']}.{version['minor'].rstrip('+')}":
        pytest.skip(f"kubernetes.json is of {script['VERSION']}, this cluster is of {version['gitVersion']}")
    published = json.loads(cluster.kubectl("get", "--raw", "/openapi/v3/api/v1"))
    assert script["excerpt"](published) == (REPOSITORY / "crds/perfbench_api/kubernetes.json").read_text()


@pytest.mark.usefixtures("definition")
@pytest.mark.parametrize(
    ("runner", "message"),
    [
        ({"resources": {"limit": {"cpu": 1}}}, 'unknown field "spec.runner.resources.limit"'),
        ({"tolerations": [{"efect": "NoSchedule"}]}, 'unknown field "spec.runner.tolerations[0].efect"'),
        ({"env": [{"name": "A", "valeu": "b"}]}, 'unknown field "spec.runner.env[0].valeu"'),
        ({"resources": {"limits": {"cpu": "much"}}}, "spec.runner.resources.limits.cpu"),
        ({"volumes": [{"emptyDir": {}}]}, "spec.runner.volumes[0].name: Required value"),
    ],
)
def test_a_mistake_in_a_part_of_a_pod_is_refused(namespace: Namespace, runner: dict[str, Any], message: str) -> None:
    with pytest.raises(CommandError) as caught:
        namespace.apply(benchmark("typo", MOCK, runner=runner))
    assert message in str(caught.value)


@pytest.mark.usefixtures("definition")
def test_parts_of_pods_are_stored_as_they_were_applied(namespace: Namespace) -> None:
    runner = {
        "resources": {"limits": {"memory": "1Gi"}, "requests": {"cpu": 1}},
        "env": [{"name": "A", "valueFrom": {"fieldRef": {"fieldPath": "status.podIP"}}}],
        "affinity": {"nodeAffinity": {"preferredDuringSchedulingIgnoredDuringExecution": []}},
        "volumes": [{"name": "token", "projected": {"sources": [{"configMap": {"name": "c"}}]}}],
    }
    namespace.apply(benchmark("whole", MOCK, runner=runner))
    stored = namespace.get("pb", "whole")["spec"]["runner"]
    assert {name: stored[name] for name in runner} == runner


HEADERS = [{"name": f"X-{number}", "value": "1"} for number in range(64)]


@pytest.mark.usefixtures("definition")
def test_as_many_targets_as_there_may_be_are_not_too_costly_to_look_at(namespace: Namespace) -> None:
    targets = [{"name": f"t{number}", "url": "http://x", "headers": HEADERS} for number in range(8)]
    namespace.apply(benchmark("many", {"model": "m"}, targets=targets))
    assert namespace.get("pb", "many")["spec"]["targets"][7]["weight"] == 1


@pytest.mark.usefixtures("definition")
def test_targets_that_say_all_need_no_common_one(namespace: Namespace) -> None:
    manifest = keyless_benchmark("alone", {}, targets=[{"name": "a", "mock": {}}, {"name": "b", "mock": {}}])
    del manifest["spec"]["target"]
    namespace.apply(manifest)
    assert namespace.get("pb", "alone")["spec"]["target"]["api"] == "openai"
    del manifest["spec"]["targets"]
    manifest["metadata"]["name"] = "nothing"
    with pytest.raises(CommandError, match="give exactly one of url, service and mock"):
        namespace.apply(manifest)


@pytest.mark.usefixtures("definition")
@pytest.mark.parametrize(
    ("other", "message"),
    [
        ({"name": "b"}, "a target has nothing to measure"),
        ({"name": "a", "mock": {}}, "two targets have the same name"),
        ({"name": "b", "mock": {}, "url": "http://x"}, "exclude each other"),
        ({"name": "b", "url": "ftp://x"}, "url must begin with"),
        ({"name": "b", "mock": {}, "headers": [{"name": "X"}]}, "give one of value, secretKeyRef and env"),
    ],
)
def test_a_mistake_in_one_of_several_targets_is_refused(
    namespace: Namespace, other: dict[str, Any], message: str
) -> None:
    with pytest.raises(CommandError, match=message):
        namespace.apply(benchmark("typo", {"model": "m"}, targets=[{"name": "a", "mock": {}}, other]))


@pytest.mark.usefixtures("definition")
@pytest.mark.parametrize(
    ("sections", "message"),
    [
        ({"workloads": [{"name": "a"}, {"name": "a"}]}, "two workloads have the same name"),
        ({"objectives": [{"metric": "ttft", "max": 1, "workload": "b"}]}, "of a workload that there is none of"),
        ({"objectives": [{"metric": "ttft", "max": 1, "target": "b"}]}, "of a target that there is none of"),
        ({"objectives": [{"metric": "goodput_share", "min": 0.9}]}, "an objective of goodput needs limits"),
        ({"objectives": [{"metric": "ttft"}]}, "spec.objectives"),
        ({"objectives": [{"metric": "failed_share", "statistic": "mean", "max": 0.1}]}, "have only one value"),
        ({"dataset": {"minPromptLength": 9, "maxPromptLength": 8}}, "minPromptLength is above maxPromptLength"),
        ({"dataset": {"minTurns": 9, "maxTurns": 8}}, "minTurns is above maxTurns"),
        ({"load": {"warmup": {"concurrency": 3}}}, "concurrency of no requests"),
        ({"load": {"search": {}}}, "give exactly one of rate"),
        ({"load": {"search": {"rate": {"from": 9, "to": 9}}}}, "from is not below to"),
        ({"load": {"guards": {"budget": {"money": 5}}}}, "what a token costs is not known"),
        ({"goodput": {"ttft": 0}}, "spec.goodput.ttft"),
    ],
)
def test_a_mistake_that_needs_no_run_to_be_seen_is_refused(
    namespace: Namespace, sections: dict[str, Any], message: str
) -> None:
    with pytest.raises(CommandError, match=message):
        namespace.apply(benchmark("typo", MOCK, **sections))


@pytest.mark.usefixtures("definition")
def test_as_many_objectives_and_workloads_as_there_may_be_are_stored(namespace: Namespace) -> None:
    workloads = [{"name": f"w{number}", "goodput": {"ttft": "1s"}} for number in range(16)]
    objectives = [{"metric": "goodput_share", "min": 0.5, "workload": f"w{number % 16}"} for number in range(64)]
    namespace.apply(benchmark("many-objectives", MOCK, workloads=workloads, objectives=objectives))
    assert len(namespace.get("pb", "many-objectives")["spec"]["objectives"]) == 64


@pytest.mark.usefixtures("definition")
@pytest.mark.parametrize(
    ("path", "words"),
    [
        ("spec.load.stages.duration", ["End after this time", "A duration: text such as 500ms, 30s"]),
        ("spec.request.maxTokens", ["a number of tokens, or [min, max]"]),
        ("spec.runner.resources", ["limits\t<map[string]", "Limits describes the maximum amount"]),
        ("spec.runner.tolerations", ["<[]Object>", "effect\t<string>", "tolerationSeconds\t<integer>"]),
        ("spec.runner.affinity.nodeAffinity", ["requiredDuringSchedulingIgnoredDuringExecution\t<Object>"]),
        ("status.summary", ["<[]Object>", "ttft_s\t<Object>", "request_throughput_rps\t<number>"]),
        ("status.summary.ttft_s", ["p99\t<number>", "99th percentile"]),
    ],
)
def test_explain_gives_types_and_words(cluster: Cluster, path: str, words: list[str]) -> None:
    text = cluster.kubectl("explain", f"perfbenchmarks.{path}")
    joined = " ".join(text.split())
    for word in words:
        assert word in text or word in joined, text
