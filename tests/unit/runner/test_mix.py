"""Which workload each request is of: shares that are exact at every moment, an order that only the seed fixes."""

from collections import Counter
from fractions import Fraction

import pytest

from perfbench_runner.load.mix import Mix

WEIGHTS = [[1], [1, 1], [3, 1], [1, 1, 1], [5, 3, 2], [70, 30], [7, 1, 1, 1], [999, 1], [97, 89, 83, 13, 1], [1] * 16]


@pytest.mark.parametrize("weights", WEIGHTS)
def test_shares_are_exact_to_within_one_request_at_every_moment(weights: list[int]) -> None:
    mix, counts, total = Mix(weights, "7/mix"), [0] * len(weights), sum(weights)
    for position in range(2 * total + 17):
        counts[mix.at(position)] += 1
        for count, weight in zip(counts, weights, strict=True):
            assert abs(count - Fraction((position + 1) * weight, total)) < 1


@pytest.mark.parametrize("weights", WEIGHTS)
@pytest.mark.parametrize("position", [0, 1, 5, 16, 283, 1000, 1_000_003])
def test_what_comes_before_a_position_is_known_without_going_there(weights: list[int], position: int) -> None:
    mix, total = Mix(weights, "1/mix"), sum(weights)
    before = mix.before(position)
    assert sum(before) == position
    begin = max(0, position - 50)
    since = Counter(mix.at(each) for each in range(begin, position))
    assert before == [count + since[kind] for kind, count in enumerate(mix.before(begin))]
    assert all(
        abs(count - Fraction(position * weight, total)) < 1 for count, weight in zip(before, weights, strict=True)
    )


def test_only_the_seed_fixes_the_order() -> None:
    first, again, other = (Mix([2, 1, 1], seed) for seed in ("1", "1", "2"))
    order = [first.at(position) for position in range(200)]
    assert order == [again.at(position) for position in reversed(range(200))][::-1]
    assert order != [other.at(position) for position in range(200)]


def test_equal_weights_are_in_pairs_whose_order_is_drawn() -> None:
    mix = Mix([1, 1], "3")
    pairs = Counter((mix.at(position), mix.at(position + 1)) for position in range(0, 400, 2))
    assert pairs.keys() == {(0, 1), (1, 0)}
    assert min(pairs.values()) > 60


@pytest.mark.parametrize("weights", WEIGHTS)
@pytest.mark.parametrize("count", [0, 1, 2, 5, 16, 283])
def test_of_so_many_in_a_row_no_kind_has_more_than_is_said(weights: list[int], count: int) -> None:
    mix = Mix(weights, "3/mix")
    most = mix.most(count)
    for begin in (*range(0, 40, 3), 1000, 77_777):
        before, after = mix.before(begin), mix.before(begin + count)
        assert all(end - start <= each for start, end, each in zip(before, after, most, strict=True))
    assert all(each <= count * weight / sum(weights) + 2 for each, weight in zip(most, weights, strict=True))
