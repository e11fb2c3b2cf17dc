"""What of each request kept an objective, read from a results file."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from perfbench_api.sections import Objective
from perfbench_plugins.benchmark_data import BenchmarkData
from perfbench_runner.results.kept import kept, pace
from perfbench_runner.results.result import Result
from perfbench_runner.results.store import Store


def result(seq: int, **data: object) -> Result:
    values = {"start_time": float(seq), "completed_time": seq + 1.0, "success": True, "query_latency": 1.0}
    values |= {"first_chunk_latency": None, "time_per_output_token": None}
    return Result(stage=0, seq=seq, shard=0, scheduled_s=float(seq), data=BenchmarkData(**(values | data)))  # type: ignore[arg-type]


@pytest.fixture
def store(tmp_path: Path) -> Iterator[Store]:
    store = Store(tmp_path, "none")
    store.add(result(3, first_chunk_latency=0.5, time_per_output_token=0.1, inter_chunk_latency=[0.1, 0.3]))
    store.add(result(1, first_chunk_latency=0.1, time_per_output_token=0.1, inter_chunk_latency=[0.1]))
    store.add(result(2, first_chunk_latency=0.2))
    store.add(result(4, success=False, failure="http"))
    store.add(result(5, success=False, failure="unfinished", first_chunk_latency=0.1))
    store.add(result(6, success=False, failure="unfinished"))
    store.add_unsent(0, 7, 7.0, 8.0)
    store.settle()
    yield store
    store.db.close()


@pytest.mark.parametrize(
    ("metric", "bound", "counts"),
    [
        ("ttft", 0.3, [(1, 1), (1, 1), (0, 1), (0, 1), (1, 1), (0, 1), (0, 1)]),
        ("tpot", 0.3, [(1, 1), (0, 0), (1, 1), (0, 1), (0, 1), (0, 1), (0, 1)]),
        ("e2e_latency", 1.0, [(1, 1), (1, 1), (1, 1), (0, 1), (0, 1), (0, 1), (0, 1)]),
        ("scheduled_latency", 0.9, [(0, 1)] * 7),
        ("itl", 0.2, [(1, 1), (0, 0), (1, 2), (0, 1), (0, 1), (0, 1), (0, 1)]),
    ],
)
def test_requests_are_counted_in_the_order_of_their_schedule(
    store: Store, metric: str, bound: float, counts: list[tuple[int, int]]
) -> None:
    objective = Objective(metric=metric, statistic="p90", max=bound)  # type: ignore[arg-type]
    assert kept(store.db, 0, objective, 0) == counts
    assert kept(store.db, 0, objective, 2) == counts[2:]
    assert kept(store.db, 1, objective, 0) == []


def test_a_failed_share_counts_those_that_came_to_an_end(store: Store) -> None:
    objective = Objective(metric="failed_share", max=0.01)
    assert kept(store.db, 0, objective, 0) == [(1, 1), (1, 1), (1, 1), (0, 1), (0, 0), (0, 0), (0, 0)]


def test_the_pace_is_of_what_succeeded(store: Store) -> None:
    found = pace(store.db, 0, 0)
    assert (found.throughput_rps, found.latency_s) == (pytest.approx(1.0), 1.0)
    assert pace(store.db, 5, 0).throughput_rps == 0
