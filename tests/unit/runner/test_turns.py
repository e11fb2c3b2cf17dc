"""Weights of a closed loop that ends by time: kept by what was sent, however long answers of each kind take."""

from collections import Counter
from collections.abc import Callable
from fractions import Fraction
from random import Random

import pytest
from lanes_simulated import SimulatedRunner

from perfbench_api.sections import Stage
from perfbench_runner.engine.kind_order import planned
from perfbench_runner.load.mix import Mix, MixOfMixes, Order
from perfbench_runner.load.shares import Share
from perfbench_runner.shard.messages import Assignment
from perfbench_runner.shard.turns import ByTurn, Turns

ANSWERS_S = [0.2, 0.7, 0.4]
"""As in the run in which this was seen: the endpoint of the largest weight is the fastest."""


def fixed(*seconds: float) -> Callable[[int], float]:
    return lambda kind: seconds[kind]


def varied(*seconds: float) -> Callable[[int], float]:
    random = Random(5)
    return lambda kind: seconds[kind] * random.uniform(0.5, 1.5)


def off(counts: Counter[int], weights: list[int]) -> Fraction:
    """How far the counts of kinds are from their shares, at most."""
    total = sum(counts.values())
    return max(abs(counts[kind] - Fraction(total * weight, sum(weights))) for kind, weight in enumerate(weights))


@pytest.mark.parametrize(("stages", "duration_s", "runners"), [(1, 10.0, 1), (64, 0.4, 1), (16, 0.4, 3)])
@pytest.mark.parametrize(
    ("shards", "lanes", "weights", "seconds"),
    [
        (1, 1, [1, 1], varied(0.05, 3)),
        (3, 3, [3, 1], varied(0.05, 0.3)),
        (5, 16, [97, 2, 1], varied(0.3, 0.05, 1)),
        (16, 3, [5, 2, 1], fixed(*ANSWERS_S)),
        (16, 16, [5, 2, 1], fixed(*ANSWERS_S)),
        (16, 16, [1, 1], fixed(3, 3.1)),
        (16, 64, [3, 1], varied(1, 0.2)),
    ],
)
def test_weights_are_kept_by_what_was_sent(
    shards: int,
    lanes: int,
    weights: list[int],
    seconds: Callable[[int], float],
    stages: int,
    duration_s: float,
    runners: int,
) -> None:
    together = Counter[int]()
    for number in range(runners):
        runner = SimulatedRunner(Mix(weights, "7/mix"), shards, Share(number, runners), seconds)
        own = Counter[int]()
        for _ in range(stages):
            sent = runner.run(lanes, duration_s)
            assert off(sent, weights) < 2
            own += sent
        assert off(own, weights) < 1
        together += own
        runner.close()
    assert off(together, weights) < runners


