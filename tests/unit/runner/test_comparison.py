"""How much targets differ: an interval that covers, no difference where there is none, and nothing of too little."""

from itertools import combinations
from typing import Any

import numpy as np
import pytest

from perfbench_runner.results import differing
from perfbench_runner.results.comparison import Compared, comparisons
from perfbench_runner.results.summary import Comparison, Difference

CONFIDENCE = 0.95


def target(
    name: str, seed: int, count: int = 2000, factor: float = 1.0, failed: float = 0.0, **changes: Any
) -> Compared:
    """Latencies of lognormal law over ten minutes, whose middle rises with time for all targets alike."""
    random = np.random.default_rng(seed)
    at_s = np.sort(random.uniform(0.0, 600.0, count))
    ttft = 0.1 * factor * np.exp(0.3 * random.standard_normal(count)) * (1.0 + at_s / 600.0)
    latencies = {"ttft": ttft, "tpot": np.full(count, np.nan), "e2e_latency": ttft + 0.5 * factor}
    return Compared(name, at_s, (random.random(count) < failed).astype(float), latencies | changes)


def found(comparison: Comparison, metric: str, statistic: str | None) -> Difference:
    (one,) = [each for each in comparison.differences if (each.metric, each.statistic) == (metric, statistic)]
    return one


@pytest.mark.parametrize("factor", [0.5, 0.8, 1.3])
@pytest.mark.parametrize(("metric", "statistic"), [("ttft", "p50"), ("ttft", "p99"), ("e2e_latency", "p99")])
def test_a_difference_is_seen_and_lies_in_its_interval(factor: float, metric: str, statistic: str) -> None:
    (comparison,) = comparisons([target("a", 1), target("b", 2, factor=factor)], CONFIDENCE)
    difference = found(comparison, metric, statistic)
    assert (comparison.baseline, comparison.target) == ("a", "b")
    assert difference.is_seen
    assert difference.baseline is not None
    assert difference.value is not None
    assert difference.low is not None
    assert difference.high is not None
    assert difference.low < (factor - 1.0) * difference.baseline < difference.high
    assert difference.low < difference.value - difference.baseline < difference.high


def test_equal_targets_differ_in_few_runs() -> None:
    seen = 0
    for seed in range(100):
        (comparison,) = comparisons([target("a", 2 * seed), target("b", 2 * seed + 1)], CONFIDENCE)
        seen += any(each.is_seen for each in comparison.differences)
    assert seen <= 10  # of 5 in a hundred, more than 10 in one of 90 such tests


def test_what_changes_with_time_for_all_makes_no_interval_wide() -> None:
    (comparison,) = comparisons([target("a", 1), target("b", 2)], CONFIDENCE)
    difference = found(comparison, "ttft", "p50")
    assert not difference.is_seen
    assert difference.low is not None
    assert difference.high is not None
    assert difference.high - difference.low < 0.2 * (difference.baseline or 0.0)  # the middle itself doubles


def test_what_depends_on_itself_for_longer_than_a_tenth_is_no_difference() -> None:
    seen, said = 0, 0
    for seed in range(40):
        random = np.random.default_rng(seed)
        drifts = np.exp(np.cumsum(0.1 * random.standard_normal((2, 600)), axis=1))
        made = [target(name, seed, 600, e2e_latency=drift) for name, drift in zip("ab", drifts, strict=True)]
        difference = found(comparisons(made, CONFIDENCE)[0], "e2e_latency", "p50")
        seen += bool(difference.is_seen)
        said += "independent ones" in difference.reason
    assert seen <= 4
    assert said > 30


def test_failed_requests_are_compared_where_there_are_any() -> None:
    (none,) = comparisons([target("a", 1), target("b", 2)], CONFIDENCE)
    assert "failed_share" not in {each.metric for each in none.differences}
    (some,) = comparisons([target("a", 1), target("b", 2, failed=0.2)], CONFIDENCE)
    difference = found(some, "failed_share", None)
    assert difference.is_seen
    assert difference.low is not None
    assert difference.high is not None
    assert difference.low < 0.2 < difference.high


