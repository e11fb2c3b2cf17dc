"""Dashboards, alerts and monitors: made from the code, by the rules of Grafana's dashboard-linter, about metrics that exist.

Rules of the linter that are not kept, and why, are in docs/monitoring.md; those that cannot apply (Loki, v2 schema) are
not checked. What the queries return from a real run is tests/cluster/test_monitoring.py.
"""

from __future__ import annotations

import json
import re
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml

REPOSITORY = Path(__file__).resolve().parents[3]
CHART = REPOSITORY / "charts" / "perfbench"
sys.path.insert(0, str(REPOSITORY / "charts" / "src"))  # programs, not a package
import dashboards  # noqa: E402
import metric_tables  # noqa: E402

Render = Callable[..., list[dict[str, Any]]]
BOARDS = {name: make() for name, make in dashboards.DASHBOARDS.items()}
ALERTS = yaml.safe_load((CHART / "alerts.yaml").read_text())
UNITS = {"dateTimeFromNow", "short", "percentunit", "s", "reqps", "ops", "bytes", "watt", "none"}
"""Those of the linter's list that we use."""
METRIC = re.compile(r"\b(?:perfbench|process)_\w+")
COUNTER = re.compile(r"(\w+)\(\w+_(?:total|bucket|count|sum)\{[^}]*\}\[(.*?)\]\)")


def panels(board: dict[str, Any]) -> Iterator[dict[str, Any]]:
    for panel in board["panels"]:
        yield from panel.get("panels", []) if panel["type"] == "row" else [panel]


def queries() -> Iterator[tuple[str, str, str]]:
    """Dashboard, panel and PromQL of every query."""
    for name, board in BOARDS.items():
        for panel in panels(board):
            for target in panel["targets"]:
                yield name, panel["title"], target["expr"]


def variables(board: dict[str, Any]) -> dict[str, dict[str, Any]]:
    return {variable["name"]: variable for variable in board["templating"]["list"]}


def plain(expr: str) -> str:
    """A query as Prometheus gets it."""
    return re.sub(
        r"\$\w+",
        ".+",
        expr.replace("$__rate_interval_ms", "60000").replace("$__range", "1h").replace("$__rate_interval", "1m"),
    )


def test_the_chart_has_what_the_code_makes() -> None:
    for name, board in BOARDS.items():
        stored = json.loads((CHART / "dashboards" / f"{name}.json").read_text())
        assert stored == board, "run scripts/generate"
    page = (REPOSITORY / "docs" / "monitoring.md").read_text()
    assert metric_tables.fill(page) == page, "run scripts/generate"


@pytest.mark.parametrize("name", BOARDS)
def test_a_dashboard_is_of_the_published_types(name: str) -> None:
    """Read into Grafana's published types and written again, nothing is lost: so every field is one that it knows."""
    models = pytest.importorskip("grafana_foundation_sdk.models.dashboard")
    from grafana_foundation_sdk.cog.encoder import JSONEncoder
    from grafana_foundation_sdk.cog.plugins import register_default_plugins

    register_default_plugins()
    written = json.loads(JSONEncoder().encode(models.Dashboard.from_json(BOARDS[name])))
    assert list(lost(BOARDS[name], written)) == []


def lost(one: Any, other: Any, path: str = "") -> Iterator[str]:
    if isinstance(one, dict) and isinstance(other, dict):
        for key in one:
            yield from lost(one[key], other[key], f"{path}/{key}") if key in other else [f"{path}/{key}"]
    elif isinstance(one, list) and isinstance(other, list) and len(one) == len(other):
        for index, (left, right) in enumerate(zip(one, other, strict=True)):
            yield from lost(left, right, f"{path}/{index}")
    elif one != other:
        yield f"{path}: {one!r}, {other!r}"


# The linter's rules, by their names


