"""Every query of every panel and alert, asked of a real Prometheus that scraped a real run.

Each returns data, or is expected to be empty for the reason that `EMPTY` gives; one that is not empty any more fails
too. Figures agree with the run's summary as far as histograms can.
"""

from __future__ import annotations

import json
import os
import re
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import binaries
import machine
import pytest
import yaml
from benchmarks import CHART, REPOSITORY, benchmark, installed, restricted_namespace, status, until, wait_established
from kube import Cluster, CommandError, Namespace, wait_for
from scraping import Prometheus, now_s, scraping

STAGES = [{"concurrency": 4, "duration": "12s"}, {"rate": 8, "duration": "12s", "maxConcurrency": 8}]
OBJECTIVES = [
    {"metric": metric, "max": bound, "statistic": "p90"}
    for metric, bound in {
        "ttft": "300ms",
        "itl": "60ms",
        "tpot": "60ms",
        "e2e_latency": "1s",
        "scheduled_latency": "1s",
    }.items()
]
JUDGED = {
    "objectives": OBJECTIVES,
    "goodput": {"ttft": "300ms"},
    "workloads": [{"name": "chat", "weight": 2}, {"name": "batch"}],
}
SEARCH = "perfbench_search_load"
"""What the runner tells of a search: the load under way, and what is known of the one that is looked for."""
SEARCHED = {"concurrency": {"from": 1, "to": 2}, "requests": 60, "maxDuration": "60s"}
RUNNERS = 3
SHARED = {"concurrency": 4, "requests": 160}
"""The load of three runners: some 7 s."""
CARRIED = {"metric": "ttft", "statistic": "p90", "max": "5s"}
NO_FAILURE = "nothing fails in this run"
NO_GPU = "there is no GPU"
MOCK = "the mock has neither prefix cache nor drafts, and preempts nobody"
EMPTY = {
    ("run", "Failures", "{{outcome}}"): NO_FAILURE,
    ("run", "Caches", "prefix cache hits since start"): MOCK,
    ("run", "Caches", "drafts accepted since start"): MOCK,
    ("run", "Preemptions", "preempted"): MOCK,
    ("run", "GPU utilization", "utilization"): NO_GPU,
    ("run", "GPU power", "power"): NO_GPU,
}
EITHER = {
    (
        "operator",
        "Errors",
        "{{kind}}",
    ): "where the chart brings the definition, the operator may ask for benchmarks too early",
    (
        "results",
        "Verdicts",
        "{{namespace}} {{model}}",
    ): "on a busy machine the client may be too slow for a verdict, or requests too dependent",
}
"""Queries that may be empty, and need not."""
SILENT = {
    "PerfbenchOperatorGone": "the operator is there",
    "PerfbenchOperatorBlind": "it lists twice a minute",
    "PerfbenchOperatorBehind": "its watch lives",
    "PerfbenchOperatorErrors": NO_FAILURE,
    "PerfbenchBenchmarkPending": "all have run",
    "PerfbenchBenchmarkFailed": "all went well",
    "PerfbenchObjectiveMissed": "all objectives were kept",
    "PerfbenchClientInvalid": "the load is small",
}


def queries() -> Iterator[tuple[str, str, str, str, bool]]:
    """Dashboard, panel, legend, PromQL and whether it is asked for one moment only."""
    for file in sorted((CHART / "dashboards").glob("*.json")):
        for panel in json.loads(file.read_text())["panels"]:
            for target in panel.get("targets", []):
                yield file.stem, panel["title"], target["legendFormat"], target["expr"], target["instant"]


ALERTS: list[dict[str, Any]] = yaml.safe_load((CHART / "alerts.yaml").read_text())["groups"][0]["rules"]


