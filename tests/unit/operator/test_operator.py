"""The parts around the reconciler: controller, work queue, health, metrics, settings, events."""

import asyncio
import subprocess
import time
import urllib.request
from collections.abc import AsyncIterator, Callable
from typing import Any

import pytest
from bodies import NOW, UID, body
from prometheus_client import generate_latest

from perfbench_api.outcome import LATENCIES
from perfbench_operator.api import RefusedError
from perfbench_operator.cluster import Source
from perfbench_operator.controller import Controller
from perfbench_operator.events import phase_event
from perfbench_operator.health import MISSED_S, STALLED_S, UNREACHABLE_S, Health
from perfbench_operator.main import serve_metrics
from perfbench_operator.metrics import OperatorMetrics
from perfbench_operator.settings import Settings, SettingsError
from perfbench_operator.watch import follow
from perfbench_operator.workqueue import WorkQueue


async def test_key_waits_once_however_often_it_is_added() -> None:
    queue: WorkQueue[str] = WorkQueue()
    for _ in range(3):
        queue.add("a")
    queue.add("b")
    assert [await queue.get(), await queue.get()] == ["a", "b"]
    assert queue._ready.empty()


async def test_key_added_while_it_is_worked_on_comes_again_afterwards() -> None:
    queue: WorkQueue[str] = WorkQueue()
    queue.add("a")
    key = await queue.get()
    queue.add("a")
    assert queue._ready.empty(), "never twice at a time"
    queue.done(key)
    assert await asyncio.wait_for(queue.get(), 1) == "a"


async def test_the_earlier_of_two_delays_holds() -> None:
    queue: WorkQueue[str] = WorkQueue()
    queue.add_after("a", 0.01)
    queue.add_after("a", 60)
    assert await asyncio.wait_for(queue.get(), 1) == "a"
    queue.done("a")
    queue.add_after("a", 60)
    queue.add("a")
    assert await asyncio.wait_for(queue.get(), 1) == "a"
    assert not queue._timers, "a key that is queued now is no longer due later"
    queue.close()


async def test_the_queue_reports_how_many_keys_wait_and_how_long() -> None:
    now_s, waits = 10.0, list[float]()
    queue: WorkQueue[str] = WorkQueue(waits.append, lambda: now_s)
    queue.add("a")
    queue.add("b")
    queue.add_after("c", 60)
    assert (len(queue), queue.delayed) == (2, 1)
    now_s = 12.5
    queue.add("a")  # it waits already
    key = await queue.get()
    assert (waits, len(queue)) == ([2.5], 1)
    queue.done(key)
    queue.close()
    assert queue.delayed == 0


def version(number: int) -> dict[str, Any]:
    return body(resourceVersion=str(number))


def test_watch_that_reports_in_time_is_healthy() -> None:
    health = Health(0)
    health.listed([version(7)], 1)
    health.saw(version(8))
    health.listed([version(8)], 100)
    assert health.problem(101) is None


def test_watch_that_misses_a_change_is_dead() -> None:
    health = Health(0)
    health.saw(version(7))
    health.listed([version(9)], 10)
    health.listed([version(9)], 10 + MISSED_S)
    assert health.problem(10 + MISSED_S) is None
    problem = health.problem(11 + MISSED_S)
    assert problem is not None
    assert "watch" in problem
    health.saw(version(9))
    assert health.problem(11 + MISSED_S) is None


def test_deleted_benchmarks_are_not_missed() -> None:
    health = Health(0)
    health.listed([version(9)], 0)
    health.saw(version(9), is_gone=True)
    health.listed([], 1)
    assert health.problem(2 * MISSED_S) is None


def test_stalled_operator_is_distinguished_from_an_unreachable_api_server() -> None:
    health = Health(0)
    assert "not listed" in (health.problem(STALLED_S + 1) or "")
    now_s = 0.0
    while now_s < UNREACHABLE_S:
        health.list_failed(now_s)
        assert health.problem(now_s) is None
        now_s += 30
    health.list_failed(now_s)
    assert "API server" in (health.problem(now_s + 1) or "")


