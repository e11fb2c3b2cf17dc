"""The parts around the reconciler: controller, work queue, health, metrics, settings, events."""

import asyncio
from collections.abc import Callable, Sequence
from typing import Any

import aiohttp
import pytest
from bodies import NOW, body

from perfbench_operator.cluster import Source
from perfbench_operator.controller import Controller
from perfbench_operator.events import phase_event
from perfbench_operator.health import MISSED_S, STALLED_S, UNREACHABLE_S, Health
from perfbench_operator.main import serve_health
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


class ListedLate:
    """A cluster that lists benchmarks as they were before `meanwhile` was called."""

    def __init__(self, *bodies: dict[str, Any]) -> None:
        self.bodies = list(bodies)
        self.meanwhile: Callable[[], None] = lambda: None

    async def read_all(self, source: Source) -> list[dict[str, Any]]:
        found = list(self.bodies)
        self.meanwhile()
        return found

    async def open_session(self, traces: Sequence[aiohttp.TraceConfig]) -> tuple[str, aiohttp.ClientSession]:
        raise AssertionError("nobody watches")


def controller_of(cluster: Any, **settings: Any) -> Controller:
    return Controller(Settings(**settings), cluster, cluster)


ALL = Source("PerfBenchmark")


async def list_again(controller: Controller) -> dict[tuple[str, str], Any]:
    """The periodic list, of a collection that is being watched; what is known then."""
    controller.cache.listed_sources.add(ALL)
    await controller.watching.list_all()
    return controller.cache.objects["PerfBenchmark"]


async def test_a_benchmark_that_is_deleted_while_all_are_listed_does_not_come_back() -> None:
    cluster = ListedLate(body(), body(uid="other", name="other"))
    controller = controller_of(cluster)
    controller.watching.changed(ALL, "ADDED", body())
    cluster.meanwhile = lambda: controller.watching.changed(ALL, "DELETED", body())
    assert list(await list_again(controller)) == [("models", "other")]
    assert list(controller.watching.health.missed) == ["other"], "what is deleted is not missed"


async def test_a_benchmark_that_is_created_or_changed_while_all_are_listed_stays_as_the_watch_reported_it() -> None:
    changed, made = body(status={"phase": "Succeeded"}, resourceVersion="8"), body(uid="made", name="made")
    cluster = ListedLate(body())
    controller = controller_of(cluster)

    def change() -> None:
        controller.watching.changed(ALL, "MODIFIED", changed)
        controller.watching.changed(ALL, "ADDED", made)

    cluster.meanwhile = change
    assert await list_again(controller) == {("models", "chat"): changed, ("models", "made"): made}


async def test_a_benchmark_whose_deletion_the_watch_has_missed_goes_with_the_next_list() -> None:
    controller = controller_of(ListedLate())
    controller.watching.changed(ALL, "ADDED", body())
    assert await list_again(controller) == {}


@pytest.mark.parametrize("host", ["127.0.0.1", "[::1]"])
@pytest.mark.parametrize(("problem", "status"), [(None, 200), ("the watch is dead", 500)])
async def test_health_is_served_to_both_families(host: str, problem: str | None, status: int, has_ipv6: bool) -> None:
    if host == "[::1]" and not has_ipv6:
        pytest.skip("this machine has no IPv6")
    runner = await serve_health(0, lambda: problem)
    try:
        async with (
            aiohttp.ClientSession() as session,
            session.get(f"http://{host}:{runner.addresses[0][1]}/healthz") as answer,
        ):
            assert (answer.status, await answer.text()) == (status, f"{problem or 'ok'}\n")
    finally:
        await runner.cleanup()


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
