"""The search for the highest load: what it tries, when it stops, and that it is right where the truth is known."""

from collections.abc import Callable
from itertools import accumulate
from math import exp, inf, log
from random import Random

import pytest

from perfbench_runner.load.limit import Share, fit_limit, share_of, t_quantile
from perfbench_runner.load.points import Answer, Budget, Next, Point, Range, measured
from perfbench_runner.load.search import propose
from perfbench_runner.mock.service import Service
from perfbench_runner.mock.simulation import Work, serve

SLOTS, WORK_S, BOUND_S, LIMIT_RPS = 8, 0.1036, 0.144, 61.7
"""M/M/8: the p95 of the wait is 144 ms at 61.7 requests/s (bench/search.py)."""
RATES = Range(16, 128, 0.05, (0.95,))
Measure = Callable[[Next], Point]


def queue(random: Random) -> Measure:
    """A simulated server, whose first requests settle and do not count."""
    return lambda following: _measured(random, following)


def _measured(random: Random, following: Next) -> Point:
    arrivals = accumulate(random.expovariate(following.load) for _ in range(following.total))
    works = [Work(0.0, random.expovariate(1 / WORK_S)) for _ in range(following.total)]
    settled = serve(Service(SLOTS), arrivals, works)[following.settling :]
    rate_rps = (len(settled) - 1) / (settled[-1].arrived_s - settled[0].arrived_s)
    return measured(following, [[(int(each.ttft_s <= BOUND_S), 1) for each in settled]], rate_rps)


def searched(wanted: Range, measure: Measure, budget: int = 10**9) -> tuple[Answer, list[Point], int]:
    points: list[Point] = []
    used = 0
    while isinstance(following := propose(wanted, points, Budget(budget - used)), Next):
        points.append(measure(following))
        used += following.total
        assert len(points) < 200, "it does not end"
    return following, points, used


@pytest.mark.parametrize("seed", [1, 2, 3])
def test_the_limit_of_a_queue_is_found_to_five_percent(seed: int) -> None:
    answer, points, used = searched(RATES, queue(Random(seed)))
    assert answer.load == pytest.approx(LIMIT_RPS, rel=0.055)
    assert answer.low is not None
    assert answer.high is not None
    assert answer.load is not None
    assert answer.low < answer.load < answer.high
    assert answer.high / answer.low <= 1.051**2 + 0.001
    assert points[-1].role == "confirm"
    assert used < 80_000


def cliff(limit: float, share: float = 0.95) -> Measure:
    """A server without chance: logit of the share falls by 13 for each ln of load."""

    def measure(following: Next) -> Point:
        eta = log(share / (1 - share)) - 13 * log(following.load / limit)
        kept = round(following.requests / (1 + exp(-eta)))
        return Point(following.load, (Share(kept, following.requests, 2.0),), following.role)

    return measure


@pytest.mark.parametrize("limit", [17, 30.5, 64, 100, 126])
def test_wherever_in_the_range_the_limit_is_it_is_found(limit: float) -> None:
    answer, _, _ = searched(RATES, cliff(limit))
    assert answer.load == pytest.approx(limit, rel=0.01)
    assert answer.confirmed is True


@pytest.mark.parametrize("limit", [1, 2, 3, 5, 7, 16, 31, 63])
def test_concurrency_is_searched_for_in_whole_numbers(limit: int) -> None:
    wanted = Range(1, 64, 0.05, (0.95,), is_whole=True)
    answer, points, _ = searched(wanted, cliff(limit + 0.5))
    assert all(point.load == int(point.load) and 1 <= point.load <= 64 for point in points)
    assert answer.low is not None
    assert limit * 0.9 - 1 <= answer.low <= limit


def test_what_holds_at_the_end_of_the_range_is_known_to_be_no_less() -> None:
    answer, points, _ = searched(RATES, cliff(1000))
    assert (answer.load, answer.low, answer.high) == (128, 128, None)
    assert "highest load of the range" in answer.reason
    assert points[-1].load == 128


def test_what_breaks_at_the_start_of_the_range_has_no_answer_in_it() -> None:
    answer, points, _ = searched(RATES, cliff(5))
    assert (answer.load, answer.low, answer.high) == (None, None, 16)
    assert "lowest load of the range" in answer.reason
    assert len(points) < 12


@pytest.mark.parametrize("budget", [0, 500, 3000, 6000, 12_000])
def test_a_budget_is_kept_and_what_is_known_by_then_is_told(budget: int) -> None:
    answer, points, used = searched(RATES, queue(Random(4)), budget)
    assert used <= budget
    assert "budget was used up" in answer.reason
    if points and answer.low is not None and answer.high is not None:
        assert answer.low < answer.high