def test_metrics_show_the_benchmarks_that_exist() -> None:
    metrics = OperatorMetrics()
    stage = {
        "name": "c8",
        "requests": {"succeeded": 9, "failed": 1},
        "request_throughput_rps": 2.5,
        "ttft_s": {"p99": 0.2},
    }
    status = {
        "phase": "Succeeded",
        "verdict": "Passed",
        "client": {"state": "degraded"},
        "startTime": "2026-11-24T12:00:00Z",
        "completionTime": "2026-11-24T12:01:00Z",
        "summary": [stage],
    }
    metrics.benchmarks.known[UID] = body(
        {"dataset": {"name": "random"}}, status, labels={"team": "search", "gpu": "h100"}
    )
    text = generate_latest(metrics.registry).decode()
    for line in (
        'perfbench_operator_benchmarks{phase="Succeeded"} 1.0',
        'perfbench_benchmark_phase{benchmark="chat",namespace="models",phase="Succeeded"} 1.0',
        'perfbench_benchmark_phase{benchmark="chat",namespace="models",phase="Running"} 0.0',
        'perfbench_benchmark_verdict{benchmark="chat",namespace="models",verdict="Passed"} 1.0',
        'perfbench_benchmark_requests_per_second{benchmark="chat",model="llama",namespace="models",stage="c8"} 2.5',
        'perfbench_benchmark_latency_seconds{benchmark="chat",metric="ttft",model="llama",namespace="models",'
        'stage="c8",statistic="p99"} 0.2',
        'perfbench_benchmark_info{benchmark="chat",model="llama",namespace="models",workload="random"} 1.0',
        'perfbench_benchmark_label{benchmark="chat",label="team=search",namespace="models"} 1.0',
        'perfbench_benchmark_label{benchmark="chat",label="gpu=h100",namespace="models"} 1.0',
        'perfbench_benchmark_client_state{benchmark="chat",namespace="models",state="degraded"} 1.0',
        'perfbench_benchmark_start_timestamp_seconds{benchmark="chat",namespace="models"} 1.7955216e+09',
        'perfbench_benchmark_completion_timestamp_seconds{benchmark="chat",namespace="models"} 1.79552166e+09',
    ):
        assert line in text, line
    metrics.benchmarks.known.clear()
    assert "chat" not in generate_latest(metrics.registry).decode()


FULL_STAGE = {
    "requests": {"total": 9, "succeeded": 9, "failed": 0},
    **dict.fromkeys(("request_throughput_rps", "output_token_throughput_tps", "total_token_throughput_tps"), 1.0),
    **{f"{name}_s": {"mean": 0.1, "p50": 0.1, "p99": 0.2} for name in LATENCIES},
}


@pytest.mark.parametrize("stages", [1, 3, 16])
def test_a_thousand_finished_benchmarks_have_a_bounded_page_that_is_made_quickly(stages: int) -> None:
    metrics = OperatorMetrics()
    ended = {"phase": "Succeeded", "verdict": "Passed", "client": {"state": "valid"}}
    summary = [{"name": f"c{number}", **FULL_STAGE} for number in range(stages)]
    bodies = [
        body(status={**ended, "summary": summary, "completionTime": f"2026-11-24T{number // 60:02}:{number % 60:02}:00Z"},
             name=f"b{number}")
        for number in range(1000)
    ]  # fmt: skip
    running = body(status={"phase": "Running"}, name="running")
    metrics.benchmarks.known = {("models", one["metadata"]["name"]): one for one in (running, *bodies)}
    began_s = time.thread_time()
    text = generate_latest(metrics.registry).decode()
    assert time.thread_time() - began_s < 0.5
    assert text.count("\n") < 12_000
    for name, is_shown in (("running", True), ("b999", True), ("b801", True), ("b800", False), ("b0", False)):
        assert (f'perfbench_benchmark_info{{benchmark="{name}"' in text) == is_shown
    assert 'perfbench_operator_benchmarks{phase="Succeeded"} 1000.0' in text
    assert "perfbench_operator_benchmarks_without_series 801.0" in text


