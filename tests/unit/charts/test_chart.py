"""The chart renders in every mode, and grants exactly what the operator does."""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
from pathlib import Path
from typing import Any

import jsonschema
import pytest
import yaml

from perfbench_operator.cluster import RIGHTS

CHART = Path(__file__).resolve().parents[3] / "charts" / "perfbench"
CACHE = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "perfbench-cluster" / "bin"
FOUND = shutil.which("helm") or next((str(path) for path in sorted(CACHE.glob("*/helm"))), None)
needs_helm = pytest.mark.skipif(FOUND is None, reason="needs helm on PATH, or `make cluster-up` once")
MODES: dict[str, dict[str, Any]] = {
    "default": {},
    "namespaced": {"namespaces": ["a", "b"]},
    "everything": {
        "namespaces": ["a"],
        "demo": {"enabled": True},
        "networkPolicy": {"enabled": True},
        "podDisruptionBudget": {"enabled": True},
        "imagePullSecrets": ["p"],
        "runner": {"imagePullSecrets": ["q"], "image": {"repository": "r", "tag": "t"}},
        "nodeSelector": {"a": "b"},
        "tolerations": [{"operator": "Exists"}],
        "affinity": {"nodeAffinity": {}},
        "priorityClassName": "high",
        "podAnnotations": {"a": "b"},
        "podLabels": {"c": "d"},
        "extraEnv": [{"name": "A", "value": "b"}],
        "serviceAccount": {"annotations": {"a": "b"}},
    },
    "nothing": {
        "crds": {"enabled": False},
        "rbac": {"create": False, "aggregate": False},
        "serviceAccount": {"create": False},
    },
}


def helm(*arguments: str) -> subprocess.CompletedProcess[str]:
    assert FOUND
    return subprocess.run([FOUND, *arguments], capture_output=True, text=True, check=False, timeout=60)


def render(folder: Path, values: dict[str, Any]) -> list[dict[str, Any]]:
    file = folder / "values.json"
    file.write_text(json.dumps(values))
    done = helm("template", "perfbench", str(CHART), "--namespace", "home", "--values", str(file))
    assert done.returncode == 0, done.stderr
    return [item for item in yaml.safe_load_all(done.stdout) if item]


def kinds(items: list[dict[str, Any]], kind: str) -> list[dict[str, Any]]:
    return [item for item in items if item["kind"] == kind]


@needs_helm
@pytest.mark.parametrize("mode", MODES)
def test_every_mode_renders(mode: str, tmp_path: Path) -> None:
    items = render(tmp_path, MODES[mode])
    names = [(item["kind"], item["metadata"].get("namespace"), item["metadata"]["name"]) for item in items]
    assert len(set(names)) == len(names)
    [deployment] = [item for item in kinds(items, "Deployment") if "demo" not in item["metadata"]["name"]]
    assert deployment["spec"]["replicas"] == 1
    assert deployment["spec"]["strategy"]["type"] == "Recreate"


@needs_helm
def test_lint_is_clean() -> None:
    done = helm("lint", "--strict", str(CHART))
    assert done.returncode == 0, done.stdout
    assert not re.search(r"\[(WARNING|ERROR)\]", done.stdout)


def rights(role: dict[str, Any]) -> dict[tuple[str, str], tuple[str, ...]]:
    return {
        (group, resource): tuple(sorted(rule["verbs"]))
        for rule in role["rules"]
        for group in rule["apiGroups"]
        for resource in rule["resources"]
    }


@needs_helm
def test_operator_has_exactly_the_rights_that_it_uses(tmp_path: Path) -> None:
    """cluster.py names what it does; on a real cluster it is seen to suffice."""
    everywhere = [
        role for role in kinds(render(tmp_path, {}), "ClusterRole") if role["metadata"]["name"] == "perfbench-home"
    ]
    somewhere = kinds(render(tmp_path, MODES["namespaced"]), "Role")
    assert [rights(role) for role in (*everywhere, *somewhere)] == [dict(RIGHTS)] * 3
    assert [role["metadata"]["namespace"] for role in somewhere] == ["a", "b"]


@needs_helm
def test_namespaced_mode_has_no_right_in_the_cluster(tmp_path: Path) -> None:
    items = render(tmp_path, {"namespaces": ["a"], "rbac": {"aggregate": False}})
    assert kinds(items, "ClusterRole") == kinds(items, "ClusterRoleBinding") == []


@needs_helm
def test_all_pods_are_restricted(tmp_path: Path) -> None:
    items = render(tmp_path, MODES["everything"])
    pods = [item["spec"]["template"]["spec"] for item in kinds(items, "Deployment")] + [
        item["spec"] for item in kinds(items, "Pod")
    ]
    assert len(pods) == 3
    for spec in pods:
        assert spec["securityContext"]["runAsNonRoot"] is True
        assert spec["securityContext"]["seccompProfile"] == {"type": "RuntimeDefault"}
        for container in spec["containers"]:
            assert container["securityContext"] == {
                "allowPrivilegeEscalation": False,
                "readOnlyRootFilesystem": True,
                "capabilities": {"drop": ["ALL"]},
            }


@needs_helm
def test_operator_is_told_its_namespaces(tmp_path: Path) -> None:
    [deployment] = kinds(render(tmp_path, MODES["namespaced"]), "Deployment")
    [container] = deployment["spec"]["template"]["spec"]["containers"]
    assert container["args"][-2:] == ["--namespace=a", "--namespace=b"]
    assert {"name": "PERFBENCH_NAMESPACES", "value": "a,b"} in container["env"]


@needs_helm
@pytest.mark.parametrize(
    "values", [{"replicas": 2}, {"namespaces": "a"}, {"startTimeout": "soon"}, {"demo": {"on": True}}]
)
def test_wrong_values_are_refused(values: dict[str, Any], tmp_path: Path) -> None:
    file = tmp_path / "values.json"
    file.write_text(json.dumps(values))
    assert helm("template", "x", str(CHART), "--values", str(file)).returncode != 0


SCHEMA: dict[str, Any] = json.loads((CHART / "values.schema.json").read_text())
VALUES: dict[str, Any] = yaml.safe_load((CHART / "values.yaml").read_text())


def test_values_fit_their_schema() -> None:
    jsonschema.validate(VALUES, SCHEMA)


def test_schema_knows_every_value_and_values_have_every_default() -> None:
    assert VALUES.keys() == SCHEMA["properties"].keys() - {"global", "monitoring"} | (VALUES.keys() & {"monitoring"})
    for name, value in VALUES.items():
        properties = SCHEMA["properties"][name].get("properties")
        if properties and name != "monitoring":
            assert properties.keys() == value.keys(), name


def test_no_right_on_secrets() -> None:
    assert not [resource for _, resource in RIGHTS if "secret" in resource]