@dataclass(frozen=True)
class Scene:
    """What has happened while Prometheus looked: one benchmark ran, then two side by side, of which one searched and the
    other one had three runners.
    """

    prometheus: Prometheus
    namespace: Namespace
    began_s: float
    ended_s: float
    """When the first one's runner had gone."""
    now_s: float

    def filled(self, text: str, board: str) -> str:
        """A query with a dashboard's variables set to our benchmarks."""
        own = {
            "job": ".+",
            "namespace": self.namespace.name,
            "benchmark": ".+" if board == "results" else "searching" if SEARCH in text else "watched",
            "model": ".+",
            "stage": ".+",
            "a": "watched",
            "b": "other",
            # As Grafana reckons: four times the interval of the panels, here that of the PodMonitor, or the data source's.
            "__rate_interval": "4s" if board == "run" else "60s",
            "__rate_interval_ms": "60000",
            "__range": "5m",
            "label": ".*",
        }
        return re.sub(r"\$(\w+)", lambda found: own[found[1]], text)

    def ask(self, expr: str, is_instant: bool, board: str) -> list[dict[str, Any]]:
        """The answer to a panel's query."""
        text = self.filled(expr, board)
        if is_instant:
            return self.prometheus.at(text, self.now_s)
        end_s = self.ended_s if board == "run" and SEARCH not in expr else self.now_s
        return self.prometheus.over(text, self.began_s, end_s)

    def last(self, selector: str, benchmark: str = "watched") -> str:
        """The highest that series of a benchmark came to."""
        name, _, labels = selector.partition("{")
        own = f'namespace="{self.namespace.name}", benchmark="{benchmark}"'
        return f"max_over_time({name}{{{own}, {labels.rstrip('}')}}}[5m])"

    def of_other(self, expr: str) -> list[dict[str, Any]]:
        """The answer to a query of the run dashboard with the run of three runners chosen."""
        text = self.filled(expr.replace("$benchmark", "other"), "run")
        return self.prometheus.over(text, self.ended_s, self.now_s)


@pytest.fixture(scope="module")
def scene(cluster: Cluster, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Scene]:
    need_prometheus()
    folder = tmp_path_factory.mktemp("monitoring")
    on = {"enabled": True, "interval": "1s"}
    values = {
        "demo": {"enabled": True, "ttftSeconds": 0.04, "itlSeconds": 0.005},
        "monitoring": {
            "podMonitor": on,
            "serviceMonitor": on,
            "rules": {"enabled": True},
            "dashboards": {"enabled": True},
            "scrapeAnnotations": True,
        },
    }
    with (
        monitoring_defined(cluster),
        restricted_namespace(cluster) as space,
        installed(cluster, space, folder, **values) as release,
        scraping(cluster, folder, space.name) as prometheus,
    ):
        began_s = now_s()
        run(space, "watched", release.demo, {"team": "search"}, load={"stages": STAGES, "retry": {}}, **JUDGED)
        ended_s = now_s()
        start(space, "searching", release.demo, {}, load={"search": SEARCHED}, objectives=[CARRIED])
        start(space, "other", release.demo, {}, replicas=RUNNERS, load={"stages": [SHARED]})
        for name in ("searching", "other"):
            until(space, name, "Succeeded", timeout_s=120)
        told = f'perfbench_benchmark_requests{{namespace="{space.name}", benchmark="other"}}'
        wait_for(lambda: prometheus.at(told, now_s()), 60, "the operator's figures of the last benchmark")
        errors = [line for line in release.log().splitlines() if '"error"' in line.lower()]
        print("errors of the operator:", *errors, sep="\n")  # seen when a test fails
        yield Scene(prometheus, space, began_s, ended_s, now_s())


@contextmanager
def monitoring_defined(cluster: Cluster) -> Iterator[None]:
    """A cluster that knows the Prometheus operator's monitors and rules, so that it checks ours."""
    made = [str(file) for file in binaries.monitoring_definitions() if not is_defined(cluster, file.stem)]
    for file in made:
        cluster.kubectl("create", "-f", file)
        wait_established(cluster, "-f", file)
    try:
        yield
    finally:
        for file in made:
            cluster.kubectl("delete", "-f", file)


def is_defined(cluster: Cluster, file: str) -> bool:
    group, _, plural = file.partition("_")
    try:
        return bool(cluster.get("crd", f"{plural}.{group}"))
    except CommandError:
        return False


