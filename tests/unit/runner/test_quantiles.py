"""Quantiles: numpy's to the last digit, Kaplan and Meier's where values are known only by a lower bound."""

from typing import Any

import numpy as np
import pytest

from perfbench_runner.results.quantiles import QUANTILES, GapHistogram, censored_quantile, distribution, kaplan_meier

SIZES = [1, 2, 3, 5, 16, 100, 1001]


@pytest.mark.parametrize("count", SIZES)
def test_without_lower_bounds_quantiles_are_numpys_to_the_last_digit(count: int) -> None:
    values = np.random.default_rng(count).lognormal(size=count).round(2)
    found = distribution(values, np.array([np.nan]))
    for name, q in QUANTILES.items():
        assert getattr(found, name) == float(np.quantile(values, q))
    assert (found.count, found.censored, found.lower_bounds) == (count, 0, {})


@pytest.mark.parametrize("count", SIZES)
def test_kaplan_and_meiers_are_numpys_where_all_is_known(count: int) -> None:
    values = np.random.default_rng(count).lognormal(size=count).round(1)
    times, before, after = kaplan_meier(values, np.empty(0))
    for q in QUANTILES.values():
        assert censored_quantile(q, times, before, after, count) == pytest.approx(np.quantile(values, q), abs=1e-12)


def test_a_textbook_example() -> None:
    """Remission times of 6-MP patients (Freireich 1963): S(6) = 0.857, S(10) = 0.753, S(16) = 0.627, S(23) = 0.448."""
    events = np.array([6, 6, 6, 7, 10, 13, 16, 22, 23], dtype=float)
    bounds = np.array([6, 9, 10, 11, 17, 19, 20, 25, 32, 32, 34, 35], dtype=float)
    times, _, after = kaplan_meier(events, bounds)
    found = dict(zip(times.tolist(), after.round(3).tolist(), strict=True))
    assert [found[time] for time in (6, 7, 10, 13, 16, 22, 23)] == [0.857, 0.807, 0.753, 0.69, 0.627, 0.538, 0.448]


def test_a_quantile_beyond_the_last_event_is_null_with_its_lower_bound() -> None:
    found = distribution([1.0, 2.0, 3.0, 4.0], np.array([4.0, 5.0, 6.0, 7.0]))
    assert found.p50 == pytest.approx(4.0)
    assert (found.p90, found.p99, found.max, found.mean, found.std) == (None,) * 5
    assert {name: found.lower_bounds[name] for name in ("p90", "p95", "p99", "p99_9", "max")} == dict.fromkeys(
        ("p90", "p95", "p99", "p99_9", "max"), 7.0
    )
    assert found.lower_bounds["mean"] == pytest.approx((1 + 2 + 3 + 4) / 8 + 7 / 2), "as far as it was seen"
    assert (found.min, found.count, found.censored) == (1.0, 4, 4)


def test_where_the_largest_value_is_known_so_are_mean_and_maximum() -> None:
    found = distribution([1.0, 3.0], np.array([2.0]))
    # Of what was longer than 2 all we know took 3: the weights are 1/3 and 2/3.
    assert (found.mean, found.max, found.p99) == (pytest.approx(7 / 3), 3.0, pytest.approx(3.0))
    assert found.std == pytest.approx(np.sqrt((1 - 7 / 3) ** 2 / 3 + 2 * (3 - 7 / 3) ** 2 / 3))
    assert (found.censored, found.lower_bounds) == (1, {})


def test_of_lower_bounds_alone_nothing_else_is_said() -> None:
    found = distribution([], np.array([2.0, 5.0]))
    assert (found.p50, found.min, found.count, found.censored) == (None, None, 0, 2)
    assert found.lower_bounds["p50"] == 5.0


def test_cut_off_latencies_are_not_lost() -> None:
    """Answers of 20 s on average, cut after 15 s: what succeeded is no picture of all."""
    truth = np.random.default_rng(7).lognormal(np.log(12), 0.5, 4000)
    known = truth[truth <= 15.0]
    found = distribution(known, np.full(len(truth) - len(known), 15.0))
    assert found.p50 == pytest.approx(np.quantile(truth, 0.5), rel=1e-9)
    assert np.quantile(known, 0.5) < 0.85 * np.quantile(truth, 0.5)
    assert (found.p90, found.lower_bounds["p90"]) == (None, 15.0)


@pytest.mark.parametrize("count", SIZES)
def test_gaps_counted_a_few_at_a_time_have_the_statistics_of_all(count: int) -> None:
    rng = np.random.default_rng(count)
    gaps_us = rng.integers(0, 40_000, count)
    gaps_us[:: max(1, count // 3)] = rng.integers(1_000_000, 90_000_000)
    histogram = GapHistogram()
    for part in np.array_split(gaps_us, 4):
        histogram.add(part)
    found, expected = histogram.distribution(), distribution(gaps_us / 1e6)
    for name in QUANTILES:
        assert getattr(found, name) == getattr(expected, name)
    assert (found.min, found.max, found.count) == (expected.min, expected.max, count)
    assert (found.mean, found.std) == (pytest.approx(expected.mean), pytest.approx(expected.std, abs=1e-12))


@pytest.mark.parametrize("gaps_us", [[], [-5, 3]])
def test_odd_gaps(gaps_us: list[int]) -> None:
    histogram = GapHistogram()
    histogram.add(np.array(gaps_us, dtype=np.int64))
    found: Any = histogram.distribution()
    assert (found.count, found.min) == (len(gaps_us), min(gaps_us, default=None) and min(gaps_us) / 1e6)
