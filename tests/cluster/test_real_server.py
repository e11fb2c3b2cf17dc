"""A real inference server in the cluster: llama-server as a Deployment behind a Service, measured by a PerfBenchmark."""

from __future__ import annotations

import base64
import json
import re
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from benchmarks import REPOSITORY, Release, benchmark, installed, restricted_namespace, results, status
from kube import Cluster, Namespace, pod_spec, wait_for

sys.path.insert(0, str(REPOSITORY / "tests" / "servers"))  # its modules are no package

import llama_build
import random_models

PORT = 8080
PROMPT_TOKENS, ANSWER_TOKENS, REQUESTS = 60, 16, 30


@pytest.fixture(scope="module")
def release(cluster: Cluster, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Release]:
    """The operator for the whole cluster."""
    with (
        restricted_namespace(cluster) as space,
        installed(cluster, space, tmp_path_factory.mktemp("chart")) as found,
    ):
        yield found


@pytest.fixture(scope="module")
def models(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """tiny.gguf, and the folder of its tokenizer."""
    folder = tmp_path_factory.mktemp("models")
    random_models.make(folder, (REPOSITORY / "docs" / "metrics.md").read_text())
    return folder


def deployment(image: str) -> dict[str, Any]:
    """The server, which waits until its program has been put into its folder: no image has it."""
    wait = "until [ -e /work/ready ]; do sleep 0.1; done"
    serve = f"exec /work/llama-server -m /work/tiny.gguf --alias tiny --host 0.0.0.0 --port {PORT} --metrics -np 4 -t 1"
    spec = pod_spec(
        image,
        *("sh", "-c", f"{wait}; {serve}"),
        volumeMounts=[{"name": "work", "mountPath": "/work"}],
        env=[{"name": "LLAMA_CACHE", "value": "/work"}, {"name": "HOME", "value": "/work"}],
        readinessProbe={"httpGet": {"path": "/health", "port": PORT}, "periodSeconds": 1},
    )
    spec |= {"volumes": [{"name": "work", "emptyDir": {}}], "restartPolicy": "Always"}
    return {
        "apiVersion": "apps/v1",
        "kind": "Deployment",
        "metadata": {"name": "llama"},
        "spec": {
            "selector": {"matchLabels": {"app": "llama"}},
            "template": {"metadata": {"labels": {"app": "llama"}}, "spec": spec},
        },
    }


SERVICE = {
    "apiVersion": "v1",
    "kind": "Service",
    "metadata": {"name": "llama"},
    "spec": {"selector": {"app": "llama"}, "ports": [{"port": PORT}]},
}


def put(space: Namespace, pod: str, file: Path) -> None:
    """Put a file into the pod's folder."""
    text = base64.encodebytes(file.read_bytes()).decode()
    command = f"base64 -d > /work/{file.name} && chmod 0755 /work/{file.name}"
    space.kubectl("exec", "-i", pod, "--", "sh", "-c", command, stdin=text)


def counters(space: Namespace, pod: str) -> dict[str, float]:
    """What the server counts."""
    read = f"import urllib.request as r; print(r.urlopen('http://127.0.0.1:{PORT}/metrics').read().decode())"
    text = space.kubectl("exec", pod, "--", "python3", "-c", read)
    return {name: float(value) for name, value in re.findall(r"^llamacpp:(\w+) (\S+)$", text, re.MULTILINE)}


def test_a_real_server_is_measured_with_its_own_tokenizer(release: Release, namespace: Namespace, models: Path) -> None:
    program = llama_build.build()
    namespace.apply(deployment(namespace.cluster.images["runner"]), SERVICE)
    started = wait_for(
        lambda: [
            item
            for item in namespace.get("pods", "--selector=app=llama")["items"]
            if item["status"]["phase"] == "Running"
        ],
        60,
        "the server's pod runs",
    )
    pod = started[0]["metadata"]["name"]
    (models / "ready").touch()
    for file in (program, models / "tiny.gguf", models / "ready"):
        put(namespace, pod, file)
    namespace.kubectl("rollout", "status", "deployment/llama", "--timeout=60s")
    tokenizer = sorted((models / "tokenizer").iterdir())
    namespace.kubectl("create", "configmap", "tokenizer", *(f"--from-file={file}" for file in tokenizer))

    before = counters(namespace, pod)
    namespace.apply(
        benchmark(
            "real",
            {
                "service": {"name": "llama", "port": PORT},
                "model": "tiny",
                "connectionTest": False,
                "keepAlive": False,
            },
            dataset={
                "name": "random",
                "configMap": {"name": "tokenizer"},
                "path": "tokenizer.json",
                "tokenizerPath": "/data",
                "minPromptLength": PROMPT_TOKENS,
                "maxPromptLength": PROMPT_TOKENS,
            },
            request={"maxTokens": ANSWER_TOKENS, "extraArgs": {"ignore_eos": True}},
            load={"stages": [{"concurrency": 3, "requests": REQUESTS}]},
        )
    )
    namespace.kubectl("wait", "--for=condition=Complete", "--timeout=90s", "pb/real", timeout_s=100)
    after = counters(namespace, pod)

    found = status(namespace, "real")
    assert found["phase"] == "Succeeded", json.dumps(found, indent=1)
    (stage,) = found["summary"]
    assert stage["requests"]["succeeded"] == REQUESTS
    assert 0 <= stage["cached_prompt_share"] < 0.5
    grown = {name: after[name] - before[name] for name in after}
    assert grown["tokens_predicted_total"] == ANSWER_TOKENS * REQUESTS
    assert grown["prompt_tokens_total"] + grown["prompt_tokens_cached_total"] == PROMPT_TOKENS * REQUESTS
    assert results(namespace, found)["rows"] == REQUESTS
