"""Rows of several runners together: a search sees in them what it sees in the file of one."""

from contextlib import closing
from pathlib import Path
from random import Random

import pytest

from perfbench_api.sections import Objective
from perfbench_plugins.benchmark_data import BenchmarkData
from perfbench_runner.results.kept import kept, pace
from perfbench_runner.results.result import Result
from perfbench_runner.results.stage_rows import COLUMNS, StageRows, is_of_its_kind, rows_of, together
from perfbench_runner.results.store import Store

STAGE, REQUESTS = 3, 120
WORKLOADS = ("chat", "chat", "search")
OBJECTIVES = [
    Objective.model_validate({"metric": metric, "statistic": "p90", "max": bound})
    for metric, bound in (("ttft", "100ms"), ("e2e_latency", "1s"), ("itl", "20ms"), ("scheduled_latency", "1s"))
] + [
    Objective.model_validate({"metric": "failed_share", "max": 0.1}),
    Objective.model_validate({"metric": "scheduled_latency", "statistic": "p90", "max": "1s", "workload": "chat"}),
    Objective.model_validate({"metric": "failed_share", "max": 0.1, "workload": "search"}),
]


def measured(seq: int, began_s: float, random: Random) -> Result:
    failure = random.choice(["", "", "", "timeout", "unfinished"])
    start_s, gaps_s = began_s + seq / 10 + 0.01, [random.uniform(0.01, 0.03) for _ in range(seq % 5)]
    data = BenchmarkData(
        success=not failure,
        failure=failure,
        start_time=start_s,
        completed_time=start_s + random.uniform(0.5, 1.5),
        first_chunk_latency=random.uniform(0.05, 0.15),
        inter_chunk_latency=gaps_s,
        completion_tokens=len(gaps_s) + 1,
    )
    data.tidy()
    return Result(STAGE, seq, 0, start_s - 0.01, data, workload=WORKLOADS[seq % 3])


def stored(folder: Path, began_s: float, results: list[Result], unsent: list[float]) -> Store:
    folder.mkdir()
    store = Store(folder, "none")
    store.set_stage(STAGE, "x", {})
    store.begin_stage(STAGE, began_s, None)
    for one in results:
        store.add(one)
    for time_s in unsent:
        store.add_unsent(STAGE, 0, began_s + time_s, began_s + 99, WORKLOADS[int(time_s) % 3])
    store.add(measured(5000, began_s, Random(1)).__class__(STAGE + 1, 0, 0, 0.0, BenchmarkData(success=True)))
    store.commit()
    return store


@pytest.mark.parametrize("runners", [1, 2, 3, 5])
def test_a_search_sees_of_all_runners_what_it_sees_of_one(tmp_path: Path, runners: int) -> None:
    def results(began_s: float) -> list[Result]:
        random = Random(7)
        return [measured(seq, began_s, random) for seq in range(REQUESTS)]

    unsent = [number + 0.05 for number in range(7)]
    one = stored(tmp_path / "one", 0.0, results(0.0), unsent)
    parts = []
    for runner in range(runners):
        began_s = 1000.0 * runner  # by its own clock
        own = stored(tmp_path / f"{runner}", began_s, results(began_s)[runner::runners], unsent[runner::runners])
        parts.append(rows_of(own.db, STAGE, with_gaps=True))
        assert is_of_its_kind(parts[-1].requests)
        own.db.close()
    with closing(together(STAGE, parts)) as db:
        for objective in OBJECTIVES:
            assert kept(db, STAGE, objective, 20) == kept(one.db, STAGE, objective, 20)
        found, wanted = pace(db, STAGE, 20), pace(one.db, STAGE, 20)
        assert found.throughput_rps == pytest.approx(wanted.throughput_rps)
        assert found.latency_s == pytest.approx(wanted.latency_s)
        assert db.execute("SELECT count(*) FROM requests WHERE stage = ?", (STAGE,)).fetchone() == (REQUESTS,)
    one.db.close()


def test_gaps_are_left_out_where_nobody_asks_for_them(tmp_path: Path) -> None:
    store = stored(tmp_path / "x", 0.0, [measured(4, 0.0, Random(3))], [])
    (row,) = rows_of(store.db, STAGE, with_gaps=False).requests
    assert row[-1] is None
    assert rows_of(store.db, STAGE + 5, with_gaps=True) == StageRows([], []), "it had no part in that stage"
    store.db.close()


@pytest.mark.parametrize(
    ("row", "is_one"),
    [
        ([*(1 for _ in COLUMNS), None], True),
        ([*(None for _ in COLUMNS), "[1]"], True),
        ([*("text" for _ in COLUMNS), None], False),
        ([1, 2], False),
        ([], False),
    ],
)
def test_rows_are_looked_at_before_they_are_believed(row: list[int | str | None], is_one: bool) -> None:
    assert is_of_its_kind([row]) is is_one
