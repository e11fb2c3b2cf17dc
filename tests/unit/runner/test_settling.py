"""A quantile that several runners are to know together: what they tell is what one would have looked at."""

from random import Random

import pytest

from perfbench_runner.engine import settling as settling_module
from perfbench_runner.engine.settling import Settling, in_order, with_more
from perfbench_runner.observe.sketch import ERROR
from perfbench_runner.observe.told import Settled
from perfbench_runner.results.precision import known


def values(count: int, per_second: float) -> list[tuple[float, float]]:
    """When requests are due, and their latencies: of a system whose load comes in waves, so that they depend on each other."""
    random, found = Random(3), []
    for number in range(count):
        due_s = number / per_second
        found.append((due_s, random.lognormvariate(-2 + 0.5 * (int(due_s) // 5 % 2), 0.3)))
    return found


@pytest.mark.parametrize("runners", [1, 2, 3, 5, 16])
def test_all_runners_together_know_a_quantile_as_well_as_one_does(runners: int) -> None:
    measured = values(6000, 100.0)
    parts = [Settling() for _ in range(runners)]
    told = [Settled() for _ in range(runners)]
    for number, (due_s, value) in enumerate(measured):
        parts[number % runners].add(number, due_s, value)
        if number % 500 == 499:  # a beat
            for one, part in enumerate(parts):
                part.settle(None if number == len(measured) - 1 else number - 300, due_s + 1)
                told[one] = with_more(told[one], Settled.model_validate_json(part.told().model_dump_json()))
    assert sum(one.values for one in told) == len(measured)
    ours, exact = in_order(told), [value for _, value in measured]
    assert len(ours) == len(exact)
    for p in (0.5, 0.9, 0.99):
        found, wanted = known(ours, p), known(exact, p)
        assert found.value == pytest.approx(wanted.value, rel=2 * ERROR)
        assert found.low == pytest.approx(wanted.low, rel=0.05)
        assert found.high == pytest.approx(wanted.high, rel=0.05)


def test_slow_requests_that_are_under_way_are_not_missed() -> None:
    """What came after the oldest that is under way would lack just the slow ones."""
    quick, slow = Settling(), Settling()
    for number in range(100):
        quick.add(2 * number, number / 10, 0.1)
        if number != 40:
            slow.add(2 * number + 1, number / 10, 0.1)
    quick.settle(None, 10.0)
    slow.settle(81, 10.0)
    parts = [quick.whole(), slow.whole()]
    assert parts[1].values == 40
    assert parts[1].until_s == pytest.approx(3.9)
    assert len(in_order(parts)) == 2 * 30, "whole seconds before that"
    slow.add(81, 4.0, 3.0)
    slow.settle(None, 10.0)
    assert len(in_order([quick.whole(), slow.whole()])) == 200


def test_requests_without_the_latency_settle_too() -> None:
    one = Settling()
    for number in range(50):
        one.add(number, number / 10, None if number % 2 else 0.2)
    one.settle(30, 5.0)
    assert one.told().values == 15
    assert one.whole().until_s == pytest.approx(2.9)


def test_only_what_changed_is_told_and_no_more_than_fits(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(settling_module, "MOST_TOLD", 25)
    one, random, told = Settling(), Random(1), Settled()
    for number in range(1000):
        one.add(number, number / 100, random.uniform(0.1, 0.2))
    one.settle(None, 10.0)
    for _ in range(100):
        more = one.told()
        assert sum(map(len, more.seconds.values())) <= 128, "one second at least, and no more than fits"
        told = with_more(told, more)
        if more.until_s >= 10:
            break
        assert more.until_s <= min(set(range(10)) - set(told.seconds)), "what was not told is not settled"
    assert told.seconds == one.whole().seconds
    assert one.told().seconds == {}
    one.add(1000, 9.5, 0.3)
    one.settle(None, 11.0)
    assert list(one.told().seconds) == [9]