@pytest.mark.parametrize(("count", "known"), [(100, set()), (700, {"p50"}), (1500, {"p50", "p99"})])
def test_too_few_requests_say_nothing_and_how_many_would(count: int, known: set[str]) -> None:
    (comparison,) = comparisons([target("a", 1, count), target("b", 2, count, factor=2.0)], CONFIDENCE)
    for difference in comparison.differences:
        assert (difference.is_seen is not None) == (difference.statistic in known)
        assert ("needed" in difference.reason) == (difference.statistic not in known)
        assert difference.value is not None


def test_cut_off_requests_are_slower_than_any() -> None:
    latencies = target("a", 1).latencies["e2e_latency"].copy()
    latencies[::50] = np.inf
    (comparison,) = comparisons([target("a", 1, e2e_latency=latencies), target("b", 2)], CONFIDENCE)
    assert found(comparison, "e2e_latency", "p50").is_seen is not None
    tail = found(comparison, "e2e_latency", "p99")
    assert (tail.baseline, tail.is_seen) == (None, None)
    assert "cut off" in tail.reason


def test_what_both_do_not_have_is_not_compared() -> None:
    (comparison,) = comparisons([target("a", 1), target("b", 2, ttft=np.full(2000, np.nan))], CONFIDENCE)
    assert {each.metric for each in comparison.differences} == {"e2e_latency"}


@pytest.mark.parametrize(("names", "pairs"), [("a", ""), ("ab", "ab"), ("abc", "ab ac bc")])
def test_each_two_targets_are_compared(names: str, pairs: str) -> None:
    done = comparisons([target(name, number) for number, name in enumerate(names)], CONFIDENCE)
    assert [each.baseline + each.target for each in done] == pairs.split()


def test_no_requests_are_no_difference() -> None:
    (comparison,) = comparisons([target("a", 1, 0), target("b", 2, 0)], CONFIDENCE)
    assert comparison.differences == []


@pytest.mark.parametrize(
    ("difference", "words"),
    [
        (
            {
                "metric": "ttft",
                "statistic": "p99",
                "difference": -0.0123,
                "low": -0.0172,
                "high": -0.0081,
                "is_seen": True,
            },
            "TTFT p99 of new is 12.30 ms (8.100 ms to 17.20 ms) lower than that of old",
        ),
        (
            {"metric": "e2e_latency", "statistic": "p50", "difference": 1.0, "low": 0.5, "high": 1.5, "is_seen": True},
            "E2E p50 of new is 1.000 s (500.0 ms to 1.500 s) higher than that of old",
        ),
        (
            {"metric": "tpot", "statistic": "p50", "difference": 0.0, "low": -0.002, "high": 0.003, "is_seen": False},
            "no difference seen between new and old in TPOT p50 (-2.000 ms to 3.000 ms)",
        ),
        (
            {
                "metric": "failed_share",
                "statistic": None,
                "difference": 0.02,
                "low": 0.01,
                "high": 0.03,
                "is_seen": True,
            },
            "share of failed requests of new is 2 points (1 points to 3 points) higher than that of old",
        ),
        (
            {"metric": "ttft", "statistic": "p99", "reason": "too few requests"},
            "TTFT p99 of new and old cannot be compared: too few requests",
        ),
    ],
)
def test_differences_are_said_in_words(difference: dict[str, Any], words: str) -> None:
    made = Difference.model_validate({"baseline": 1.0, "value": 1.0} | difference)
    found = Comparison(baseline="old", target="new", confidence=0.95, differences=[made])
    assert differing.lines([found]) == [words]
    assert differing.in_words(found, only_seen=True) == ([words] if made.is_seen else [])


TOO_FEW = [
    Difference(metric=metric, statistic=statistic, baseline=1.0, value=1.0, reason=f"too few for a {statistic}")
    for metric, statistic in (("ttft", "p50"), ("ttft", "p99"), ("tpot", "p50"), ("e2e_latency", "p50"))
]


@pytest.mark.parametrize(
    ("names", "whose"),
    [("ab", "b and a"), ("abc", "b and a, of c and a, of c and b"), ("abcde", "10 of 10 pairs of targets")],
)
def test_what_many_cannot_be_compared_in_is_said_once(names: str, whose: str) -> None:
    found = [
        Comparison(baseline=one, target=other, confidence=0.95, differences=TOO_FEW)
        for one, other in combinations(names, 2)
    ]
    assert differing.lines(found) == [
        f"TTFT p50, TPOT p50 and E2E p50 of {whose} cannot be compared: too few for a p50",
        f"TTFT p99 of {whose} cannot be compared: too few for a p99",
    ]