@pytest.mark.parametrize("board", BOARDS.values(), ids=list(BOARDS))
def test_template_rules(board: dict[str, Any]) -> None:
    """template-datasource, -job, -on-time-change-reload, -uneditable, -required-variables."""
    found = variables(board)
    source = found.pop("datasource")
    assert (source["type"], source["query"], source["label"]) == ("datasource", "prometheus", "Data source")
    job = found["job"]
    assert (job["label"], job["multi"], job["includeAll"], job["allValue"]) == ("Job", True, True, ".+")
    for name, variable in found.items():
        assert variable["type"] == "query", name
        assert variable["refresh"] == 2, name
        assert variable["datasource"]["uid"] == "${datasource}", name
        assert variable["label"], name
    assert board["editable"] is False
    assert {"namespace", "benchmark", "model"} <= set(found) or board["uid"] == "perfbench-operator"


def test_template_label_promql_rule(promtool: str, tmp_path: Path) -> None:
    expressions = []
    for board in BOARDS.values():
        for name, variable in variables(board).items():
            if name != "datasource":
                found = re.fullmatch(r"label_values\((\w+\{.*\}|\w+), (\w+)\)", variable["query"]["query"])
                assert found, variable["query"]
                expressions.append(found[1])
    check_rules(promtool, expressions, tmp_path)


@pytest.mark.parametrize("board", BOARDS.values(), ids=list(BOARDS))
def test_panel_rules(board: dict[str, Any]) -> None:
    """panel-datasource, -title-description, -units, -no-targets."""
    for panel in panels(board):
        title = panel["title"]
        assert panel["datasource"]["uid"] == "${datasource}", title
        assert title, panel
        assert panel["description"].endswith("."), title
        units = [panel["fieldConfig"]["defaults"]["unit"]]
        for override in panel["fieldConfig"]["overrides"]:
            units += [one["value"] for one in override["properties"] if one["id"] == "unit"]
        assert set(units) <= UNITS, title
        assert panel["targets"], title


def test_target_promql_rule(promtool: str, tmp_path: Path) -> None:
    check_rules(promtool, [plain(expr) for _, _, expr in queries()], tmp_path)


def check_rules(promtool: str, expressions: list[str], folder: Path) -> None:
    """Have Prometheus' own parser read them."""
    rules = [{"record": f"checked:{number}", "expr": expr} for number, expr in enumerate(expressions)]
    file = folder / "rules.yaml"
    file.write_text(yaml.safe_dump({"groups": [{"name": "all", "rules": rules}]}))
    done = subprocess.run(
        [promtool, "check", "rules", str(file)], capture_output=True, text=True, timeout=30, check=False
    )
    assert done.returncode == 0, done.stderr


@pytest.mark.parametrize(("board", "panel", "expr"), list(queries()))
def test_target_rules(board: str, panel: str, expr: str) -> None:
    """target-job, -rate-interval, -counter-agg, -histogram."""
    for selector in re.findall(r"\{(.*?)\}", expr):
        assert 'job=~"$job"' in selector
    ranges = {(function, long) for function, long in re.findall(r"(\w+)\([^()\[]*\[(.*?)\]", expr)}
    assert ranges <= {
        ("rate", "$__rate_interval"),
        ("last_over_time", "$__rate_interval"),
        ("last_over_time", "$__range"),
    }
    counters = [name for name in METRIC.findall(expr) if name.endswith(("_total", "_bucket", "_count", "_sum"))]
    ranged = COUNTER.findall(expr)
    assert len(ranged) == len(counters)
    assert {function for function, _ in ranged} <= {"rate"}
    if "_bucket" in expr and "spread" not in panel:  # heatmaps draw the buckets themselves
        assert expr.startswith("histogram_quantile(")


def test_panels_fill_rows_and_do_not_overlap() -> None:
    for board in BOARDS.values():
        taken = set()
        for panel in board["panels"]:
            at = panel["gridPos"]
            cells = {(x, y) for x in range(at["x"], at["x"] + at["w"]) for y in range(at["y"], at["y"] + at["h"])}
            assert not cells & taken, panel["title"]
            assert at["x"] + at["w"] <= 24
            taken |= cells
        ids = [panel["id"] for panel in board["panels"]]
        assert len(ids) == len(set(ids))


# Metrics, alerts, monitors


