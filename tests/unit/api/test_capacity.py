"""How many runners a load needs: the peak of every shape, and what is said of too few."""

from math import pi, sin
from typing import Any

import pytest

from perfbench_api.capacity import Carried, Expected, needs, peak_rate, runners_for, undersized
from perfbench_api.resource import PerfBenchmark, Spec, SpecError
from perfbench_api.sections.runner import AUTO

CARRIED = Carried(1000.0, 64)
EXPECTED = Expected(ttft_s=0.37, itl_s=0.01, output_tokens=64)
"""A request takes a second."""


def spec(*stages: dict[str, Any], **runner: Any) -> Spec:
    given = {"target": {"url": "http://x", "model": "m"}, "load": {"stages": list(stages)}, "runner": runner}
    return PerfBenchmark.read({"metadata": {"name": "x"}, "spec": given}).spec


POINTS = [{"at": "0s", "rate": 1}, {"at": "10s", "rate": 5}, {"at": "10s", "rate": 2}, {"at": "20s", "rate": 12}]
SINE = {"mean": 10, "amplitude": 5, "period": "40s"}


@pytest.mark.parametrize(
    ("stage", "peak"),
    [
        ({"rate": 7, "duration": "1s"}, 7),
        ({"concurrency": 7, "duration": "1s"}, None),
        ({"arrival": "recorded"}, None),
        ({"profile": {"ramp": {"from": 1, "to": 9}}, "duration": "10s"}, 9),
        ({"profile": {"ramp": {"from": 9, "to": 1}}, "duration": "10s"}, 9),
        ({"profile": {"ramp": {"from": 1, "to": 9, "over": "20s"}}, "duration": "10s"}, 5),
        ({"profile": {"steps": {"from": 2, "to": 8, "steps": 4}}, "duration": "10s"}, 8),
        ({"profile": {"steps": {"from": 2, "to": 8, "steps": 4, "each": "5s"}}, "duration": "10s"}, 4),
        ({"profile": {"steps": {"from": 8, "to": 2, "steps": 4, "each": "5s"}}, "duration": "10s"}, 8),
        ({"profile": {"sine": SINE}, "duration": "1h"}, 15),
        ({"profile": {"sine": SINE}, "requests": 10}, 15),
        ({"profile": {"sine": SINE}, "duration": "5s"}, 10 + 5 * sin(pi / 4)),
        ({"profile": {"burst": {"base": 1, "peak": 9, "for": "1s", "at": "5s"}}, "duration": "10s"}, 9),
        ({"profile": {"burst": {"base": 1, "peak": 9, "for": "1s", "at": "15s"}}, "duration": "10s"}, 1),
        ({"profile": {"points": POINTS}, "duration": "1m"}, 12),
        ({"profile": {"points": POINTS}, "duration": "15s"}, 7),
        ({"profile": {"points": POINTS}, "duration": "12s"}, 5),
    ],
)
def test_the_peak_of_a_rate_is_the_highest_that_the_stage_reaches(stage: dict[str, Any], peak: float | None) -> None:
    (found,) = spec(stage).load.stages
    assert peak_rate(found) == (None if peak is None else pytest.approx(peak))


@pytest.mark.parametrize(
    ("stages", "runners"),
    [
        ([{"rate": 700, "duration": "1m"}], 1),
        ([{"rate": 701, "duration": "1m"}], 2),
        ([{"rate": 1, "duration": "1m"}, {"rate": 3500, "duration": "1m"}], 5),
        ([{"rate": 11_200, "duration": "1m"}], 16),
        ([{"rate": 7e6, "duration": "1m"}], 1000),
        ([{"rate": 7000, "duration": "1m", "maxConcurrency": 3}], 3),
        ([{"rate": 7000, "duration": "1m"}, {"concurrency": 2, "requests": 9}], 2),
        ([{"rate": 7000, "requests": 5}], 5),
        ([{"arrival": "recorded"}], 1),
    ],
)
def test_auto_is_as_many_as_the_hardest_stage_needs_and_none_without_work(
    stages: list[dict[str, Any]], runners: int
) -> None:
    assert runners_for(spec(*stages), CARRIED, EXPECTED) == runners


@pytest.mark.parametrize(
    ("search", "runners"),
    [
        ({"rate": {"from": 1, "to": 3500}}, 5),
        ({"rate": {"from": 1, "to": 3500}, "maxConcurrency": 3}, 3),
        ({"concurrency": {"from": 1, "to": 3500}}, 5),
        ({"concurrency": {"from": 1, "to": 4}}, 1),
    ],
)
def test_a_search_needs_what_its_hardest_point_needs(search: dict[str, Any], runners: int) -> None:
    given = {"target": {"url": "http://x", "model": "m"}, "load": {"search": search}}
    found = PerfBenchmark.read({"metadata": {"name": "x"}, "spec": given}).spec
    assert runners_for(found, CARRIED, EXPECTED) == runners
    assert bool(undersized(found, CARRIED, EXPECTED)) == (runners > 1)


def test_ports_are_counted_by_what_is_open_at_a_time() -> None:
    (stage,) = spec({"rate": 300, "duration": "1m"}).load.stages
    slow = needs(stage, CARRIED, Expected(200.0, 0.0, 64))
    assert (slow.runners, slow.why, slow.streams) == (3, "ports", 60_000)
    (stage,) = spec({"rate": 300, "duration": "1m", "maxConcurrency": 100}).load.stages
    assert needs(stage, CARRIED, Expected(200.0, 0.0, 64)).runners == 1


def test_too_few_runners_are_told_with_the_stage_and_what_is_assumed() -> None:
    stages = [{"rate": 10, "duration": "1m"}, {"name": "peak", "rate": 3500, "duration": "1m"}]
    assert undersized(spec(*stages, replicas=5), CARRIED, EXPECTED) == ""
    text = undersized(spec(*stages, replicas=4), CARRIED, EXPECTED)
    for part in ("stage peak", "3500 requests/s", "64 tokens", "TTFT 370 ms", "needs 5 runners", "replicas is 4"):
        assert part in text


@pytest.mark.parametrize("given", [1, 3, 1000, "auto"])
def test_replicas_are_written_as_they_are_read(given: int | str) -> None:
    runner = spec({"rate": 1, "duration": "1s"}, replicas=given).runner
    assert runner.replicas == (AUTO if given == "auto" else given)
    assert runner.model_dump(by_alias=True, mode="json")["replicas"] == given


@pytest.mark.parametrize("given", [0, -1, 1001, "many", "3", 1.5, True])
def test_replicas_that_are_none_are_refused(given: Any) -> None:
    with pytest.raises(SpecError, match=r"spec\.runner\.replicas"):
        spec({"rate": 1, "duration": "1s"}, replicas=given)