def need_prometheus() -> None:
    if not machine.missing():
        machine.install_packages(("prometheus", "prometheus-pushgateway"))
    if shutil.which("prometheus") is None:
        reason = "needs prometheus on PATH (Debian package prometheus)"
        if os.environ.get("CI") == "true":
            pytest.fail(reason, pytrace=False)
        pytest.skip(reason)


def start(
    space: Namespace, name: str, target: dict[str, Any], labels: dict[str, str], replicas: int = 1, **spec: Any
) -> None:
    """Start a benchmark whose leader's pod stays for a last scrape."""
    runner = {"linger": "4s", "replicas": replicas}
    made = benchmark(name, target, request={"maxTokens": 24}, runner=runner, **spec)
    made["metadata"]["labels"] = labels
    space.apply(made)


def run(space: Namespace, name: str, target: dict[str, Any], labels: dict[str, str], **spec: Any) -> None:
    """Run a benchmark to its end."""
    start(space, name, target, labels, **spec)
    until(space, name, "Succeeded", timeout_s=120)


def test_every_query_of_every_panel_returns_data_or_is_empty_for_a_reason(scene: Scene) -> None:
    wrong = []
    for board, panel, legend, expr, is_instant in queries():
        found = scene.ask(expr, is_instant, board)
        reason = EMPTY.get((board, panel, legend))
        if bool(found) == bool(reason) and (board, panel, legend) not in EITHER:
            what = f"not empty, though {reason}: {[one['metric'] for one in found]}" if reason else "empty"
            wrong.append(f"{board} / {panel} / {legend}: {what}: {expr}")
    assert not wrong, "\n".join(wrong)


def test_a_stat_has_one_number_at_any_time(scene: Scene) -> None:
    """Grafana draws a tile for each series that there was."""
    wrong = []
    for file in sorted((CHART / "dashboards").glob("*.json")):
        for panel in json.loads(file.read_text())["panels"]:
            if panel["type"] == "stat":
                [target] = panel["targets"]
                found = scene.ask(target["expr"], target["instant"], file.stem)
                if len(found) != 1:
                    wrong.append(f"{file.stem} / {panel['title']}: {[one['metric'] for one in found]}")
    assert not wrong, "\n".join(wrong)


def test_a_run_s_dashboard_says_what_it_did_and_ended_as(scene: Scene) -> None:
    board = json.loads((CHART / "dashboards" / "run.json").read_text())
    [panel] = [panel for panel in board["panels"] if panel["title"] == "Phase"]
    [series] = scene.ask(panel["targets"][0]["expr"], False, "run")
    words = panel["fieldConfig"]["defaults"]["mappings"][0]["options"]
    seen = list(dict.fromkeys(words[value]["text"] for _, value in series["values"]))
    assert seen[-1] == "done"
    assert "running" in seen


def test_every_variable_has_values_to_choose_from(scene: Scene) -> None:
    wrong = []
    for file in sorted((CHART / "dashboards").glob("*.json")):
        for variable in json.loads(file.read_text())["templating"]["list"]:
            if variable["type"] == "query":
                found = re.fullmatch(r"label_values\((.+), (\w+)\)", variable["query"]["query"])
                assert found
                selector = scene.filled(found[1], file.stem)
                values = scene.prometheus.ask(f"label/{found[2]}/values", **{"match[]": selector})
                if not values:
                    wrong.append(f"{file.stem} / {variable['name']}: {selector}")
    assert not wrong, "\n".join(wrong)


def test_no_panel_shows_what_is_no_number(scene: Scene) -> None:
    wrong = [
        f"{board} / {panel} / {legend}"
        for board, panel, legend, expr, is_instant in queries()
        for series in scene.ask(expr, is_instant, board)
        for _, value in series.get("values", [series.get("value")])
        if value in ("+Inf", "-Inf")
    ]
    assert not wrong


