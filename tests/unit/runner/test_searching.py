"""A search as the engine sees it: stages that are added, and which of them decides."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from perfbench_api.resource import PerfBenchmark, Spec
from perfbench_plugins.benchmark_data import BenchmarkData
from perfbench_runner.engine.searching import Searching, bound_of, confirms, too_small_a_budget
from perfbench_runner.results.kept import exclude_settling, kept, offered_rps
from perfbench_runner.results.result import Result
from perfbench_runner.results.store import Store
from perfbench_runner.results.summary import Summary
from perfbench_runner.run.conclude import without_confirmation

OBJECTIVE = {"metric": "ttft", "statistic": "p90", "max": "1s"}


def spec(search: dict[str, Any], objectives: list[dict[str, Any]] | None = None) -> Spec:
    data = {
        "target": {"mock": {}},
        "load": {"search": search},
        "objectives": objectives or [OBJECTIVE],
        "goodput": {"ttft": "1s", "tpot": "100ms"},
    }
    return PerfBenchmark.read({"metadata": {"name": "a"}, "spec": data}).spec


@pytest.fixture
def store(tmp_path: Path) -> Iterator[Store]:
    store = Store(tmp_path, "none")
    yield store
    store.db.close()


def measure(store: Store, made: Spec, number: int, limit: float) -> None:
    """A server that answers in time up to a load, and seldom beyond it."""
    stage = made.load.stages[number]
    load = float(stage.rate or stage.concurrency or 0)
    for seq in range(stage.requests or 0):
        ttft_s = 2.0 if (load > limit and seq % 2) or seq % 10 == 3 - (load <= 0.97 * limit) * 20 else 0.5
        due_s = seq / load
        data = BenchmarkData(success=True, start_time=due_s, completed_time=due_s + 3.0, first_chunk_latency=ttft_s)
        store.add(Result(number, seq, 0, due_s, data))
    store.commit()


def try_all(searching: Searching, made: Spec, store: Store, fewer_than: int) -> int:
    """Measure one point after the other, of a server that carries 20, until the search asks for none; how many there were."""
    number = 0
    while number < len(made.load.stages):
        searching.began(number, 0.0)
        measure(store, made, number, 20.0)
        searching.after(number)
        number += 1
        assert number < fewer_than
    return number


@pytest.mark.parametrize("search", [{"rate": {"from": 1, "to": 64}}, {"concurrency": {"from": 1, "to": 64}}])
def test_stages_are_added_until_the_limit_is_known(store: Store, search: dict[str, Any]) -> None:
    made = spec(search | {"requests": 100})
    clock = iter(range(10_000))
    searching = Searching(made, store, lambda: float(next(clock)))
    number = try_all(searching, made, store, fewer_than=60)
    names = [stage.title for stage in made.load.stages]
    assert len(set(names)) == len(names)
    assert confirms(names[-1])
    assert searching.found is not None
    assert searching.found.low == pytest.approx(20, rel=0.3)
    assert searching.found.points == number
    assert all(stage.requests == 120 for stage in made.load.stages), "a fifth settles"
    exclude_settling(store.db)
    marks = "SELECT seq, excluded FROM requests WHERE stage = 0 ORDER BY seq"
    assert store.db.execute(marks).fetchall() == [(n, "settling" if n < 20 else None) for n in range(120)]


def test_the_time_that_is_left_bounds_each_stage(store: Store) -> None:
    made = spec({"concurrency": {"from": 1, "to": 8}, "maxDuration": "100s", "requests": 20})
    searching = Searching(made, store, lambda: 60.0)
    searching.began(0, 0.0)
    measure(store, made, 0, 100)
    searching.after(0)
    assert [stage.duration for stage in made.load.stages] == [100, 40]


@pytest.mark.parametrize(
    ("search", "message"),
    [
        ({"rate": {"from": 1, "to": 4}}, None),
        (
            {"rate": {"from": 1, "to": 4}, "maxRequests": 500},
            "a point and one that confirms it take 600 requests, 300 s",
        ),
        ({"rate": {"from": 1, "to": 4}, "maxDuration": "5m"}, "600 requests, 300 s"),
        ({"concurrency": {"from": 1, "to": 4}, "maxDuration": "5m"}, None),
    ],
)
def test_a_budget_must_pay_for_a_point(search: dict[str, Any], message: str | None) -> None:
    problem = too_small_a_budget(spec(search))
    assert (problem is None) == (message is None)
    assert message is None or message in str(problem)


@pytest.mark.parametrize(
    ("objective", "bound"),
    [
        (OBJECTIVE, 0.9),
        ({"metric": "failed_share", "max": "1%"}, 0.99),
        ({"metric": "failed_share", "max": 0}, 0.9999),
        ({"metric": "failed_share", "max": 1}, 0.0001),
        ({"metric": "goodput_share", "min": "95%"}, 0.95),
        ({"metric": "goodput_share", "min": 1}, 0.9999),
    ],
)
def test_an_objective_is_a_share_to_be_kept(objective: dict[str, Any], bound: float) -> None:
    made = spec({"rate": {"from": 1, "to": 4}}, [objective])
    assert bound_of(made.objectives[0]) == pytest.approx(bound)


GOOD = {"metric": "goodput_share", "min": "95%"}


def answered(ttft_s: float | None, tpot_s: float | None, success: bool = True) -> BenchmarkData:
    return BenchmarkData(
        success=success, start_time=0.0, completed_time=3.0, first_chunk_latency=ttft_s, time_per_output_token=tpot_s
    )


@pytest.mark.parametrize(
    ("data", "counts"),
    [
        (answered(0.9, 0.09), (1, 1)),
        (answered(1.1, 0.09), (0, 1)),
        (answered(0.9, 0.11), (0, 1)),
        (answered(0.9, None), (1, 1)),  # one token: there is no time between any
        (answered(0.9, 0.09, success=False), (0, 1)),
        (answered(None, None), (0, 1)),
    ],
)
def test_a_request_is_good_that_keeps_all_limits(store: Store, data: BenchmarkData, counts: tuple[int, int]) -> None:
    made = spec({"rate": {"from": 1, "to": 4}}, [GOOD])
    store.add(Result(0, 0, 0, 0.0, answered(0.1, 0.01)))
    store.add(Result(0, 1, 0, 1.0, data))
    store.commit()
    assert kept(store.db, 0, made.objectives[0], 0, made.limits) == [(1, 1), counts]


def test_nothing_is_known_of_goodput_where_answers_are_not_streamed(store: Store) -> None:
    made = spec({"rate": {"from": 1, "to": 4}}, [GOOD])
    store.add(Result(0, 0, 0, 0.0, answered(None, None)))
    store.commit()
    assert kept(store.db, 0, made.objectives[0], 0, made.limits) == [(0, 0)]


def test_the_rate_of_a_point_is_that_of_its_schedule(store: Store) -> None:
    for seq, due_s in enumerate((0.0, 5.0, 6.0, 8.0)):
        store.add(Result(0, seq, 0, due_s, answered(0.1, None)))
    store.commit()
    assert offered_rps(store.db, 0, 1) == pytest.approx(2 / 3)
    assert offered_rps(store.db, 0, 3) is None
    assert offered_rps(store.db, 0, 4) is None


def test_a_search_may_have_more_points_than_a_manifest_has_stages(store: Store) -> None:
    """Points of twenty requests do not tell a limit to a permille; what ends such a search is its budget."""
    made = spec({"rate": {"from": 1, "to": 64}, "requests": 20, "precision": "0.1%", "maxRequests": 24 * 70})
    searching = Searching(made, store, lambda: 0.0)
    number = try_all(searching, made, store, fewer_than=100)
    assert number == 70 == len({stage.title for stage in made.load.stages})
    assert searching.found is not None
    assert "the budget was used up" in searching.found.reason


@pytest.mark.parametrize(
    ("client", "state", "confirmed", "verdict", "reasons"),
    [
        ("valid", "complete", True, "Passed", []),
        ("valid", "complete", None, "Inconclusive", ["it was so"]),
        (
            "invalid",
            "complete",
            True,
            "Inconclusive",
            ["the client was too slow to be believed: it waited", "it was so"],
        ),
        ("valid", "interrupted", True, "Inconclusive", ["the run is interrupted", "it was so"]),
    ],
)
def test_a_verdict_without_a_confirming_stage_says_what_is_in_doubt(
    client: str, state: str, confirmed: bool | None, verdict: str, reasons: list[str]
) -> None:
    found = {"kind": "rate", "goal": "objectives", "load": 8.0, "low": 8.0, "high": None, "confirmed": confirmed}
    summary = Summary.model_validate(
        {
            "name": "a",
            "verdict": None,
            "state": state,
            "client": {"state": client, "reasons": ["it waited"] if client == "invalid" else []},
            "search": {**found, "reason": "it was so", "requests": 1, "duration_s": 1.0},
            "stages": [],
        }
    )
    assert without_confirmation(summary) == (verdict, reasons)
