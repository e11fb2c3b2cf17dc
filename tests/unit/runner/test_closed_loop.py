"""A lane's next request is due when the answer before it had arrived, not when the program got round to it."""

import asyncio
import os
from collections.abc import Coroutine
from typing import Any

import pytest

from perfbench_plugins.benchmark_data import BenchmarkData
from perfbench_plugins.exchange import Exchange
from perfbench_runner.shard.closed_loop import ClosedLoop
from perfbench_runner.shard.messages import Assignment, Lanes, arrived_s
from perfbench_runner.shard.places import Places
from perfbench_runner.shard.turns import ByTurn, InOrder


@pytest.mark.parametrize("requests", [1, 3, 5, 16])
async def test_a_request_is_scheduled_for_the_arrival_of_the_answer_before_it(requests: int) -> None:
    due: list[float] = []
    tasks: list[asyncio.Task[None]] = []

    async def perform(assignment: Assignment, scheduled_s: float) -> float:
        due.append(scheduled_s)
        await asyncio.sleep(0.001)  # the program is late
        return 100.0 + assignment.seq

    def start(coroutine: Coroutine[Any, Any, None]) -> None:
        tasks.append(asyncio.get_running_loop().create_task(coroutine))

    places = Places()
    loop = ClosedLoop(Lanes([0.0], []), places, perform, start, lambda: False, lambda: 1e9, InOrder())
    loop.feed([Assignment(seq, None, b"") for seq in range(requests)])
    loop.end_feed()
    await loop.run(7.0)
    await asyncio.gather(*tasks)
    places.close()
    assert due == [7.0, *(100.0 + seq for seq in range(requests - 1))]


def test_an_answer_has_arrived_when_its_last_byte_had_and_a_plugin_is_not_asked() -> None:
    assert arrived_s(Exchange(end_s=5.0)) == 5.0
    assert arrived_s(BenchmarkData(completed_time=5.0)) == 0.0


async def test_a_lane_whose_turn_cannot_be_served_here_is_another_shards_until_it_can() -> None:
    sent: list[tuple[str, int]] = []
    tasks: list[asyncio.Task[None]] = []
    shared = Places()

    def loop_of(name: str, lanes: int, places: Places) -> ClosedLoop:
        async def perform(assignment: Assignment, scheduled_s: float) -> float:
            sent.append((name, assignment.kind))
            await asyncio.sleep(0.001)
            return scheduled_s + 1.0

        def start(coroutine: Coroutine[Any, Any, None]) -> None:
            tasks.append(asyncio.get_running_loop().create_task(coroutine))

        waiting = ByTurn(places.turns)
        return ClosedLoop(Lanes([0.0] * lanes, []), places, perform, start, lambda: False, lambda: 1e9, waiting)

    theirs = Places([os.dup(each) for each in shared.descriptors])  # as if of another process
    one, other = loop_of("one", 1, shared), loop_of("other", 0, theirs)
    shared.turns.add([0, 1, 0, 0])
    one.feed([Assignment(0, None, b"", kind=0)] * 2)
    other.feed([Assignment(0, None, b"", kind=0)] * 2)
    runs = [asyncio.create_task(each.run(0.0)) for each in (one, other)]
    await asyncio.sleep(0.1)
    assert sent == [("one", 0), ("other", 0), ("other", 0)], "one keeps the turn of kind 1, and not the place"
    one.feed([Assignment(0, None, b"", kind=1)])
    await asyncio.sleep(0.1)
    assert sent[3:] == [("one", 1)], "nobody has told whose turn is next"
    shared.turns.add([0])
    await asyncio.sleep(0.3)
    assert sent[4:] == [("one", 0)], "it is asked again"
    for each in (one, other):
        each.stop()
    await asyncio.gather(*runs, *tasks)
    for places in (shared, theirs):
        places.close()
