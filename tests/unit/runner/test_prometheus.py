"""Live metrics: what is counted, what it costs, and that the exposition is one that Prometheus likes."""

import math
import subprocess
from dataclasses import replace
from types import SimpleNamespace
from typing import Any

import pytest
from prometheus_client.parser import text_string_to_metric_families

from perfbench_api.outcome import FoundLoad, Outcome, Progress
from perfbench_api.resource import PerfBenchmark
from perfbench_api.sections import Stage
from perfbench_plugins.benchmark_data import BenchmarkData
from perfbench_runner.observe.counts import Counts
from perfbench_runner.observe.histogram import Histogram
from perfbench_runner.observe.prometheus import FAMILIES, Metrics
from perfbench_runner.observe.told import ClientFigures, RunnerFigures
from perfbench_runner.results.client_health import Sample
from perfbench_runner.results.result import Result

STAGES = [{"concurrency": 2, "requests": 4}, {"rate": 5, "duration": "1s", "maxConcurrency": 3}]
OBJECTIVES = [{"metric": "ttft", "max": "500ms"}, {"metric": "request_throughput", "min": 3, "stage": "c2"}]
SERVED = {"running": 3.0, "waiting": 1.0, "generation_tokens": 640.0, "new in this version": 1.0}


def metrics(retry: Any = None, **more: Any) -> Metrics:
    load = {"stages": STAGES} | ({"retry": retry} if retry is not None else {})
    spec = {"target": {"mock": {}}, "load": load, "objectives": OBJECTIVES, **more}
    benchmark = PerfBenchmark.read({"metadata": {"name": "llama", "namespace": "models"}, "spec": spec})
    return Metrics(benchmark, "llama-8b", lambda: SERVED)


def result(stage: int = 0, failure: str = "", gaps: Any = (0.01, 0.02), **values: Any) -> Result:
    data = BenchmarkData(
        success=not failure,
        failure=failure,
        start_time=10.0,
        completed_time=11.0,
        query_latency=1.0,
        first_chunk_latency=0.25,
        time_per_output_token=0.02,
        prompt_tokens=7,
        completion_tokens=3,
        inter_chunk_latency=gaps,
    )
    for name, value in values.items():
        setattr(data, name, value)
    return Result(stage, 0, 0, 9.9998, data)


def sample(shard: int = 0, lag_s: float = 0.001) -> Sample:
    return Sample(1.0, shard, 0, 0.5, lag_s, 2 * lag_s, 0.2, 0.01, 0.001, 0.005, 0.0, 0.02, 0.01, 4, 100)


def run_view(**values: Any) -> Any:
    """As much of a Control as metrics look at."""
    progress = Progress(phase="running", stage_index=1, stage_count=2, percent=60, in_flight=4, client="valid")
    usual = {
        "progress": lambda: progress,
        "samples": [sample(0, 0.001), sample(1, 0.003)],
        "phase": "running",
        "stage_index": 1,
        "due": 9,
        "sent": 4,
        "others": lambda stage: [],
    }
    return SimpleNamespace(**(usual | values))


def values(made: Metrics) -> dict[tuple[str, ...], float]:
    """Samples by name and those labels that differ within one run."""
    text = made.render("text/plain")[0].decode()
    common = ("namespace", "benchmark", "model", "workload")
    return {
        (one.name, *(value for name, value in sorted(one.labels.items()) if name not in common)): one.value
        for family in text_string_to_metric_families(text)
        for one in family.samples
    }


def test_a_stage_stands_at_zero_before_it_begins() -> None:
    """Else Prometheus would not see what it counted until the first scrape."""
    made = metrics()
    zero = {
        "perfbench_requests_total": ("success",),
        "perfbench_requests_sent_total": (),
        "perfbench_ttft_seconds_count": (),
    }
    for name, labels in zero.items():
        assert values(made)[name, *labels, "c2"] == 0
        assert (name, *labels, "r5") not in values(made)
    made.tick(run_view(stage_index=0))
    for name, labels in zero.items():
        assert values(made)[name, *labels, "r5"] == 0


