"""The planted key: the API key of the tests' benchmarks, which must be nowhere but in its Secret.

conftest.py searches for it in everything after every test; recorder.py says what everything is.
"""

from __future__ import annotations

import json
import random
import string
import uuid
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import needles
from kube import Cluster, Namespace, pod, pod_spec, wait_for
from recorder import Finding

SECRET = "perfbench-planted"
"""A name that the tests' admission policies allow."""
KEY = "".join(random.SystemRandom().choices(string.ascii_letters + string.digits, k=35)) + "7"
"""Nothing in it tells that it is a key: what hides it has to know it."""


def planted_secret() -> dict[str, Any]:
    """For each namespace in which tests make benchmarks."""
    return {"apiVersion": "v1", "kind": "Secret", "metadata": {"name": SECRET}, "stringData": {"key": KEY}}


def with_planted_key(target: Mapping[str, Any]) -> dict[str, Any]:
    """A target with the planted key, unless it has one already."""
    return {"apiKey": {"secretKeyRef": {"name": SECRET, "key": "key"}}, **target}


def planted_env(name: str) -> dict[str, Any]:
    """The planted key as an environment variable of a pod: not in its spec."""
    return {"name": name, "valueFrom": {"secretKeyRef": {"name": SECRET, "key": "key"}}}


def found_on_claims(cluster: Cluster) -> list[Finding]:
    """What a pod beside each claim of the tests finds on it: for clusters whose volumes are not folders of this machine."""
    pods = cluster.get("pods", "--all-namespaces")["items"]
    mounted = {
        (item["metadata"]["namespace"], volume.get("persistentVolumeClaim", {}).get("claimName"))
        for item in pods
        if item.get("status", {}).get("phase") in ("Pending", "Running")
        for volume in item["spec"].get("volumes", [])
    }
    claims = [
        (item["metadata"]["namespace"], item["metadata"]["name"])
        for item in cluster.get("persistentvolumeclaims", "--all-namespaces")["items"]
        if item["metadata"]["namespace"].startswith("test-") and item.get("status", {}).get("phase") == "Bound"
    ]
    return [
        finding
        for namespace, claim in claims
        if (namespace, claim) not in mounted  # it may be mounted once only
        for finding in found_on_claim(Namespace(cluster, namespace), claim)
    ]


def found_on_claim(space: Namespace, claim: str) -> list[Finding]:
    """What a pod that mounts the claim finds in its files."""
    name = f"searcher-{uuid.uuid4().hex[:6]}"
    spec = pod_spec(
        space.cluster.images["runner"],
        *("python3", "-c", Path(needles.__file__).read_text(), "/results"),
        env=[planted_env("PLANTED")],
        volumeMounts=[
            {"name": "results", "mountPath": "/results", "readOnly": True},
            {"name": "tmp", "mountPath": "/tmp"},
        ],
    )
    spec["volumes"] = [
        {"name": "results", "persistentVolumeClaim": {"claimName": claim}},
        {"name": "tmp", "emptyDir": {}},
    ]
    space.apply(pod(name, spec))
    wait_for(lambda: space.phase("pod", name) in ("Succeeded", "Failed"), 60, "searcher ends")
    found: dict[str, list[str]] = json.loads(space.kubectl("logs", name).strip().splitlines()[-1])
    space.kubectl("delete", "pod", name, "--wait=false")
    return [Finding(f"{space.name}/{claim}: {path}", form) for path, forms in found.items() for form in forms]
