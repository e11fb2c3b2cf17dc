"""The CustomResourceDefinition says what the models say, in the words that Kubernetes accepts."""

import json
from collections.abc import Iterator
from typing import Any

import pytest
import yaml
from jsonschema import Draft202012Validator

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
        assert not {"$ref", "$defs", "title", "allOf"} & node.keys(), path
        for choice in node.get("oneOf", ()):
            assert_structural_within(choice, node)
        assert node.get("type") != "null", path
        assert node.get("additionalProperties") is not False, path
        if "anyOf" in node:
            assert "x-kubernetes-int-or-string" in node, path


def assert_structural_within(choice: dict[str, Any], outside: dict[str, Any]) -> None:
    """What may stand within oneOf: conditions on values, of fields that are declared outside; no types, no defaults."""
    assert choice.keys() <= {"required", "properties", "not", "enum"}
    assert set(choice.get("required", ())) <= outside.get("properties", {}).keys()
    for name, child in choice.get("properties", {}).items():
        assert_structural_within(child, outside["properties"][name])
    if "not" in choice:
        assert_structural_within(choice["not"], outside)


@pytest.mark.parametrize("section", ["spec", "status"])
def test_every_field_is_described(section: str) -> None:
    for path, node in nodes(ROOT["properties"][section]):
        if not path.endswith((".items", ".additionalProperties")):
            assert node.get("description"), f"{section}{path}"


APPLIED_BYTES = 256 * 1024
"""`kubectl apply` puts the whole object into an annotation; Kubernetes allows so many bytes of them."""


def test_kubectl_apply_can_annotate_the_definition() -> None:
    assert len(json.dumps(crd.definition())) < 0.6 * APPLIED_BYTES


def test_values_of_more_than_one_type_say_so_in_words() -> None:
    """`kubectl explain` shows their type as Object."""
    ours = [(path, node) for path, node in nodes(ROOT) if not path.startswith(tuple(OF_PODS))]
    for path, node in ours:
        if "type" not in node:
            text = node["description"]
            assert any(word in text for word in ("duration", "quantity", "number", "a list", "alike")), path


OF_PODS = [
    f".spec.runner.{name}"
    for name in (
        *("affinity", "env", "envFrom", "podSecurityContext", "resources", "securityContext"),
        *("tolerations", "topologySpreadConstraints", "volumeMounts", "volumes"),
    )
]


def test_parts_of_pods_have_kubernetes_types_so_that_a_typo_is_refused() -> None:
    for path, node in nodes(ROOT):
        if path.startswith(tuple(OF_PODS)):
            assert "x-kubernetes-preserve-unknown-fields" not in node, path
            assert (
                node.get("type") != "object"
                or {"properties", "additionalProperties"} & node.keys()
                or not (node.keys() - {"type", "description"})
            ), path
            assert "default" not in node, f"{path}: defaults of a pod are the pod's"


@pytest.mark.parametrize(
    ("runner", "message"),
    [
        ({"resources": {"limit": {"cpu": 1}}}, "runner.resources: limit: unknown field; did you mean 'limits'?"),
        ({"tolerations": [{"key": "a"}, {"efect": "NoSchedule"}]}, "efect: unknown field; did you mean 'effect'?"),
        ({"env": [{"name": "A", "valeu": "b"}]}, "valeu: unknown field; did you mean 'value'?"),
        ({"envFrom": [{"secretRef": {"nam": "a"}}]}, "secretRef.nam: unknown field; did you mean 'name'?"),
        ({"volumes": [{"name": "v", "zip": {}}]}, "zip: unknown field; there are "),
        ({"volumes": [{"name": "v", "projected": {"sources": [{"secret": {"key": "a"}}]}}]}, "sources[0].secret.key: "),
        ({"affinity": {"nodeAffinity": {"required": {}}}}, "nodeAffinity.required: unknown field; there are "),
        ({"securityContext": {"runAsNonroot": True}}, "runAsNonroot: unknown field; did you mean 'runAsNonRoot'?"),
    ],
)
def test_a_typo_in_a_part_of_a_pod_is_named(runner: dict[str, Any], message: str) -> None:
    with pytest.raises(SpecError) as caught:
        PerfBenchmark.read({"metadata": {"name": "a"}, "spec": {"target": {"mock": {}}, "runner": runner}})
    [problem] = caught.value.problems
    assert message in problem
    assert problem.startswith("spec.runner.")


