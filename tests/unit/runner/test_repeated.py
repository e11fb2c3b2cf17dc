"""Stages that are run several times: their names and objectives, and what their figures say together."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from perfbench_api.resource import PerfBenchmark, SpecError
from perfbench_plugins.benchmark_data import BenchmarkData
from perfbench_runner.engine.state import End
from perfbench_runner.load.repeats import Repeats, refuse_repeated_schedule, repeats_of, with_repeats
from perfbench_runner.results.result import Result
from perfbench_runner.results.store import Store
from perfbench_runner.run.conclude import summarise_run


def benchmark(stages: list[dict[str, Any]], repeat: int = 1, **spec: Any) -> PerfBenchmark:
    load = {"stages": stages, "repeat": repeat, "pause": "3s"}
    return PerfBenchmark.read({"metadata": {"name": "x"}, "spec": {"target": {"mock": {}}, "load": load, **spec}})


def expanded(made: PerfBenchmark) -> PerfBenchmark:
    return with_repeats(made, repeats_of(made))


C8, C16 = {"concurrency": 8, "requests": 10}, {"concurrency": 16, "requests": 10}


@pytest.mark.parametrize(
    ("repeat", "titles"),
    [
        (1, ["c8", "c16"]),
        (2, ["c8-1", "c16-1", "c8-2", "c16-2"]),
        (3, [f"c{n}-{i}" for i in (1, 2, 3) for n in (8, 16)]),
    ],
)
def test_the_whole_list_is_run_again(repeat: int, titles: list[str]) -> None:
    load = expanded(benchmark([C8, C16], repeat)).spec.load
    assert [stage.title for stage in load.stages] == titles
    assert (load.pause, load.repeat) == (3.0, 1)  # a kept manifest is not repeated once more


def test_each_repeat_is_judged() -> None:
    objectives = [{"metric": "ttft", "max": "1s"}, {"metric": "ttft", "max": "2s", "stage": "c16"}]
    found = expanded(benchmark([C8, C16], 2, objectives=objectives)).spec.objectives
    assert [objective.stage for objective in found] == [None, "c16-1", "c16-2"]
    assert PerfBenchmark.read(expanded(benchmark([C8, C16], 2, objectives=objectives)).dump())


@pytest.mark.parametrize(
    ("stages", "repeat", "words"),
    [
        ([{**C8, "name": "x" * 62}], 2, "too long for a stage's name"),
        ([C8, *({**C8, "name": f"s{n}"} for n in range(32))], 2, "2 times 33 stages are more than 64"),
    ],
)
def test_what_cannot_be_repeated_is_said(stages: list[dict[str, Any]], repeat: int, words: str) -> None:
    with pytest.raises(SpecError, match=words):
        expanded(benchmark(stages, repeat))


def test_neither_a_search_nor_recorded_times_are_repeated() -> None:
    load = {"search": {"rate": {"from": 1, "to": 2}}, "repeat": 2}
    with pytest.raises(SpecError, match="a search repeats loads where that is needed"):
        PerfBenchmark.read({"metadata": {"name": "x"}, "spec": {"target": {"mock": {}}, "load": load}})
    recorded = benchmark([{"rate": 5, "requests": 10}], 2).spec.load
    with pytest.raises(SpecError, match="recorded times are played once"):
        refuse_repeated_schedule(recorded, Repeats(2, ["r5"]), has_schedule=True)
    refuse_repeated_schedule(recorded, Repeats(2, ["r5"]), has_schedule=False)
    refuse_repeated_schedule(benchmark([C8], 2).spec.load, Repeats(2, ["c8"]), has_schedule=True)


def summary(folder: Path, ttfts: list[float], requests: int = 400) -> Any:
    """A run of one stage, repeated, with lognormal TTFTs about these medians."""
    made = benchmark([{"concurrency": 1, "requests": requests}], len(ttfts))
    store, draw = Store(folder), np.random.default_rng(7)
    repeats = repeats_of(made)
    if repeats:
        store.set_run(repeats=repeats._asdict())
    for number, median in enumerate(ttfts):
        begin = 10_000.0 * number
        store.set_stage(number, f"c1-{number + 1}", {"concurrency": 1, "requests": requests})
        store.begin_stage(number, begin, None)
        for seq in range(requests):
            start, ttft = begin + 10.0 * seq, float(median * np.exp(0.3 * draw.standard_normal()))
            data = BenchmarkData(
                success=True, is_stream=True, start_time=start, completed_time=start + ttft + 1.0, query_latency=ttft + 1.0,
                first_chunk_latency=ttft, completion_tokens=10, prompt_tokens=5, token_source="usage",
            )  # fmt: skip
            store.add(Result(stage=number, seq=seq, shard=0, scheduled_s=start, data=data))
        store.end_stage(number, begin + 10.0 * requests, 0.0)
    store.commit()
    found = summarise_run(store.db, expanded(made), End())
    store.db.close()
    return found


@pytest.mark.parametrize("repeats", [3, 5])
def test_repeats_that_differ_by_chance_alone_differ_as_much_as_their_requests_tell(
    tmp_path: Path, repeats: int
) -> None:
    (found,) = summary(tmp_path, [1.0] * repeats).repeated
    assert (found.name, found.stages) == ("c1", [f"c1-{n + 1}" for n in range(repeats)])
    p50 = found.figures["ttft_s.p50"]
    assert len(p50.values) == repeats
    assert p50.low < p50.mean < p50.high
    assert p50.low < 1.0 < p50.high
    assert p50.between < 2.0 * p50.within
    assert p50.within == pytest.approx(0.3 * 1.25 / 400**0.5, rel=0.5)  # of a median of normal logarithms
    assert "request_throughput_rps" in found.figures


def test_repeats_that_differ_more_than_their_requests_show_it(tmp_path: Path) -> None:
    (found,) = summary(tmp_path, [1.0, 1.3, 0.8]).repeated
    p50 = found.figures["ttft_s.p50"]
    assert p50.between > 5 * p50.within
    assert p50.values == pytest.approx([1.0, 1.3, 0.8], rel=0.1)


def test_stages_that_are_run_once_are_not_compared(tmp_path: Path) -> None:
    assert summary(tmp_path, [1.0]).repeated == []
