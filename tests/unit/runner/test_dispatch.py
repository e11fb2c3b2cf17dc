"""How arrivals are dealt out to shards: together they are the whole schedule, in order, and it may come to an end."""

from collections.abc import Iterable, Iterator
from itertools import chain, count, islice
from random import Random
from typing import Any

import pytest
from laws import cv, exponential, gaps_of, ks_p_value

from perfbench_api.sections import Stage
from perfbench_runner.engine.dispatch import Dispatcher
from perfbench_runner.load.arrivals import arrivals
from perfbench_runner.load.leases import Lease
from perfbench_runner.load.shares import Numbers, Share
from perfbench_runner.shard.request import PreparedRequest


class Process:
    """A shard that takes what it is given."""

    def __init__(self, number: int) -> None:
        self.number, self.lanes, self.outstanding = number, 1, 0
        self.is_done = False
        self.batch: list[Any] = []
        self.times: list[float] = []
        self.numbers: list[int] = []
        self.is_fed = False

    def send(self, kind: str, *values: Any) -> None:
        if kind == "feed":
            self.times += [assignment.at_s for assignment in values[0]]
            self.numbers += [assignment.seq for assignment in values[0]]
        elif kind == "fed":
            self.is_fed = True


class Supervisor:
    def __init__(self, shards: int) -> None:
        self.shards = [Process(number) for number in range(shards)]

    def broadcast(self, *message: Any) -> None:
        for process in self.shards:
            process.send(*message)


class Endless:
    """A feed without a dataset."""

    has_schedule = False

    def __init__(self) -> None:
        self._numbers = count()

    def __next__(self) -> PreparedRequest:
        return PreparedRequest(b"{}", entry=next(self._numbers))

    def skip(self, requests: int) -> None:
        for _ in range(requests):
            next(self._numbers)

    def pass_over(self, skipped: int) -> int:
        return 0


def dealt(stage: Stage, times: Iterable[float], shards: int) -> tuple[Supervisor, Dispatcher]:
    """All that a dispatcher gives out, with a clock that runs ahead of the schedule."""
    supervisor: Any = Supervisor(shards)
    feed: Any = Endless()
    now = count()
    dispatcher = Dispatcher(feed, supervisor, lambda: next(now) * 1e-4, lambda text: pytest.fail(text))
    dispatcher.begin(stage, iter(times))
    dispatcher.go(-1e6)
    while not supervisor.shards[0].is_fed:
        dispatcher.pending.clear()
        dispatcher.refill()
    dispatcher.pending.clear()
    return supervisor, dispatcher


@pytest.mark.parametrize("runners", [1, 2, 3, 5, 16])
async def test_requests_and_entries_of_all_runners_are_those_of_one(runners: int) -> None:
    numbers, entries, times = list[int](), list[int | None](), list[float]()
    whole = list(islice(poisson(), 400))
    for share in (Share(number, runners) for number in range(runners)):
        supervisor: Any = Supervisor(3)
        feed: Any = Endless()
        stage = share.of_stage(Stage(rate=10, requests=400))
        dispatcher = Dispatcher(feed, supervisor, lambda: 0.0, lambda text: pytest.fail(text), share)
        dispatcher.go(-1e6)
        dispatcher.begin(stage, share.of_schedule(iter(whole)), Numbers(share.every()))
        dispatcher.go(-1e6)
        dispatcher.refill()
        entries += [pending.request.entry for pending in dispatcher.pending.values()]
        for process in supervisor.shards:
            numbers += process.numbers
            times += process.times
    assert sorted(numbers) == sorted(entry for entry in entries if entry is not None) == list(range(400))
    assert sorted(times) == whole


async def test_leased_requests_are_fed_until_the_last_lease() -> None:
    supervisor: Any = Supervisor(1)
    feed: Any = Endless()
    asked: list[int] = []
    dispatcher = Dispatcher(feed, supervisor, lambda: 0.0, lambda text: pytest.fail(text), Share(1, 2))
    stage = Stage(concurrency=1, requests=1)
    dispatcher.begin(stage, None, Numbers(range(4, 5)), lambda: asked.append(dispatcher.outstanding))
    assert not supervisor.shards[0].is_fed, "more may come"
    dispatcher.refill()
    assert asked == [1]
    dispatcher.allow(Lease(10, 3, 1, is_last=False))
    assert not supervisor.shards[0].is_fed
    dispatcher.allow(Lease(0, 0, 1, is_last=True))
    assert supervisor.shards[0].is_fed
    assert [pending.request.entry for pending in dispatcher.pending.values()] == [4, 10, 11, 12]
    assert supervisor.shards[0].numbers == [1, 3, 5, 7], "of two runners, every second number of the run"


def poisson() -> Iterator[float]:
    return arrivals(10.0, "poisson", Random(1))


@pytest.mark.parametrize("shards", [1, 3, 5, 16])
@pytest.mark.parametrize(("arrival", "spread"), [("constant", None), ("poisson", None), ("gamma", 2.0)])
async def test_the_parts_of_all_shards_are_the_whole_schedule_and_keep_its_law(
    shards: int, arrival: str, spread: float | None
) -> None:
    whole = list(islice(arrivals(10.0, arrival, Random(1), spread), 4000))
    supervisor, _ = dealt(Stage(rate=10, requests=4000), arrivals(10.0, arrival, Random(1), spread), shards)
    parts = [process.times for process in supervisor.shards]
    assert parts == [whole[number::shards] for number in range(shards)]
    merged = sorted(chain.from_iterable(parts))
    assert merged == whole
    if arrival == "poisson":
        assert ks_p_value([10 * gap for gap in gaps_of(merged)], exponential) > 0.001
    assert cv(gaps_of(merged)) == pytest.approx({"constant": 0, "poisson": 1}.get(arrival, spread), abs=0.15)


@pytest.mark.parametrize("shards", [1, 3, 5, 16])
async def test_a_schedule_that_ends_ends_the_stage(shards: int) -> None:
    supervisor, dispatcher = dealt(Stage(rate=10, requests=4000), [0.0, 0.5, 0.75], shards)
    assert sorted(chain.from_iterable(process.times for process in supervisor.shards)) == [0.0, 0.5, 0.75]
    assert dispatcher.end(1e9) == [], "nothing was due and not sent"