def test_requests_are_counted_by_stage_and_outcome() -> None:
    made = metrics()
    for one in (result(), result(), result(failure="http_503"), result(1, "a plugin's own words")):
        made.add(one)
    found = values(made)
    assert found["perfbench_requests_total", "success", "c2"] == 2
    assert found["perfbench_requests_total", "http_503", "c2"] == 1
    assert found["perfbench_requests_total", "other", "r5"] == 1, "labels stay few"
    assert found["perfbench_output_tokens_total", "c2"] == 6
    assert found["perfbench_prompt_tokens_total", "c2"] == 14


def test_retries_are_counted_by_why_they_were_sent_again() -> None:
    made = metrics(retry={})
    refusals = [("http_429",), ("http_503", "http_429", "http_429"), ()]
    for one in refusals:
        made.add(replace(result(), refusals=one))
    made.add(replace(result(1, failure="http_503"), refusals=("http_503",)))
    found = values(made)
    name = "perfbench_retries_total"
    assert (found[name, "http_429", "c2"], found[name, "http_503", "c2"]) == (3, 1)
    assert (found[name, "http_429", "r5"], found[name, "http_503", "r5"]) == (0, 1), "zero is seen before the first"
    assert found["perfbench_requests_total", "success", "c2"] == 3, "each is one request"
    assert (name, "http_429", "c2") not in values(metrics()), "not asked for"


WORKLOADS = [{"name": "chat", "goodput": {"ttft": "100ms"}}, {"name": "batch"}, {"name": "idle"}]


@pytest.mark.parametrize("runners", [1, 3])
def test_each_workload_has_its_own_counts_of_all_runners_and_the_stage_has_those_of_all(runners: int) -> None:
    leader = metrics(workloads=WORKLOADS, goodput={"ttft": "1s"}, retry={})
    workers = [Counts(leader._spec) for _ in range(1, runners)]
    for number in range(12):
        failure = "timeout" if number == 11 else ""
        one = result(failure=failure, first_chunk_latency=0.05 * (1 + number % 4))
        workload = "batch" if number % 2 else "chat"
        [leader, *workers][number % runners].add(replace(one, workload=workload, refusals=("http_429",)))
    told = [RunnerFigures(stage=worker.of(0).told()).model_dump_json() for worker in workers]
    others = [RunnerFigures.model_validate_json(one) for one in told]
    leader.tick(run_view(stage_index=0, others=lambda stage: others * (stage == 0)))
    text = leader.render("text/plain")[0].decode()
    families = {family.name: family for family in text_string_to_metric_families(text)}
    found = {
        (one.name, one.labels["workload"], one.labels.get("outcome", one.labels.get("le", ""))): one.value
        for family in families.values()
        for one in family.samples
        if one.labels.get("stage") == "c2"
    }
    requests, good = "perfbench_workload_requests_total", "perfbench_workload_requests_good_total"
    assert [found[requests, of, "success"] for of in ("chat", "batch", "idle")] == [6, 5, 0]
    assert (found[requests, "batch", "timeout"], found[requests, "chat", "timeout"]) == (1, 0)
    assert [found[good, of, ""] for of in ("chat", "batch")] == [3, 5], "of 50 and 150 ms; those of the run"
    assert found["perfbench_requests_good_total", "openqa", ""] == 8
    assert found["perfbench_workload_ttft_seconds_bucket", "chat", "0.1"] == 3
    assert found["perfbench_workload_ttft_seconds_count", "batch", ""] == 5
    assert found["perfbench_workload_output_tokens_total", "chat", ""] == 18
    model = {one.labels["model"] for one in families["perfbench_workload_requests"].samples}
    assert model == {"llama-8b"}, "that of the run, by which dashboards select"


TARGETS = [{"name": "old", "url": "http://old"}, {"name": "new", "url": "http://new"}]


