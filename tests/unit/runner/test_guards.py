"""What ends a run or a stage early: failures beyond doubt, a budget used up, a queue that grows; and what must not."""

from collections.abc import Callable, Iterator
from random import Random
from typing import Any

import pytest

from perfbench_api.resource import PerfBenchmark, SpecError
from perfbench_api.sections import Guards, Stage
from perfbench_plugins.benchmark_data import BenchmarkData
from perfbench_runner.engine.endings import Endings
from perfbench_runner.engine.guards import Watch
from perfbench_runner.engine.state import TEST, WARMUP
from perfbench_runner.load.saturation import Count, Saturation, grows
from perfbench_runner.results.result import Result


def result(success: bool = True, stage: int = 0, tokens: tuple[int, int] = (0, 0), failure: str = "timeout") -> Result:
    data = BenchmarkData(success=success, prompt_tokens=tokens[0], completion_tokens=tokens[1])
    data.failure = "" if success else failure
    return Result(stage=stage, seq=0, shard=0, scheduled_s=0.0, data=data)


def ended_after(guards: dict[str, Any], results: list[Result]) -> tuple[int, str] | None:
    """After how many results the run is to end, and why."""
    watch = Watch(Guards.model_validate(guards))
    for number, one in enumerate(results, 1):
        end = watch.add(one)
        if end is not None:
            return number, f"{end.state} {end.reason}: {end.message}"
    return None


@pytest.mark.parametrize(("share", "most"), [("10%", 30), ("50%", 40)])
def test_failures_end_the_run_when_they_are_beyond_doubt(share: str, most: int) -> None:
    found = ended_after({"failedShare": share}, [result(success=False)] * 100)
    assert found is not None
    assert 20 <= found[0] <= most
    assert found[1].startswith("failed TooManyFailures: ")
    assert "surely more than load.guards.failedShare 0." in found[1]


def test_failures_that_may_be_chance_do_not_end_it() -> None:
    random = Random(1)
    assert ended_after({"failedShare": 0.2}, [result(success=random.random() > 0.15) for _ in range(5000)]) is None
    assert ended_after({"failedShare": 0.2}, [result(success=False)] * 19) is None
    assert ended_after({"failedShare": 0.2}, [result(success=False, failure="unfinished")] * 500) is None
    assert ended_after({"failedShare": 0.2}, [result(success=False, stage=WARMUP)] * 500) is None
    assert ended_after({}, [result(success=False)] * 500) is None


def test_failures_of_another_stage_do_not_count() -> None:
    watch = Watch(Guards.model_validate({"failedShare": 0.2}))
    assert all(watch.add(result(success=False)) is None for _ in range(19))
    watch.begin_stage()
    assert all(watch.add(result(success=False)) is None for _ in range(19))


@pytest.mark.parametrize(
    ("budget", "after", "text"),
    [
        ({"requests": 7}, 7, "load.guards.budget.requests: 7 of 7 are used"),
        ({"tokens": 300}, 3, "load.guards.budget.tokens: 300 of 300 are used"),
        ({"tokens": 250}, 3, "load.guards.budget.tokens: 300 of 250 are used"),
        ({"money": 0.001, "inputPrice": 1, "outputPrice": 9}, 4, "load.guards.budget.money: 0.00104 of 0.001 are used"),
        ({"requests": 7, "tokens": 100}, 1, "load.guards.budget.tokens: 100 of 100 are used"),
    ],
)
def test_a_budget_that_is_used_up_ends_the_run(budget: dict[str, Any], after: int, text: str) -> None:
    found = ended_after({"budget": budget}, [result(tokens=(80, 20))] * 10)
    assert found == (after, f"failed BudgetSpent: {text}")


def test_a_budget_counts_the_warmup_and_not_the_test_of_the_connection() -> None:
    results = [result(stage=TEST), result(stage=WARMUP), result(success=False), result()]
    assert ended_after({"budget": {"requests": 3}}, results) == (
        4,
        "failed BudgetSpent: load.guards.budget.requests: 3 of 3 are used",
    )


@pytest.mark.parametrize(
    ("guards", "line"),
    [
        ({"failedShare": 2}, "spec.load.guards: failedShare 2 is no share between 0 and 1; write 20%, or 0.2"),
        ({"budget": {}}, "spec.load.guards.budget: limits nothing; give requests, tokens or money"),
        ({"failedShare": "500ms"}, "spec.load.guards.failedShare: '500ms' is not a share; write it as 1% or 0.01"),
        ({"failedShare": "x"}, "spec.load.guards.failedShare: 'x' is not a share; write it as 1% or 0.01"),
        (
            {"budget": {"money": 1, "inputPrice": 0, "outputPrice": 0}},
            "spec.load.guards.budget: money: nothing is ever spent at two prices of 0",
        ),
        ({"budget": {"money": 1}}, "spec.load.guards.budget: money: what a token costs is not known; give inputPrice"),
        (
            {"budget": {"tokens": 1, "inputPrice": 1}},
            "spec.load.guards.budget: inputPrice and outputPrice belong to money",
        ),
    ],
)
def test_a_guard_that_guards_nothing_is_refused(guards: dict[str, Any], line: str) -> None:
    with pytest.raises(SpecError) as caught:
        PerfBenchmark.read({"metadata": {"name": "a"}, "spec": {"target": {"mock": {}}, "load": {"guards": guards}}})
    assert caught.value.problems[0].startswith(line)