def test_parts_of_pods_are_taken_as_pods_take_them() -> None:
    runner = {
        "resources": {"limits": {"cpu": "1500m", "nvidia.com/gpu": 1}, "requests": {"memory": "1Gi"}},
        "env": [{"name": "A", "valueFrom": {"fieldRef": {"fieldPath": "status.podIP"}}}],
        "volumes": [{"name": "v", "emptyDir": {"sizeLimit": "1Gi"}}, {"name": "c", "configMap": {"name": "d"}}],
    }
    read = PerfBenchmark.read({"metadata": {"name": "a"}, "spec": {"target": {"mock": {}}, "runner": runner}})
    dumped = read.dump()["spec"]["runner"]
    assert {name: dumped[name] for name in runner} == runner


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
    assert len({str(rules) for rules in written}) == len(SECTIONS)  # one section may be in several places


@pytest.mark.parametrize(
    "spec",
    [
        {"target": {"url": "http://x", "mock": {}}},
        {"target": {"url": "x:1"}},
        {"target": {}},
        {"target": {"mock": {}, "headers": [{"name": "X-A"}]}},
        {
            "target": {"mock": {}},
            "load": {
                "stages": [
                    {"profile": {"sine": {"mean": 2, "amplitude": 1, "period": "9s"}}, "timestamps": {"path": "x"}}
                ]
            },
        },
        {"target": {"mock": {}}, "load": {"stages": [{"concurrency": 1}]}},
        {
            "target": {"mock": {}},
            "load": {"stages": [{"profile": {"ramp": {"from": 1, "to": 2}}, "rate": 1, "duration": "9s"}]},
        },
        {"target": {"mock": {}}, "load": {"stages": [{"profile": {}, "duration": "9s"}]}},
        {"target": {"mock": {}}, "load": {"stages": [{"rate": 1, "rampDown": "1s", "requests": 1}]}},
        {"target": {"mock": {}}, "load": {"stages": [{"rate": 1, "arrival": "gamma", "requests": 1}]}},
        {"target": {"mock": {}}, "plugins": [{"file": "a", "module": "b"}]},
        {"target": {}, "targets": [{"name": "a", "mock": {}}, {"name": "b"}]},
        {"target": {}, "targets": [{"name": "a", "mock": {}}, {"name": "a", "url": "http://x"}]},
        {"target": {}, "targets": [{"name": "a", "mock": {}, "url": "http://x"}]},
        {"target": {}, "targets": [{"name": "a", "url": "ftp://x"}]},
        {"target": {"mock": {}}, "load": {"split": "sideBySide", "stages": [{"rate": 1, "duration": "9s"}]}},
        {"target": {"mock": {}}, "workloads": [{"name": "a"}, {"name": "a"}]},
        {
            "target": {"mock": {}},
            "objectives": [{"metric": "ttft", "max": 1, "workload": "b"}],
            "workloads": [{"name": "a"}],
        },
        {"target": {"mock": {}}, "objectives": [{"metric": "ttft", "max": 1, "target": "b"}]},
        {"target": {"mock": {}}, "objectives": [{"metric": "goodput_share", "min": 0.9}]},
        {"target": {"mock": {}}, "objectives": [{"metric": "ttft"}]},
        {"target": {"mock": {}}, "objectives": [{"metric": "failed_share", "statistic": "mean", "max": "1%"}]},
        {"target": {"mock": {}}, "dataset": {"minPromptLength": 9, "maxPromptLength": 8}},
        {"target": {"mock": {}}, "dataset": {"minTurns": 9, "maxTurns": 8}},
        {"target": {"mock": {}}, "load": {"warmup": {"concurrency": 3}}},
        {"target": {"mock": {}}, "load": {"search": {}}},
        {
            "target": {"mock": {}},
            "load": {"search": {"rate": {"from": 1, "to": 9}, "concurrency": {"from": 1, "to": 9}}},
        },
        {"target": {"mock": {}}, "load": {"search": {"rate": {"from": 9, "to": 9}}}},
        {"target": {"mock": {}}, "load": {"search": {"concurrency": {"from": 9, "to": 1}}}},
        {"target": {"mock": {}}, "load": {"guards": {"budget": {"money": 5, "inputPrice": 1}}}},
    ],
)
def test_what_a_rule_refuses_the_model_refuses_too(spec: dict[str, Any]) -> None:
    """tests/cluster applies the same manifests to a real API server."""
    with pytest.raises(SpecError):
        PerfBenchmark.read({"metadata": {"name": "a"}, "spec": spec})