def test_monitors_find_runners_and_operator_and_rules_are_taken(scene: Scene) -> None:
    targets = scene.prometheus.ask("targets", state="active")["activeTargets"]
    health = {target["scrapePool"]: target["health"] for target in targets}
    assert health["perfbench"] == "up"
    jobs = set(scene.prometheus.ask("label/job/values"))
    assert jobs == {"perfbench", f"{scene.namespace.name}/perfbench-runners"}
    [group] = scene.prometheus.ask("rules")["groups"]
    assert {rule["health"] for rule in group["rules"]} == {"ok"}
    assert [rule["name"] for rule in group["rules"]] == [rule["alert"] for rule in ALERTS]


def test_without_the_prometheus_operator_annotations_lead_to_the_same_pages(scene: Scene) -> None:
    pods, workers = (
        scene.namespace.get("pods", f"--selector=app.kubernetes.io/component={component}")["items"]
        for component in ("runner", "worker")
    )
    [service] = scene.namespace.get("services", "--selector=app.kubernetes.io/component=operator")["items"]
    wanted = {"prometheus.io/scrape": "true", "prometheus.io/port": "9090", "prometheus.io/path": "/metrics"}
    assert len(pods) == 3
    for item in (*pods, service):
        assert wanted.items() <= item["metadata"]["annotations"].items()
    assert len(workers) == RUNNERS - 1
    assert not [item for item in workers if wanted.keys() & item["metadata"]["annotations"].keys()], (
        "leaders speak for all"
    )


def test_every_exception_is_of_a_query_that_exists() -> None:
    assert set(EMPTY) | set(EITHER) <= {(board, panel, legend) for board, panel, legend, _, _ in queries()}
    assert set(SILENT) == {rule["alert"] for rule in ALERTS}


@pytest.mark.parametrize("rule", ALERTS, ids=lambda rule: rule["alert"])
def test_alerts_are_silent_and_what_they_look_at_is_there(scene: Scene, rule: dict[str, Any]) -> None:
    expr = str(rule["expr"])
    own = [
        series
        for series in scene.prometheus.over(expr, scene.began_s, scene.now_s)
        if series["metric"].get("namespace") in (scene.namespace.name, None) and lasts(series, rule.get("for", "0s"))
    ]
    assert own == [], SILENT[rule["alert"]]
    may_be_missing = {"perfbench_operator_errors_total"}  # it begins with the first error
    for metric in set(re.findall(r"perfbench_\w+", expr)) - may_be_missing:
        assert scene.prometheus.over(metric, scene.began_s, scene.now_s), metric


def lasts(series: dict[str, Any], long: str) -> bool:
    """Whether an alert would fire: true for so long at a stretch."""
    times = [at_s for at_s, _ in series["values"]]
    number, unit = int(long[:-1]), long[-1]
    return bool(times[-1] - times[0] >= number * {"s": 1, "m": 60}[unit])


def test_several_runners_are_one_run_in_every_panel(scene: Scene) -> None:
    """What the dashboard of a run shows of three runners: their sums, and none of them beside."""
    [leader] = scene.namespace.get(
        "pods", "--selector=app.kubernetes.io/component=runner,perfbench.io/benchmark=other"
    )["items"]
    every = f'{{__name__=~"perfbench_.+", job=~".+/perfbench-runners", namespace="{scene.namespace.name}", benchmark="other"}}'
    pods = {
        one["metric"]["pod"] for one in scene.prometheus.over(f"count by (pod) ({every})", scene.ended_s, scene.now_s)
    }
    assert pods == {leader["metadata"]["name"]}
    panels = {(panel, legend): expr for board, panel, legend, expr, _ in queries() if board == "run"}
    shown = {name: scene.of_other(expr) for name, expr in panels.items()}
    without_series = {name for name, found in shown.items() if not found}
    expected = {name[1:] for name in EMPTY if name[0] == "run"} | {name for name in panels if is_of_more(*name)}
    assert without_series <= expected, without_series - expected

    def highest(panel: str, legend: str) -> float:
        [series] = shown[panel, legend]
        return max(float(value) for _, value in series["values"])

    assert highest("Requests in flight", "limit") == SHARED["concurrency"], "of all lanes, which no runner has alone"
    assert SHARED["concurrency"] / RUNNERS < highest("Requests in flight", "in flight") <= SHARED["concurrency"]
    [phase] = shown["Phase", "__auto"]
    assert phase["values"][-1][1] == "6", "done"
    assert highest("Done", "__auto") == 1
    summary = of_stage(scene, "c4", "other")
    sent = scene.last('perfbench_requests_sent_total{stage="c4"}', "other")
    assert scene.prometheus.value(f"sum({sent})", scene.now_s) == SHARED["requests"] == summary["requests"]["total"]
    tokens = scene.prometheus.value(f"sum({scene.last('perfbench_output_tokens_total{}', 'other')})", scene.now_s)
    assert tokens == 24 * SHARED["requests"]
    [panel] = [panel for panel in json.loads((CHART / "dashboards" / "results.json").read_text())["panels"]
               if panel["title"] == "Benchmarks"]  # fmt: skip
    rows = scene.ask(panel["targets"][0]["expr"].replace("$label", ".*"), panel["targets"][0]["instant"], "results")
    assert [row["metric"]["benchmark"] for row in rows].count("other") == 1


