"""What is said of a bound: kept or broken only where the interval lies on one side, else how many requests would tell."""

import numpy as np
import pytest

from perfbench_runner.results.intervals import Sample, Share
from perfbench_runner.results.judging import (
    BETWEEN,
    Bounds,
    Finding,
    Levels,
    judge_known,
    judge_mean,
    judge_quantile,
    judge_share,
)
from perfbench_runner.results.quantiles import Array

LEVELS = Levels.of(0.95)


def latencies(count: int, seed: int = 3) -> Array:
    found: Array = np.random.default_rng(seed).lognormal(0.0, 0.5, count)
    return found


def judged(values: Array, p: float, **bounds: float) -> Finding:
    return judge_quantile(Sample.of(values), p, Bounds(**bounds), LEVELS)


@pytest.mark.parametrize("p", [0.5, 0.9, 0.99])
@pytest.mark.parametrize("count", [20, 100, 1000, 20_000])
@pytest.mark.parametrize("side", ["most", "least"])
def test_a_verdict_and_the_interval_say_the_same(p: float, count: int, side: str) -> None:
    values = latencies(count)
    for bound in np.quantile(values, [0.1, 0.5, 0.85, 0.95, 1.0]) * 1.01:
        found = judged(values, p, **{side: float(bound)})
        low, high = found.interval
        is_kept = (high is not None and high <= bound) if side == "most" else (low is not None and low >= bound)
        is_broken = (low is not None and low > bound) if side == "most" else (high is not None and high < bound)
        assert found.kept is not (False if is_kept else True if is_broken else "anything")
        if found.kept is not None:
            assert (is_kept, is_broken) == (found.kept, not found.kept)
        assert low is None or low <= found.value
        assert high is None or high >= found.value
        assert bool(found.reason) == (found.kept is None)


def test_one_bad_request_in_fifty_breaks_no_p99() -> None:
    values = np.full(50, 0.1)
    values[7] = 5.0
    assert judged(values, 0.99, most=0.5).kept is None


@pytest.mark.parametrize(("count", "kept"), [(10, None), (60, None), (400, None), (2000, True)])
def test_a_p99_needs_requests_beyond_it(count: int, kept: bool | None) -> None:
    found = judged(latencies(count), 0.99, most=4.4)  # the true one is 3.2
    assert found.kept is kept
    assert found.value == np.quantile(latencies(count), 0.99)
    if kept is None:
        assert "too few values: they tell as much as" in found.reason
        assert "it takes 1,000" in found.reason
        assert found.needed is None or found.needed > count


@pytest.mark.parametrize(("count", "kept"), [(5, None), (16, False), (50, False)])
def test_what_is_always_slower_is_broken_soon(count: int, kept: bool | None) -> None:
    assert judged(latencies(count) + 10.0, 0.99, most=1.0).kept is kept


def test_far_from_the_bound_fewer_requests_do() -> None:
    """A p90 of 60 independent requests: enough where all are far below."""
    values = latencies(60)
    _, high = judged(values, 0.9, most=10.0).interval
    assert judged(values, 0.9, most=high * 1.6).kept is True
    assert judged(values, 0.9, most=high * 1.1).kept is None


def test_a_run_shorter_than_the_memory_of_its_queue_is_open() -> None:
    """Latencies that drift as those of a long queue: half of a wave is no p90."""
    slow = 1.0 + np.sin(np.linspace(0.0, 4.0, 5000))
    assert judged(slow, 0.9, most=2.05).kept is None
    assert judged(np.random.default_rng(1).permutation(slow), 0.9, most=2.05).kept is True


@pytest.mark.parametrize("share", [0.0, 0.02, 0.2])
def test_failed_requests_are_slower_than_any_bound(share: float) -> None:
    values = latencies(4000)
    is_failed = np.random.default_rng(1).random(4000) < share
    sample = Sample(np.where(is_failed, 0.001, values), np.zeros(4000, dtype=np.bool_), is_failed)
    found = judge_quantile(sample, 0.95, Bounds(most=1000.0), LEVELS)
    assert found.kept is (share < 0.05)
    assert (found.value is None) is (share > 0.05)