@pytest.mark.parametrize(
    ("path", "least"),
    [
        (".target.connectTimeout", 1),
        (".goodput.ttft", 1),
        (".load.stages.items.duration", 1),
        (".load.pause", 0),
        (".target.mock.ttft", 0),
        (".results.storage", 0),
    ],
)
def test_a_duration_or_quantity_that_is_a_number_is_not_negative(path: str, least: int) -> None:
    node = at(path)
    assert (node["minimum"], node["x-kubernetes-int-or-string"]) == (least, True)
    given = {key: node[key] for key in ("minimum", "anyOf", "pattern")}
    assert Draft202012Validator(given).is_valid(least)
    assert Draft202012Validator(given).is_valid("5m")
    assert not Draft202012Validator(given).is_valid(least - 1)


@pytest.mark.parametrize("field", ["maxConcurrency", "concurrency.to"])
def test_a_search_has_no_more_at_a_time_than_a_stage(field: str) -> None:
    assert at(f".load.search.{field}")["maximum"] == at(".load.stages.items.maxConcurrency")["maximum"]


@pytest.mark.parametrize(
    ("objective", "is_taken"),
    [
        ({}, False),
        ({"max": "1s"}, True),
        ({"min": "1s"}, True),
        ({"max": "1s", "min": 0.5}, True),
    ],
)
def test_an_objective_has_a_bound_as_the_api_server_sees_it(objective: dict[str, Any], is_taken: bool) -> None:
    assert Draft202012Validator({"oneOf": at(".objectives.items")["oneOf"]}).is_valid(objective) is is_taken


STAGE = at(".load.stages.items")
RAMP = {"ramp": {"from": 1, "to": 2}}


@pytest.mark.parametrize(
    ("stage", "is_taken"),
    [
        ({"concurrency": 1}, True),
        ({"concurrency": [1, 2, 4]}, True),
        ({"concurrency": {"from": 1, "to": 9, "steps": 3}}, True),
        ({"rate": 0.5}, True),
        ({"rate": [1, 2], "arrival": "gamma", "cv": 2}, True),
        ({"profile": RAMP}, True),
        ({"timestamps": {"path": "x"}}, True),
        ({"arrival": "recorded"}, True),
        ({"arrival": "recorded", "rate": 1}, True),
        ({}, False),
        ({"arrival": "poisson"}, False),
        ({"concurrency": 1, "rate": 1}, False),
        ({"concurrency": [1, 2], "profile": RAMP}, False),
        ({"rate": 1, "timestamps": {"path": "x"}}, False),
        ({"rate": 1, "profile": RAMP}, False),
        ({"arrival": "recorded", "concurrency": 1}, False),
        ({"arrival": "recorded", "profile": RAMP}, False),
        ({"arrival": "recorded", "timestamps": {"path": "x"}}, False),
    ],
)
def test_a_stage_has_one_load_as_the_api_server_sees_it_and_the_model(stage: dict[str, Any], is_taken: bool) -> None:
    """With its end, and the default that the API server fills in."""
    whole = {"duration": "9s", "arrival": "poisson", **stage}
    assert Draft202012Validator({"oneOf": STAGE["oneOf"]}).is_valid(whole) is is_taken
    spec = {"target": {"mock": {}}, "load": {"stages": [whole]}}
    if is_taken:
        assert PerfBenchmark.read({"metadata": {"name": "a"}, "spec": spec})
    else:
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
