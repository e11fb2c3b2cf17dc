"""A closed loop of several kinds: which shard needs which kind, and how far ahead turns are told."""

from collections import Counter
from typing import Any

import pytest
from test_targets_prepared import A, B, benchmark

from perfbench_api.sections import Load
from perfbench_runner.engine.stock import Stock, TurnOrder, enough
from perfbench_runner.load.lanes import sides
from perfbench_runner.load.parts import first_entries
from perfbench_runner.load.plan import plan
from perfbench_runner.load.shares import Share
from perfbench_runner.run.prepare import prepare
from perfbench_runner.shard.places import Places
from perfbench_runner.shard.turns import Turns

TARGETS = [A, B, {"name": "c", "url": "http://127.0.0.1:3"}]
CLOSED: dict[str, Any] = {"randomSeed": 5, "split": "sideBySide", "stages": [{"concurrency": 2, "duration": "9s"}]}


class Process:
    def __init__(self, number: int) -> None:
        self.number, self.lanes, self.is_done = number, 2, False


def prepared_feed(workloads: list[str]) -> Any:
    kinds = [{"name": name, "weight": 1 + number} for number, name in enumerate(workloads)]
    return prepare(benchmark(*TARGETS, workloads=kinds, dataset={"name": "random"}, load=CLOSED), {}).feed


def prepared_mix() -> Any:
    """Of targets that are not side by side."""
    targets = [{**each, "weight": 1 + number} for number, each in enumerate(TARGETS)]
    load = {"randomSeed": 5, "stages": CLOSED["stages"]}
    return prepare(benchmark(*targets, dataset={"name": "random"}, load=load), {}).feed