def is_of_more(panel: str, legend: str) -> bool:
    """Whether a panel is of what the run of three runners has not: objectives, workloads, retries, a search, a rate."""
    return (
        panel in ("Search", "Goodput", "Retries")
        or "workload" in panel
        or "objective" in legend
        or legend == "asked for"
    )


@pytest.mark.parametrize(("run_name", "stage"), [("watched", "c4"), ("watched", "r8"), ("other", "c4")])
def test_counts_and_means_agree_with_the_summary(scene: Scene, run_name: str, stage: str) -> None:
    summary = of_stage(scene, stage, run_name)

    def value(selector: str) -> float:
        return scene.prometheus.value(scene.last(selector, run_name), scene.now_s)

    of = f'stage="{stage}"'
    assert value(f'perfbench_requests_total{{{of}, outcome="success"}}') == summary["requests"]["succeeded"]
    assert value(f"perfbench_requests_sent_total{{{of}}}") == summary["requests"]["total"]
    for metric in ("ttft", "itl", "tpot", "e2e_latency", "scheduled_latency"):
        count, total = (value(f"perfbench_{metric}_seconds_{part}{{{of}}}") for part in ("count", "sum"))
        assert total / count == pytest.approx(summary[f"{metric}_s"]["mean"], rel=1e-3), metric


@pytest.mark.parametrize(("run_name", "stage"), [("watched", "c4"), ("watched", "r8"), ("other", "c4")])
@pytest.mark.parametrize("metric", ["ttft", "itl", "e2e_latency"])
@pytest.mark.parametrize(("name", "q"), [("p50", 0.5), ("p99", 0.99)])
def test_quantiles_agree_with_the_summary_within_a_bucket(
    scene: Scene, run_name: str, stage: str, metric: str, name: str, q: float
) -> None:
    exact = of_stage(scene, stage, run_name)[f"{metric}_s"][name]
    buckets = scene.last(f'perfbench_{metric}_seconds_bucket{{stage="{stage}"}}', run_name)
    shown = scene.prometheus.value(f"histogram_quantile({q}, sum by (le) ({buckets}))", scene.now_s)
    bounds = sorted(float(one["metric"]["le"]) for one in scene.prometheus.at(buckets, scene.now_s))
    below, above = (next(i for i, bound in enumerate(bounds) if bound >= value) for value in (exact, shown))
    assert abs(below - above) <= 1, f"summary {exact}, histogram {shown}"


def test_the_operator_s_figures_are_those_of_the_status(scene: Scene) -> None:
    own = f'namespace="{scene.namespace.name}", benchmark="watched", stage="c4", instance!="again"'
    summary = of_stage(scene, "c4")
    at_s = scene.now_s
    assert scene.prometheus.value(f"perfbench_benchmark_requests_per_second{{{own}}}", at_s) == pytest.approx(
        summary["request_throughput_rps"]
    )
    latency = f'perfbench_benchmark_latency_seconds{{{own}, metric="ttft", statistic="p99"}}'
    assert scene.prometheus.value(latency, at_s) == pytest.approx(summary["ttft_s"]["p99"])


