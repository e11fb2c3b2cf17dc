"""EvalScope's own readers of results read every file of ours: streamed or not, failed, interrupted, without usage or bodies."""

import json
import math
import signal
import sqlite3
import subprocess
import sys
from pathlib import Path
from time import monotonic, sleep
from typing import Any

import pytest
from tests.contract.conftest import HERE, serving

RUNS = {
    "streamed": [],
    "whole": ["--no-stream"],
    "one token": ["--max-tokens", "1"],
    "no usage": ["--extra-args", '{"stream_options": {"include_usage": false}}'],
    "whole without usage": ["--no-stream", "--extra-args", '{"no_usage": true}'],
    "failed": ["--extra-args", '{"status": 503}'],
    "half failed": ["--dataset", "line_by_line", "--dataset-path", "mixed.jsonl"],
    "broken off": ["--extra-args", '{"break_after": 2}'],
    "with warm-up": ["--warmup-num", "4"],
    "without bodies": ["--messages", "none"],
}
BODY = {"messages": [{"role": "user", "content": "a"}], "max_tokens": 3}
ROWS = 6


def command(url: str, folder: Path, *flags: str) -> list[str]:
    run = [sys.executable, "-m", "perfbench_runner", "run", "--results-dir", str(folder), "-q", "--workers", "1"]
    place = ["--url", f"{url}/v1/chat/completions", "--model", "m", "--no-test-connection"]
    usual = {"-n": str(ROWS), "--parallel": "2", "--max-tokens": "4"}
    return [*run, *place, *(word for flag in usual.items() if flag[0] not in flags for word in flag), *flags]


@pytest.fixture(scope="module")
def files(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """A results file of each kind."""
    folder = tmp_path_factory.mktemp("readers")
    lines = [BODY, {**BODY, "status": 503}, {**BODY, "stream": False}]
    (folder / "mixed.jsonl").write_text("".join(json.dumps(line) + "\n" for line in lines))
    made = {}
    with serving() as url:
        for name, flags in RUNS.items():
            place = folder / name
            done = subprocess.run(
                command(url, place, *flags), capture_output=True, text=True, timeout=60, cwd=folder, check=False
            )
            made[name] = place / "results.sqlite"
            assert made[name].exists(), done.stderr
            if _is_table(made[name]):
                pytest.skip("table `result` has no view of EvalScope's shape yet")
        made["interrupted"] = interrupted(url, folder)
    return made


def interrupted(url: str, folder: Path) -> Path:
    """The file of a run that was interrupted when some of its requests had come."""
    place = folder / "interrupted"
    with subprocess.Popen(command(url, place, "-n", "5000"), stderr=subprocess.PIPE, cwd=folder) as process:
        until_s = monotonic() + 30
        while not list(place.glob("results.sqlite*")) and monotonic() < until_s:
            sleep(0.05)
        sleep(2)
        process.send_signal(signal.SIGINT)
        process.communicate(timeout=60)
    return place / "results.sqlite"


def _is_table(file: Path) -> bool:
    db = sqlite3.connect(file)
    kind = db.execute("SELECT type FROM sqlite_master WHERE name = 'result'").fetchone()[0]
    db.close()
    return bool(kind == "table")


def rows(file: Path) -> list[dict[str, Any]]:
    db = sqlite3.connect(file)
    db.row_factory = sqlite3.Row
    found = [dict(row) for row in db.execute("SELECT * FROM result ORDER BY rowid")]
    db.close()
    return found


@pytest.mark.parametrize("name", [*RUNS, "interrupted"])
def test_what_the_readers_compute_with_is_a_number(files: dict[str, Path], name: str) -> None:
    found = rows(files[name])
    assert len(found) == ROWS or name == "interrupted"
    for row in found:
        assert json.loads(row["inter_token_latencies"]) is not None
        if row["success"]:
            assert row["first_chunk_latency"] * 1000 >= 0
            assert row["time_per_output_token"] >= 0
            assert row["latency"] > 0
            assert (row["prompt_tokens"] + row["completion_tokens"]) / row["latency"] >= 0


def test_they_read_every_file(files: dict[str, Path], evalscope_python: str) -> None:
    asked = [evalscope_python, str(HERE / "readers.py"), *map(str, files.values())]
    done = subprocess.run(asked, capture_output=True, text=True, timeout=300, check=True)
    found: dict[str, Any] = json.loads(done.stdout.splitlines()[-1])
    errors = {name for name, said in found.items() if isinstance(said, dict) and "error" in said}
    assert errors == {"without bodies: seed script"}  # it takes the first message of an answer that was not kept
    for name in files.keys() - {"without bodies"}:
        succeeded = sum(row["success"] for row in rows(files[name]))
        assert found[f"{name}: loader"]["succeeded"] == succeeded
        assert found[f"{name}: seed script"] == found[f"{name}: newest script"]
    median = next(row for row in found["streamed: percentiles"] if row["Percentiles"] == "50%")
    ttfts = sorted(row["first_chunk_latency"] for row in rows(files["streamed"]))
    assert math.isclose(median["TTFT (ms)"], 1000 * ttfts[ROWS // 2 - 1], abs_tol=0.001)
