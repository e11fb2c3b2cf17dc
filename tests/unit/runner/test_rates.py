"""Rates over time: their integral, what they are at each moment, and when they end."""

from itertools import islice, pairwise
from math import inf
from typing import Any

import pytest
from laws import masses_at

from perfbench_api.sections import Stage
from perfbench_runner.load.rates import Segment, cumulated, expected, inverted, rate_of


def stage(**values: Any) -> Stage:
    return Stage.model_validate(values)


def rising(count: int) -> list[dict[str, float]]:
    return [{"at": at_s, "rate": at_s} for at_s in range(count)]


@pytest.mark.parametrize(
    ("made", "requests"),
    [
        (stage(rate=5, duration=60), 300),
        (stage(rate=5, arrival="gamma", cv=3, duration=60), 300),
        (stage(rate=10, duration=60, rampUp=20), 100 + 400),
        (stage(rate=10, duration=60, rampUp=20, rampDown=10), 100 + 300 + 50),
        (stage(rate=10, duration=60, rampDown=10), 500 + 50),
        (stage(profile={"ramp": {"from": 1, "to": 21}}, duration=60), 660),
        (stage(profile={"ramp": {"from": 21, "to": 1}}, duration=60), 660),
        (stage(profile={"ramp": {"from": 0, "to": 20, "over": 30}}, duration=60), 300 + 600),
        (stage(profile={"ramp": {"from": 0, "to": 20, "over": 120}}, duration=60), 300),
        (stage(profile={"steps": {"from": 2, "to": 8, "steps": 4}}, duration=40), 10 * (2 + 4 + 6 + 8)),
        (stage(profile={"steps": {"from": 2, "to": 8, "steps": 4, "each": 5}}, duration=40), 5 * (2 + 4 + 6) + 25 * 8),
        (stage(profile={"sine": {"mean": 10, "amplitude": 10, "period": 20}}, duration=60), 600),
        (stage(profile={"sine": {"mean": 10, "amplitude": 5, "period": 60}}, duration=30), 300 + 5 * 60 / 3.14159265),
        (stage(profile={"burst": {"base": 2, "peak": 20, "at": 10, "for": 5}}, duration=60), 55 * 2 + 5 * 20),
        (stage(profile={"burst": {"base": 0, "peak": 20, "for": 5, "every": 20}}, duration=60), 15 * 20),
        (stage(profile={"burst": {"base": 0, "peak": 20, "at": 19, "for": 5, "every": 20}}, duration=60), (5 + 5 + 1) * 20),
        (stage(profile={"points": [{"at": 0, "rate": 1}, {"at": 30, "rate": 10}]}, duration=60), 165 + 300),
        (stage(profile={"points": rising(17)}, duration=16), 16 * 16 / 2),
        (stage(profile={"points": [{"at": 0, "rate": 1}, {"at": 9, "rate": 1}, {"at": 9, "rate": 5}]}, duration=10), 14),
        (stage(rate=5, requests=10), None),
        (stage(concurrency=5, duration=10), None),
        (stage(arrival="recorded", duration=10), None),
    ],
)  # fmt: skip
def test_the_integral_of_a_rate_is_what_its_shape_says(made: Stage, requests: float | None) -> None:
    found = expected(made)
    assert found == (None if requests is None else pytest.approx(requests, rel=2e-5))


@pytest.mark.parametrize(
    "profile",
    [
        {"ramp": {"from": 1, "to": 21}},
        {"steps": {"from": 2, "to": 8, "steps": 3}},
        {"sine": {"mean": 10, "amplitude": 10, "period": 7}},
        {"burst": {"base": 1, "peak": 20, "for": 5, "every": 20}},
        {"burst": {"base": 1, "peak": 20, "at": 3, "for": 5}},
        {"points": rising(5)},
    ],
)
def test_segments_follow_each_other_without_a_hole(profile: dict[str, Any]) -> None:
    rate = rate_of(stage(profile=profile, duration=60))
    assert not isinstance(rate, (float, type(None)))
    found = list(islice(rate, 5000))
    assert found[0].begin_s == 0
    assert all(before.end_s == after.begin_s for before, after in pairwise(found))


@pytest.mark.parametrize(
    ("segments", "mass", "at_s"),
    [
        ([Segment(0, inf, 4, 4)], 10, 2.5),
        ([Segment(0, 10, 0, 10), Segment(10, inf, 10, 10)], 8, 4),
        ([Segment(0, 10, 0, 10), Segment(10, inf, 10, 10)], 60, 11),
        ([Segment(0, 10, 10, 0), Segment(10, 20, 0, 0), Segment(20, inf, 1, 1)], 50, 20),
        ([Segment(0, 10, 10, 0), Segment(10, 20, 0, 0), Segment(20, inf, 1, 1)], 0, 0),
        ([Segment(0, 5, 0, 0), Segment(5, inf, 2, 2)], 0, 5),
        ([Segment(0, 5, 3, 3), Segment(5, inf, 9, 9)], 15, 5),
    ],
)
def test_a_mass_is_reached_when_so_many_requests_are_expected(
    segments: list[Segment], mass: float, at_s: float
) -> None:
    assert list(inverted([mass], segments)) == [pytest.approx(at_s)]


def test_where_the_rate_is_nothing_for_ever_arrivals_end() -> None:
    segments = [Segment(0, 10, 1, 1), Segment(10, inf, 0, 0)]
    assert list(inverted(map(float, range(100)), segments)) == [float(number) for number in range(10)]


def test_the_way_to_and_fro_is_exact() -> None:
    segments = list(
        islice(rate_of(stage(profile={"sine": {"mean": 9, "amplitude": 9, "period": 7}}, duration=60)), 9000)
    )  # type: ignore[arg-type]
    masses = [number / 7 for number in range(1, 3000)]
    times = list(inverted(masses, segments))
    assert masses_at(segments, times) == pytest.approx(masses, abs=1e-8)
    assert [cumulated(segments, at_s) for at_s in times[::500]] == pytest.approx(masses[::500], abs=1e-8)