def test_a_workloads_share_is_kept_at_each_of_several_targets() -> None:
    workloads = [3, 1]
    mix = MixOfMixes(Mix([5, 2, 1], "7/targets"), [Mix(workloads, "7/mix") for _ in range(3)])
    runner = SimulatedRunner(mix, 16, Share(), lambda kind: ANSWERS_S[kind // 2])
    sent = sum((runner.run(16, 0.4) for _ in range(32)), Counter[int]())
    runner.close()
    targets = [sent[2 * target] + sent[2 * target + 1] for target in range(3)]
    assert off(Counter(dict(enumerate(targets))), [5, 2, 1]) < 1
    for target in range(3):
        assert off(Counter({kind: sent[2 * target + kind] for kind in range(2)}), workloads) < 1


def test_each_kind_goes_through_its_dataset_in_order() -> None:
    runner = SimulatedRunner(Mix([3, 1], "7/mix"), 5, Share(), varied(0.1, 0.3))
    runner.run(16, 10.0)
    runner.close()
    for kind in range(2):
        entries = [entry for sent, entry in runner.sent if sent == kind and entry is not None]
        assert len(set(entries)) == len(entries)
        assert all(abs(entry - place) < 5 * 99 for place, entry in enumerate(entries)), (
            "by what a shard has ahead at most"
        )


@pytest.mark.parametrize(("shards", "until_s"), [(1, 1), (3, 1), (5, 3), (16, 1), (16, 3), (16, 20)])
def test_a_stage_by_count_that_is_cut_short_has_sent_nearly_its_weights(shards: int, until_s: float) -> None:
    runner = SimulatedRunner(Mix([5, 2, 1], "7/mix"), shards, Share(), fixed(*ANSWERS_S))
    sent = runner.run(16, None, 100_000, until_s)
    runner.close()
    assert off(sent, [5, 2, 1]) <= 1 + shards / 2


@pytest.mark.parametrize("runners", [1, 2, 3, 5, 16])
def test_orders_of_several_runners_are_the_blocks_of_one(runners: int) -> None:
    whole, length = Mix([5, 2, 1], "7/mix"), 8
    parts = [Order(whole.of_runner(number, runners)) for number in range(runners)]
    for block in range(20):
        number, own = block % runners, block // runners
        found = [parts[number].at(own * length + place) for place in range(length)]
        assert found == [whole.at(block * length + place) for place in range(length)]


@pytest.mark.parametrize("workers", [1, 3, 5, 16])
@pytest.mark.parametrize("weights", [[5, 2, 1], [7, 1], [1, 1, 1]])
@pytest.mark.parametrize(
    ("stages", "until_s"), [(2, 1e9), (64, 1e9), (9, 0.235)], ids=["two stages", "64 stages", "open ones end early"]
)
def test_weights_are_kept_over_a_run_of_open_and_closed_stages(
    workers: int, weights: list[int], stages: int, until_s: float
) -> None:
    """At each moment between two stages, too: what one owes the next one sends."""
    runner = SimulatedRunner(Mix(weights, "7/mix"), workers, Share(), fixed(*ANSWERS_S))
    whole = Counter[int]()
    for number in range(stages):
        if number % 2:
            sent = runner.run((3, 16)[number // 2 % 2], 0.4)
        else:
            sent = runner.run_open((10, 30, 50, 20)[number // 2 % 4], 0.4, until_s)
        assert off(sent, weights) < 2
        whole += sent
        assert off(whole, weights) < 1
    runner.close()


@pytest.mark.parametrize("workers", [1, 16])
def test_workloads_of_each_target_are_kept_over_a_run_of_open_and_closed_stages(workers: int) -> None:
    workloads = [3, 1]
    mix = MixOfMixes(Mix([5, 2, 1], "7/targets"), [Mix(workloads, "7/mix") for _ in range(3)])
    runner = SimulatedRunner(mix, workers, Share(), lambda kind: ANSWERS_S[kind // 2])
    sent = Counter[int]()
    for number in range(64):
        sent += runner.run(16, 0.4) if number % 2 else runner.run_open((10, 30, 50, 20)[number // 2 % 4], 0.4)
    runner.close()
    assert off(Counter({target: sent[2 * target] + sent[2 * target + 1] for target in range(3)}), [5, 2, 1]) < 1
    for target in range(3):
        assert off(Counter({kind: sent[2 * target + kind] for kind in range(2)}), workloads) < 1


@pytest.mark.parametrize("runners", [2, 3, 5])
@pytest.mark.parametrize("weights", [[5, 2, 1], [7, 1], [1, 1, 1]])
def test_open_stages_of_several_runners_go_on_where_the_last_one_stopped(runners: int, weights: list[int]) -> None:
    """Closed ones between them have an order for each runner: no runner knows what the others sent."""
    parts = [
        SimulatedRunner(Mix(weights, "7/mix"), 2, Share(number, runners), fixed(*ANSWERS_S))
        for number in range(runners)
    ]
    of_open, of_closed = Counter[int](), Counter[int]()
    for number in range(16):
        for runner in parts:
            if number % 2:
                of_closed += runner.run(4, 0.4)
            else:
                of_open += runner.run_open((10, 30, 50, 20)[number // 2 % 4], 0.4)
        assert len({runner.kinds.position for runner in parts}) == 1, "all know where they are"
        assert off(of_open, weights) < 1
        assert off(of_closed, weights) < runners
    for runner in parts:
        runner.close()


@pytest.mark.parametrize(
    ("stage", "times", "requests"),
    [
        (Stage(concurrency=3, requests=17), None, 17),
        (Stage(rate=1, requests=5), [0.1 * number for number in range(99)], 5),
        (Stage(rate=1, duration=1), [0.1 * number for number in range(99)], 10),
        (Stage(rate=1, duration=1, requests=4), [0.1 * number for number in range(99)], 4),
        (Stage(rate=1, duration=1, requests=40), [0.1 * number for number in range(99)], 10),
        (Stage(rate=1, duration=9, requests=40), [0.1, 0.2], 2),
        (Stage(rate=1, duration=9), [], 0),
    ],
)
def test_what_a_stage_of_several_runners_is_to_send_all_of_them_know(
    stage: Stage, times: list[float] | None, requests: int
) -> None:
    assert planned(stage, None if times is None else iter(times)) == requests


def assignments(*kinds: int) -> list[Assignment]:
    return [Assignment(seq, None, b"", kind=kind) for seq, kind in enumerate(kinds)]


def test_a_turn_whose_request_is_not_there_is_kept_until_it_is() -> None:
    turns = Turns()
    one, other = ByTurn(turns), ByTurn(turns)
    turns.add([1, 0, 1])
    one.add(assignments(0))
    other.add(assignments(0, 1))
    assert one
    assert one.take() is None
    assert not one, "its turn is of kind 1"
    assert [each.kind for each in (other.take(), other.take()) if each] == [0, 1]
    one.add([Assignment(7, None, b"", kind=1)])
    assert one
    assert one.take() == Assignment(7, None, b"", kind=1)
    assert [each.kind for each in one.clear()] == [0]
    assert len(one) == len(other) == 0
    turns.close()


def test_where_nobody_has_told_whose_turn_it_is_nothing_is_sent_until_it_is_asked_again() -> None:
    turns = Turns()
    waiting = ByTurn(turns)
    waiting.add(assignments(0))
    assert waiting.take() is None
    assert waiting.is_dry
    assert not waiting
    turns.add([0])
    waiting.is_dry = False
    assert waiting
    assert waiting.take() == assignments(0)[0]
    turns.close()


def test_turns_are_those_of_another_process_by_their_descriptors_and_can_be_taken_back() -> None:
    turns = Turns()
    other = Turns(*turns.ends)
    assert turns.add([0, 1, 2, 200]) == other.waiting == 4
    assert [other.take(), turns.take()] == [0, 1]
    assert (other.clear(), turns.clear(), turns.take()) == (2, 0, None)
    assert turns.most >= 2048
    assert turns.add([0] * turns.most) == turns.most
    accepted = sum(turns.add([0] * 10_000) for _ in range(100))
    assert accepted < 1_000_000, "a pipe is full some time"
    assert turns.clear() == turns.most + accepted
    turns.close()
