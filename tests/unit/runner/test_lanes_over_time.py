"""Lanes of a closed loop that come and go: when, in which shard, and what becomes of those that are at work."""

import asyncio
from collections.abc import Coroutine
from itertools import chain
from typing import Any

import pytest

from perfbench_api.sections import Stage
from perfbench_runner.load.lanes import comings, goings
from perfbench_runner.shard.closed_loop import ClosedLoop
from perfbench_runner.shard.messages import Assignment, Lanes
from perfbench_runner.shard.places import Places
from perfbench_runner.shard.turns import InOrder


@pytest.mark.parametrize("lanes", [1, 3, 5, 16])
def test_lanes_come_one_after_the_other_and_go_alike(lanes: int) -> None:
    stage = Stage(concurrency=lanes, duration=60.0, ramp_up=30.0, ramp_down=6.0)
    come, go = comings(stage, lanes), goings(stage, lanes)
    assert come == pytest.approx([30.0 * number / lanes for number in range(lanes)])
    assert go == pytest.approx([54.0 + 6.0 * (number + 1) / lanes for number in range(lanes)])
    assert come[0] == 0
    assert go[-1] == 60


def test_without_ramps_all_come_at_once_and_none_goes() -> None:
    stage = Stage(concurrency=5, duration=60.0)
    assert (comings(stage, 5), goings(stage, 5)) == ([0.0] * 5, [])


@pytest.mark.parametrize("shards", [1, 3, 5, 16])
def test_at_any_time_the_shards_together_have_the_lanes_asked_for(shards: int) -> None:
    come = comings(Stage(concurrency=48, duration=60.0, ramp_up=24.0), 48)
    parts = [come[number::shards] for number in range(shards)]
    assert sorted(chain.from_iterable(parts)) == come
    for at_s in (0.0, 5.3, 12.0, 23.9):
        counts = [sum(coming <= at_s for coming in part) for part in parts]
        assert sum(counts) == int(at_s * 2) + 1
        assert max(counts) - min(counts) <= 1


async def loop_of(lanes: Lanes, places: Places, changes: list[int], until_s: float, answer_s: float) -> None:
    """Run a closed loop that never runs out of requests for a while; `changes` gets how many were under way."""
    running, tasks = 0, []
    clock = asyncio.get_running_loop().time

    async def perform(assignment: Assignment, scheduled_s: float) -> float:
        nonlocal running
        running += 1
        changes.append(running)
        await asyncio.sleep(answer_s)
        running -= 1
        return clock()

    def start(coroutine: Coroutine[Any, Any, None]) -> None:
        tasks.append(asyncio.get_running_loop().create_task(coroutine))

    loop = ClosedLoop(lanes, places, perform, start, lambda: False, clock, InOrder())
    loop.feed([Assignment(seq, None, b"") for seq in range(10_000)])
    running_loop = asyncio.create_task(loop.run(clock()))
    await asyncio.sleep(until_s)
    changes.append(-running)
    loop.stop()
    await running_loop
    await asyncio.gather(*tasks)


async def test_lanes_are_added_while_it_runs_and_withdrawn_before_its_end() -> None:
    places, changes = Places(), list[int]()
    await loop_of(Lanes([0.0, 0.1, 0.2, 0.3], [0.5, 0.6, 0.7]), places, changes, 1.2, 0.01)
    places.close()
    assert changes[:5] == [1, 1, 1, 1, 1], "one lane at first"
    assert max(changes) == 4
    assert changes[-1] == -1, "one lane has stayed"


async def test_a_lane_that_is_free_elsewhere_can_go_too() -> None:
    """A shard whose lanes were lent to others takes a place out of the pool instead."""
    places = Places()
    places.reset(2)
    changes: list[int] = []
    await loop_of(Lanes([], [0.0, 0.0]), places, changes, 0.3, 0.01)
    assert changes == [-0]
    assert not places.take(), "both are withdrawn"
    places.close()
