"""The CustomResourceDefinition says what the models say, in the words that Kubernetes accepts."""

from collections.abc import Iterator
from typing import Any

import pytest
import yaml

from perfbench_api import crd
from perfbench_api.resource import PerfBenchmark, SpecError
from perfbench_api.rules import SECTIONS
from perfbench_api.status import Status

ROOT: dict[str, Any] = crd.definition()["spec"]["versions"][0]["schema"]["openAPIV3Schema"]
SPEC: dict[str, Any] = ROOT["properties"]["spec"]


def nodes(node: dict[str, Any], path: str = "") -> Iterator[tuple[str, dict[str, Any]]]:
    yield path, node
    for name, child in node.get("properties", {}).items():
        yield from nodes(child, f"{path}.{name}")
    for key in ("items", "additionalProperties"):
        if isinstance(node.get(key), dict):
            yield from nodes(node[key], f"{path}.{key}")


def at(path: str) -> dict[str, Any]:
    return dict(nodes(SPEC))[path]


def test_generated_files_are_what_the_models_say() -> None:
    """Drift is mended by `python -m perfbench_api.crd --write`."""
    assert crd.drifted() == []


def test_schema_is_structural() -> None:
    for path, node in nodes(ROOT):
        untyped = {"x-kubernetes-preserve-unknown-fields", "x-kubernetes-int-or-string"} & node.keys()
        assert "type" in node or untyped, path
        assert not {"$ref", "$defs", "title", "oneOf", "allOf"} & node.keys(), path
        assert node.get("type") != "null", path
        assert node.get("additionalProperties") is not False, path
        if "anyOf" in node:
            assert "x-kubernetes-int-or-string" in node, path


@pytest.mark.parametrize("section", ["spec", "status"])
def test_every_field_is_described(section: str) -> None:
    for path, node in nodes(ROOT["properties"][section]):
        if not path.endswith((".items", ".additionalProperties")):
            assert node.get("description"), f"{section}{path}"


@pytest.mark.parametrize(
    ("path", "default"),
    [
        (".load.gracePeriod", "30s"),
        (".load.stages", [{"concurrency": 1, "arrival": "poisson", "requests": 1000}]),
        (".target.mock.ttft", "50ms"),
        (".request", {}),
        (".request.maxTokens", 2048),
        (".results.storage", "10Gi"),
        (".cancel", False),
    ],
)
def test_defaults_are_written_as_people_write_them(path: str, default: Any) -> None:
    assert at(path)["default"] == default


def test_sections_that_may_be_absent_have_no_default() -> None:
    assert "default" not in at(".target.mock")
    assert "default" not in at(".target.service")


def test_null_is_kept_where_it_says_something() -> None:
    assert at(".request.temperature")["nullable"] is True
    assert "nullable" not in at(".request.topP")


def test_spec_cannot_change_but_for_what_says_when_it_runs_and_ends() -> None:
    rules = [rule["rule"] for rule in SPEC["x-kubernetes-validations"]]
    fixed = SPEC["properties"].keys() - {"cancel", "priority", "suspend", "ttlSecondsAfterFinished"}
    assert {f"self.{name} == oldSelf.{name}" for name in fixed} < set(rules)
    for name in fixed - {"target"}:
        assert "default" in SPEC["properties"][name], "a rule on a field that may be absent never fires"


def test_rules_belong_to_sections_that_exist() -> None:
    written = [node["x-kubernetes-validations"] for _, node in nodes(SPEC) if "x-kubernetes-validations" in node]
    assert len(written) == len(SECTIONS)


@pytest.mark.parametrize(
    "spec",
    [
        {"target": {"url": "http://x", "mock": {}}},
        {"target": {"url": "x:1"}},
        {"target": {}},
        {"target": {"mock": {}, "headers": [{"name": "X-A"}]}},
        {"target": {"mock": {}}, "load": {"stages": [{"concurrency": 1, "rate": 1, "requests": 1}]}},
        {"target": {"mock": {}}, "load": {"stages": [{"concurrency": 1}]}},
        {"target": {"mock": {}}, "load": {"stages": [{"concurrency": 1, "requests": 1, "maxConcurrency": 1}]}},
        {"target": {"mock": {}}, "plugins": [{"file": "a", "module": "b"}]},
    ],
)
def test_what_a_rule_refuses_the_model_refuses_too(spec: dict[str, Any]) -> None:
    """tests/cluster applies the same manifests to a real API server."""
    with pytest.raises(SpecError):
        PerfBenchmark.read({"metadata": {"name": "a"}, "spec": spec})


def test_columns_name_fields_of_the_schema() -> None:
    known = {path for path, _ in nodes({"properties": ROOT["properties"]})} | {".metadata.creationTimestamp"}
    assert [path for _, _, path, _ in crd.PRINTER_COLUMNS if path not in known] == []


def test_chart_keeps_the_definition_and_can_leave_it_out() -> None:
    text = crd.chart_template()
    lines = [line for line in text.splitlines() if not line.startswith("{{")]
    assert "{{- if .Values.crds.enabled }}" in text
    data = yaml.safe_load("\n".join(lines))
    assert data["metadata"]["annotations"] == {"helm.sh/resource-policy": "keep"}
    assert data["spec"] == crd.definition()["spec"]


def test_status_leaves_out_what_is_not_known() -> None:
    assert Status().dump() == {
        "phase": "Pending",
        "observedGeneration": 0,
        "message": "",
        "conditions": [],
    }


def test_wrong_call_says_how() -> None:
    assert crd.main([]) == 2