@pytest.mark.parametrize("runners", [1, 3])
def test_each_target_has_its_own_counts_of_all_runners(runners: int) -> None:
    leader = metrics(targets=TARGETS, workloads=WORKLOADS)
    workers = [Counts(leader._spec) for _ in range(1, runners)]
    for number in range(12):
        failure = "timeout" if number == 11 else ""
        one = result(failure=failure, first_chunk_latency=0.05 * (1 + number % 4))
        own = replace(one, target="new" if number % 2 else "old", workload="batch" if number % 3 else "chat")
        [leader, *workers][number % runners].add(own)
    told = [RunnerFigures(stage=worker.of(0).told()).model_dump_json() for worker in workers]
    others = [RunnerFigures.model_validate_json(one) for one in told]
    leader.tick(run_view(stage_index=0, others=lambda stage: others * (stage == 0)))
    found = values(leader)
    requests, good = "perfbench_target_requests_total", "perfbench_target_requests_good_total"
    assert [found[requests, "success", "c2", name] for name in ("old", "new")] == [6, 5]
    assert (found[requests, "timeout", "c2", "new"], found[requests, "timeout", "c2", "old"]) == (1, 0)
    assert [found[good, "c2", name] for name in ("old", "new")] == [5, 4], "each by the limits of its workload"
    assert found["perfbench_target_ttft_seconds_bucket", "0.1", "c2", "old"] == 3
    assert found["perfbench_target_e2e_latency_seconds_count", "c2", "new"] == 5
    assert found["perfbench_target_output_tokens_total", "c2", "old"] == 18
    assert found["perfbench_requests_total", "success", "c2"] == 11


def test_a_run_of_one_kind_has_no_workloads_and_no_targets() -> None:
    made = metrics()
    made.add(result())
    assert not [name for name, *_ in values(made) if "workload_" in name or "target_" in name]
    both = metrics(targets=TARGETS)
    assert "perfbench_target_requests_good_total" not in {name for name, *_ in values(both)}, "no limits"


def test_latencies_are_histograms_of_succeeded_requests() -> None:
    made = metrics()
    for one in (result(), result(failure="timeout")):
        made.add(one)
    found = values(made)
    assert found["perfbench_ttft_seconds_bucket", "0.2", "c2"] == 0
    assert found["perfbench_ttft_seconds_bucket", "0.3", "c2"] == 1
    assert found["perfbench_ttft_seconds_count", "c2"] == 1
    assert found["perfbench_itl_seconds_bucket", "0.01", "c2"] == 1, "a bound belongs to its bucket"
    assert found["perfbench_itl_seconds_count", "c2"] == 2
    assert found["perfbench_itl_seconds_sum", "c2"] == pytest.approx(0.03)
    assert found["perfbench_scheduled_latency_seconds_sum", "c2"] == pytest.approx(1.0002)
    assert found["perfbench_dispatch_lag_seconds_count", "c2"] == 2, "of failed requests too"
    assert found["perfbench_dispatch_lag_seconds_bucket", "0.0002", "c2"] >= 0


def test_what_a_plugin_left_in_a_result_ends_no_run() -> None:
    made = metrics()
    made.add(result(gaps=[0.01, None, "soon", math.nan], first_chunk_latency=None, completion_tokens=None))
    found = values(made)
    assert found["perfbench_itl_seconds_count", "c2"] == 1
    assert found["perfbench_itl_seconds_sum", "c2"] == 0.01
    assert found["perfbench_ttft_seconds_count", "c2"] == 0


def test_scheduled_and_sent_never_fall() -> None:
    made = metrics()
    made.tick(run_view())
    assert values(made)["perfbench_requests_sent_total", "r5"] == 4
    assert values(made)["perfbench_requests_scheduled_total", "r5"] == 9, "five wait for a place"
    made.add(result(1))
    made.tick(run_view(due=0, sent=1))
    assert values(made)["perfbench_requests_sent_total", "r5"] == 4
    assert values(made)["perfbench_requests_scheduled_total", "r5"] == 9


