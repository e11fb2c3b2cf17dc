"""What requests say of their client: whose clock stamped them, what was read together, what their lanes lost."""

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from perfbench_plugins.benchmark_data import BenchmarkData
from perfbench_runner.results.client_figures import _worst
from perfbench_runner.results.client_summary import ClientHealth
from perfbench_runner.results.figures import summarise
from perfbench_runner.results.result import Result
from perfbench_runner.results.store import Store
from perfbench_runner.results.summary import StageSummary


def answer(start_s: float, gaps: int = 9, lag_s: float = 0.0, **values: Any) -> Result:
    """A streamed answer of ten seconds."""
    data = BenchmarkData(
        success=True,
        is_stream=True,
        start_time=start_s,
        completed_time=start_s + 10,
        query_latency=10.0,
        first_chunk_latency=1.0,
        inter_chunk_latency=[1.0] * gaps,
        completion_tokens=gaps + 1,
    )
    result = Result(stage=0, seq=int(start_s), shard=0, scheduled_s=start_s - lag_s, data=data)
    return replace(result, **{"stamps": "kernel", "merged_segments": 0} | values)


def summed(folder: Path, plan: dict[str, Any], *results: Result, **facts: Any) -> StageSummary:
    store = Store(folder)
    store.set_run(workers="1", **facts)
    store.set_stage(0, "s", plan)
    store.begin_stage(0, 0.0, None)
    for result in results:
        store.add(result)
    store.end_stage(0, 1000.0, 0.0)
    (found,) = summarise(store.db)
    store.close()
    return found


CLOSED = {"concurrency": 1, "requests": 10}


@pytest.mark.parametrize(
    ("stamps", "expected"),
    [
        (["kernel"] * 3, "kernel"),
        (["program"] * 3, "program"),
        (["kernel", "program", "kernel"], "mixed"),
        (["kernel", None], "kernel"),
        ([None, None], None),
    ],
)
def test_a_stage_says_who_took_its_times(tmp_path: Path, stamps: list[Any], expected: Any) -> None:
    results = [answer(10.0 * number, stamps=each) for number, each in enumerate(stamps)]
    found = summed(tmp_path, CLOSED, *results, stamps={"stamps": "program", "reason": "no such option"})
    assert found.client.stamps == expected
    notes = [note for note in found.notes if "program's clock (no such option)" in note]
    assert len(notes) == (expected in ("program", "mixed")), "never silently"


@pytest.mark.parametrize(
    ("merged", "share", "latencies"),
    [([0, 0], 0.0, "valid"), ([0, 1], 0.05, "degraded"), ([2, 3], 0.25, "invalid"), ([None, 1], 0.1, "degraded")],
)
def test_segments_that_were_read_together_are_a_share_of_the_chunks(
    tmp_path: Path, merged: list[Any], share: float, latencies: str
) -> None:
    results = [answer(10.0 * number, merged_segments=each) for number, each in enumerate(merged)]
    found = summed(tmp_path, CLOSED, *results).client
    assert (found.figures["merged_share"], found.latencies, found.load) == (share, latencies, "valid")


def test_where_nobody_counts_segments_their_share_is_not_known(tmp_path: Path) -> None:
    assert "merged_share" not in summed(tmp_path, CLOSED, answer(0.0, merged_segments=None)).client.figures


@pytest.mark.parametrize(("lag_s", "load"), [(0.1, "valid"), (1.0, "degraded"), (5.0, "invalid")])
def test_in_a_closed_loop_lag_is_what_lanes_lost(tmp_path: Path, lag_s: float, load: str) -> None:
    found = summed(tmp_path, CLOSED, *[answer(20.0 * number, lag_s=lag_s) for number in range(10)]).client
    assert found.figures["idle_share"] == pytest.approx(lag_s / (10 + lag_s))
    assert not any(name.startswith("dispatch_lag") for name in found.figures)
    assert (found.latencies, found.load) == ("valid", load)


def test_in_an_open_loop_lag_is_judged_as_it_is(tmp_path: Path) -> None:
    found = summed(tmp_path, {"rate": 1.0, "requests": 10}, *[answer(float(n), lag_s=0.005) for n in range(10)]).client
    assert found.figures["dispatch_lag_mean_s"] == pytest.approx(0.005)
    assert "idle_share" not in found.figures
    assert (found.latencies, found.load) == ("valid", "degraded")


@pytest.mark.parametrize(
    ("found", "reasons"),
    [
        ([("valid", []), ("degraded", ["b1", "b2"])], ["b1", "b2"]),
        ([("degraded", ["a1", "a2", "a3"]), ("degraded", ["b1"])], ["a1", "b1", "a2", "a3"]),
        ([("degraded", ["a1", "a2"]), ("valid", []), ("invalid", ["c1", "c2"])], ["c1", "a1", "c2", "a2"]),
    ],
)
def test_a_reason_of_each_runner_comes_first_and_that_of_the_worst_before(
    found: list[tuple[Any, list[str]]], reasons: list[str]
) -> None:
    whole = _worst([ClientHealth(state=state, load=state, reasons=told) for state, told in found], None)
    assert whole.reasons == reasons
