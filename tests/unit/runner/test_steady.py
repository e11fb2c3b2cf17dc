"""From when on a stage is steady: a slow start is found, steady runs keep (nearly) all, and the whole stage's figures stay."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from perfbench_plugins.benchmark_data import BenchmarkData
from perfbench_runner.results.figures import summarise
from perfbench_runner.results.result import Result
from perfbench_runner.results.steady import FEWEST, geweke, mser, steady_cut
from perfbench_runner.results.store import Store


def latencies(count: int, seed: int, slow: float = 1.0, fading: float = 1.0) -> Any:
    """Lognormal latencies, at first `slow` times as long, which fades away over so many requests."""
    random = np.random.default_rng(seed)
    factor = 1 + (slow - 1) * np.exp(-np.arange(count) / fading)
    return factor * np.exp(0.3 * random.standard_normal(count))


@pytest.mark.parametrize("seed", [1, 3, 5, 16])
@pytest.mark.parametrize(("count", "fading"), [(1000, 60), (4000, 100), (8000, 300)])
def test_a_slow_start_is_cut_until_it_has_faded(seed: int, count: int, fading: float) -> None:
    cut = steady_cut(latencies(count, seed, slow=5, fading=fading))
    assert cut is not None
    assert cut.requests > 1.5 * fading, "by then 4 times longer has become less than twice as long"
    assert cut.is_steady
    assert cut.requests % 5 == 0 or cut.requests == geweke(np.log(latencies(count, seed, 5, fading)))


def test_of_a_steady_stage_little_is_cut() -> None:
    cuts = [steady_cut(latencies(2000, seed)) for seed in range(60)]
    assert sum(cut is not None and cut.share > 0.2 for cut in cuts) <= 6, "one test in twenty is wrong by chance"
    assert all(cut is not None and cut.is_steady for cut in cuts)


def test_a_stage_that_never_settles_says_so() -> None:
    cuts = [steady_cut(latencies(1000, seed, slow=20, fading=500)) for seed in range(20)]
    assert sum(cut is not None and not cut.is_steady for cut in cuts) >= 18


@pytest.mark.parametrize(("to", "change"), [(2.0, 0.7), (0.5, -0.35), (1.02, 0.0)])
def test_how_far_latencies_went_is_told_where_it_is_beyond_doubt(to: float, change: float) -> None:
    values = latencies(2000, 1) * (1 + (to - 1) * np.arange(2000) / 2000)
    cut = steady_cut(values)
    assert cut is not None
    assert cut.change == pytest.approx(change, abs=0.15)
    assert cut.is_steady is (change == 0.0)


def test_a_steady_stage_goes_nowhere() -> None:
    cuts = [steady_cut(latencies(count, seed)) for count in (500, 2000) for seed in range(40)]
    assert all(cut is not None and cut.change == 0.0 for cut in cuts)


def test_a_few_slow_requests_in_the_middle_are_no_beginning() -> None:
    """The worst burst must not be what is cut away."""
    values = latencies(2000, 1)
    values[1500:1520] *= 30
    cut = steady_cut(values)
    assert cut is not None
    assert cut.requests < 1500


@pytest.mark.parametrize("count", [0, 1, 5, FEWEST - 1])
def test_of_too_few_nothing_is_said(count: int) -> None:
    assert steady_cut(np.ones(count)) is None


def test_equal_latencies_are_steady() -> None:
    assert steady_cut(np.full(500, 0.25)) == (0, 0.0, True, 0.0)
    assert mser(np.zeros(FEWEST)) == 0


def stored(folder: Path, plan: dict[str, Any], of_no_time: int = 0) -> Any:
    """`of_no_time`: so many answers at the beginning, beside the others, as a plugin may tell."""
    results = Store(folder)
    results.set_stage(0, "r10", plan)
    for seq, latency_s in enumerate([0.0] * of_no_time + latencies(1000, 1, slow=8, fading=50).tolist(), -of_no_time):
        at_s = 100 + seq / 10
        data = BenchmarkData(
            success=True, start_time=at_s, completed_time=at_s + latency_s, query_latency=latency_s,
            first_chunk_latency=latency_s / 2, completion_tokens=5,
        )  # fmt: skip
        data.tidy()
        results.add(Result(stage=0, seq=seq, shard=0, scheduled_s=at_s, data=data))
    results.begin_stage(0, 100.0, 200.0)
    results.end_stage(0, 203.0, 0.1)
    results.commit()
    (stage,) = summarise(results.db)
    results.db.close()
    return stage


def test_figures_of_the_steady_part_are_beside_those_of_the_whole(tmp_path: Path) -> None:
    stage = stored(tmp_path, {"rate": 10, "duration": "100s"})
    steady = stage.steady
    assert stage.e2e_latency_s.count == 1000, "what is judged is of the whole stage"
    assert steady.is_steady
    assert steady.e2e_latency_s.count == steady.ttft_s.count == 1000 - steady.dropped
    assert steady.start_s == pytest.approx(steady.dropped / 10)
    assert steady.dropped_share == steady.dropped / 1000
    assert 75 < steady.dropped < 500
    assert steady.e2e_latency_s.p99 < 0.6 * stage.e2e_latency_s.p99
    assert steady.request_throughput_rps == pytest.approx(10, rel=0.05)


def test_answers_that_took_no_time_do_not_move_the_cut(tmp_path: Path) -> None:
    """They have no logarithm, and are in no count of it."""
    for name in ("with", "without"):
        (tmp_path / name).mkdir()
    plan = {"rate": 10, "duration": "100s"}
    found = [stored(tmp_path / name, plan, count).steady for name, count in (("with", 300), ("without", 0))]
    assert (found[0].start_s, found[0].dropped) == (found[1].start_s, found[1].dropped)
    assert found[0].e2e_latency_s.count == found[1].e2e_latency_s.count


@pytest.mark.parametrize("plan", [{"profile": {"points": []}}, {"arrival": "recorded"}, {"timestamps": {"path": "x"}}])
def test_a_load_that_changes_by_itself_has_no_steady_part(tmp_path: Path, plan: dict[str, Any]) -> None:
    assert stored(tmp_path, {"duration": "100s", **plan}).steady is None


def test_a_stage_that_never_settled_has_a_note(tmp_path: Path) -> None:
    stage = stored(tmp_path, {"rate": 10, "duration": "100s"})
    assert not any("not steady" in note for note in stage.notes)
