"""An open loop that is stopped: what has become due is sent, what is due later is none, what waits for a place is told."""

import asyncio
from collections.abc import Coroutine, Iterator
from contextlib import contextmanager
from typing import Any

import pytest

from perfbench_runner.shard.messages import Assignment, Unsent
from perfbench_runner.shard.open_loop import OpenLoop
from perfbench_runner.shard.places import Places

BEGAN_S = 1000.0


def _places(number: int | None) -> Iterator[Places | None]:
    if number is None:
        yield None
        return
    places = Places()
    places.reset(number)
    yield places
    places.close()


@pytest.mark.parametrize(
    ("due_s", "places", "is_blocked", "sent", "unsent"),
    [
        ([0.5], None, False, [0], []),  # due, and the timer was a moment late
        ([0.5, 0.9, 1.1], None, False, [0, 1], [(2, None)]),  # one is due later: no arrival
        ([0.0, 0.5, 0.9], 1, False, [0], [(1, 0.5), (2, 0.9)]),  # held: due and never sent
        ([0.5, 1.1], None, True, [], [(0, 0.5), (1, None)]),  # nobody takes results: the load waits
        ([], None, False, [], []),
    ],
)
async def test_what_is_due_when_the_stage_is_stopped_is_sent(
    due_s: list[float], places: int | None, is_blocked: bool, sent: list[int], unsent: list[tuple[int, float | None]]
) -> None:
    now_s = BEGAN_S
    performed: list[int] = []
    tasks: list[asyncio.Task[None]] = []

    async def perform(assignment: Assignment, _scheduled_s: float) -> None:
        performed.append(assignment.seq)
        await asyncio.sleep(3600)  # it is under way when the loop is stopped

    def start(coroutine: Coroutine[Any, Any, None]) -> None:
        tasks.append(asyncio.get_running_loop().create_task(coroutine))

    with contextmanager(_places)(places) as shared:
        load = OpenLoop(shared, perform, start, lambda: is_blocked, lambda: now_s)
        load.feed([Assignment(number, at_s, b"") for number, at_s in enumerate(due_s)])
        running = asyncio.get_running_loop().create_task(load.run(BEGAN_S))
        await asyncio.sleep(0)
        now_s = BEGAN_S + 1.0  # and the timer has not fired yet
        left = load.stop()
        await running
        await asyncio.sleep(0)
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
    assert performed == sent
    assert left == [Unsent(seq, None if at_s is None else BEGAN_S + at_s) for seq, at_s in unsent]
