"""A lane's next request is due when the answer before it had arrived, not when the program got round to it."""

import asyncio
from collections.abc import Coroutine
from typing import Any

import pytest

from perfbench_plugins.benchmark_data import BenchmarkData
from perfbench_plugins.exchange import Exchange
from perfbench_runner.shard.closed_loop import ClosedLoop
from perfbench_runner.shard.messages import Assignment, Lanes, arrived_s
from perfbench_runner.shard.places import Places
from perfbench_runner.shard.turns import InOrder


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