def test_cut_off_requests_count_as_longer_than_was_seen() -> None:
    """All are cut off at 1.5 s: the p90 is beyond what anybody saw, so that 1.4 s is broken, 2 s open."""
    values = np.minimum(latencies(4000), 1.5)
    sample = Sample(values, values == 1.5, np.zeros(4000, dtype=np.bool_))
    assert judge_quantile(sample, 0.9, Bounds(most=1.4), LEVELS).kept is False
    beyond = judge_quantile(sample, 0.9, Bounds(most=2.0), LEVELS)
    assert (beyond.kept, beyond.value) == (None, None)
    assert judge_quantile(sample, 0.5, Bounds(most=1.4), LEVELS).kept is True


def test_between_the_bounds_is_open_and_says_how_many_requests_would_decide() -> None:
    values = latencies(2000)
    near, nearer = (judged(values, 0.9, most=float(np.quantile(values, share))) for share in (0.908, 0.9002))
    assert (near.kept, near.reason) == (None, BETWEEN)
    assert near.needed is not None
    assert 10_000 < near.needed < 100_000
    assert (nearer.kept, nearer.needed) == (None, None), "out of reach"


def test_several_objectives_make_it_harder_to_fail_and_not_to_pass() -> None:
    one, many = Levels.of(0.95), Levels.of(0.95, objectives=20)
    assert (one.kept, many.kept) == pytest.approx((0.05, 0.05))
    assert (one.broken, many.broken) == pytest.approx((0.05, 0.0025))
    assert Levels.of(0.95, 2, looks=5) == pytest.approx((0.01, 0.005))
    values = latencies(3000)
    for bound in (Bounds(most=2.0), Bounds(least=1.0)):
        alone, among = (judge_quantile(Sample.of(values), 0.9, bound, levels).interval for levels in (one, many))
        if bound.most is not None:
            assert (among.high, among.low < alone.low) == (alone.high, True)
        else:
            assert (among.low, among.high > alone.high) == (alone.low, True)


@pytest.mark.parametrize(
    ("failed", "count", "bursts", "bound", "kept"),
    [
        (0, 100, 0, 0.05, None),  # at most 4 %, and none seen
        (0, 300, 0, 0.05, True),
        (0, 100, 0, 0.0, True),  # of this run alone
        (1, 100, 1, 0.0, False),
        (30, 1000, 30, 0.05, True),
        (30, 1000, 2, 0.05, None),
        (30, 1000, 2, 0.2, True),
        (50, 1000, 50, 0.01, False),
        (12, 1000, 12, 0.01, None),
        (0, 0, 0, 0.01, None),
    ],
)
def test_a_share_of_failures(failed: int, count: int, bursts: int, bound: float, kept: bool | None) -> None:
    share = Share(failed / count if count else 0.0, count, 1.0)
    found = judge_share(share, Bounds(most=bound), LEVELS, bursts)
    assert found.kept is kept
    assert bool(found.reason) == (kept is None)
    assert (found.interval is None) == (bound == 0.0 or not count)


@pytest.mark.parametrize(("least", "kept"), [(90.0, True), (99.9, None), (110.0, False)])
def test_a_mean_is_kept_or_broken_where_the_interval_is_on_one_side(least: float, kept: bool | None) -> None:
    values = 100.0 + np.random.default_rng(1).standard_normal(10)
    found = judge_mean(values, Bounds(least=least), LEVELS, exact=100.0)
    assert (found.kept, found.value) == (kept, 100.0)
    assert found.interval.low < 100.0 < found.interval.high
    assert judge_mean(values[:1], Bounds(least=least), LEVELS).kept is None
    assert judge_mean(values[:0], Bounds(least=least), LEVELS).value is None


def test_what_is_of_this_run_alone_has_no_interval() -> None:
    assert judge_known(1.0, Bounds(0.5, 1.0)) == Finding(True, 1.0)
    assert judge_known(1.1, Bounds(0.5, 1.0)) == Finding(False, 1.1)
    assert judge_known(None, Bounds(0.5)).kept is None
