"""The cluster is a real one: what the other tests here take for granted."""

from __future__ import annotations

from typing import Any

import pytest
from kube import Cluster, CommandError, Namespace, pod, pod_spec, wait_for


def claim(name: str, storage_class: str | None = None) -> dict[str, Any]:
    spec: dict[str, Any] = {"accessModes": ["ReadWriteOnce"], "resources": {"requests": {"storage": "1Gi"}}}
    if storage_class:
        spec["storageClassName"] = storage_class
    return {"apiVersion": "v1", "kind": "PersistentVolumeClaim", "metadata": {"name": name}, "spec": spec}


def job_succeeded(namespace: Namespace, name: str) -> bool:
    conditions = namespace.get("job", name).get("status", {}).get("conditions", [])
    return any(condition["type"] == "Complete" and condition["status"] == "True" for condition in conditions)


def test_an_indexed_job_completes_as_a_non_root_user(cluster: Cluster, namespace: Namespace) -> None:
    script = "echo index $JOB_COMPLETION_INDEX user $(id -u)"
    template = {"spec": pod_spec(cluster.images["busybox"], "sh", "-c", script)}
    spec = {"completions": 2, "parallelism": 2, "completionMode": "Indexed", "template": template}
    namespace.apply({"apiVersion": "batch/v1", "kind": "Job", "metadata": {"name": "count"}, "spec": spec})

    wait_for(lambda: job_succeeded(namespace, "count"), 60, "job completes")

    said = namespace.kubectl("logs", "--selector", "job-name=count", "--prefix=false").splitlines()
    assert sorted(said) == ["index 0 user 65532", "index 1 user 65532"]


def test_a_pod_reaches_a_service_by_its_name(cluster: Cluster, namespace: Namespace) -> None:
    busybox = cluster.images["busybox"]
    serve = "echo hello > /tmp/index.html && exec httpd -f -p 8080 -h /tmp"
    server = pod_spec(
        busybox,
        *("sh", "-c", serve),
        volumeMounts=[{"name": "tmp", "mountPath": "/tmp"}],
        readinessProbe={"httpGet": {"path": "/", "port": 8080}, "periodSeconds": 1},
    )
    server["volumes"] = [{"name": "tmp", "emptyDir": {}}]
    service = {"selector": {"app": "web"}, "ports": [{"port": 80, "targetPort": 8080}]}
    # Not wget's own -T: in Debian's static busybox it crashes.
    fetch = f"until timeout 5 wget -q -O - http://web.{namespace.name}.svc; do sleep 1; done"
    namespace.apply(
        pod("web", server, app="web"),
        {"apiVersion": "v1", "kind": "Service", "metadata": {"name": "web"}, "spec": service},
        pod("visitor", pod_spec(busybox, "sh", "-c", fetch)),
    )

    wait_for(lambda: namespace.phase("pod", "visitor") == "Succeeded", 60, "visitor gets the page")

    assert namespace.kubectl("logs", "visitor").splitlines()[-1] == "hello"


def test_a_claim_is_bound_and_writable_and_gone_with_its_owner(cluster: Cluster, namespace: Namespace) -> None:
    spec = pod_spec(
        cluster.images["busybox"],
        *("sh", "-c", "echo kept > /results/file && stat -c %g /results /results/file"),
        volumeMounts=[{"name": "results", "mountPath": "/results"}],
    )
    spec["volumes"] = [{"name": "results", "persistentVolumeClaim": {"claimName": "results"}}]
    namespace.apply(claim("results"), pod("writer", spec))

    wait_for(lambda: namespace.phase("pod", "writer") == "Succeeded", 60, "pod writes to its claim")

    assert namespace.phase("pvc", "results") == "Bound"
    assert namespace.kubectl("logs", "writer").split() == ["65532", "65532"], "fsGroup owns the volume"
    volume = namespace.get("pvc", "results")["spec"]["volumeName"]
    namespace.kubectl("delete", "pod/writer", "pvc/results", "--wait=false")
    wait_for(lambda: volume not in cluster.kubectl("get", "pv", "--output", "name"), 60, "volume is deleted")


def test_logs_and_exec_reach_a_running_pod(cluster: Cluster, namespace: Namespace) -> None:
    namespace.apply(pod("talker", pod_spec(cluster.images["busybox"], "sh", "-c", "echo up; exec sleep 600")))

    wait_for(lambda: namespace.phase("pod", "talker") == "Running", 60, "pod runs")

    assert wait_for(lambda: namespace.kubectl("logs", "talker"), 10, "first line") == "up\n"
    assert namespace.kubectl("exec", "talker", "--", "id", "-u") == "65532\n"


def test_a_pod_that_may_be_root_is_refused(cluster: Cluster, namespace: Namespace) -> None:
    spec = pod_spec(cluster.images["busybox"], "id")
    spec["securityContext"] = {}

    with pytest.raises(CommandError, match="violates PodSecurity"):
        namespace.apply(pod("root", spec))


@pytest.mark.parametrize(("name", "package"), [("runner", "perfbench_runner"), ("operator", "perfbench_operator")])
def test_a_project_image_runs_without_root_and_without_writing(
    cluster: Cluster, namespace: Namespace, name: str, package: str
) -> None:
    says = f"import getpass, os, {package}; print(getpass.getuser(), os.getuid())"
    namespace.apply(pod(name, pod_spec(cluster.images[name], "python", "-c", says)))

    wait_for(lambda: namespace.phase("pod", name) == "Succeeded", 60, "pod succeeds")

    assert namespace.kubectl("logs", name) == "perfbench 65532\n"


def test_helm_sees_the_cluster(namespace: Namespace) -> None:
    assert namespace.helm("list", "--output", "json").strip() == "[]"
