"""PerfBenchmarks in a real cluster, with the chart's own rights, in namespaces that admit restricted pods only."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Iterator
from concurrent.futures import Future
from pathlib import Path
from typing import Any

import echo
import pytest
import yaml
from benchmarks import (
    LONG,
    REPOSITORY,
    Release,
    benchmark,
    condition,
    installed,
    restricted_namespace,
    results,
    status,
    until,
)
from ghosts import TOLERATED, ghost_node
from kube import Cluster, CommandError, Namespace, pod, pod_spec, wait_for
from planted import planted_env, with_planted_key
from recorder import Recorder
from rest import Rest
from together import Together

side_by_side = Together()


@pytest.fixture(scope="module")
def release(cluster: Cluster, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Release]:
    """The operator for the whole cluster, with the demo endpoint."""
    with (
        restricted_namespace(cluster) as space,
        installed(
            cluster, space, tmp_path_factory.mktemp("chart"), demo={"enabled": True, "itlSeconds": 0.002}
        ) as found,
    ):
        yield found


@side_by_side
def quickstart_runs_against_a_service_and_its_file_agrees_with_its_status(
    release: Release, namespace: Namespace
) -> None:
    manifest = yaml.safe_load((REPOSITORY / "examples" / "quickstart.yaml").read_text())
    manifest["spec"]["target"] = with_planted_key(release.demo)
    manifest["spec"]["results"] = {"storage": "1Gi"}

    namespace.apply(manifest)
    namespace.kubectl("wait", "--for=condition=Complete", "--timeout=90s", "pb/quickstart", timeout_s=100)

    found = status(namespace, "quickstart")
    # On a machine that is busy with something else the client may be too slow to be believed, or what it saw too uneven.
    verdict, is_met = ("Passed", "True") if found["verdict"] == "Passed" else ("Inconclusive", "Unknown")
    assert (found["phase"], found["verdict"]) == ("Succeeded", verdict)
    assert condition(found, "ObjectivesMet")[0] == is_met
    stored = results(namespace, found)
    total = sum(stage["requests"]["total"] for stage in found["summary"])
    assert stored["rows"] == found["results"]["rows"] == total
    assert (stored["bytes"], stored["sha256"]) == (found["results"]["bytes"], found["results"]["sha256"])
    assert condition(found, "ResultsStored")[0] == "True"
    line = namespace.kubectl("get", "pb").splitlines()[1].split()
    assert line[:5] == ["quickstart", "Succeeded", verdict, "steady", "100%"]
    reasons = {event["reason"] for event in namespace.get("events")["items"]}
    assert {"Running", "Succeeded"} <= reasons


@side_by_side
def p99_of_the_file_is_the_p99_of_the_status(release: Release, namespace: Namespace) -> None:
    namespace.apply(benchmark("exact", release.demo, load={"stages": [{"concurrency": 4, "requests": 60}]}))
    found = until(namespace, "exact", "Succeeded")
    assert results(namespace, found)["ttft_p99_s"] == pytest.approx(found["summary"][0]["ttft_s"]["p99"], rel=0.02)


@side_by_side
def custom_api_and_dataset_come_from_config_maps(release: Release, namespace: Namespace) -> None:
    """The seed document's own programs, byte for byte."""
    files = {
        name: (REPOSITORY / "tests" / "data" / "seed" / name).read_text()
        for name in ("custom_api.py", "custom_dataset.py")
    }
    namespace.apply(
        {"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": "plugins"}, "data": files},
        {
            "apiVersion": "v1",
            "kind": "ConfigMap",
            "metadata": {"name": "prompts"},
            "data": {"prompts.txt": "tell me of the zebra\n" * 5},
        },
        benchmark(
            "custom",
            # An API that perfbench does not know has no usual path.
            {**release.demo, "service": {**release.demo["service"], "path": "/v1/chat/completions"}, "api": "custom"},
            plugins=[{"configMap": {"name": "plugins"}}],
            dataset={"name": "custom", "configMap": {"name": "prompts"}, "applyChatTemplate": True},
        ),
    )
    found = until(namespace, "custom", "Succeeded")
    assert found["results"]["rows"] == 10
    assert "zebra" in results(namespace, found)["requests"]