def known() -> set[str]:
    found = set()
    for line in (*metric_tables.runner(), *metric_tables.operator()):
        found |= {
            line.name,
            *(f"{line.name}_{part}" for part in ("bucket", "sum", "count") if line.kind == "histogram"),
        }
    return found | {"process_cpu_seconds_total", "process_resident_memory_bytes", "process_open_fds"}


def test_only_metrics_that_exist_are_asked_for() -> None:
    asked = {name for _, _, expr in queries() for name in METRIC.findall(expr)}
    asked |= {name for rule in ALERTS["groups"][0]["rules"] for name in METRIC.findall(rule["expr"])}
    for board in BOARDS.values():
        asked |= {name for variable in variables(board).values() for name in METRIC.findall(str(variable["query"]))}
    assert asked - known() == set()


def test_alerts_are_rules_that_prometheus_takes(promtool: str) -> None:
    done = subprocess.run(
        [promtool, "check", "rules", str(CHART / "alerts.yaml")], capture_output=True, timeout=30, check=False
    )
    assert done.returncode == 0, done.stderr


BENCHMARK = '{job="operator", namespace="n", benchmark="b"'
ENDED = {f"perfbench_benchmark_completion_timestamp_seconds{BENCHMARK}}}": "0x300"}
LISTS = "perfbench_operator_last_list_timestamp_seconds"
FIRES = {
    # the series that make it fire, a value every half a minute; when it does (minutes); its labels then; its summary
    "PerfbenchOperatorGone": ({}, 6, {}, "is gone"),
    "PerfbenchOperatorBlind": ({LISTS: "0x40"}, 8, {}, "cannot list"),
    "PerfbenchOperatorBehind": ({"perfbench_operator_watch_lag_seconds": "0 30 60 90 _ " * 10}, 20, {}, "repeatedly behind"),
    "PerfbenchOperatorErrors": (
        {'perfbench_operator_errors_total{kind="E"}': "0+1x40"}, 15, {"kind": "E"}, "failing with E"
    ),
    "PerfbenchBenchmarkPending": (
        {f'perfbench_benchmark_phase{BENCHMARK}, phase="Pending"}}': "1x40"}, 6, {"benchmark": "b"}, "n/b does not start"
    ),
    "PerfbenchBenchmarkFailed": (
        {f'perfbench_benchmark_phase{BENCHMARK}, phase="Failed"}}': "1x300", **ENDED},
        1, {"benchmark": "b"}, "n/b has failed"
    ),
    "PerfbenchObjectiveMissed": (
        {f'perfbench_benchmark_verdict{BENCHMARK}, verdict="Failed"}}': "1x300", **ENDED},
        1, {"benchmark": "b"}, "n/b missed"
    ),
    "PerfbenchClientInvalid": (
        {f'perfbench_client_state{BENCHMARK}, state="invalid"}}': "1x40",
         f'perfbench_phase{BENCHMARK}, phase="running"}}': "1x40"},
        2, {"benchmark": "b"}, "n/b is the bottleneck"
    ),
}  # fmt: skip
QUIET = {
    # the series, and when nothing may fire
    "PerfbenchOperatorGone": ({LISTS: "0+30x40"}, 15),
    "PerfbenchOperatorBlind": ({LISTS: "0+30x10 300x8"}, 8),
    "PerfbenchOperatorBehind": ({"perfbench_operator_watch_lag_seconds": "0 30 60 90 _ 0x40"}, 20),
    "PerfbenchOperatorErrors": ({'perfbench_operator_errors_total{kind="E"}': "0x3 1x17 2x20"}, 18),
    "PerfbenchBenchmarkPending": ({f'perfbench_benchmark_phase{BENCHMARK}, phase="Pending"}}': "1x8 0x20"}, 6),
    "PerfbenchBenchmarkFailed": (FIRES["PerfbenchBenchmarkFailed"][0], 61),
    "PerfbenchObjectiveMissed": (FIRES["PerfbenchObjectiveMissed"][0], 61),
    "PerfbenchClientInvalid": (
        {f'perfbench_client_state{BENCHMARK}, state="invalid"}}': "1x40",
         f'perfbench_phase{BENCHMARK}, phase="running"}}': "0x40"}, 10
    ),
}  # fmt: skip


