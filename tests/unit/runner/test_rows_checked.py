"""A row that is broken late in a file is told before any load, if the run can reach it."""

import json
from collections.abc import Callable
from itertools import count
from pathlib import Path
from typing import Any

import pytest

from perfbench_api.resource import PerfBenchmark
from perfbench_api.sections import Load, Stage, Warmup
from perfbench_plugins.datasets.errors import DatasetError
from perfbench_runner.load.check import reachable
from perfbench_runner.run import prepare as module
from perfbench_runner.run.prepare import prepare


def benchmark(path: Path, *stages: dict[str, Any], name: str = "openqa", **load: Any) -> PerfBenchmark:
    spec = {
        "target": {"url": "http://127.0.0.1:9", "model": "m"},
        "dataset": {"name": name, "path": str(path)},
        "load": {"stages": list(stages), **load},
    }
    return PerfBenchmark.read({"metadata": {"name": "a"}, "spec": spec})


@pytest.fixture
def file(tmp_path: Path) -> Callable[..., Path]:
    def make(rows: int, broken: int, text: str = "{no json") -> Path:
        lines = [json.dumps({"question": f"what is {number}?"}) for number in range(rows)]
        lines[broken - 1] = text
        path = tmp_path / "rows.jsonl"
        path.write_text("\n".join(lines))
        return path

    return make


@pytest.mark.parametrize(("requests", "broken"), [(300, 250), (250, 250), (1000, 300), (5, 5)])
def test_a_late_row_that_is_reached_is_told_first(file: Callable[..., Path], requests: int, broken: int) -> None:
    with pytest.raises(DatasetError, match=f"line {broken}: no JSON"):
        prepare(benchmark(file(300, broken), {"concurrency": 1, "requests": requests}), {})


def test_so_it_is_where_nobody_knows_how_far_a_run_comes(file: Callable[..., Path]) -> None:
    with pytest.raises(DatasetError, match="line 300: no JSON"):
        prepare(benchmark(file(300, 300), {"concurrency": 1, "duration": "5s"}), {})


def test_a_row_that_no_stage_reaches_is_none_of_its_business(file: Callable[..., Path]) -> None:
    prepared = prepare(benchmark(file(300, 250), {"concurrency": 1, "requests": 249}), {})
    assert json.loads(next(prepared.feed).body)["messages"][0]["content"].endswith("what is 0?")  # type: ignore[arg-type]


def test_a_file_that_takes_long_is_looked_at_for_a_while(
    file: Callable[..., Path], monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    times = count(0.0, 0.5)
    monkeypatch.setattr(module, "monotonic", lambda: next(times))
    prepare(benchmark(file(300, 250), {"concurrency": 1, "requests": 300}), {})
    assert "rows were looked at, in 5 s; one that is broken later ends the run when it is reached" in caplog.text


@pytest.mark.parametrize(
    ("load", "offset", "entries"),
    [
        (Load(stages=[Stage(concurrency=1, requests=10)]), 0, 10),
        (Load(stages=[Stage(concurrency=1, requests=10)], warmup=Warmup(requests=3)), 5, 18),
        (Load(stages=[Stage(concurrency=1, requests=10), Stage(concurrency=2, requests=20)]), 0, 30),
        (Load(stages=[Stage(concurrency=1, duration=5.0)]), 0, None),
        (Load(stages=[Stage(arrival="recorded")]), 0, None),
    ],
)
def test_how_many_entries_a_run_can_reach(load: Load, offset: int, entries: int | None) -> None:
    assert reachable(load, offset, has_schedule=False) == entries
