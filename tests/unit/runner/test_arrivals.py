"""Arrivals: exact where constant, of their law where random, the same for a seed, at rates that stay and that change."""

from itertools import islice
from random import Random
from statistics import fmean
from typing import Any

import pytest
from laws import cv, dispersion, exponential, gamma_2, gaps_of, ks_p_value, masses_at

from perfbench_api.sections import Stage
from perfbench_runner.load.arrivals import PROCESSES, arrivals
from perfbench_runner.load.rates import Segment, rate_of

COUNT = 20_000
SHAPES: list[dict[str, Any]] = [
    {"ramp": {"from": 0, "to": 50}},
    {"steps": {"from": 5, "to": 40, "steps": 8}},
    {"sine": {"mean": 30, "amplitude": 25, "period": "17s"}},
    {"burst": {"base": 3, "peak": 200, "at": "5s", "for": "2s", "every": "20s"}},
    {"points": [{"at": 0, "rate": 40}, {"at": 10, "rate": 0}, {"at": 20, "rate": 0}, {"at": 20, "rate": 60}]},
]


def times(arrival: str, rate: Any, count: int, seed: object = 1, spread: float | None = None) -> list[float]:
    return list(islice(arrivals(rate, arrival, Random(str(seed)), spread), count))


def changing(shape: dict[str, Any]) -> list[Segment]:
    """So much of a rate over time as tests look at."""
    rate = rate_of(Stage.model_validate({"profile": shape, "duration": "120s"}))
    assert rate is not None
    assert not isinstance(rate, float)
    return list(islice(rate, 50_000))


@pytest.mark.parametrize("rate", [1, 3, 5, 16, 0.1, 1000])
def test_every_gap_of_constant_arrivals_is_exact_however_many_there_are(rate: float) -> None:
    assert times("constant", rate, 50_000) == [number / rate for number in range(50_000)]


@pytest.mark.parametrize("seed", [1, 3, 5, 16])
def test_poisson_gaps_are_exponential_and_independent(seed: int) -> None:
    found = times("poisson", 10.0, COUNT, seed)
    gaps = gaps_of(found)
    assert ks_p_value([10 * gap for gap in gaps], exponential) > 0.001
    assert cv(gaps) == pytest.approx(1, abs=0.03)
    assert abs(dispersion(found, COUNT // 10)) < 4


@pytest.mark.parametrize("spread", [0.25, 0.7071, 1.0, 2.0, 4.0])
def test_gamma_gaps_have_the_rate_and_the_coefficient_of_variation_asked_for(spread: float) -> None:
    gaps = gaps_of(times("gamma", 10.0, 100_000, 7, spread))
    assert fmean(gaps) == pytest.approx(0.1, rel=0.015 * max(1, spread))
    assert cv(gaps) == pytest.approx(spread, rel=0.05)


@pytest.mark.parametrize("spread", [1e-3, 1e-9, 1e-200])
def test_gamma_gaps_of_hardly_any_spread_are_nearly_equal(spread: float) -> None:
    gaps = gaps_of(times("gamma", 10.0, 1000, 7, spread))
    assert all(gap == pytest.approx(0.1, rel=6 * max(spread, 1e-7)) for gap in gaps)


@pytest.mark.parametrize(("spread", "law"), [(1.0, exponential), (0.5**0.5, gamma_2)])
@pytest.mark.parametrize("seed", [1, 3, 5, 16])
def test_gamma_gaps_are_of_the_gamma_distribution(spread: float, law: Any, seed: int) -> None:
    gaps = gaps_of(times("gamma", 10.0, COUNT, seed, spread))
    assert ks_p_value([10 * gap for gap in gaps], law) > 0.001


def test_the_test_of_laws_tells_them_apart() -> None:
    gaps = gaps_of(times("gamma", 1.0, 2000, 1, 1.5))
    assert ks_p_value(gaps, exponential) < 0.001


@pytest.mark.parametrize("shape", SHAPES, ids=lambda shape: next(iter(shape)))
@pytest.mark.parametrize("seed", [1, 3])
def test_poisson_arrivals_at_a_changing_rate_are_one_process_with_that_rate(shape: dict[str, Any], seed: int) -> None:
    """Measured by the cumulated rate, gaps of an inhomogeneous Poisson process are exponential."""
    segments = changing(shape)
    found = times("poisson", segments, 2000, seed)
    assert found == sorted(found)
    masses = masses_at(segments, found)
    assert ks_p_value(gaps_of(masses), exponential) > 0.001
    assert abs(dispersion(masses, 200)) < 4


@pytest.mark.parametrize("shape", SHAPES, ids=lambda shape: next(iter(shape)))
def test_constant_arrivals_at_a_changing_rate_come_at_each_whole_number_of_expected_requests(
    shape: dict[str, Any],
) -> None:
    segments = changing(shape)
    found = times("constant", segments, 1500)
    assert masses_at(segments, found) == pytest.approx(list(range(1500)), abs=1e-6)


def test_gamma_arrivals_keep_their_clumps_at_a_changing_rate() -> None:
    segments = changing(SHAPES[2])
    masses = masses_at(segments, times("gamma", segments, 3000, 1, 3.0))
    assert cv(gaps_of(masses)) == pytest.approx(3, rel=0.15)


def test_a_poisson_process_is_not_stretched_to_a_total() -> None:
    """Rescaled gaps would hit n / rate every time, and be no Poisson process."""
    ends = {round(times("poisson", 10.0, 100, seed)[-1], 6) for seed in range(20)}
    assert len(ends) == 20
    assert fmean(ends) == pytest.approx(10, rel=0.1)


@pytest.mark.parametrize("arrival", PROCESSES)
def test_a_seed_gives_the_same_arrivals_again_and_another_others(arrival: str) -> None:
    first = times(arrival, 5.0, 100, 7, 2.0)
    assert first == times(arrival, 5.0, 100, 7, 2.0) == sorted(first)
    if arrival != "constant":
        assert first != times(arrival, 5.0, 100, 8, 2.0)


@pytest.mark.parametrize("together", [1, 2, 3, 5])
@pytest.mark.parametrize("arrival", ["constant", "poisson", "gamma"])
def test_requests_that_come_together_keep_the_rate(together: int, arrival: str) -> None:
    times = list(islice(arrivals(10.0, arrival, Random(3), 1.5, together), 30_000))
    rounds = [times[first : first + together] for first in range(0, len(times), together)]
    assert all(len(set(each)) == 1 for each in rounds)
    assert [each[0] for each in rounds] == sorted({*times})
    assert len(times) / times[-1] == pytest.approx(10.0, rel=0.06)


def test_rounds_follow_a_rate_that_changes() -> None:
    shape = [Segment(0.0, 10.0, 0.0, 20.0), Segment(10.0, 20.0, 0.0, 0.0)]
    assert len(list(arrivals(shape, "constant", Random(3), None, 4))) == 100