def test_the_live_state_is_told() -> None:
    made = metrics()
    made.tick(run_view())
    found = values(made)
    assert found["perfbench_requests_in_flight",] == 4
    assert found["perfbench_progress_ratio",] == 0.6
    assert found["perfbench_phase", "running"] == 1
    assert found["perfbench_phase", "done"] == 0
    assert (found["perfbench_stage_active", "c2"], found["perfbench_stage_active", "r5"]) == (0, 1)
    assert found["perfbench_client_state", "valid"] == 1
    assert found["perfbench_client_loop_lag_seconds",] == 0.003, "the worst shard's"
    assert found["perfbench_client_gc_ratio",] == 0.01
    assert found["perfbench_client_backlog_bytes",] == 200


def test_stages_and_objectives_are_there_from_the_start() -> None:
    found = values(metrics())
    assert found["perfbench_stage_info", "", "closed", "0", "c2"] == 1
    assert found["perfbench_stage_info", "poisson", "open", "1", "r5"] == 1
    assert (found["perfbench_stage_concurrency", "c2"], found["perfbench_stage_concurrency", "r5"]) == (2, 3)
    assert found["perfbench_stage_requests_per_second", "r5"] == 5
    assert found["perfbench_objective_threshold", "max", "ttft", "c2", "p99"] == 0.5
    assert found["perfbench_objective_threshold", "max", "ttft", "r5", "p99"] == 0.5
    assert found["perfbench_objective_threshold", "min", "request_throughput", "c2", ""] == 3
    assert ("perfbench_objective_threshold", "min", "request_throughput", "r5", "") not in found


def test_what_the_server_says_stands_beside() -> None:
    found = values(metrics())
    assert found["perfbench_server_requests_running",] == 3
    assert found["perfbench_server_generation_tokens_total",] == 640
    assert ("perfbench_server_kv_cache_usage_ratio",) not in found


async def test_after_the_end_nothing_is_in_flight() -> None:
    made = metrics()
    made.tick(run_view())
    await made.close(Outcome(outcome="succeeded"))
    found = values(made)
    assert (found["perfbench_requests_in_flight",], found["perfbench_progress_ratio",]) == (0, 1)
    assert found["perfbench_phase", "done"] == 1
    assert found["perfbench_stage_active", "r5"] == 0


@pytest.mark.parametrize("runners", [1, 2, 5])
def test_the_leader_tells_of_all_runners_what_one_would_tell(runners: int) -> None:
    results = [result(first_chunk_latency=0.01 * number) for number in range(1, 21)]
    results += [result(success=False, failure="timeout")] * 3
    whole, leader, workers = metrics(), metrics(), [Counts(metrics()._spec) for _ in range(1, runners)]
    for number, one in enumerate(results):
        whole.add(one)
        [leader, *workers][number % runners].add(one)
    client = ClientFigures(figures={"client_cpu_ratio": 0.9, "client_backlog_bytes": 5, "something_else": 1.0})
    told = [RunnerFigures(stage=worker.of(0).told(), client=client) for worker in workers]
    told = [RunnerFigures.model_validate_json(one.model_dump_json()) for one in told]
    for made, others in ((whole, []), (leader, told)):
        made.tick(run_view(stage_index=0, due=0, sent=0, others=lambda stage, others=others: others * (stage == 0)))
    ours, theirs = values(leader), values(whole)
    assert {key: value for key, value in ours.items() if "client" not in key[0]} == pytest.approx(
        {key: value for key, value in theirs.items() if "client" not in key[0]}
    )
    if runners > 1:
        assert ours["perfbench_client_cpu_ratio",] == 0.9, "the worst"
        assert ours["perfbench_client_backlog_bytes",] == theirs["perfbench_client_backlog_bytes",] + 5 * (runners - 1)


def test_what_came_late_of_the_stage_before_is_still_told() -> None:
    leader, worker = metrics(), Counts(metrics()._spec)
    worker.add(result())
    told = RunnerFigures(stage=worker.of(0).told())
    leader.tick(run_view(stage_index=1, others=lambda stage: [told] if stage == 0 else []))
    assert values(leader)["perfbench_requests_total", "success", "c2"] == 1