def check_alerts(promtool: str, folder: Path, scenes: dict[str, tuple[dict[str, str], int]]) -> tuple[int, str]:
    """Expect that none fires; promtool prints those that do."""
    tests = [
        {
            "interval": "30s",
            "name": name,
            "input_series": [{"series": series, "values": values} for series, values in inputs.items()],
            "alert_rule_test": [{"eval_time": f"{minutes}m", "alertname": name, "exp_alerts": []}],
        }
        for name, (inputs, minutes) in scenes.items()
    ]
    assert set(scenes) == {rule["alert"] for rule in ALERTS["groups"][0]["rules"]}
    file = folder / "test.yaml"
    file.write_text(yaml.safe_dump({"rule_files": [str(CHART / "alerts.yaml")], "tests": tests}))
    done = subprocess.run(
        [promtool, "test", "rules", str(file)], capture_output=True, text=True, timeout=60, check=False
    )
    return done.returncode, done.stdout + done.stderr


def test_every_alert_fires_when_it_should(promtool: str, tmp_path: Path) -> None:
    _, fired = check_alerts(
        promtool, tmp_path, {name: (inputs, minutes) for name, (inputs, minutes, _, _) in FIRES.items()}
    )
    for name, (_, _, labels, words) in FIRES.items():
        assert f'alertname="{name}"' in fired
        assert words in fired
        for label, value in labels.items():
            assert f'{label}="{value}"' in fired


def test_no_alert_fires_for_what_passes_or_is_over(promtool: str, tmp_path: Path) -> None:
    code, fired = check_alerts(promtool, tmp_path, QUIET)
    assert code == 0, fired


@pytest.mark.parametrize("rule", ALERTS["groups"][0]["rules"], ids=lambda rule: rule["alert"])
def test_every_alert_has_its_runbook(rule: dict[str, Any]) -> None:
    page = (REPOSITORY / "docs" / "monitoring.md").read_text()
    assert f"\n### {rule['alert']}\n" in page
    assert rule["annotations"]["runbook_url"] == f"docs/monitoring.md#{rule['alert'].lower()}"
    assert rule["labels"]["severity"] in ("info", "warning")


def named(items: list[dict[str, Any]]) -> dict[tuple[str, str], dict[str, Any]]:
    """Objects by kind and name."""
    return {(item["kind"], item["metadata"]["name"]): item for item in items}


ON: dict[str, Any] = {
    "podMonitor": {"enabled": True, "labels": {"release": "prom"}},
    "serviceMonitor": {"enabled": True, "labels": {"release": "prom"}},
    "rules": {"enabled": True, "labels": {"release": "prom"}, "runbookUrl": "https://docs.example/monitoring"},
    "dashboards": {"enabled": True, "namespace": "grafana", "annotations": {"grafana_folder": "perfbench"}},
    "scrapeAnnotations": True,
}


def test_nothing_of_it_is_installed_unasked(render: Render) -> None:
    found = named(render())
    assert not {"PodMonitor", "ServiceMonitor", "PrometheusRule", "ConfigMap"} & {kind for kind, _ in found}
    assert "annotations" not in found["Service", "perfbench"]["metadata"]


def test_monitors_find_runners_everywhere_or_where_they_are_served(render: Render) -> None:
    found = named(render(monitoring=ON))
    monitor = found["PodMonitor", "perfbench-runners"]
    assert monitor["spec"]["namespaceSelector"] == {"any": True}
    assert monitor["metadata"]["labels"]["release"] == "prom"
    assert monitor["spec"]["podMetricsEndpoints"][0]["honorLabels"] is False, "a pod speaks for itself only"
    assert found["ServiceMonitor", "perfbench"]["spec"]["endpoints"][0]["honorLabels"] is True
    served = named(render(monitoring=ON, namespaces=["a", "b"]))["PodMonitor", "perfbench-runners"]
    assert served["spec"]["namespaceSelector"] == {"matchNames": ["a", "b"]}
    assert found["Service", "perfbench"]["metadata"]["annotations"]["prometheus.io/port"] == "9090"