def test_metrics_show_a_benchmark_without_a_status() -> None:
    metrics = OperatorMetrics()
    metrics.benchmarks.known[UID] = body()
    text = generate_latest(metrics.registry).decode()
    assert 'perfbench_benchmark_label{benchmark="chat",label="",namespace="models"} 1.0' in text
    assert 'perfbench_operator_benchmarks{phase="Pending"} 1.0' in text
    assert "perfbench_benchmark_verdict{" not in text
    assert "timestamp_seconds{" not in text


ODD_STAGES: list[Any] = [
    {"name": "odd", "itl_s": [1], "request_throughput_rps": 2.5},
    {"name": "odd", "requests": 7, "request_throughput_rps": 2.5},
    {"name": "odd", "ttft_s": {"p50": "fast", "mean": None, "p99": 10**400}, "request_throughput_rps": 2.5},
    {"name": "odd", "output_token_throughput_tps": True, "request_throughput_rps": 2.5},
]


@pytest.mark.parametrize("stage", ODD_STAGES)
def test_a_figure_that_cannot_be_read_is_left_out_and_nothing_else(stage: dict[str, Any]) -> None:
    text = page(body(status={"phase": "Succeeded", "summary": [None, 3, stage]}))
    series = [line for line in text.splitlines() if 'stage="odd"' in line]
    labels = 'benchmark="chat",model="llama",namespace="models",stage="odd"'
    assert series == [f"perfbench_benchmark_requests_per_second{{{labels}}} 2.5"]


@pytest.mark.parametrize(
    "status",
    [
        {"startTime": "soon"},
        {"startTime": 7},
        {"startTime": "0001-01-01T00:00:00"},
        {"client": "valid"},
        {"summary": {"c8": {}}},
        {"summary": 3},
        "Succeeded",
    ],
)
def test_a_status_that_cannot_be_read_is_left_out(status: Any) -> None:
    text = "".join(line for line in page({**body(), "status": status}).splitlines() if 'benchmark="chat"' in line)
    assert 'perfbench_benchmark_info{benchmark="chat",model="llama",namespace="models",workload=""} 1.0' in text
    for left_out in ("start_timestamp_seconds{", "client_state{", 'stage="'):
        assert left_out not in text


@pytest.mark.parametrize("spec", [{"target": None, "dataset": None}, {"target": "llama", "dataset": ["random"]}])
def test_a_spec_that_cannot_be_read_has_no_model_and_no_workload(spec: dict[str, Any]) -> None:
    text = page(body(spec))
    assert 'perfbench_benchmark_info{benchmark="chat",model="",namespace="models",workload=""} 1.0' in text


def page(benchmark: dict[str, Any]) -> str:
    """The metrics of a benchmark, beside an ordinary one."""
    metrics = OperatorMetrics()
    stage = {"name": "c8", "request_throughput_rps": 1.5}
    metrics.benchmarks.known = {"other": body(status={"summary": [stage]}, name="sound"), UID: benchmark}
    text = generate_latest(metrics.registry).decode()
    assert (
        'perfbench_benchmark_requests_per_second{benchmark="sound",model="llama",namespace="models",stage="c8"} 1.5'
        in text
    )
    return text


class ListedLate:
    """A cluster that lists benchmarks as they were before `meanwhile` was called."""

    def __init__(self, *bodies: dict[str, Any]) -> None:
        self.bodies = list(bodies)
        self.meanwhile: Callable[[], None] = lambda: None

    async def read_all(self, source: Source) -> tuple[list[dict[str, Any]], str]:
        self.meanwhile()
        return self.bodies, "9"


