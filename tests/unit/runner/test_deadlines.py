"""Deadlines: none early, none more than a tick late, and a look costs by what is due."""

import random
from dataclasses import dataclass

import pytest

from perfbench_runner.shard.deadlines import Deadlines


@dataclass(eq=False)
class Item:
    at_s: float
    deadline: int = 0


@pytest.mark.parametrize("count", [1, 3, 5, 16, 1000])
@pytest.mark.parametrize("tick_s", [0.1, 0.02])
def test_each_is_due_within_a_tick(count: int, tick_s: float) -> None:
    rng = random.Random(count)
    deadlines: Deadlines[Item] = Deadlines(tick_s)
    for _ in range(count):
        item = Item(rng.uniform(100, 110))
        deadlines.set(item, item.at_s)
    now_s, seen = 99.0, 0
    while now_s < 111:
        for item in deadlines.take_due(now_s):
            assert item.at_s <= now_s < item.at_s + 2 * tick_s + 1e-9
            seen += 1
        now_s += tick_s
    assert (seen, len(deadlines)) == (count, 0)


def test_setting_one_again_moves_it() -> None:
    deadlines: Deadlines[Item] = Deadlines(0.1)
    item = Item(0)
    deadlines.set(item, 1.0)
    deadlines.set(item, 5.0)
    assert deadlines.take_due(2.0) == []
    assert deadlines.take_due(5.2) == [item]


def test_what_is_discarded_is_never_due() -> None:
    deadlines: Deadlines[Item] = Deadlines(0.1)
    item, other = Item(0), Item(0)
    deadlines.set(item, 1.0)
    deadlines.set(other, 1.0)
    deadlines.discard(item)
    deadlines.discard(item)
    deadlines.discard(Item(0))
    assert deadlines.take_due(2.0) == [other]
