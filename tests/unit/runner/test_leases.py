"""Requests that end by count, leased to runners of any speed: each is leased once, and nobody is the last by much."""

from collections.abc import Callable
from dataclasses import dataclass, field
from heapq import heappop, heappush
from random import Random

import pytest

from perfbench_runner.load.leases import Pool
from perfbench_runner.load.shares import Share, part_of


@dataclass
class Simulated:
    """A runner: lanes that take `latency_s()` for a request, and what waits for them."""

    share: Share
    lanes: int
    latency_s: Callable[[], float]
    waiting: int = 0
    under_way: int = 0
    leased: list[int] = field(default_factory=list)
    ahead: int = 0
    is_last: bool = False
    waiting_at_last: int = 0


def simulate(requests: int, lanes: int, latencies: list[Callable[[], float]]) -> list[Simulated]:
    """A closed loop, without any delay of messages; the runners as they are at its end."""
    runners = [
        Simulated(Share(number, len(latencies)), part_of(lanes, len(latencies), number), latency)
        for number, latency in enumerate(latencies)
    ]
    pool = Pool(requests, [runner.lanes for runner in runners])
    ends: list[tuple[float, int]] = []
    for number, runner in enumerate(runners):
        first = runner.share.first(lanes)
        runner.leased += first
        runner.under_way = len(first)
        for _ in first:
            heappush(ends, (runner.latency_s(), number))

    def ask(number: int) -> None:
        runner = runners[number]
        if runner.is_last or runner.waiting > runner.ahead // 2:
            return
        lease = pool.lease(number, runner.under_way + runner.waiting, 1_000_000)
        runner.leased += lease.numbers
        runner.waiting += lease.size
        runner.ahead, runner.is_last = lease.ahead, lease.is_last
        if lease.is_last and not any(other.waiting_at_last for other in runners):
            for other in runners:
                other.waiting_at_last = other.waiting

    for number in range(len(runners)):
        ask(number)
    while ends:
        now_s, number = heappop(ends)
        runner = runners[number]
        runner.under_way -= 1
        ask(number)
        while runner.waiting and runner.under_way < runner.lanes:
            runner.waiting -= 1
            runner.under_way += 1
            heappush(ends, (now_s + runner.latency_s(), number))
        ask(number)
    return runners


@pytest.mark.parametrize("runners", [1, 2, 3, 5, 16])
@pytest.mark.parametrize(("requests", "lanes"), [(16, 16), (17, 16), (100, 20), (1003, 37), (2000, 64)])
@pytest.mark.parametrize("uneven", [1.0, 3.0, 20.0])
def test_every_request_is_leased_once_and_nobody_is_last_by_more_than_one(
    runners: int, requests: int, lanes: int, uneven: float
) -> None:
    random = Random(f"{runners}/{requests}/{uneven}")

    def latency(mean_s: float) -> Callable[[], float]:
        return lambda: mean_s * random.uniform(0.5, 1.5)

    found = simulate(requests, lanes, [latency(1.0 + (uneven - 1) * (number % 2)) for number in range(runners)])
    assert sorted(number for runner in found for number in runner.leased) == list(range(requests))
    assert all(runner.waiting == runner.under_way == 0 for runner in found)
    most = (
        1 if uneven < 20 else 1 + lanes // runners // 2
    )  # it was over before the slow ones had shown how slow they are
    assert all(runner.waiting_at_last <= most for runner in found)


@pytest.mark.parametrize("seed", range(20))
def test_latencies_that_nobody_can_foresee_leave_hardly_more_waiting(seed: int) -> None:
    random = Random(seed)
    found = simulate(1000, 64, [lambda: random.expovariate(1.0)] * 16)
    assert max(runner.waiting_at_last for runner in found) <= 2


def test_a_faster_runner_makes_more_of_them() -> None:
    quick, slow = simulate(2000, 20, [lambda: 1.0, lambda: 4.0])
    assert len(quick.leased) == pytest.approx(1600, abs=10)
    assert len(slow.leased) == pytest.approx(400, abs=10)


def test_blocks_grow_with_what_a_runner_has_shown_and_shrink_towards_the_end() -> None:
    pool, counts, leased = Pool(2000, [4, 4]), [], 4
    while pool.left:
        lease = pool.lease(0, 4, 1_000_000)
        leased += lease.size
        counts.append(lease.size)
    assert counts[:4] == [2, 4, 8, 16], "half of its lanes, and what it had done"
    assert counts[-1] == 1
    top = counts.index(max(counts))
    assert counts[: top + 1] == sorted(counts[: top + 1])
    assert counts[top:] == sorted(counts[top:], reverse=True)
    assert leased == 2000 - 4


def test_a_runner_that_has_enough_gets_none_and_is_told_when_to_ask() -> None:
    pool = Pool(1000, [4, 4])
    for _ in range(8):
        lease = pool.lease(1, 4, 1_000_000)
    assert pool.lease(1, 4 + lease.ahead + 1, 1_000_000).size == 0
    assert pool.lease(1, 4, 10).size == 10, "no more than it wants"


def test_what_is_left_goes_to_those_that_are_left() -> None:
    pool = Pool(100, [10, 10, 10])
    for runner in (0, 1, 0, 1, 0, 1):
        pool.lease(runner, 10, 1000)
    pool.drop(1)
    assert pool.lease(1, 0, 1000).size <= 1
    while not pool.lease(0, 10, 1000).is_last:
        pass
    assert not pool.left
