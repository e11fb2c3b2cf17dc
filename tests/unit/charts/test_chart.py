"""The chart renders in every mode, and grants exactly what the operator does."""

from __future__ import annotations

import json
import re
import subprocess
from collections import defaultdict
from collections.abc import Callable
from pathlib import Path
from typing import Any

import jsonschema
import pytest
import yaml

from perfbench_api.sections import Runner
from perfbench_operator.cluster import LEASE_RIGHTS, RIGHTS
from perfbench_operator.lease import NAME, NAME_FOR_ALL
from perfbench_operator.settings import PARSERS, PREFIX, Settings

CHART = Path(__file__).resolve().parents[3] / "charts" / "perfbench"
Render = Callable[..., list[dict[str, Any]]]
Helm = Callable[..., "subprocess.CompletedProcess[str]"]
MODES: dict[str, dict[str, Any]] = {
    "default": {},
    "namespaced": {"namespaces": ["a", "b"]},
    "everything": {
        "namespaces": ["a"],
        "demo": {"enabled": True},
        "networkPolicy": {"enabled": True},
        "podDisruptionBudget": {"enabled": True},
        "imagePullSecrets": ["p", {"name": "o"}],
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


def kinds(items: list[dict[str, Any]], kind: str) -> list[dict[str, Any]]:
    return [item for item in items if item["kind"] == kind]


@pytest.mark.parametrize("mode", MODES)
def test_every_mode_renders(mode: str, render: Render) -> None:
    items = render(**MODES[mode])
    names = [(item["kind"], item["metadata"].get("namespace"), item["metadata"]["name"]) for item in items]
    assert len(set(names)) == len(names)
    [deployment] = [item for item in kinds(items, "Deployment") if "demo" not in item["metadata"]["name"]]
    assert deployment["spec"]["replicas"] == 1


def test_lint_is_clean(run_helm: Helm) -> None:
    done = run_helm("lint", "--strict", str(CHART))
    assert done.returncode == 0, done.stdout
    assert not re.search(r"\[(WARNING|ERROR)\]", done.stdout)


def rights(role: dict[str, Any]) -> dict[tuple[str, str], tuple[str, ...]]:
    found: dict[tuple[str, str], set[str]] = defaultdict(set)
    for rule in role["rules"]:
        for group in rule["apiGroups"]:
            for resource in rule["resources"]:
                found[group, resource] |= set(rule["verbs"])
    return {what: tuple(sorted(verbs)) for what, verbs in found.items()}


def test_operator_has_exactly_the_rights_that_it_uses(render: Render) -> None:
    """cluster.py names what it does; on a real cluster it is seen to suffice."""
    everywhere = [role for role in kinds(render(), "ClusterRole") if role["metadata"]["name"] == "perfbench-home"]
    somewhere = kinds(render(**MODES["namespaced"]), "Role")
    leases = ("coordination.k8s.io", "leases")
    assert [rights(role) for role in everywhere] == [RIGHTS | {leases: ("list", "watch")}]
    assert [rights(role) for role in somewhere] == [RIGHTS | LEASE_RIGHTS] * 2
    assert [role["metadata"]["namespace"] for role in somewhere] == ["a", "b"]


@pytest.mark.parametrize(
    ("mode", "namespaces", "name"), [("default", ["default"], NAME_FOR_ALL), ("namespaced", ["a", "b"], NAME)]
)
def test_operator_may_change_no_lease_but_its_own(render: Render, mode: str, namespaces: list[str], name: str) -> None:
    roles = kinds(render(**MODES.get(mode, {})), "Role")
    rules = [
        rule for role in roles for rule in role["rules"] if "leases" in rule["resources"] and "patch" in rule["verbs"]
    ]
    assert [role["metadata"]["namespace"] for role in roles] == namespaces
    assert [rule["resourceNames"] for rule in rules] == [[name]] * len(namespaces)


def test_namespaced_mode_has_no_right_in_the_cluster(render: Render) -> None:
    items = render(namespaces=["a"], rbac={"aggregate": False})
    assert kinds(items, "ClusterRole") == kinds(items, "ClusterRoleBinding") == []


def test_all_pods_are_restricted(render: Render) -> None:
    items = render(**MODES["everything"])
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


def test_operator_is_told_its_namespaces(render: Render) -> None:
    [deployment] = kinds(render(**MODES["namespaced"]), "Deployment")
    [container] = deployment["spec"]["template"]["spec"]["containers"]
    assert {"name": "PERFBENCH_NAMESPACES", "value": "a,b"} in container["env"]


def environment(items: list[dict[str, Any]]) -> dict[str, str]:
    """Environment variables of the operator."""
    [deployment] = [item for item in kinds(items, "Deployment") if item["metadata"]["name"] == "perfbench"]
    [container] = deployment["spec"]["template"]["spec"]["containers"]
    return {one["name"]: one["value"] for one in container["env"] if "value" in one}


def test_operator_reads_all_that_the_chart_tells_it(render: Render) -> None:
    variables = environment(render(runner={"labels": {"team": "search"}, "linger": "20s"}))
    found = Settings.read(variables)
    assert (found.runner_image, found.runner_labels, found.runner_linger_s) == (
        "perfbench-runner:0.1.0", {"team": "search"}, 20.0
    )  # fmt: skip
    assert {name.removeprefix(PREFIX) for name in variables} <= set(PARSERS)


def test_scrape_annotations_reach_runners_and_give_way_to_the_user_s(render: Render) -> None:
    own = {"prometheus.io/port": "9", "a": "b"}
    items = render(monitoring={"scrapeAnnotations": True}, runner={"annotations": own})
    assert Settings.read(environment(items)).runner_annotations == {
        "prometheus.io/scrape": "true", "prometheus.io/path": "/metrics", **own
    }  # fmt: skip
    assert Settings.read(environment(render())).runner_annotations == {}


@pytest.mark.parametrize(
    "values",
    [
        {"replicas": "two"},
        {"maxConcurrent": -1},
        {"namespaces": "a"},
        {"startTimeout": "soon"},
        {"demo": {"on": True}},
        {"runner": {"linger": "a while"}},
    ],
)
def test_wrong_values_are_refused(values: dict[str, Any], run_helm: Helm, tmp_path: Path) -> None:
    file = tmp_path / "values.json"
    file.write_text(json.dumps(values))
    assert run_helm("template", "x", str(CHART), "--values", str(file)).returncode != 0


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


def test_secrets_may_be_made_and_never_read() -> None:
    assert [verbs for (_, resource), verbs in RIGHTS.items() if "secret" in resource] == [("create",)]


def specs(items: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """The specs of all pods."""
    templates = [item["spec"]["template"]["spec"] for item in kinds(items, "Deployment")]
    return templates + [item["spec"] for item in kinds(items, "Pod")]


def test_pull_secrets_are_given_by_name_or_as_pods_have_them(render: Render) -> None:
    secrets = ["p", {"name": "o"}]
    items = render(imagePullSecrets=secrets, runner={"imagePullSecrets": secrets}, demo={"enabled": True})
    assert [spec["imagePullSecrets"] for spec in specs(items)] == [[{"name": "p"}, {"name": "o"}]] * 3
    assert Settings.read(environment(items)).runner_pull_secrets == ("p", "o")


@pytest.mark.parametrize(
    ("user", "flags", "expected"),
    [
        ("auto", [], 65532),
        ("auto", ["--api-versions", "security.openshift.io/v1"], None),
        ("none", [], None),
        (1000650000, [], 1000650000),
        (1000650000, ["--api-versions", "security.openshift.io/v1"], 1000650000),
    ],
)
def test_user_ids_are_left_to_clusters_that_give_them(
    user: Any, flags: list[str], expected: int | None, run_helm: Helm, tmp_path: Path
) -> None:
    file = tmp_path / "values.json"
    file.write_text(json.dumps({"userId": user, "demo": {"enabled": True}}))
    done = run_helm("template", "perfbench", str(CHART), "--values", str(file), *flags)
    items = [item for item in yaml.load_all(done.stdout, Loader=yaml.CSafeLoader) if item]
    for spec in specs(items):
        security = spec["securityContext"]
        assert (security.get("runAsUser"), security.get("runAsGroup")) == (expected, expected)
        assert security["runAsNonRoot"] is True
    assert Settings.read(environment(items)).runner_user == expected


def test_times_of_the_demo_may_be_set_on_the_command_line(run_helm: Helm) -> None:
    """helm makes a text of 0.002."""
    done = run_helm("template", "x", str(CHART), "--set", "demo.enabled=true", "--set", "demo.itlSeconds=0.002")
    assert "--itl-s=0.002" in done.stdout, done.stderr


def test_nothing_serves_ipv4_alone(render: Render) -> None:
    assert "0.0.0.0" not in json.dumps(render(demo={"enabled": True}))


def test_a_budget_never_holds_up_a_drain(render: Render) -> None:
    [budget] = kinds(render(podDisruptionBudget={"enabled": True}), "PodDisruptionBudget")
    assert budget["spec"].keys() == {"maxUnavailable", "selector"}


PROMETHEUS = {"namespaceSelector": {"matchLabels": {"kubernetes.io/metadata.name": "monitoring"}}}


@pytest.mark.parametrize(
    ("values", "namespaces"),
    [
        ({"namespaces": ["a", "b"]}, ["a", "b"]),
        ({"networkPolicy": {"enabled": True, "runnerNamespaces": ["c"]}}, ["c"]),
        ({"namespaces": ["a"], "networkPolicy": {"enabled": True, "runnerNamespaces": ["a", "c"]}}, ["a", "c"]),
        ({}, []),
    ],
)
def test_network_policies_are_made_where_runners_are(
    values: dict[str, Any], namespaces: list[str], render: Render
) -> None:
    items = kinds(render(**{"networkPolicy": {"enabled": True}, **values}), "NetworkPolicy")
    assert [item["metadata"]["namespace"] for item in items] == ["home", *namespaces]


def test_network_policies_name_who_may_come_in(render: Render) -> None:
    policies = kinds(
        render(namespaces=["a"], networkPolicy={"enabled": True, "metricsFrom": [PROMETHEUS]}), "NetworkPolicy"
    )
    for policy in policies:
        for rule in policy["spec"]["ingress"]:
            assert rule["from"], "without `from` everybody may"
            assert rule["ports"]
    operator, runners = policies
    assert PROMETHEUS in operator["spec"]["ingress"][1]["from"]
    rule, of_workers = runners["spec"]["ingress"]
    [worker] = of_workers["from"]
    assert worker["podSelector"]["matchLabels"]["app.kubernetes.io/component"] == "worker"
    assert "namespaceSelector" not in worker, "of their own namespace"
    assert of_workers["ports"] == [{"port": 9091, "protocol": "TCP"}]
    assert PROMETHEUS in rule["from"]
    assert rule["from"][0]["namespaceSelector"]["matchLabels"] == {"kubernetes.io/metadata.name": "home"}
    assert rule["from"][0]["podSelector"]["matchLabels"]["app.kubernetes.io/component"] == "operator"


def test_policies_are_made_as_asked_and_refuse_nothing_by_default(render: Render) -> None:
    assert kinds(render(), "ValidatingAdmissionPolicy") == []
    one = kinds(render(policies={"plugins": "None"}, namespaces=["a"]), "ValidatingAdmissionPolicy")
    assert [item["metadata"]["name"] for item in one] == ["perfbench-home-benchmarks"]
    [requirement] = one[0]["spec"]["matchConstraints"]["namespaceSelector"]["matchExpressions"]
    assert requirement == {"key": "kubernetes.io/metadata.name", "operator": "In", "values": ["a"]}


@pytest.mark.parametrize("overrides", ["All", "Scheduling", "None"])
def test_policies_know_every_field_of_a_runner(overrides: str, render: Render) -> None:
    """A field that is added must be sorted: it is a pod's, or it is not."""
    of_several = {"replicas", "on_loss", "start_deadline"}
    not_of_pods = of_several | {"workers", "image", "active_deadline", "backoff_limit", "linger"}
    scheduling = {
        *("resources", "node_selector", "affinity", "tolerations", "topology_spread_constraints"),
        *("image_pull_policy", "image_pull_secrets"),
    }
    allowed = {"All": set(Runner.model_fields), "Scheduling": not_of_pods | scheduling, "None": not_of_pods}
    text = yaml.safe_dump(kinds(render(policies={"podOverrides": overrides}), "ValidatingAdmissionPolicy"))
    refused = set(re.findall(r"has\(variables\.spec\.runner\.(\w+)\)", text))
    expected = set(Runner.model_fields) - allowed[overrides]
    assert refused == {Runner.model_fields[name].alias for name in expected}


def test_a_list_of_secrets_needs_the_fields_that_name_others_refused(run_helm: Helm) -> None:
    done = run_helm("template", "x", str(CHART), "--set", "policies.secrets={a}")
    assert "policies.secrets needs policies.podOverrides" in done.stderr


def test_values_of_the_security_page_render(render: Render) -> None:
    page = (CHART.parents[1] / "docs" / "security.md").read_text()
    [text] = re.findall(r"```yaml\n(# shared.*?)```", page, flags=re.DOTALL)
    items = render(**yaml.safe_load(text))
    assert len(kinds(items, "ValidatingAdmissionPolicy")) == 8
    assert len(kinds(items, "NetworkPolicy")) == 3
