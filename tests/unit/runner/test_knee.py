"""Without objectives a search is for the knee: the load of the greatest throughput / latency."""

from math import exp, sqrt
from random import Random

import pytest

from perfbench_runner.load.knee import Powered, propose_knee
from perfbench_runner.load.points import Answer, Budget, Next, Range

RATES = Range(1, 64, 0.1, ())


def one_queue(most_rps: float, noise: float = 0.0, seed: int = 1) -> "Measure":
    """M/M/1: the response time is 1 / (most - rate), so that the knee is at half of the most."""
    return Measure(most_rps, noise, Random(seed))


class Measure:
    def __init__(self, most_rps: float, noise: float, random: Random) -> None:
        self._most_rps, self._noise, self._random = most_rps, noise, random

    def __call__(self, load: float) -> Powered:
        factor = exp(self._noise * self._random.gauss(0, 1))
        if load >= self._most_rps * 0.98:
            return Powered(load, self._most_rps, 50 / self._most_rps * factor)
        return Powered(load, load, factor / (self._most_rps - load))


def searched(wanted: Range, measure: "Measure | Closed", budget: int = 10**6) -> tuple[Answer, list[Powered]]:
    points: list[Powered] = []
    used = 0
    while isinstance(following := propose_knee(wanted, points, Budget(budget - used)), Next):
        points.append(measure(following.load))
        used += following.total
        assert len(points) < 60, "it does not end"
    assert used <= budget
    return following, points


@pytest.mark.parametrize("most_rps", [5, 20, 50, 100])
def test_the_knee_of_one_queue_is_at_half_of_what_it_carries(most_rps: float) -> None:
    answer, _ = searched(RATES, one_queue(most_rps))
    assert answer.load == pytest.approx(most_rps / 2, rel=0.12)
    assert "throughput / latency" in answer.reason


@pytest.mark.parametrize("seed", [1, 2, 3, 4])
def test_noise_is_told_by_the_interval(seed: int) -> None:
    answer, points = searched(RATES, one_queue(40, 0.05, seed))
    assert answer.load == pytest.approx(20, rel=0.3)
    assert len(points) <= 25
    if answer.low is not None and answer.high is not None:
        assert answer.low * 0.85 <= 20 <= answer.high * 1.15


class Closed:
    """Slots that each serve one at a time: power is c / R², greatest where they are just full."""

    def __call__(self, load: float) -> Powered:
        latency_s = max(1.0, load / 8)
        return Powered(load, load / latency_s, latency_s)


def test_the_knee_of_a_closed_loop_is_where_the_slots_are_full() -> None:
    answer, points = searched(Range(1, 64, 0.1, (), is_whole=True), Closed())
    assert answer.load == pytest.approx(8, abs=1.5)
    assert all(point.load == int(point.load) for point in points)


def test_a_range_that_ends_below_the_knee_says_so() -> None:
    answer, _ = searched(Range(1, 8, 0.1, ()), one_queue(1000))
    assert answer.load == 8
    assert "end of the range" in answer.reason


@pytest.mark.parametrize("budget", [0, 240, 1000])
def test_a_budget_is_kept(budget: int) -> None:
    answer, points = searched(RATES, one_queue(40), budget)
    assert len(points) == budget // 240
    assert (answer.load is None) == (not points)


def test_what_answers_nothing_has_no_knee() -> None:
    answer, _ = searched(Range(1, 4, 0.1, ()), lambda load: Powered(load, 0.0, 0.0))  # type: ignore[arg-type]
    assert (answer.load, answer.reason) == (None, "nothing was answered at any load")


def test_power_is_what_kleinrock_calls_it() -> None:
    assert Powered(3, 6.0, sqrt(4)).power == 3
