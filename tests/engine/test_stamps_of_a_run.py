"""A run says whose stamps it has. Nothing may fall back to the program's clock silently."""

import sqlite3
import sys
from collections.abc import Callable
from contextlib import closing
from typing import Any

import pytest

Start = Callable[..., Any]


def stamps_in(run: Any) -> tuple[set[Any], Any]:
    """What the rows say, and the facts of the run."""
    with closing(sqlite3.connect(run.folder / "results.sqlite")) as db:
        rows = {row[0] for row in db.execute("SELECT stamps FROM requests")}
        return rows, db.execute("SELECT value FROM run WHERE key = 'stamps'").fetchone()[0]


@pytest.mark.skipif(sys.platform != "linux", reason="the kernel's stamps are Linux's")
def test_on_linux_a_run_has_the_kernels_stamps(mock: Start, perfbench: Start, spec_for: Start) -> None:
    run = perfbench(spec_for(mock(), {"concurrency": 3, "requests": 30}))
    assert run.wait() in (0, 4)
    client = run.summary["stages"][0]["client"]
    assert (client["stamps"], run.summary["client"]["stamps"]) == ("kernel", "kernel")
    assert stamps_in(run) == ({"kernel"}, '{"stamps": "kernel", "reason": ""}')
    assert "merged_share" in client["figures"]
    assert "stamps: kernel" in run.stdout


def test_without_the_kernels_stamps_file_summary_table_and_notes_say_so(
    mock: Start, perfbench: Start, spec_for: Start
) -> None:
    run = perfbench(spec_for(mock(), {"concurrency": 3, "requests": 30}), env={"PERFBENCH_STAMPS": "program"})
    assert run.wait() in (0, 4)
    (stage,) = run.summary["stages"]
    assert (stage["client"]["stamps"], run.summary["client"]["stamps"]) == ("program", "program")
    rows, fact = stamps_in(run)
    assert rows == {"program"}
    assert "PERFBENCH_STAMPS=program" in fact
    assert any("by the program's clock (PERFBENCH_STAMPS=program asks for it)" in note for note in stage["notes"])
    assert "stamps: program" in run.stdout
    assert stage["client"]["figures"]["program_stamps_share"] == 1.0