def test_the_server_s_own_count_of_tokens_is_ours(scene: Scene) -> None:
    summary = status(scene.namespace, "watched")["summary"]
    ours = sum(stage["output_token_throughput_tps"] * stage["duration_s"] for stage in summary)
    name = f'perfbench_server_generation_tokens_total{{namespace="{scene.namespace.name}", benchmark="watched"}}'
    [series] = scene.prometheus.over(name, scene.began_s, scene.ended_s)
    counts = [float(value) for _, value in series["values"]]
    # The endpoint was new: what it counted, but for the connection test, is this run.
    assert max(counts) == pytest.approx(ours, rel=0.02)


def test_results_can_be_filtered_by_label(scene: Scene) -> None:
    board = json.loads((CHART / "dashboards" / "results.json").read_text())
    wanted = {"team=search": {"watched"}, "team=.*|": {"watched", "searching", "other"}, "team=ads": set()}
    for title in ("Benchmarks", "Stages", "Output tokens"):
        [panel] = [panel for panel in board["panels"] if panel["title"] == title]
        expr = panel["targets"][0]["expr"]
        for label, names in wanted.items():
            found = scene.ask(expr.replace("$label", label), panel["targets"][0]["instant"], "results")
            own = {one["metric"].get("benchmark") for one in found}
            assert bool(found) == bool(names)
            assert own in (names, {None}), title


def test_the_operator_tells_when_a_benchmark_ran(scene: Scene) -> None:
    own = f'{{namespace="{scene.namespace.name}", benchmark="watched", instance!="again"}}'
    found = status(scene.namespace, "watched")
    for event, key in (("start", "startTime"), ("completion", "completionTime")):
        at_s = scene.prometheus.value(f"perfbench_benchmark_{event}_timestamp_seconds{own}", scene.now_s)
        assert datetime.fromtimestamp(at_s, UTC) == datetime.fromisoformat(found[key])
        assert scene.began_s - 2 <= at_s <= scene.ended_s + 1


def test_objectives_are_lines_beside_the_latencies(scene: Scene) -> None:
    found = scene.prometheus.over(
        f'perfbench_objective_threshold{{namespace="{scene.namespace.name}", metric="ttft"}}',
        scene.began_s,
        scene.ended_s,
    )
    assert {(one["metric"]["stage"], one["metric"]["statistic"]) for one in found} == {("c4", "p90"), ("r8", "p90")}
    assert {float(value) for one in found for _, value in one["values"]} == {0.3}


def test_the_chart_s_dashboards_are_in_the_cluster(scene: Scene) -> None:
    found = scene.namespace.get("configmaps", "--selector=grafana_dashboard=1")["items"]
    assert {name for item in found for name in item["data"]} == {
        "perfbench-operator.json",
        "perfbench-results.json",
        "perfbench-run.json",
    }


def of_stage(scene: Scene, name: str, benchmark: str = "watched") -> dict[str, Any]:
    """A stage's summary from the status."""
    found: dict[str, Any] = next(one for one in status(scene.namespace, benchmark)["summary"] if one["name"] == name)
    return found


def test_the_pictures_can_be_drawn(scene: Scene, tmp_path: Path) -> None:
    """What docs/monitoring.md shows. PERFBENCH_PICTURES=1 renews the ones in docs/images."""
    import sys

    sys.path.insert(0, str(REPOSITORY / "charts" / "src"))
    import picture

    folder = REPOSITORY / "docs" / "images" if os.environ.get("PERFBENCH_PICTURES") else tmp_path
    for name in ("run", "results", "operator"):
        board = json.loads((CHART / "dashboards" / f"{name}.json").read_text())
        svg = picture.draw(board, lambda expr, is_instant, name=name: scene.ask(expr, is_instant, name))
        (folder / f"dashboard-{name}.svg").write_text(svg)
        assert svg.count("<g class='panel'") == len([panel for panel in board["panels"] if panel["type"] != "row"])