def test_monitors_name_the_port_and_labels_that_pods_have(render: Render) -> None:
    from perfbench_api.resource import PerfBenchmark
    from perfbench_operator.objects.identity import Identity
    from perfbench_operator.objects.job import build_job
    from perfbench_operator.settings import Settings

    found = named(render(monitoring=ON))
    benchmark = PerfBenchmark.read({"metadata": {"name": "b"}, "spec": {"target": {"mock": {}}}})
    pod = build_job(benchmark, Identity("n", "b", "0123456789"), {}, Settings())["spec"]["template"]
    spec = found["PodMonitor", "perfbench-runners"]["spec"]
    assert spec["selector"]["matchLabels"].items() <= pod["metadata"]["labels"].items()
    ports = {port["name"]: port["containerPort"] for port in pod["spec"]["containers"][0]["ports"]}
    assert ports[spec["podMetricsEndpoints"][0]["port"]] == 9090
    service = found["Service", "perfbench"]
    monitor = found["ServiceMonitor", "perfbench"]["spec"]
    assert monitor["selector"]["matchLabels"].items() <= service["metadata"]["labels"].items()
    assert monitor["endpoints"][0]["port"] in [port["name"] for port in service["spec"]["ports"]]


def test_dashboards_and_rules_arrive_as_they_are(render: Render) -> None:
    found = named(render(monitoring=ON))
    text = json.dumps(ALERTS).replace("docs/monitoring.md#", "https://docs.example/monitoring#")
    text = text.replace("absent(perfbench_operator_last_list_timestamp_seconds)",
                        'absent(perfbench_operator_last_list_timestamp_seconds{namespace=\\"home\\"})')  # fmt: skip
    assert found["PrometheusRule", "perfbench"]["spec"] == json.loads(text)
    for name, board in BOARDS.items():
        config = found["ConfigMap", f"perfbench-dashboard-{name}"]
        assert config["metadata"]["namespace"] == "grafana"
        assert config["metadata"]["labels"]["grafana_dashboard"] == "1"
        assert config["metadata"]["annotations"] == {"grafana_folder": "perfbench"}
        assert json.loads(config["data"][f"perfbench-{name}.json"]) == board


def test_the_run_dashboard_s_rates_are_by_the_scrape_interval_of_runners(render: Render) -> None:
    for values, interval in (({}, "5s"), ({"podMonitor": {"interval": "2s"}}, "2s"), ({"scrapeInterval": "1m"}, "1m")):
        own = values if "podMonitor" in values else {"dashboards": {"enabled": True, **values}}
        found = named(render(monitoring={"dashboards": {"enabled": True}, **own}))
        board = json.loads(found["ConfigMap", "perfbench-dashboard-run"]["data"]["perfbench-run.json"])
        for panel in panels(board):
            assert {panel["interval"], *(target["interval"] for target in panel["targets"])} == {interval}


def test_alerts_have_no_link_where_nobody_says_where_to(render: Render) -> None:
    found = named(render(monitoring={"rules": {"enabled": True}}))["PrometheusRule", "perfbench"]["spec"]
    annotations = [rule["annotations"] for rule in found["groups"][0]["rules"]]
    assert len(annotations) == len(ALERTS["groups"][0]["rules"])
    assert {name for each in annotations for name in each} == {"summary", "description"}


def test_labels_and_links_can_be_taken_away(render: Render) -> None:
    monitoring = {"dashboards": {"enabled": True, "labels": {"grafana_dashboard": None}}}
    found = named(render(monitoring=monitoring))["ConfigMap", "perfbench-dashboard-run"]
    assert "grafana_dashboard" not in found["metadata"]["labels"]


def test_all_of_a_variable_s_values_may_be_empty_but_the_job() -> None:
    """A run on a laptop has no namespace, a replayed one no model."""
    for board in BOARDS.values():
        everything = {name: one["allValue"] for name, one in variables(board).items() if one.get("includeAll")}
        assert everything.pop("job") == ".+"
        assert set(everything.values()) <= {".*"}
