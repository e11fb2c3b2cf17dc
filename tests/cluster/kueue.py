"""Kueue on the tests' own cluster: a process beside it, as its other components are, and gone without a trace.

Its program and its definitions come from its module; the webhooks of its manifests are told of here with the process's
address, and only those that this needs, for one namespace.
"""

from __future__ import annotations

import base64
import json
import os
import shutil
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import binaries
import components
import yaml
from kube import Cluster, CommandError, Namespace, wait_for
from machine import run

_PORT = 9443
_QUEUE = "team-a"
_GROUP = "kueue.x-k8s.io"
_SEES_OWN_ETC = 'mount -t overlay -o "lowerdir=$0:/etc" overlay /etc && exec "$@"'
"""Kueue wants a certificate for its metrics in a folder of /etc that no setting changes: it alone sees one there."""
_QUEUED = ({"jobs"}, {"pods"})
"""Whose webhooks make Kueue look after them."""


@contextmanager
def kueue(cluster: Cluster, space: Namespace, folder: Path, cpu: str) -> Iterator[str]:
    """Kueue for a namespace, with a queue that has so much CPU; the queue's name."""
    program, manifests = binaries.kueue()
    authority = _certificate(folder)
    definitions = sorted((manifests / "crd" / "bases").glob("*.yaml"))
    hooks = list(_webhooks(manifests / "webhook" / "manifests.yaml", space.name, authority))
    name = f"kueue-{space.name}"
    cluster.apply({"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": "kueue-system"}})
    try:
        for file in definitions:
            cluster.kubectl("apply", "--server-side", "--filename", str(file))
        cluster.kubectl(
            *("wait", "--for=condition=Established", "--timeout=60s"),
            *(f"crd/{file_name(file)}" for file in definitions),
        )
        with _process(cluster, program, folder):
            for hook in hooks:
                cluster.apply(hook)
            queues = _queues(name, space.name, cpu)
            wait_for(lambda: cluster.apply(*queues) or True, 60, "Kueue admits its queues")
            try:
                yield _QUEUE
            finally:
                space.kubectl("delete", "localqueue", _QUEUE)
                cluster.kubectl("delete", "clusterqueue,resourceflavor", name, "--wait=false")
                for hook in hooks:
                    cluster.kubectl("delete", hook["kind"], hook["metadata"]["name"])
    finally:
        _remove(cluster, [file_name(file) for file in definitions])


def file_name(file: Path) -> str:
    """A definition's name: kueue.x-k8s.io_workloads.yaml is of workloads.kueue.x-k8s.io."""
    group, _, plural = file.stem.partition("_")
    return f"{plural}.{group}"


def _certificate(folder: Path) -> str:
    """Make the certificate that the API server knows Kueue by, and return it."""
    run(
        *("openssl", "req", "-x509", "-newkey", "rsa:2048", "-nodes", "-days", "2", "-subj", "/CN=kueue"),
        *("-addext", f"subjectAltName=IP:{components.ADDRESS}"),
        *("-keyout", folder / "tls.key", "-out", folder / "tls.crt"),
    )
    return base64.b64encode((folder / "tls.crt").read_bytes()).decode()


def _webhooks(file: Path, namespace: str, authority: str) -> Iterator[dict[str, Any]]:
    """Kueue's webhooks of its own objects, and of Jobs and pods of one namespace."""
    for configuration in yaml.safe_load_all(file.read_text()):
        kept = []
        for hook in configuration["webhooks"]:
            groups = {group for rule in hook["rules"] for group in rule["apiGroups"]}
            resources = {resource for rule in hook["rules"] for resource in rule["resources"]}
            if groups != {_GROUP}:
                if resources not in _QUEUED or not groups <= {"", "batch"}:
                    continue
                hook["namespaceSelector"] = {"matchLabels": {"kubernetes.io/metadata.name": namespace}}
            path = hook["clientConfig"]["service"]["path"]
            hook["clientConfig"] = {"url": f"https://{components.ADDRESS}:{_PORT}{path}", "caBundle": authority}
            kept.append(hook)
        name = f"kueue-{configuration['metadata']['name']}-{namespace}"
        yield {**configuration, "metadata": {"name": name}, "webhooks": kept}


