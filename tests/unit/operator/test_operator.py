"""The small parts that keep the operator going: queue, health, metrics, settings, events."""

import asyncio
import subprocess
from typing import Any

import pytest
from bodies import NOW, UID, body
from prometheus_client import generate_latest

from perfbench_operator.health import MISSED_S, STALLED_S, UNREACHABLE_S, Health
from perfbench_operator.metrics import Metrics
from perfbench_operator.reconciler import news
from perfbench_operator.settings import Settings, SettingsError
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
    assert not queue._timers, "a key that is looked at now need not be later"
    queue.close()


async def test_the_queue_tells_how_many_wait_and_how_long() -> None:
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


def test_watch_that_tells_in_time_is_well() -> None:
    health = Health(0)
    health.listed([version(7)], 1)
    health.tell(version(8))
    health.listed([version(8)], 100)
    assert health.problem(101) is None


def test_watch_that_owes_a_change_is_dead() -> None:
    health = Health(0)
    health.tell(version(7))
    health.listed([version(9)], 10)
    health.listed([version(9)], 10 + MISSED_S)
    assert health.problem(10 + MISSED_S) is None
    problem = health.problem(11 + MISSED_S)
    assert problem is not None
    assert "watch" in problem
    health.tell(version(9))
    assert health.problem(11 + MISSED_S) is None


def test_deleted_benchmarks_are_owed_nothing() -> None:
    health = Health(0)
    health.listed([version(9)], 0)
    health.tell(version(9), is_gone=True)
    health.listed([], 1)
    assert health.problem(2 * MISSED_S) is None


def test_stalled_operator_is_told_from_an_api_server_that_is_away() -> None:
    health = Health(0)
    assert "not looked" in (health.problem(STALLED_S + 1) or "")
    now_s = 0.0
    while now_s < UNREACHABLE_S:
        health.tried(now_s)
        assert health.problem(now_s) is None
        now_s += 30
    health.tried(now_s)
    assert "API server" in (health.problem(now_s + 1) or "")


def test_metrics_tell_of_benchmarks_that_exist() -> None:
    metrics = Metrics()
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


def test_metrics_tell_of_a_benchmark_that_nothing_is_known_of_yet() -> None:
    metrics = Metrics()
    metrics.benchmarks.known[UID] = body()
    text = generate_latest(metrics.registry).decode()
    assert 'perfbench_benchmark_label{benchmark="chat",label="",namespace="models"} 1.0' in text
    assert 'perfbench_operator_benchmarks{phase="Pending"} 1.0' in text
    assert "perfbench_benchmark_verdict{" not in text
    assert "timestamp_seconds{" not in text


def test_promtool_finds_nothing_to_complain_about(promtool: str) -> None:
    metrics = Metrics()
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
        }
    )
    assert (found.runner_image, found.namespaces, found.start_timeout_s) == ("r:1", ("a", "b"), 120.0)
    assert (found.runner_resources, found.metrics_port) == ({"limits": {}}, 0)
    assert (found.runner_annotations, found.runner_labels, found.runner_linger_s) == ({"a": "b"}, {}, 15.0)
    assert Settings.read({}) == Settings()


@pytest.mark.parametrize(
    ("name", "text"),
    [("START_TIMEOUT", "soon"), ("RUNNER_RESOURCES", "[]"), ("RUNNER_LABELS", '{"a": 1}'), ("METRICS_PORT", "x")],
)
def test_wrong_setting_is_named(name: str, text: str) -> None:
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
def test_news_are_told_once(old: dict[str, Any], new: dict[str, Any], expected: tuple[str, str] | None) -> None:
    event = news(body(), old, new, NOW)
    assert (event and (event["type"], event["reason"])) == expected
    if event:
        assert event["metadata"]["name"] == (news(body(), old, new, NOW) or {})["metadata"]["name"]