@pytest.mark.parametrize("workloads", [[], ["chat", "batch"]])
@pytest.mark.parametrize("start", [0, 4, 30])
def test_each_target_goes_through_the_same_requests_at_its_own_pace(start: int, workloads: list[str]) -> None:
    feed = prepared_feed(workloads)
    feed.start_at(start)
    of_each = max(1, len(workloads))
    found = {kind: [next(each) for _ in range(6 * (kind + 1))] for kind, each in enumerate(feed.by_kind())}
    for kind, drawn in found.items():
        assert [each.prompt_id for each in drawn[:6]] == [each.prompt_id for each in found[kind % of_each][:6]]
        assert {each.kind for each in drawn} == {kind}
        assert {feed.kinds[each.kind].target for each in drawn} == {"abc"[kind // of_each]}
    assert [order.shares.keys() for order in feed.orders(0, 1)] == [
        set(range(side * of_each, (side + 1) * of_each)) for side in range(3)
    ]
    feed.start_at(start)
    assert len({next(feed).prompt_id for _ in range(3)}) == 1  # the next stage begins where it should


@pytest.mark.parametrize("runners", [1, 3])
def test_runners_share_out_the_requests_to_each_target(runners: int) -> None:
    ids: list[list[Any]] = []
    for number in range(runners):
        feed = prepared_feed([])
        feed.start_at(0)
        own = Stock(feed, Share(number, runners), [])
        each, numbers = own.feeds[1], own.numbers[1]
        found = []
        for _ in range(12 // runners):
            each.skip(numbers.skipped())
            found.append(next(each).prompt_id)
        ids.append(found)
    feed = prepared_feed([])
    feed.start_at(0)
    whole = feed.by_kind()[1]
    assert sorted(of_one for several in ids for of_one in several) == sorted(next(whole).prompt_id for _ in range(12))


def stock_of(workloads: list[str], turns: Turns) -> Stock:
    feed = prepared_feed(workloads)
    return Stock(feed, Share(), [TurnOrder(order, turns) for order in feed.orders(0, 1)])


def given_out(own: Stock) -> Counter[tuple[int, int]]:
    given = Counter[tuple[int, int]]()
    while (found := own.neediest()) is not None:
        process, kind = found
        own.given(process, kind)
        given[process.number, kind] += 1
    return given


def test_each_shard_is_given_enough_of_each_kind_and_then_what_has_ended() -> None:
    turns = Turns()
    processes: Any = [Process(0), Process(1)]
    own = stock_of(["chat", "batch"], turns)
    own.begin(processes, ahead=30)
    first = given_out(own)
    of_chat, of_batch = enough(1 / 3, 34), enough(2 / 3, 34)
    assert first == {(number, kind): (of_chat, of_batch)[kind % 2] for number in range(2) for kind in range(6)}
    own.ended(processes[1], 4)
    own.ended(processes[0], 1)
    own.ended(processes[1], 4)
    assert own.neediest() == (processes[1], 4)  # who has waited longest; no other kind has to
    assert given_out(own) == {(1, 4): 2, (0, 1): 1}
    own.ended(processes[0], 1)
    processes[0].is_done = True
    assert own.neediest() is None
    turns.close()


@pytest.mark.parametrize("requests", [3, 66, 192, 20_000])
@pytest.mark.parametrize("share", [0.001, 0.01, 0.125, 0.5, 0.97, 1.0])
def test_enough_is_hardly_ever_too_little_and_never_more_than_all(share: float, requests: int) -> None:
    found = enough(share, requests)
    assert min(1, share * requests) <= found <= requests
    assert found == requests or found - share * requests >= 2.99 * (share * (1 - share) * requests) ** 0.5
    if share == 1:
        assert found == requests


def test_turns_are_told_ahead_in_small_steps_and_a_stage_goes_on_where_the_last_one_stopped() -> None:
    turns = Turns()
    [order] = (TurnOrder(each, turns) for each in prepared_mix().orders(0, 1))
    expected = [each.at(place) for each in prepared_mix().orders(0, 1) for place in range(3000)]
    order.begin(16, 0)
    assert turns.waiting == 16 + 1024
    taken = [turns.take() for _ in range(200)]
    order.tell()
    assert turns.waiting == 16 + 1024 - 200, "too few to be worth a step"
    taken += [turns.take() for _ in range(100)]
    order.tell()
    assert turns.waiting == 16 + 1024
    assert order.end(Counter(taken)) == 300
    order.begin(3)
    taken += [turns.take() for _ in range(900)]
    assert taken == expected[:1200]
    assert order.end(Counter(taken[300:])) == 1200
    order.begin(3, 1500)
    assert [turns.take() for _ in range(5)] == expected[1500:1505]
    order.begin(1_000_000, 0)
    told = turns.waiting
    assert told == turns.most, "as far as there is room"
    for _ in range(300):
        turns.take()
    order.tell()
    assert turns.waiting == told
    order.begin(3, 0)
    assert [turns.take() for _ in range(900)] == expected[:900]
    turns.close()


@pytest.mark.parametrize(
    ("stage", "expected"),
    [
        ({"concurrency": 2, "duration": "9s"}, 3),
        ({"concurrency": 2, "requests": 9}, 1),
        ({"rate": 2, "duration": "9s"}, 1),
    ],
)
def test_lanes_are_of_each_target_where_a_stage_ends_by_time(stage: dict[str, Any], expected: int) -> None:
    load = Load.model_validate({"stages": [stage]})
    assert sides(load.stages[0], 3) == expected
    assert sides(load.stages[0], 1) == 1
    assert plan(load, 0, False, 3).get("sides", 1) == expected


def test_entries_are_set_aside_for_the_lanes_of_all_targets() -> None:
    load = Load.model_validate({"stages": [{"concurrency": 2, "duration": "9s"}] * 2})
    assert (first_entries(load), first_entries(load, together=3)) == ([0, 18], [0, 54])


def test_places_of_several_sides_are_apart_and_can_be_handed_over_together() -> None:
    made = Places(sides=3)
    for number, side in enumerate(made.all):
        side.reset(number)
    other = Places(made.descriptors)
    assert [sum(side.take() for _ in range(4)) for side in other.all] == [0, 1, 2]
    assert len(Places().all) == 1
    made.close()


@pytest.mark.parametrize("lost", [0, 1, 3, 16])
def test_turns_that_were_taken_and_not_served_are_first_in_the_next_stage(lost: int) -> None:
    """Of a stage of no time, too, in which not even these are taken."""
    turns = Turns()
    [order] = (TurnOrder(each, turns) for each in prepared_mix().orders(0, 1))
    expected = [each.at(place) for each in prepared_mix().orders(0, 1) for place in range(200)]
    order.begin(16, 0)
    taken = [turns.take() for _ in range(40)]
    assert order.end(Counter(taken[lost:])) == 40
    order.begin(16)
    assert order.end(Counter()) == 40, "nothing was taken"
    order.begin(16, 60)  # an open loop went on with the order meanwhile
    again = [turns.take() for _ in range(lost + 20)]
    assert sorted(map(str, again[:lost])) == sorted(map(str, taken[:lost]))
    assert again[lost:] == expected[60:80]
    assert order.end(Counter(again)) == 80
    order.begin(16)
    assert turns.take() == expected[80]
    turns.close()
