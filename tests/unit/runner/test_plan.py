"""How many runners a load needs: tables of loads and of what one runner carries."""

from math import ceil
from typing import Any

import pytest

from perfbench_api.capacity import Expected, peak_rate
from perfbench_api.resource import PerfBenchmark, Spec
from perfbench_runner.run import disk
from perfbench_runner.run.calibrate import Ceiling
from perfbench_runner.run.disk import Shape
from perfbench_runner.run.plan import plan

CEILING = Ceiling(requests_per_s=1000.0, events_per_s=64_000.0, streams=640.0, is_lower_bound=False, body_bytes=300.0)
EXPECTED = Expected(ttft_s=0.37, itl_s=0.01, output_tokens=64)
"""A request takes a second."""


def spec(*stages: dict[str, Any], **sections: Any) -> Spec:
    given = {"target": {"url": "http://x", "model": "m"}, "load": {"stages": list(stages)}, **sections}
    return PerfBenchmark.read({"metadata": {"name": "x"}, "spec": given}).spec


@pytest.mark.parametrize(
    ("stage", "replicas", "why"),
    [
        ({"rate": 10, "duration": "60s"}, 1, ""),
        ({"rate": 700, "duration": "60s"}, 1, ""),
        ({"rate": 701, "duration": "60s"}, 2, "requests/s"),
        ({"rate": 7000, "duration": "60s"}, 10, "requests/s"),
        ({"concurrency": 700, "duration": "60s"}, 1, ""),
        ({"concurrency": 1401, "duration": "60s"}, 3, "requests/s"),
        ({"concurrency": 1401, "requests": 5}, 1, ""),
        ({"profile": {"ramp": {"from": 1, "to": 2800}}, "duration": "60s"}, 4, "requests/s"),
        ({"arrival": "recorded"}, 1, ""),
    ],
)
def test_runners_by_the_peak_of_the_load(stage: dict[str, Any], replicas: int, why: str) -> None:
    found = plan(spec(stage), CEILING, EXPECTED, 2, 64)
    assert (found.replicas, found.stages[0].why) == (replicas, why)


def test_long_answers_are_limited_by_tokens_and_slow_ones_by_ports() -> None:
    stage = {"rate": 700, "duration": "60s"}
    long = plan(spec(stage), CEILING, EXPECTED._replace(output_tokens=640), 2, 64)
    assert (long.replicas, long.stages[0].why) == (10, "tokens/s")
    slow = plan(spec(stage), CEILING, Expected(100.0, 0.0, 64), 2, 64)
    assert (slow.replicas, slow.stages[0].why) == (4, "ports")


def test_the_largest_stage_says_how_many_and_all_say_what_is_stored() -> None:
    found = plan(spec({"rate": 10, "requests": 1000}, {"rate": 1400, "duration": "10s"}), CEILING, EXPECTED, 2, 64)
    assert [stage.replicas for stage in found.stages] == [1, 2]
    assert [stage.requests for stage in found.stages] == [1000, 14_000]
    assert (found.replicas, found.workers, found.cpus) == (2, 2, 3)
    rows_bytes = 15_000 * disk.request_bytes(Shape("all", 300, 64)) + 110 * disk.SECOND_BYTES
    assert (found.disk_mb, found.disk_reason) == (ceil(disk.room(rows_bytes, 2).at_work / 1e6), "")
    less = plan(spec({"rate": 10, "requests": 1000}, results={"messages": "none"}), CEILING, EXPECTED, 2, 64)
    assert less.disk_mb == 5


@pytest.mark.parametrize("messages", ["all", "failed", "none"])
@pytest.mark.parametrize(("rate", "replicas"), [(70, 1), (1400, 2), (3500, 5), (11_200, 16)])
def test_the_plan_and_the_run_tell_of_the_same_room(messages: str, rate: int, replicas: int) -> None:
    load = [{"rate": rate, "requests": 10_000}]
    asked = spec(*load, results={"messages": messages}, runner={"replicas": replicas})
    found = plan(asked, CEILING, EXPECTED, 2, 64)
    told = disk.estimate(asked, [Shape(messages, 300, 64)], are_here=False)
    assert told is not None
    assert (found.replicas, found.disk_mb) == (replicas, ceil(told.at_work / 1e6))
    assert found.disk_reason == ("1.49 kB more for each request that fails" if messages == "failed" else "")


@pytest.mark.parametrize(
    ("body_bytes", "messages", "disk_mb", "words"),
    [
        (30_000.0, "all", 156, ""),
        (1_000_000.0, "all", 1517, ""),
        (None, "none", 5, ""),
        (None, "all", None, "at least 6.5 MB: nobody knows how long prompts are, and each kB of them adds 1.33 MB"),
    ],
)
def test_long_prompts_take_their_room_and_unknown_ones_are_told(
    body_bytes: float | None, messages: str, disk_mb: int | None, words: str
) -> None:
    asked = spec({"concurrency": 10, "requests": 1000}, results={"messages": messages})
    found = plan(asked, CEILING.model_copy(update={"body_bytes": body_bytes}), EXPECTED, 2, 64)
    assert (found.disk_mb, found.disk_reason) == (disk_mb, words)


@pytest.mark.parametrize(
    ("load", "requests", "times"),
    [
        ({"stages": [{"concurrency": 4, "requests": 1000}], "repeat": 5}, [1000], 5),
        (
            {"stages": [{"concurrency": 4, "requests": 900}, {"rate": 10, "duration": "10s"}], "repeat": 3},
            [900, 100],
            3,
        ),
        ({"stages": [{"concurrency": 4, "requests": 5000, "until": {"metric": "ttft"}}]}, [5000], 1),
        ({"search": {"rate": {"from": 1, "to": 64}, "maxRequests": 20_000}}, [20_000], 1),
        ({"search": {"concurrency": {"from": 1, "to": 64}}}, [100_000], 1),
    ],
)
@pytest.mark.parametrize("workloads", [[], [{"name": "chat"}, {"name": "batch", "request": {"maxTokens": 3}}]])
def test_what_is_stored_is_of_all_repeats_and_of_the_most_that_a_stage_or_a_search_may_send(
    load: dict[str, Any], requests: list[int], times: int, workloads: list[Any]
) -> None:
    found = plan(spec(load=load, workloads=workloads), CEILING, EXPECTED, 2, 64)
    assert ([stage.requests for stage in found.stages], found.repeat) == (requests, times)
    rows_bytes = times * sum(requests) * disk.request_bytes(Shape("all", 300, 64))
    assert found.disk_mb == pytest.approx(disk.room(rows_bytes).at_work / 1e6, abs=1.1)
    assert found.memory_mb >= 120 + times * sum(requests) * 430e-6


def test_what_nobody_knows_is_not_said() -> None:
    found = plan(spec({"arrival": "recorded"}), CEILING, EXPECTED, 2, 64)
    assert (found.disk_mb, found.disk_reason) == (None, "nobody knows how many requests there will be")
    assert found.stages[0].requests_per_s is None


def test_the_peak_of_a_rate_that_never_ends_is_found() -> None:
    (stage,) = spec({"profile": {"sine": {"mean": 10, "amplitude": 5, "period": "20s"}}, "duration": "1h"}).load.stages
    assert peak_rate(stage) == pytest.approx(15.0)
