"""Intervals: that they are those of the textbooks where these apply, and know of dependence, cuts and failures."""

from math import log

import numpy as np
import pytest

from perfbench_runner.results import intervals
from perfbench_runner.results.dependence import design_effect_of_parts, design_effect_of_tenths, effective_count
from perfbench_runner.results.intervals import (
    Interval,
    Sample,
    Share,
    design_effect,
    mean_interval,
    needed_for_share,
    rounded_up,
    share_interval,
    shares_around,
    within_reach,
)
from perfbench_runner.results.quantiles import Array, distribution, kaplan_meier


def in_bursts(count: int, size: int, share: float, seed: int = 1) -> "np.ndarray[tuple[int], np.dtype[np.bool_]]":
    """Requests of which a share fails, so many in a row at a time."""
    starts = np.random.default_rng(seed).random(count // size) < share
    return np.repeat(starts, size)


@pytest.mark.parametrize("size", [1, 3, 16])
def test_bursts_make_requests_worth_less(size: int) -> None:
    effects = [design_effect(in_bursts(4800, size, 0.1, seed)) for seed in range(40)]
    assert np.mean(effects) == pytest.approx(max(1.0, size), rel=0.6)
    assert design_effect(in_bursts(4800, size, 0.1)) == pytest.approx(design_effect(~in_bursts(4800, size, 0.1)))


@pytest.mark.parametrize("is_in", [[], [True], [False] * 9, [True] * 100, [True, False] * 50])
def test_the_design_effect_is_never_below_1(is_in: list[bool]) -> None:
    assert design_effect(np.array(is_in, dtype=np.bool_)) == 1.0


def test_parts_of_any_size_have_the_design_effect_of_their_requests() -> None:
    inside, sizes = [10, 0, 0, 0], [10, 10, 20, 40]
    share = 10 / 80
    spread = ((10 - share * 10) ** 2 + (share * 10) ** 2 + (share * 20) ** 2 + (share * 40) ** 2) * 4 / 3
    assert design_effect_of_parts(inside, sizes) == pytest.approx(spread / (80 * share * (1 - share)))
    assert design_effect_of_parts([0, 0], [5, 5]) == 1.0
    assert design_effect_of_parts([0], [0]) == 1.0


def test_limits_of_a_share_are_clopper_and_pearsons_of_the_effective_count() -> None:
    """Ten batches of one request each: nothing is lost to Student. 3 of 10 at 95 %: 0.0667 to 0.6525, as in every table."""
    assert share_interval(Share(0.3, 10, 1.0), 0.025, 0.025) == pytest.approx(Interval(0.06674, 0.65245), abs=1e-4)
    assert share_interval(Share(0.0, 10, 1.0), 0.025, 0.025) == pytest.approx(Interval(0.0, 0.30850), abs=1e-4)
    assert share_interval(Share(1.0, 10, 1.0), 0.025, 0.025) == pytest.approx(Interval(0.69150, 1.0), abs=1e-4)
    assert share_interval(Share(0.5, 0, 1.0), 0.025, 0.025) == Interval(None, None)
    wide, narrow = (share_interval(Share(0.1, 1000, effect), 0.05, 0.05) for effect in (16.0, 1.0))
    assert wide.low < narrow.low < 0.1 < narrow.high < wide.high


@pytest.mark.parametrize(("count", "effect", "expected"), [(0, 1.0, 0), (1, 1.0, 1), (10, 1.0, 10), (10, 2.0, 5)])
def test_the_effective_count(count: int, effect: float, expected: float) -> None:
    assert effective_count(count, effect, 0.05) == pytest.approx(expected)


@pytest.mark.parametrize(
    ("count", "p", "is_known"), [(28, 0.9, False), (100, 0.9, True), (250, 0.99, False), (500, 0.99, True)]
)
def test_a_quantile_has_an_upper_end_from_so_many_requests_on(count: int, p: float, is_known: bool) -> None:
    """Even if all are below: n >= ln 0.05 / ln p, and a fifth more for Student."""
    assert (shares_around(p, count, 1.0, (0.05, 0.05))[1] <= 1.0) == is_known
    assert (count * 0.82 > log(0.05) / log(p)) == is_known


@pytest.mark.parametrize("p", [0.5, 0.9, 0.99])
@pytest.mark.parametrize("count", [50, 300, 5000])
def test_shares_around_a_quantile_are_where_the_limits_of_a_share_meet_it(p: float, count: int) -> None:
    smaller, larger = shares_around(p, count, 1.5, (0.05, 0.05))
    if smaller >= 0.0:
        assert share_interval(Share(smaller, count, 1.5), 0.05, 0.05).high == pytest.approx(p, abs=1e-6)
    if larger <= 1.0:
        assert share_interval(Share(larger, count, 1.5), 0.05, 0.05).low == pytest.approx(p, abs=1e-6)


def cut_sample(values: list[float], cut: list[int], failed: tuple[int, ...] = ()) -> Sample:
    numbers = np.arange(len(values))
    return Sample(np.array(values, dtype=np.float64), np.isin(numbers, cut), np.isin(numbers, failed))


def latencies(count: int, seed: int = 3) -> Array:
    found: Array = np.random.default_rng(seed).lognormal(0.0, 0.5, count)
    return found


@pytest.mark.parametrize("count", [1, 2, 5, 100, 1001])
@pytest.mark.parametrize("p", [0.0, 0.5, 0.9, 0.99, 1.0])
def test_a_quantile_is_numpys(count: int, p: float) -> None:
    values = latencies(count)
    assert Sample.of(values).quantile(p) == np.quantile(values, p)


@pytest.mark.parametrize("seed", range(5))
def test_with_cut_requests_it_is_kaplan_and_meiers_as_in_the_summary(seed: int) -> None:
    values = latencies(400, seed)
    is_cut = np.random.default_rng(seed).random(400) < 0.2
    values = np.where(is_cut, values * 0.6, values)
    sample = Sample(values, is_cut, np.zeros(400, dtype=np.bool_))
    figures = distribution(values[~is_cut], values[is_cut])
    assert sample.quantile(0.5) == pytest.approx(figures.p50)
    assert sample.quantile(0.9) == pytest.approx(figures.p90)
    times, _, after = kaplan_meier(values[~is_cut], values[is_cut])
    assert sample.share_up_to(float(times[200])).value == pytest.approx(1 - after[200])


def test_its_variance_is_greenwoods_where_requests_are_independent() -> None:
    values, drawn = latencies(2000), np.random.default_rng(5)
    is_cut = drawn.random(2000) < 0.2
    sample = Sample(np.where(is_cut, values * 0.6, values), is_cut, np.zeros(2000, dtype=np.bool_))
    order = np.argsort(sample.values)
    at_risk = 2000 - np.arange(2000)
    is_event = (sample.values[order] <= 1.3) & ~is_cut[order]
    left = 1.0 - sample.share_up_to(1.3).value
    greenwood = left**2 * (1.0 / (at_risk * (at_risk - 1.0))[is_event]).sum()
    assert (intervals._influence(sample, 1.3) ** 2).sum() == pytest.approx(greenwood, rel=0.01)


def test_failed_requests_are_slower_than_any_bound() -> None:
    values = [1.0] * 90 + [0.001] * 10
    sample = cut_sample(values, [], tuple(range(90, 100)))
    assert sample.share_up_to(1e9).value == 0.9
    assert sample.quantile(0.5) == 1.0
    assert sample.quantile(0.95) is None
    assert sample.first_at(0.91) is None


def test_what_failed_early_takes_nothing_of_those_that_were_cut_off_later() -> None:
    """Aalen and Johansen: half fail at once, of the others half are cut off at 1 s and half are known to take 2 s."""
    values = [0.1] * 100 + [1.0] * 50 + [2.0] * 50
    sample = cut_sample(values, list(range(100, 150)), tuple(range(100)))
    assert sample.share_up_to(2.0).value == pytest.approx(0.5)
    assert sample.share_up_to(1.5).value == 0.0


@pytest.mark.parametrize("cut_at", [0.3, 1.0, 5.0])
def test_limits_with_cut_requests_hold_the_truth(cut_at: float) -> None:
    hits = 0
    for seed in range(60):
        values = latencies(300, seed)
        is_cut = values > cut_at * latencies(300, seed + 1000)
        sample = Sample(
            np.where(is_cut, cut_at * latencies(300, seed + 1000), values), is_cut, np.zeros(300, dtype=bool)
        )
        low, high = share_interval(sample.share_up_to(0.8), 0.025, 0.025)
        hits += low <= 0.3277 <= high  # P(lognormal(0, 0.5) <= 0.8)
    assert hits >= 54


@pytest.mark.parametrize("count", [2, 5, 20, 1000])
def test_a_mean_lies_in_the_middle_of_its_interval(count: int) -> None:
    values = latencies(count)
    low, high = mean_interval(values, (0.025, 0.025))
    assert low < values.mean() < high
    assert values.mean() - low == pytest.approx(high - values.mean())
    assert mean_interval(values[:1], (0.025, 0.025)) == Interval(None, None)


def test_the_mean_of_dependent_values_is_less_sure() -> None:
    smooth = np.sin(np.linspace(0.0, 12.0, 2000))
    mixed = np.random.default_rng(1).permutation(smooth)
    wide, narrow = (mean_interval(values, (0.05, 0.05)) for values in (smooth, mixed))
    assert wide.high - wide.low > 3 * (narrow.high - narrow.low)


def test_how_many_requests_decide() -> None:
    """(1.833 + 0.84)^2 p (1 - p) / (F - p)^2, times the design effect."""
    assert needed_for_share(Share(0.95, 200, 1.0), 0.9, 0.05) == pytest.approx(257, abs=3)
    assert needed_for_share(Share(0.95, 200, 4.0), 0.9, 0.05) == pytest.approx(4 * 257, abs=9)
    assert needed_for_share(Share(0.9, 200, 1.0), 0.9, 0.05) is None
    assert needed_for_share(Share(0.9001, 200, 1.0), 0.9, 0.05) is None
    assert within_reach(5001, 100) is None


@pytest.mark.parametrize(
    ("value", "expected"), [(1, 1), (9.2, 10), (11, 20), (180, 200), (1234, 2000), (20_000, 20_000)]
)
def test_an_order_of_magnitude_has_one_digit(value: float, expected: int) -> None:
    assert rounded_up(value) == expected


@pytest.mark.parametrize(
    ("count", "block", "value", "share", "limits"),
    [
        (200, 1000, 0.5, (0.505, 1.0), (0.4377561434535817, 0.6061763477514672)),
        (1234, 50, 0.9, (0.6839546191247974, 1.254764423680098), (0.6556887022145583, 0.7252750414571392)),
        (5000, 300, 1.5, (0.8808, 4.311783369602985), (0.8619267233109804, 0.9062949619305212)),
        (30, 1000, 0.5, (0.43333333333333335, 3.2579185520362), (0.1460795962047478, 0.8602154560403701)),
        (1, 1, 0.5, (1.0, 1.0), (0.05000000000000002, 1.0)),
    ],
)
def test_limits_of_a_share_stay_what_they_are(
    count: int, block: int, value: float, share: tuple[float, float], limits: tuple[float, float]
) -> None:
    """Of values of which each second block is twice as large."""
    sample = Sample.of([(number * 7919 % 1000) / 1000 * (1 + number // block % 2) for number in range(count)])
    found = sample.share_up_to(value)
    assert (found.value, found.design_effect) == pytest.approx(share, rel=1e-12)
    assert tuple(share_interval(found, 0.05, 0.01)) == pytest.approx(limits, rel=1e-9)


def test_tenths_are_taken_one_by_one_and_in_pairs() -> None:
    """What goes in waves of two tenths is seen in pairs only half as much as alone, and the reverse."""
    sizes = [20] * 10
    ones, twos = [18, 2] * 5, [18, 18, 2, 2, 18, 18, 2, 2, 18, 18]
    assert design_effect_of_tenths(ones, sizes) == design_effect_of_parts(ones, sizes)
    assert design_effect_of_tenths(twos, sizes) == design_effect_of_parts([36, 4, 36, 4, 36], [40] * 5)
    assert design_effect_of_tenths([0] * 10, [0] * 10) == 1.0