def serve(space: Namespace, name: str, *command: str) -> None:
    """A server of the runner's image on port 8000, which knows the planted key as KEY, behind a Service."""
    spec = pod_spec(
        space.cluster.images["runner"],
        *command,
        env=[planted_env("KEY")],
        # Slow is ready, too: other benchmarks begin at the same time.
        readinessProbe={"httpGet": {"path": "/healthz", "port": 8000}, "periodSeconds": 1, "timeoutSeconds": 30},
    )
    service = {"selector": {"app": name}, "ports": [{"port": 8000}]}
    space.apply(
        pod(name, spec, app=name),
        {"apiVersion": "v1", "kind": "Service", "metadata": {"name": name}, "spec": service},
    )
    space.kubectl("wait", "--for=condition=Ready", "--timeout=60s", f"pod/{name}")


@side_by_side
def a_target_that_asks_for_a_key_gets_it(release: Release, namespace: Namespace) -> None:
    mock = 'exec perfbench mock --host=0.0.0.0 --port=8000 --api-key="$KEY" --ttft-s=0.01 --itl-s=0.001'
    serve(namespace, "guarded", "sh", "-c", mock)
    target: dict[str, Any] = {"service": {"name": "guarded", "port": 8000}, "model": "mock", "exclusive": False}
    wrong = {"apiKey": {"secretKeyRef": {"name": "wrong", "key": "token"}}}
    namespace.apply(
        {"apiVersion": "v1", "kind": "Secret", "metadata": {"name": "wrong"}, "stringData": {"token": "wrong"}},
        benchmark("keyed", target),
        benchmark("unkeyed", target | wrong),
    )
    until(namespace, "keyed", "Succeeded")
    assert condition(until(namespace, "unkeyed", "Failed"), "Failed") == ("True", "Unauthorized")


@side_by_side
def a_key_that_the_endpoint_shows_is_written_nowhere(
    release: Release, namespace: Namespace, recorder: Recorder
) -> None:
    """Like every test here; but this endpoint does what it can."""
    serve(namespace, "echo", "python3", "-c", Path(echo.__file__).read_text())

    def asks(way: str, **spec: Any) -> dict[str, Any]:
        service = {"name": "echo", "port": 8000, "path": f"/{way}/v1/chat/completions"}
        target = {"service": service, "model": "m", "api": "openai", "exclusive": False}
        target |= {"connectionTest": False} if way in ("error", "event") else {}
        return benchmark(f"shows-{way}", target, **spec)

    long = asks("answer", **LONG, runner={"replicas": 2}) | {"metadata": {"name": "long"}}
    namespace.apply(*map(asks, echo.WAYS), long)
    found = {way: until(namespace, f"shows-{way}", "Succeeded", "Failed") for way in echo.WAYS}
    assert condition(found["refusal"], "Failed") == ("True", "Unauthorized")
    assert (found["answer"]["phase"], found["answer"]["results"]["rows"]) == ("Succeeded", 10), found["answer"]
    wait_for(lambda: status(namespace, "long").get("live", {}).get("requests", 0) > 5, 60, "some requests are done")
    recorder.assert_nothing_is_found()  # in pages of runners, too
    namespace.kubectl("patch", "pb/long", "--type=merge", "-p", '{"spec": {"cancel": true}}')
    until(namespace, "long", "Cancelled")
    seen = set(namespace.kubectl("logs", "echo").splitlines())
    assert seen == {f"{way} with the key" for way in echo.WAYS}


@side_by_side
def operator_may_do_what_it_does_and_nothing_else(release: Release, cluster: Cluster) -> None:
    from perfbench_operator.cluster import RIGHTS

    user = f"system:serviceaccount:{release.namespace.name}:perfbench"

    def may(verb: str, group: str, resource: str) -> bool:
        kind, _, part = resource.partition("/")
        full = f"{kind}.{group}" if group else kind
        subresource = [f"--subresource={part}"] if part else []
        try:
            answer = cluster.kubectl("auth", "can-i", verb, full, *subresource, f"--as={user}", "-A")
        except CommandError:  # `no` is an exit code
            return False
        return answer.strip() == "yes"

    for (group, resource), verbs in RIGHTS.items():
        assert [verb for verb in verbs if not may(verb, group, resource)] == [], (group, resource)
    for verb, group, resource in (
        *((verb, "", "secrets") for verb in ("get", "list", "watch", "delete")),
        *((verb, "", "pods") for verb in ("create", "delete")),
        *(("create", "", "pods/exec"), ("deletecollection", "batch", "jobs"), ("list", "", "namespaces")),
        *(("watch", "discovery.k8s.io", "endpointslices"), ("delete", "", "services")),
        *(("create", "perfbench.io", "perfbenchmarks"), ("delete", "", "persistentvolumeclaims")),
    ):
        assert not may(verb, group, resource), (verb, group, resource)


