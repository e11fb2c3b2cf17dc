"""Every runner's part of a load: together they are exactly the load of one runner."""

from collections import Counter
from itertools import chain, islice
from random import Random

import pytest

from perfbench_api.resource import SpecError
from perfbench_api.sections import Load, Stage
from perfbench_runner.load.arrivals import arrivals
from perfbench_runner.load.lanes import comings
from perfbench_runner.load.mix import Mix
from perfbench_runner.load.shares import (
    Numbers,
    Share,
    lanes_of,
    part_of,
    refuse_idle_runners,
    refuse_what_needs_one,
)

RUNNERS = [1, 2, 3, 5, 16]


def shares(runners: int) -> list[Share]:
    return [Share(number, runners) for number in range(runners)]


@pytest.mark.parametrize(
    ("total", "parts", "found"),
    [
        (10, 1, [10]),
        (10, 2, [5, 5]),
        (10, 3, [4, 3, 3]),
        (17, 5, [4, 4, 3, 3, 3]),
        (16, 16, [1] * 16),
        (3, 5, [1, 1, 1, 0, 0]),
        (0, 3, [0, 0, 0]),
    ],
)
def test_remainders_are_spread(total: int, parts: int, found: list[int]) -> None:
    assert [part_of(total, parts, part) for part in range(parts)] == found


@pytest.mark.parametrize("runners", RUNNERS)
@pytest.mark.parametrize("arrival", ["constant", "poisson", "gamma"])
def test_parts_of_a_schedule_add_up_to_it_and_keep_its_order(runners: int, arrival: str) -> None:
    def schedule() -> list[float]:
        return list(islice(arrivals(50.0, arrival, Random("7/arrivals/0"), 2.0), 1003))

    parts = [list(share.of_schedule(iter(schedule()))) for share in shares(runners)]
    assert sorted(at_s for part in parts for at_s in part) == schedule()
    assert all(part == sorted(part) for part in parts)
    assert max(map(len, parts)) - min(map(len, parts)) <= 1


@pytest.mark.parametrize("runners", RUNNERS)
@pytest.mark.parametrize("requests", [16, 17, 31, 100, 1003])
def test_an_open_loop_by_count_is_split_as_its_schedule_is(runners: int, requests: int) -> None:
    stage = Stage(rate=5, requests=requests)
    parts = [share.of_stage(stage).requests or 0 for share in shares(runners)]
    numbers = [list(islice(share.every(), part)) for share, part in zip(shares(runners), parts, strict=True)]
    assert sorted(number for part in numbers for number in part) == list(range(requests))


@pytest.mark.parametrize("runners", RUNNERS)
@pytest.mark.parametrize("concurrency", [16, 17, 40, 1000])
def test_lanes_are_split_and_each_has_a_first_request(runners: int, concurrency: int) -> None:
    stage = Stage(concurrency=concurrency, requests=2000)
    assert sum(share.of_stage(stage).concurrency or 0 for share in shares(runners)) == concurrency
    firsts = [number for share in shares(runners) for number in share.first(concurrency)]
    assert firsts == list(range(concurrency))
    for share in shares(runners):
        assert len(share.first(concurrency)) == share.of_stage(stage).concurrency