def controller_of(cluster: Any, **settings: Any) -> Controller:
    return Controller(Settings(**settings), cluster, cluster)


ALL = Source("PerfBenchmark")


async def test_a_benchmark_that_is_deleted_while_all_are_listed_does_not_come_back() -> None:
    cluster = ListedLate(body(uid="other", name="other"))
    controller = controller_of(cluster)
    controller.changed(ALL, "ADDED", body())
    cluster.meanwhile = lambda: controller.changed(ALL, "DELETED", body())
    await controller.list_all()
    assert list(controller.metrics.benchmarks.known) == [("models", "other")]
    assert list(controller.health.missed) == ["other"], "what is deleted is not missed"


async def test_a_benchmark_that_is_created_or_changed_while_all_are_listed_stays_as_the_watch_reported_it() -> None:
    changed, made = body(status={"phase": "Succeeded"}, resourceVersion="8"), body(uid="made", name="made")
    cluster = ListedLate(body())
    controller = controller_of(cluster)

    def change() -> None:
        controller.changed(ALL, "MODIFIED", changed)
        controller.changed(ALL, "ADDED", made)

    cluster.meanwhile = change
    await controller.list_all()
    assert controller.metrics.benchmarks.known == {("models", "chat"): changed, ("models", "made"): made}


async def test_a_benchmark_whose_deletion_the_watch_has_missed_goes_with_the_next_list() -> None:
    controller = controller_of(ListedLate())
    controller.changed(ALL, "ADDED", body())
    await controller.list_all()
    assert controller.metrics.benchmarks.known == {}


class Gone:
    """A cluster in which one of the namespaces is gone, and with it the operator's rights in it."""

    def __init__(self) -> None:
        self.is_back = False

    async def read_all(self, source: Source) -> tuple[list[dict[str, Any]], str]:
        if source.namespace == "gone" and not self.is_back:
            raise RefusedError("forbidden: no role in namespace gone", is_invalid=False)
        name = {"PerfBenchmark": [body(namespace=source.namespace)]}
        return name.get(source.kind, []), "9"

    async def watch(self, source: Source, version: str) -> AsyncIterator[tuple[str, dict[str, Any]]]:
        await asyncio.Event().wait()
        yield "BOOKMARK", {}


async def test_a_namespace_that_is_gone_does_not_stop_the_others_and_may_come_back() -> None:
    cluster = Gone()
    controller = controller_of(cluster, namespaces=("here", "gone"))
    pauses = asyncio.Queue[float]()
    freed = asyncio.Event()

    async def sleep(delay_s: float) -> None:
        pauses.put_nowait(delay_s)
        await freed.wait()

    tasks = [asyncio.create_task(follow(cluster, source, controller, sleep)) for source in controller.sources]
    for _ in range(3):  # all collections of the one that is gone
        await asyncio.wait_for(pauses.get(), 5)
    await asyncio.sleep(0)
    assert list(controller.cache.objects["PerfBenchmark"]) == [("here", "chat")]
    assert "no role" in controller.unreadable[Source("Pod", "gone")]
    assert controller.metrics.registry.get_sample_value("perfbench_operator_unreadable_collections") == 3
    cluster.is_back = True
    freed.set()
    for _ in range(100):  # turns of the loop
        await asyncio.sleep(0)
    assert controller.unreadable == {}
    assert set(controller.cache.objects["PerfBenchmark"]) == {("here", "chat"), ("gone", "chat")}
    for task in tasks:
        task.cancel()
    await asyncio.gather(*tasks, return_exceptions=True)


@pytest.mark.parametrize("host", ["127.0.0.1", "[::1]"])
def test_metrics_are_served_to_both_families(host: str, has_ipv6: bool) -> None:
    server = serve_metrics(0, OperatorMetrics().registry)
    try:
        if host == "[::1]" and not has_ipv6:
            pytest.skip("this machine has no IPv6")
        with urllib.request.urlopen(f"http://{host}:{server.server_port}/metrics", timeout=5) as answer:
            assert b"perfbench_operator_benchmarks" in answer.read()
    finally:
        server.shutdown()
        server.server_close()