def counts(due: Callable[[float], float], answered: Callable[[float], float], until_s: float) -> Iterator[Count]:
    return (Count(n / 4, int(due(n / 4)), int(answered(n / 4))) for n in range(1, int(until_s * 4)))


@pytest.mark.parametrize(("rate", "served"), [(20, 17), (20, 10), (100, 80), (50, 5)])
def test_a_queue_that_grows_is_seen_at_the_third_look(rate: float, served: float) -> None:
    saturation = Saturation()
    seen = next(one for one in counts(lambda t: rate * t, lambda t: served * t, 100) if saturation.add(one))
    assert seen.at_s == 31.25
    assert saturation.waiting[1] > saturation.waiting[0]


@pytest.mark.parametrize(
    ("name", "due", "answered"),
    [
        ("all are answered at once", lambda t: 20 * t, lambda t: 20 * t),
        ("each takes 30 s", lambda t: 20 * t, lambda t: 20 * max(0, t - 30)),
        ("it grows by a twentieth", lambda t: 20 * t, lambda t: 19 * t),
        ("few are due", lambda t: t, lambda t: t / 2),
        ("nothing is answered yet", lambda t: 20 * t, lambda t: 0),
        ("it fills up, and serves more and more", lambda t: 20 * t, lambda t: t * t / 12),
        ("it catches up", lambda t: 20 * min(t, 15), lambda t: 10 * t),
    ],
)
def test_what_is_no_growing_queue_is_not_taken_for_one(
    name: str, due: Callable[[float], float], answered: Callable[[float], float]
) -> None:
    saturation = Saturation()
    until_s = 100 if name != "it catches up" else 30
    assert not any(saturation.add(one) for one in counts(due, answered, until_s)), name


def test_of_few_moments_nothing_is_said() -> None:
    assert not grows([])
    assert not grows([Count(float(n), 100 * n, n) for n in range(19)])


@pytest.mark.parametrize(
    ("stage", "is_watched"),
    [
        ({"rate": 20, "duration": 100}, True),
        ({"rate": 20, "duration": 100, "rampUp": 50}, True),
        ({"concurrency": 20, "duration": 100}, False),
        ({"profile": {"ramp": {"from": 1, "to": 2}}, "duration": 100}, False),
        ({"arrival": "recorded"}, False),
    ],
)
def test_only_a_rate_that_stays_is_watched_and_only_after_its_ramp(stage: dict[str, Any], is_watched: bool) -> None:
    made = Stage.model_validate(stage)
    assert (Endings.of(made, Guards(over_saturation=True)).saturation is not None) == is_watched
    assert Endings.of(made, Guards()).saturation is None
    endings = Endings.of(made, Guards(over_saturation=True))
    reasons = [endings.count(n / 4, 20 * n, 10 * n) for n in range(1, 400)]
    assert any(reasons) == is_watched
    if is_watched:
        first = next(n for n, reason in enumerate(reasons, 1) if reason) / 4
        assert first == (made.ramp_up or 0.0) + 31.25
        assert "over-saturated: within the last 16 s" in next(filter(None, reasons))


@pytest.mark.parametrize("runners", [2, 3, 5])
def test_several_runners_are_judged_together(runners: int) -> None:
    budget = Guards.model_validate({"budget": {"requests": 60, "tokens": 10_000}})
    leader, *workers = (Watch(budget, decides=number == 0) for number in range(runners))
    for number in range(60):
        watch = [leader, *workers][number % runners]
        assert watch.add(result(tokens=(1, 1))) is None, "each alone has not used it up"
        leader.others = [worker.tally for worker in workers]
        assert (leader.look() is not None) == (number == 59)
        assert all(worker.look() is None for worker in workers), "only the leader decides"
    end = leader.look()
    assert end is not None
    assert end.message == "load.guards.budget.requests: 60 of 60 are used"


def test_failures_are_those_of_all_runners_and_of_the_stage_under_way() -> None:
    guards = Guards.model_validate({"failedShare": 0.2})
    leader, worker = Watch(guards), Watch(guards, decides=False)
    for _ in range(30):
        assert leader.add(result()) is None
        assert worker.add(result(success=False)) is None
    leader.others = [worker.tally]
    end = leader.look()
    assert end is not None
    assert end.message.startswith("30 of 60 requests failed: surely more than load.guards.failedShare 0.2")
    leader.begin_stage()
    assert leader.look() is None
    leader.others = [worker.tally.model_copy(update={"failed": 2})]
    assert leader.look() is None
