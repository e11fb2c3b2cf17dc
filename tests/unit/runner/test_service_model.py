"""The mock's service model obeys the laws of queues, so that what it carries can be computed."""

import math
from itertools import accumulate
from random import Random
from statistics import mean

import pytest

from perfbench_runner.mock.service import Pace, Service
from perfbench_runner.mock.simulation import Served, Work, serve, serve_closed

WORK_S = 0.5
"""Mean work of a request."""


def poisson(rate_rps: float, random: Random, count: int) -> list[float]:
    return list(accumulate(random.expovariate(rate_rps) for _ in range(count)))


def equal(count: int) -> list[Work]:
    return [Work(0.1, WORK_S - 0.1)] * count


def exponential(random: Random, count: int) -> list[Work]:
    return [Work(0.0, random.expovariate(1 / WORK_S)) for _ in range(count)]


def waits(served: list[Served]) -> list[float]:
    return [each.began_s - each.arrived_s for each in served]


def erlang_c(slots: int, offered: float) -> float:
    """Share of arrivals that wait in M/M/c."""
    free = sum(offered**k / math.factorial(k) for k in range(slots))
    full = offered**slots / math.factorial(slots) / (1 - offered / slots)
    return full / (free + full)


def crommelin(slots: int, offered: float) -> float:
    """Mean wait in M/D/c, in service times (Crommelin 1932)."""

    def tail(mean_: float, least: int) -> float:
        """P(Poisson >= least)."""
        terms = (math.exp(k * math.log(mean_) - mean_ - math.lgamma(k + 1)) for k in range(least, least + 2000))
        return sum(terms)

    return sum(tail(i * offered, i * slots) - slots / offered * tail(i * offered, i * slots + 1) for i in range(1, 300))


def test_the_formula_of_equal_works_is_that_of_pollaczek_and_khinchine_for_one_slot() -> None:
    assert crommelin(1, 0.7) == pytest.approx(0.7 / (2 * 0.3), rel=1e-6)


@pytest.mark.parametrize(("slots", "load"), [(1, 0.5), (3, 0.7), (8, 0.8)])
def test_equal_works_wait_as_in_m_d_c(slots: int, load: float) -> None:
    count, rate_rps = 60_000, load * slots / WORK_S
    found = serve(Service(slots), poisson(rate_rps, Random(7), count), equal(count))
    assert mean(waits(found)) == pytest.approx(WORK_S * crommelin(slots, load * slots), rel=0.08)
    busy_s = sum(each.ended_s - each.began_s for each in found)
    assert busy_s / slots / found[-1].ended_s == pytest.approx(load, rel=0.02), "utilisation"


@pytest.mark.parametrize("slowdown", [0.0, 0.05])
def test_random_works_wait_as_in_m_m_c_also_where_a_batch_slows_them(slowdown: float) -> None:
    """All that wait find the slots full, which are left at the rate `most_rps`: P(W > t) = P(W > 0) exp(-(most - rate) t)."""
    slots, count, random, service = 8, 80_000, Random(5), Service[int](8, slowdown)
    most_rps = service.most_rps(WORK_S)
    rate_rps = 0.8 * most_rps
    found = waits(serve(service, poisson(rate_rps, random, count), exponential(random, count)))
    late = [wait_s for wait_s in found if wait_s > 0]
    assert mean(late) == pytest.approx(1 / (most_rps - rate_rps), rel=0.12)
    if not slowdown:
        assert len(late) / count == pytest.approx(erlang_c(slots, 0.8 * slots), rel=0.06)


@pytest.mark.parametrize(("slots", "slowdown"), [(1, 0.0), (3, 0.1), (16, 0.02)])
def test_a_full_server_carries_what_is_computed(slots: int, slowdown: float) -> None:
    service = Service[int](slots, slowdown)
    count = 40 * slots
    found = serve_closed(service, 2 * slots, equal(count))
    assert count / found[-1].ended_s == pytest.approx(service.most_rps(WORK_S), rel=0.001)
    assert max(each.ended_s - each.began_s for each in found) == pytest.approx(WORK_S * service.factor(slots))


def test_the_first_come_are_the_first_served() -> None:
    found = serve(Service(3), poisson(20, Random(1), 500), equal(500))
    assert [each.began_s for each in found] == sorted(each.began_s for each in found)
    assert all(each.arrived_s <= each.began_s < each.first_s < each.ended_s for each in found)


def test_nobody_waits_without_slots() -> None:
    service = Service[int](None)
    assert not any(waits(serve(service, poisson(100, Random(1), 300), equal(300))))
    assert service.most_rps(WORK_S) == math.inf


def test_whoever_leaves_the_queue_is_not_served() -> None:
    service = Service[str](1)
    assert [service.enter(name, 0.0) for name in "abc"] == [True, False, False]
    assert (service.abandon("b"), service.abandon("b")) == (True, False)
    assert [service.leave(1.0), service.leave(2.0)] == ["c", None]
    assert service.running == 0


def test_work_does_not_move_when_the_batch_changes() -> None:
    pace = Pace()
    pace.change(10.0, 2.0)
    assert (pace.work_s(12.0), pace.time_s(11.0)) == (11.0, 12.0)
    pace.change(9.0, 4.0)  # an arrival that was read late
    assert (pace.work_s(9.0), pace.work_s(14.0)) == (10.0, 11.0)