def _queues(name: str, namespace: str, cpu: str) -> list[dict[str, Any]]:
    api = f"{_GROUP}/v1beta2"
    quotas = [{"name": "cpu", "nominalQuota": cpu}, {"name": "memory", "nominalQuota": "64Gi"}]
    group = {"coveredResources": ["cpu", "memory"], "flavors": [{"name": name, "resources": quotas}]}
    return [
        {"apiVersion": api, "kind": "ResourceFlavor", "metadata": {"name": name}},
        {
            "apiVersion": api, "kind": "ClusterQueue", "metadata": {"name": name},
            "spec": {"namespaceSelector": {}, "resourceGroups": [group]},
        },
        {
            "apiVersion": api, "kind": "LocalQueue", "metadata": {"name": _QUEUE, "namespace": namespace},
            "spec": {"clusterQueue": name},
        },
    ]  # fmt: skip


@contextmanager
def _process(cluster: Cluster, program: Path, folder: Path) -> Iterator[None]:
    """Kueue's controller, until it answers."""
    configuration = {
        "apiVersion": f"config.{_GROUP}/v1beta2",
        "kind": "Configuration",
        "namespace": "kueue-system",
        "health": {"healthProbeBindAddress": "127.0.0.1:18081"},
        "metrics": {"bindAddress": "0"},
        "webhook": {"host": components.ADDRESS, "port": _PORT, "certDir": str(folder)},
        "leaderElection": {"leaderElect": False},
        "internalCertManagement": {"enable": False},
        "integrations": {"frameworks": ["batch/job", "pod"]},
    }
    (folder / "config.yaml").write_text(json.dumps(configuration))
    certificates = folder / "etc" / "kueue" / "metrics" / "certs"
    certificates.mkdir(parents=True)
    for name in ("tls.crt", "tls.key"):
        shutil.copy(folder / name, certificates)
    apart = ["unshare", "--mount", "sh", "-c", _SEES_OWN_ETC, str(folder / "etc")]
    command = [
        *apart,
        str(program),
        "--config",
        str(folder / "config.yaml"),
        "--feature-gates=VisibilityOnDemand=false",
    ]
    environment = {**os.environ, "KUBECONFIG": str(cluster.kubeconfig), "POD_NAMESPACE": "kueue-system"}
    log = folder / "kueue.log"
    with log.open("wb") as file:
        process = subprocess.Popen(command, stdout=file, stderr=file, env=environment)
    try:
        wait_for(
            lambda: process.poll() is not None or b"Serving webhook server" in log.read_bytes(), 60, "Kueue serves"
        )
        assert process.poll() is None, log.read_text()[-3000:]
        yield
    finally:
        process.terminate()
        process.wait()


def _remove(cluster: Cluster, definitions: list[str]) -> None:
    """Its objects have finalizers, and nobody removes them any more."""
    for kind in ("workloads", "clusterqueues", "resourceflavors", "localqueues"):
        try:
            found = cluster.get(f"{kind}.{_GROUP}", "--all-namespaces")["items"]
        except CommandError:
            continue
        for item in found:
            where = ("--namespace", item["metadata"]["namespace"]) if "namespace" in item["metadata"] else ()
            patch = ("--type=merge", '--patch={"metadata":{"finalizers":null}}')
            cluster.kubectl("patch", f"{kind}.{_GROUP}", item["metadata"]["name"], *where, *patch)
    cluster.kubectl("delete", "crd", *definitions, "--ignore-not-found", "--timeout=60s")
    cluster.kubectl("delete", "namespace", "kueue-system", "--wait=false")