@side_by_side
def cancel_keeps_what_was_measured(release: Release, namespace: Namespace) -> None:
    namespace.apply(benchmark("stopped", release.demo, **LONG))
    wait_for(lambda: status(namespace, "stopped").get("live", {}).get("requests", 0) > 5, 60, "some requests are done")
    namespace.kubectl("patch", "pb/stopped", "--type=merge", "-p", '{"spec": {"cancel": true}}')
    found = until(namespace, "stopped", "Cancelled")
    assert condition(found, "Complete") == ("False", "Cancelled")
    assert condition(found, "ResultsStored")[0] == "True"
    assert results(namespace, found)["rows"] == found["results"]["rows"] > 5
    with pytest.raises(CommandError, match="cannot be undone"):
        namespace.kubectl("patch", "pb/stopped", "--type=merge", "-p", '{"spec": {"cancel": false}}')


@side_by_side
def deleted_in_mid_run_nothing_is_left_and_the_name_is_free(release: Release, namespace: Namespace) -> None:
    namespace.apply(benchmark("again", release.demo, **LONG))
    until(namespace, "again", "Running")
    namespace.kubectl("delete", "pb/again", "--timeout=5s")
    namespace.apply(benchmark("again", release.demo))
    found = until(namespace, "again", "Succeeded")
    uid = namespace.get("pb", "again")["metadata"]["uid"]

    def left() -> set[str]:
        items = namespace.get("jobs,pods,configmaps", "-l", "app.kubernetes.io/managed-by=perfbench-operator")["items"]
        return {item["metadata"]["labels"]["perfbench.io/uid"] for item in items}

    wait_for(lambda: left() == {uid}, 30, "nothing of the first one is left")
    assert namespace.phase("pvc", "again-results") == "Bound"
    assert results(namespace, found)["rows"] == 10
    namespace.kubectl("delete", "pb/again")
    wait_for(lambda: not left(), 30, "nothing is left")
    assert namespace.phase("pvc", "again-results") == "Bound", "results outlive their benchmark"


@side_by_side
def ttl_deletes_the_benchmark_and_keeps_its_results(release: Release, namespace: Namespace) -> None:
    namespace.apply(benchmark("brief", release.demo, ttlSecondsAfterFinished=1))
    wait_for(lambda: not namespace.get("pb")["items"], 60, "benchmark is gone")
    assert namespace.phase("pvc", "brief-results") == "Bound"


@side_by_side
def waiting_is_told_while_there_is_hope(release: Release, namespace: Namespace) -> None:
    """A quota, and a target that comes late, are not the end."""
    quota = {"apiVersion": "v1", "kind": "ResourceQuota", "metadata": {"name": "q"}, "spec": {"hard": {"pods": "0"}}}
    namespace.apply(quota)
    wait_for(lambda: namespace.get("resourcequota", "q").get("status", {}).get("hard"), 20, "quota counts")
    namespace.apply(benchmark("patient", {"service": {"name": "late", "port": 8000}, "model": "mock"}))
    wait_for(
        lambda: condition(status(namespace, "patient"), "Running") == ("False", "QuotaExceeded"), 15, "quota is told"
    )
    namespace.kubectl("delete", "resourcequota", "q")
    found = until(namespace, "patient", "Waiting")
    assert condition(found, "TargetReady") == ("False", "TargetNotReady")
    host = f"perfbench-demo.{release.namespace.name}.svc.cluster.local"
    service = {"type": "ExternalName", "externalName": host}
    namespace.apply({"apiVersion": "v1", "kind": "Service", "metadata": {"name": "late"}, "spec": service})
    until(namespace, "patient", "Succeeded")


@side_by_side
def runner_that_is_taken_away_fails_with_what_it_measured(release: Release, namespace: Namespace) -> None:
    namespace.apply(benchmark("moved", release.demo, **LONG))
    wait_for(lambda: status(namespace, "moved").get("live", {}).get("requests", 0) > 5, 60, "some requests are done")
    namespace.kubectl("delete", "pods", "-l", "perfbench.io/benchmark=moved", "--wait=false")
    found = until(namespace, "moved", "Failed")
    assert condition(found, "Failed") == ("True", "Interrupted")
    assert results(namespace, found)["rows"] > 5


@side_by_side
def runner_that_is_killed_fails(release: Release, namespace: Namespace) -> None:
    namespace.apply(benchmark("killed", release.demo, **LONG))
    until(namespace, "killed", "Running")
    namespace.kubectl("delete", "pods", "-l", "perfbench.io/benchmark=killed", "--force", "--grace-period=0")
    found = until(namespace, "killed", "Failed")
    assert condition(found, "Failed")[1] in ("RunnerLost", "RunnerKilled", "Interrupted")


