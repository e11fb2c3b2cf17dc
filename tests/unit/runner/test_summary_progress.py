"""How far the summary of a run is: told seldom, to whoever watches. Shapes: 1, 3 and 50,000 rows (several reads), two stages."""

from pathlib import Path

import pytest
import yaml

from perfbench_runner.cli import progress
from perfbench_runner.cli.progress import ProgressLine, console
from perfbench_runner.results.store import Store
from perfbench_runner.run import conclude
from perfbench_runner.run.folders import MANIFEST


@pytest.mark.parametrize("rows", [1, 3, 50_000])
def test_all_rows_are_told_of_in_the_end(tmp_path: Path, rows: int) -> None:
    manifest = {"kind": "PerfBenchmark", "metadata": {"name": "m"}, "spec": {"target": {"mock": {}}}}
    (tmp_path / MANIFEST).write_text(yaml.safe_dump(manifest))
    results = Store(tmp_path)
    for stage in (0, 1):
        results.set_stage(stage, f"c{stage}", {"concurrency": 1, "requests": rows})
        results.begin_stage(stage, 0.0, None)
        values = ((stage, number, 1, number * 0.1, number * 0.1 + 0.05) for number in range(rows))
        results.db.executemany(
            "INSERT INTO requests (stage, seq, success, start_time, completed_time) VALUES (?, ?, ?, ?, ?)", values
        )
    results.commit()
    results.db.close()
    told: list[tuple[int, int]] = []
    finished = conclude.recover(tmp_path, lambda done, total: told.append((done, total)))
    assert [stage.requests.total for stage in finished.summary.stages] == [rows, rows]
    assert told[-1] == (2 * rows, 2 * rows)
    assert told == sorted(told)
    assert (len(told) > 2) == (rows > 20_000)


def test_what_is_quick_is_not_told_of_and_what_is_slow_twice_a_second() -> None:
    now_s, told = 0.0, list[int]()
    seldom = conclude.Seldom(lambda done, total: told.append(done), lambda: now_s)
    for step in range(40):
        now_s = step * 0.1
        seldom(step, 40)
    assert told == [10, 15, 20, 25, 30, 35]


def test_the_share_that_was_read_is_shown(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(progress, "PLAIN_EVERY_S", 0.0)
    with ProgressLine(console(stderr=True)) as line:
        line.summarising(250_000, 1_000_000)
        line.summarising(0, 0)
    assert capsys.readouterr().err == "summarising 1,000,000 rows   25 %\n"
