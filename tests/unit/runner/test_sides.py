"""A closed loop with lanes of its own at each target: who needs a request first, and which one that is."""

from collections import Counter
from typing import Any

import pytest
from test_targets_prepared import A, B, benchmark

from perfbench_api.sections import Load
from perfbench_runner.engine.sides import Sides
from perfbench_runner.load.lanes import sides
from perfbench_runner.load.parts import first_entries
from perfbench_runner.load.plan import plan
from perfbench_runner.load.shares import Share
from perfbench_runner.run.prepare import prepare
from perfbench_runner.shard.places import Places

TARGETS = [A, B, {"name": "c", "url": "http://127.0.0.1:3"}]
CLOSED: dict[str, Any] = {"randomSeed": 5, "split": "sideBySide", "stages": [{"concurrency": 2, "duration": "9s"}]}


class Process:
    def __init__(self, number: int) -> None:
        self.number, self.lanes = number, 2


def prepared_feed(workloads: list[str]) -> Any:
    kinds = [{"name": name, "weight": 1 + number} for number, name in enumerate(workloads)]
    return prepare(benchmark(*TARGETS, workloads=kinds, dataset={"name": "random"}, load=CLOSED), {}).feed


@pytest.mark.parametrize("workloads", [[], ["chat", "batch"]])
@pytest.mark.parametrize("start", [0, 4, 30])
def test_each_target_goes_through_the_same_requests_at_its_own_pace(start: int, workloads: list[str]) -> None:
    feed = prepared_feed(workloads)
    feed.start_at(start)
    found = {side: [next(each) for _ in range(6 * (side + 1))] for side, each in enumerate(feed.sides())}
    first = [each.prompt_id for each in found[0]]
    for side, drawn in found.items():
        assert [each.prompt_id for each in drawn[:6]] == first
        assert {feed.kinds[each.kind].target for each in drawn} == {"abc"[side]}
    feed.start_at(start)
    assert {next(feed).prompt_id for _ in range(3)} == {first[0]}  # the next stage begins where it should


@pytest.mark.parametrize("runners", [1, 3])
def test_runners_share_out_the_requests_to_each_target(runners: int) -> None:
    ids: list[list[Any]] = []
    for number in range(runners):
        feed = prepared_feed([])
        feed.start_at(0)
        own = Sides(feed, Share(number, runners))
        each, numbers = own.feeds[1], own.numbers[1]
        found = []
        for _ in range(12 // runners):
            each.skip(numbers.skipped())
            found.append(next(each).prompt_id)
        ids.append(found)
    feed = prepared_feed([])
    feed.start_at(0)
    whole = feed.sides()[1]
    assert sorted(of_one for several in ids for of_one in several) == sorted(next(whole).prompt_id for _ in range(12))


def test_who_has_the_fewest_for_each_lane_is_given_the_next_and_nobody_more_than_enough() -> None:
    processes: Any = [Process(0), Process(1)]
    feed = prepared_feed(["chat", "batch"])
    given, own = Counter[tuple[int, int]](), Sides(feed, Share())
    while (found := own.neediest(processes, ahead=3)) is not None:
        process, side = found
        own.given(process, 2 * side + 1)  # a kind of this side
        given[process.number, side] += 1
    assert given == {(number, side): 2 * 2 + 3 for number in range(2) for side in range(3)}
    own.ended(processes[1], 4)
    assert own.neediest(processes, ahead=3) == (processes[1], 2)  # no other target waits for it
    assert own.neediest([], ahead=3) is None


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