def test_the_objective_that_breaks_first_decides() -> None:
    wanted = Range(16, 128, 0.05, (0.95, 0.9))
    first, second = cliff(80), cliff(40, 0.9)
    answer, _, _ = searched(
        wanted,
        lambda each: Point(each.load, first(each).shares + second(each).shares, each.role),
    )
    assert answer.load == pytest.approx(40, rel=0.01)


def test_nothing_measured_keeps_nothing() -> None:
    answer, _, _ = searched(RATES, lambda each: Point(each.load, (Share(0, 0),), each.role))
    assert answer.load is None


def test_a_search_goes_on_when_its_confirmation_fails() -> None:
    points = [Point(load, (Share(950, 1000, 1.0),), "local") for load in (60, 61, 62, 63)]
    points.append(Point(58, (Share(700, 1000, 1.0),), "confirm"))
    assert isinstance(propose(RATES, points, Budget()), Next)


def test_confirmations_that_go_on_failing_are_told() -> None:
    points = [Point(load, (Share(950, 1000, 1.0),), "local") for load in (60, 61, 62, 63)]
    points += [Point(58, (Share(700, 1000, 1.0),), "confirm")] * 3
    answer = propose(RATES, points, Budget())
    assert isinstance(answer, Answer)
    assert answer.confirmed is False
    assert "did not hold in a run at 58" in answer.reason


def test_a_fit_of_nothing_knows_nothing() -> None:
    assert fit_limit([], 0.9, 10).half_width == inf
    assert fit_limit([(10, Share(90, 100))], 0.9, 10).half_width == inf


def test_requests_that_come_in_runs_are_worth_less() -> None:
    alone = [(int(number % 10 > 0), 1) for number in range(2000)]
    together = [(int(number % 200 > 19), 1) for number in range(2000)]
    together[:400] = [(1, 1)] * 400
    assert share_of(alone).deff == 1
    assert share_of(together).deff > 5
    assert share_of([(5, 10), (0, 0), (10, 10)]).value == 0.75
    assert share_of([]) == Share(0, 0)


@pytest.mark.parametrize(("freedom", "exact", "within"), [(2, 2.92, 0.03), (5, 2.015, 3e-3), (9, 1.8331, 1e-4)])
def test_student_s_t_is_exact_enough(freedom: float, exact: float, within: float) -> None:
    assert t_quantile(0.95, freedom) == pytest.approx(exact, abs=within)


def test_far_from_the_limit_few_requests_tell() -> None:
    _, points, _ = searched(RATES, cliff(61.7))
    bracketing = [point.shares[0].total for point in points if point.role == "bracket"]
    assert 2 <= len(bracketing) <= 4
    assert set(bracketing) == {200}, "a fifth of the 1,000 of a point around the limit, or less"
    assert all(point.shares[0].total >= 800 for point in points if point.role != "bracket")


@pytest.mark.parametrize(("limit", "end"), [(1000, 128), (5, 16)])
def test_a_short_point_is_not_enough_for_an_answer_beyond_the_range(limit: float, end: float) -> None:
    _, points, _ = searched(RATES, cliff(limit))
    assert [point.shares[0].total for point in points if point.load == end] == [200, 800]


def test_a_search_goes_on_when_its_confirmation_is_left_open() -> None:
    points = [Point(load, (Share(950, 1000, 9.0),), "local") for load in (58, 60, 62, 64) * 2]
    points.append(Point(58, (Share(940, 1000, 30.0),), "confirm"))
    following = propose(RATES, points, Budget())
    assert isinstance(following, Next)
    assert following.load < 58 * 1.04, "below what was believed"


def test_random_arrivals_count_as_they_came_out() -> None:
    """By half of what they differ: a queue needs time to feel it."""
    asked = Next(50, 4, "local")
    point = measured(asked, [[(1, 1), (1, 1), (0, 1), (1, 1)]], 60.5)
    assert point.felt == pytest.approx(55)
    assert [half[0].value for half in point.halves] == [1.0, 0.5]
    both = measured(asked, [[(1, 1)] * 4, [(1, 1), (0, 1)]])
    assert [[share.total for share in half] for half in both.halves] == [[2, 1], [2, 1]], "of one workload are fewer"
    assert measured(Next(50, 4, "bracket"), [[(1, 1)]], 60.5).felt == 50
    assert Point(50, ()).felt == 50


@pytest.mark.parametrize("seconds", [60, 120, 300])
def test_the_time_that_is_left_pays_for_a_confirmation(seconds: float) -> None:
    """A point is asked for only where one that confirms it can be paid for, too."""
    following = propose(RATES, [], Budget(seconds=seconds))
    assert isinstance(following, Next)
    assert following.total / following.load + 960 / following.load < seconds
    assert isinstance(propose(RATES, [], Budget(seconds=20)), Answer)
