"""Arrivals: exact where constant, a Poisson process where random, the same for a seed; shares add up."""

from itertools import islice, pairwise
from random import Random
from statistics import fmean, pstdev

import pytest

from perfbench_runner.load.arrivals import arrivals, constant, poisson, share


def test_constant_gaps_are_exact_however_many() -> None:
    assert list(islice(constant(4), 5)) == [0, 0.25, 0.5, 0.75, 1.0]
    assert next(islice(constant(3), 300_000, None)) == 100_000.0


def test_poisson_gaps_have_the_mean_and_spread_of_an_exponential_distribution() -> None:
    gaps = [after - before for before, after in pairwise(islice(poisson(10, Random(1)), 20_000))]
    assert min(gaps) >= 0
    assert fmean(gaps) == pytest.approx(0.1, rel=0.03)
    assert pstdev(gaps) == pytest.approx(0.1, rel=0.05)
    assert sum(gap > 0.1 for gap in gaps) / len(gaps) == pytest.approx(0.368, abs=0.02)


def test_a_poisson_process_is_not_stretched_to_a_total() -> None:
    """Rescaled gaps would hit n / rate every time, and be no Poisson process."""
    ends = {round(next(islice(poisson(10, Random(seed)), 99, None)), 6) for seed in range(20)}
    assert len(ends) == 20
    assert fmean(ends) == pytest.approx(10, rel=0.1)


@pytest.mark.parametrize("arrival", ["poisson", "constant"])
def test_a_seed_gives_the_same_arrivals_again(arrival: str) -> None:
    first, second = (list(islice(arrivals(5, arrival, Random(7)), 100)) for _ in range(2))
    assert first == second
    assert first == sorted(first)


def test_another_seed_gives_others() -> None:
    assert next(poisson(5, Random(1))) != next(poisson(5, Random(2)))


@pytest.mark.parametrize(("total", "parts"), [(0, 1), (1, 1), (7, 3), (8, 8), (3, 8), (1000, 7)])
def test_shares_add_up_and_differ_by_one_at_most(total: int, parts: int) -> None:
    shares = [share(total, parts, part) for part in range(parts)]
    assert sum(shares) == total
    assert max(shares) - min(shares) <= 1