def test_promtool_accepts_the_metrics(promtool: str) -> None:
    metrics = OperatorMetrics()
    metrics.benchmarks.known[UID] = body(status={"phase": "Succeeded", "completionTime": "2026-11-24T12:01:00Z"})
    text = generate_latest(metrics.registry)
    checked = subprocess.run([promtool, "check", "metrics"], input=text, capture_output=True, timeout=30, check=False)
    assert (checked.returncode, checked.stdout + checked.stderr) == (0, b"")


def test_settings_are_read_from_the_environment() -> None:
    found = Settings.read(
        {
            "PERFBENCH_RUNNER_IMAGE": "r:1",
            "PERFBENCH_NAMESPACES": "a, b,",
            "PERFBENCH_START_TIMEOUT": "2m",
            "PERFBENCH_RUNNER_RESOURCES": '{"limits": {}}',
            "PERFBENCH_RUNNER_ANNOTATIONS": '{"a": "b"}',
            "PERFBENCH_RUNNER_LINGER": "15s",
            "PERFBENCH_METRICS_PORT": "0",
            "PERFBENCH_MAX_CONCURRENT": "4",
            "PERFBENCH_LOST_TIMEOUT": "90s",
        }
    )
    assert (found.runner_image, found.namespaces, found.start_timeout_s) == ("r:1", ("a", "b"), 120.0)
    assert (found.runner_resources, found.metrics_port) == ({"limits": {}}, 0)
    assert (found.runner_annotations, found.runner_labels, found.runner_linger_s) == ({"a": "b"}, {}, 15.0)
    assert (found.max_concurrent, found.max_concurrent_per_namespace, found.lost_timeout_s) == (4, 0, 90.0)
    assert Settings.read({}) == Settings()


@pytest.mark.parametrize(
    ("name", "text"),
    [
        ("START_TIMEOUT", "soon"),
        ("RUNNER_RESOURCES", "[]"),
        ("RUNNER_LABELS", '{"a": 1}'),
        ("METRICS_PORT", "x"),
        ("MAX_CONCURRENT", "-1"),
    ],
)
def test_invalid_setting_is_named(name: str, text: str) -> None:
    with pytest.raises(SettingsError, match=f"PERFBENCH_{name}"):
        Settings.read({f"PERFBENCH_{name}": text})


def status(phase: str, kind: str, reason: str, **more: Any) -> dict[str, Any]:
    return {"phase": phase, "conditions": [{"type": kind, "reason": reason}], **more}


@pytest.mark.parametrize(
    ("old", "new", "expected"),
    [
        ({}, status("Pending", "Running", "Starting"), ("Normal", "Pending")),
        (status("Pending", "Running", "Starting"), status("Running", "Running", "Running"), ("Normal", "Running")),
        ({}, status("Pending", "Running", "Unschedulable"), ("Warning", "Unschedulable")),
        ({}, status("Failed", "Failed", "RunnerOutOfMemory"), ("Warning", "RunnerOutOfMemory")),
        (status("Running", "Running", "Running"), status("Cancelled", "Running", "Cancelled"), ("Normal", "Cancelled")),
        (status("Running", "Running", "Running"), status("Running", "Running", "Running", live={}), None),
    ],
)
def test_a_change_of_phase_is_reported_once(
    old: dict[str, Any], new: dict[str, Any], expected: tuple[str, str] | None
) -> None:
    event = phase_event(body(), old, new, NOW)
    assert (event and (event["type"], event["reason"])) == expected
    if event:
        assert event["metadata"]["name"] == (phase_event(body(), old, new, NOW) or {})["metadata"]["name"]