@side_by_side
def runners_of_a_run_are_spread_over_the_nodes(release: Release, namespace: Namespace, cluster: Cluster) -> None:
    """By the cluster's own scheduler; the second node is only an object, so that this run never starts."""
    rest, node = Rest(cluster.url), f"ghost-{namespace.name}"
    with ghost_node(rest, node):
        namespace.apply(benchmark("spread", release.demo, runner={"replicas": 5, "tolerations": [TOLERATED]}))

        def nodes() -> list[str]:
            pods = namespace.get("pods", "-l", "perfbench.io/benchmark=spread")["items"]
            return [name for pod in pods if (name := pod["spec"].get("nodeName"))]

        wait_for(lambda: len(nodes()) == 5, 30, "all pods have a node")
        assert sorted(Counter(nodes()).values()) == [2, 3], nodes()
        assert node in nodes()
        namespace.kubectl("delete", "pb/spread")
        namespace.kubectl("delete", "pods", "--all", "--force", "--grace-period=0")  # nobody ends those of the ghost


@side_by_side
def rules_are_told_at_apply(release: Release, namespace: Namespace) -> None:
    namespace.apply(benchmark("fixed", release.demo, cancel=True))
    with pytest.raises(CommandError, match="load cannot change"):
        namespace.apply(benchmark("fixed", release.demo, cancel=True, load={"pause": "1s"}))
    with pytest.raises(CommandError, match="load cannot change"):  # in a field whose type Kubernetes does not know
        namespace.apply(benchmark("fixed", release.demo, cancel=True, load={"stages": [{"rate": 77, "requests": 1}]}))
    for text, spec in (
        ("exactly one of ramp", {"load": {"stages": [{"profile": {}, "duration": "9s"}]}}),
        ("belong together", {"load": {"stages": [{"rate": 1, "arrival": "gamma", "requests": 1}]}}),
        ("no end", {"load": {"stages": [{"concurrency": 1}]}}),
        (r"one and only one schema \(oneOf\)", {"load": {"stages": [{"concurrency": 1, "rate": 1, "requests": 1}]}}),
        (r"one and only one schema \(oneOf\)", {"load": {"stages": [{"requests": 1}]}}),
        ("exactly one of url", {"target": {"url": "http://x", "mock": {}}}),
        ("unknown field", {"lod": {}}),
    ):
        with pytest.raises(CommandError, match=text):
            namespace.apply(benchmark("wrong", release.demo, **spec) if "target" not in spec else _with(spec))
    with pytest.raises(CommandError, match="48 characters"):
        namespace.apply(benchmark("a" * 49, release.demo))
    assert "Stages of the load" in namespace.kubectl("explain", "perfbenchmark.spec.load")


def _with(spec: dict[str, Any]) -> dict[str, Any]:
    return benchmark("wrong", spec["target"])


@side_by_side
def operator_tells_prometheus_of_itself_and_of_benchmarks(release: Release, namespace: Namespace) -> None:
    namespace.apply(benchmark("counted", release.demo))
    until(namespace, "counted", "Succeeded")
    path = f"/api/v1/namespaces/{release.namespace.name}/services/perfbench:9090/proxy/metrics"
    labels = f'namespace="{namespace.name}",benchmark="counted"'

    def metrics() -> str:
        text = namespace.cluster.kubectl("get", "--raw", path)
        return text if f'perfbench_benchmark_phase{{benchmark="counted",namespace="{namespace.name}"' in text else ""

    text = wait_for(metrics, 30, f"metrics of {labels}")
    assert "perfbench_operator_reconciles_total" in text
    assert 'perfbench_benchmark_latency_seconds{benchmark="counted",metric="ttft"' in text
    assert json.loads(release.log().splitlines()[-1])["severity"]


# What goes wrong: all at once, each is told within a minute.

NOWHERE = {"url": "http://127.0.0.1:9/v1/chat/completions", "model": "none"}