@pytest.mark.parametrize("runners", RUNNERS)
@pytest.mark.parametrize("shards", [1, 2, 3])
def test_lanes_that_come_one_after_the_other_come_as_those_of_one_runner(runners: int, shards: int) -> None:
    stage = Stage(concurrency=17, duration=20.0, ramp_up=8.0)
    whole = comings(stage, 17)
    parts = [
        whole[share.number + share.runners * shard :: share.runners * shards]
        for share in shares(runners)
        for shard in range(shards)
    ]
    assert sorted(at_s for part in parts for at_s in part) == whole
    for share in shares(runners):
        own = [part for number, part in enumerate(parts) if number // shards == share.number]
        assert sum(map(len, own)) == share.of_stage(stage).concurrency


def test_a_limit_of_an_open_loop_is_split() -> None:
    stage = Stage(rate=5, duration=10, max_concurrency=7)
    assert [share.of_stage(stage).max_concurrency for share in shares(3)] == [3, 2, 2]
    assert [share.of_stage(stage).rate for share in shares(3)] == [5, 5, 5]  # the schedule is one, each takes its part


def test_the_only_runner_has_it_all() -> None:
    stage = Stage(concurrency=8, requests=100)
    assert Share().of_stage(stage) is stage
    assert list(Share().first(8)) == list(range(8))


def test_no_more_lanes_than_requests() -> None:
    assert lanes_of(Stage(concurrency=100, requests=5)) == 5
    assert lanes_of(Stage(rate=1, requests=5)) is None
    warmup = Stage(concurrency=2, requests=2)
    assert [share.of_stage(warmup).concurrency for share in shares(3)] == [1, 1, 0]


@pytest.mark.parametrize(
    ("stage", "runners", "words"),
    [
        (
            Stage(concurrency=4, duration=1),
            5,
            "5 runners for the 4 lanes of stage c4 (spec.load.stages[0].concurrency)",
        ),
        (Stage(concurrency=40, requests=3), 5, "at most 3"),
        (Stage(rate=4, duration=1, max_concurrency=2), 3, "or raise maxConcurrency"),
    ],
)
def test_more_runners_than_lanes_is_an_error_that_says_what_to_do(stage: Stage, runners: int, words: str) -> None:
    with pytest.raises(SpecError) as caught:
        refuse_idle_runners(Load(stages=[stage]), runners)
    assert words in str(caught.value)
    refuse_idle_runners(Load(stages=[stage]), 2)
    refuse_idle_runners(Load(stages=[Stage(rate=4, duration=1)]), 16)


def test_recorded_times_in_several_stages_need_one_runner() -> None:
    load = Load(stages=[Stage(arrival="recorded", name="a"), Stage(arrival="recorded", name="b")])
    with pytest.raises(SpecError, match="one stage only"):
        refuse_what_needs_one(load, True, 2)
    refuse_what_needs_one(load, True, 1)
    refuse_what_needs_one(load, False, 2)
    refuse_what_needs_one(Load(stages=load.stages[:1]), True, 2)


def taken(numbers: Numbers, count: int) -> list[int]:
    found, at = list[int](), 0
    for _ in range(count):
        at += numbers.skipped()
        found.append(at)
        at += 1
    return found


def test_a_search_needs_all_of_its_runners() -> None:
    load = Load.model_validate({"search": {"rate": {"from": 1, "to": 100}}})
    refuse_what_needs_one(load, False, 2)
    refuse_what_needs_one(load, False, 1, loses=True)
    with pytest.raises(SpecError, match=r"set runner\.onLoss to fail"):
        refuse_what_needs_one(load, False, 2, loses=True)


@pytest.mark.parametrize(("metric", "is_refused"), [("ttft", False), ("itl", True), ("request_throughput", True)])
def test_several_runners_know_only_latencies_of_requests_together(metric: str, is_refused: bool) -> None:
    stage = {"rate": 9, "duration": "9s", "until": {"metric": metric}}
    load = Load.model_validate({"stages": [stage]})
    refuse_what_needs_one(load, False, 1)
    if not is_refused:
        return refuse_what_needs_one(load, False, 3)
    with pytest.raises(SpecError, match=rf"until\.metric: several runners .* not {metric}; set runner\.replicas to 1"):
        refuse_what_needs_one(load, False, 3)
    return None


@pytest.mark.parametrize(("to", "is_refused"), [(16, False), (4, False), (3, True)])
def test_a_search_may_begin_with_fewer_lanes_than_runners_but_not_end_so(to: int, is_refused: bool) -> None:
    load = Load.model_validate({"search": {"concurrency": {"from": 1, "to": to}}})
    if not is_refused:
        return refuse_idle_runners(load, 4)
    with pytest.raises(SpecError, match=r"search\.concurrency\.to: 3 lanes at most for 4 runners"):
        refuse_idle_runners(load, 4)
    return None


def test_numbers_say_how_many_of_others_are_between() -> None:
    assert taken(Numbers(), 4) == [0, 1, 2, 3]
    assert taken(Numbers(Share(2, 5).every()), 4) == [2, 7, 12, 17]


@pytest.mark.parametrize("runners", [1, 2, 3, 5, 16])
def test_of_a_closed_loop_by_time_each_request_is_one_runners_and_each_runner_has_all_workloads(runners: int) -> None:
    """In their shares: else a runner whose requests are all short would make more of them than others of theirs."""
    blocks = 2000
    numbers = [list(islice(share.one_of_every(), blocks)) for share in shares(runners)]
    assert sorted(chain.from_iterable(numbers)) == list(range(runners * blocks))
    assert all(each == sorted(each) for each in numbers)
    for weights in ([1, 1], [2, 1], [3, 1], [4, 1], [13, 2, 1]):
        mix = Mix(weights, "a seed")
        for own in numbers:
            kinds = Counter(map(mix.at, own))
            for kind, weight in enumerate(weights):
                assert kinds[kind] / blocks == pytest.approx(weight / sum(weights), abs=0.05)
    leased = Numbers(range(3, 5))
    leased.add(range(9, 9))
    leased.add(range(10, 12))
    assert taken(leased, 4) == [3, 4, 10, 11]
    with pytest.raises(StopIteration):
        leased.skipped()
    leased.add(range(20, 21))
    assert leased.skipped() == 8