def test_buckets_are_cumulative_and_end_with_all() -> None:
    counts = Histogram((1.0, 2.0))
    counts.add([0.5, 1.0, 1.5, 99.0])
    assert counts.buckets() == [("1.0", 2.0), ("2.0", 3.0), ("+Inf", 4.0)]


def test_every_sample_belongs_to_a_declared_metric_with_the_declared_labels() -> None:
    made = metrics(workloads=WORKLOADS, targets=TARGETS, retry={})
    made.add(result())
    made.tick(run_view())
    for family in text_string_to_metric_families(made.render("text/plain")[0].decode()):
        declared = FAMILIES[family.name.removeprefix("perfbench_")]
        assert (family.type, family.documentation) == (declared.kind, declared.text)
        for one in family.samples:
            assert set(one.labels) - {"le"} == set(declared.labels), family.name


def test_openmetrics_is_served_to_those_who_ask() -> None:
    text, content_type = metrics().render("application/openmetrics-text; version=1.0.0")
    assert content_type.startswith("application/openmetrics-text")
    assert text.endswith(b"# EOF\n")


def test_promtool_finds_nothing_to_complain_about(promtool: str) -> None:
    made = metrics(workloads=WORKLOADS, targets=TARGETS, retry={})
    made.add(result())
    made.tick(run_view())
    checked = subprocess.run(
        [promtool, "check", "metrics"],
        input=made.render("text/plain")[0],
        capture_output=True,
        timeout=30,
        check=False,
    )
    assert (checked.returncode, checked.stdout + checked.stderr) == (0, b"")


def test_of_several_bounds_of_one_figure_the_strictest_is_shown() -> None:
    """Two samples with the same labels would have a Pushgateway refuse the whole page."""
    objectives = [
        {"metric": "ttft", "max": "500ms"},
        {"metric": "ttft", "max": "300ms", "stage": "c2"},
        {"metric": "request_throughput", "min": 2},
        {"metric": "request_throughput", "min": 3},
        {"metric": "ttft", "max": "100ms", "workload": "chat"},
        {"metric": "ttft", "max": "50ms", "promptTokens": {"to": 100}},
    ]
    spec = {
        "target": {"mock": {}},
        "load": {"stages": STAGES},
        "objectives": objectives,
        "workloads": [{"name": "chat"}],
    }
    found = values(Metrics(PerfBenchmark.read({"metadata": {"name": "m"}, "spec": spec}), "m"))
    name = "perfbench_objective_threshold"
    assert found[name, "max", "ttft", "c2", "p99"] == 0.3
    assert found[name, "max", "ttft", "r5", "p99"] == 0.5
    assert found[name, "min", "request_throughput", "c2", ""] == 3


@pytest.mark.parametrize("accept", ["application/openmetrics-text; version=abc", "nonsense;;=", "text/plain;version="])
def test_a_scraper_that_asks_for_what_there_is_not_gets_plain_text(accept: str) -> None:
    text, content_type = metrics().render(accept)
    assert b"perfbench_phase" in text
    assert content_type.startswith("text/plain")


def test_what_a_search_knows_so_far_is_told_and_stages_that_it_adds_have_names() -> None:
    spec = {"target": {"mock": {}}, "load": {"search": {"rate": {"from": 1, "to": 4}}}, "objectives": OBJECTIVES[:1]}
    benchmark = PerfBenchmark.read({"metadata": {"name": "llama", "namespace": "models"}, "spec": spec})
    made = Metrics(benchmark, "llama-8b", dict)
    benchmark.spec.load.stages[:] = [Stage(name=name, rate=2, requests=1) for name in ("01-r2", "02-r3")]
    found = FoundLoad(kind="rate", load=2.5, low=2.25)
    progress = Progress(phase="running", stage_index=1, search=found)
    made.tick(run_view(progress=lambda: progress))
    got = values(made)
    assert got[("perfbench_search_load", "estimate", "rate")] == 2.5
    assert got[("perfbench_search_load", "low", "rate")] == 2.25
    assert ("perfbench_search_load", "high", "rate") not in got
    assert any("02-r3" in key for key in got)