@pytest.fixture(scope="module")
def troubled(release: Release, cluster: Cluster) -> Iterator[Namespace]:
    """A namespace where everything goes wrong, at the same time."""
    with restricted_namespace(cluster) as space:
        demo = release.demo
        space.apply(
            benchmark("image", demo, runner={"image": "localhost:1/none:1"}),
            benchmark("node", demo, runner={"nodeSelector": {"no": "where"}}),
            benchmark("claim", demo, results={"claim": {"name": "none"}}),
            benchmark("volume", demo, results={"storageClass": "none", "storage": "1Gi"}),
            benchmark("secret", {**demo, "apiKey": {"secretKeyRef": {"name": "none", "key": "none"}}}),
            benchmark("dataset", demo, dataset={"configMap": {"name": "none"}, "path": "a.txt"}),
            benchmark("plugin", demo, plugins=[{"configMap": {"name": "none"}}]),
            benchmark("rights", demo, runner={"securityContext": {"privileged": True}}),
            benchmark("target", {**NOWHERE, "waitFor": "8s"}),
            benchmark("spec", demo, request={"maxTokens": [9, 3]}),
            benchmark("memory", demo, runner={"resources": {"limits": {"memory": "24Mi"}}}),
            benchmark("deadline", demo, runner={"activeDeadline": "8s"}, **LONG),
        )
        yield space


@pytest.fixture(scope="module")
def under_way(
    release: Release, troubled: Namespace, cluster: Cluster, recorder: Recorder, request: pytest.FixtureRequest
) -> Iterator[dict[str, Future[None]]]:
    """All of the above that were selected, while what is in trouble waits to be given up."""
    selected = {item.callspec.params.get("way") for item in request.session.items if hasattr(item, "callspec")}
    with side_by_side.under_way(selected, cluster, recorder, release=release) as found:
        yield found


@pytest.mark.parametrize("way", side_by_side)
def test_in_a_cluster(under_way: dict[str, Future[None]], way: str) -> None:
    under_way[way].result(300)


@pytest.mark.parametrize(
    ("name", "reason"),
    [
        ("image", "ImageCannotBePulled"),
        ("node", "Unschedulable"),
        ("claim", "ClaimMissing"),
        ("volume", "ClaimNotBound"),
        ("secret", "SecretMissing"),
        ("dataset", "ConfigMapMissing"),
        ("plugin", "ConfigMapMissing"),
        ("rights", "PodSecurityViolation"),
        ("target", "TargetUnreachable"),
        ("spec", "InvalidSpec"),
        ("memory", "RunnerOutOfMemory"),
        ("deadline", "DeadlineExceeded"),
    ],
)
def test_what_goes_wrong_is_told_with_its_reason(troubled: Namespace, name: str, reason: str) -> None:
    found = until(troubled, name, "Failed", timeout_s=60)
    assert condition(found, "Failed") == ("True", reason), found
    assert found["message"]
    events = [event for event in troubled.get("events")["items"] if event["involvedObject"]["name"] == name]
    assert reason in {event["reason"] for event in events if event["type"] == "Warning"}
    if name == "deadline":
        assert condition(found, "ResultsStored")[0] == "True", "a failed run keeps what it measured"


def test_what_never_started_is_not_started_later(troubled: Namespace) -> None:
    until(troubled, "image", "Failed")
    wait_for(lambda: troubled.get("jobs", "-l", "perfbench.io/benchmark=image")["items"][0]["spec"]["suspend"], 20)
    wait_for(lambda: not troubled.get("pods", "-l", "perfbench.io/benchmark=image")["items"], 30, "pods are gone")


# By themselves: others would miss the operator.


def test_operator_dies_twice_and_the_run_is_made_once(release: Release, namespace: Namespace) -> None:
    manifest = benchmark("twice", release.demo, load={"stages": [{"rate": 10, "duration": "12s"}]})
    namespace.apply(manifest)
    namespace.apply(manifest)  # the same file again changes nothing
    wait_for(lambda: namespace.get("jobs")["items"], 30, "Job is made")
    release.scale(0)
    # As if it had died before it could say that it made the Job.
    namespace.kubectl("patch", "pb/twice", "--subresource=status", "--type=merge", "-p", '{"status": null}')
    release.scale(1)
    until(namespace, "twice", "Running")
    release.scale(0)
    release.scale(1)

    found = until(namespace, "twice", "Succeeded")
    assert len(namespace.get("jobs")["items"]) == 1
    pods = namespace.get("pods", "-l", "app.kubernetes.io/name=perfbench")["items"]
    assert len(pods) == 1
    assert pods[0]["status"]["containerStatuses"][0]["restartCount"] == 0
    assert results(namespace, found)["rows"] == found["summary"][0]["requests"]["total"]


def test_helm_test_passes(release: Release) -> None:
    assert "Phase:          Succeeded" in release.namespace.helm("test", "perfbench")
