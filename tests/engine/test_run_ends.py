"""Runs that do not come to their end: what was measured is kept, nothing is left behind, and the end is told."""

import os
import signal
import sqlite3
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from perfbench_api.outcome import Outcome

Start = Callable[..., Any]
LONG = {"concurrency": 4, "requests": 100_000}


def is_alive(pid: int) -> bool:
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] not in ("Z", "X")
    except OSError:
        return False


def gone(pids: list[int], within_s: float = 10) -> bool:
    deadline_s = time.monotonic() + within_s
    while any(map(is_alive, pids)) and time.monotonic() < deadline_s:
        time.sleep(0.02)
    return not any(map(is_alive, pids))


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_signal_ends_the_run_after_the_requests_under_way(
    mock: Start, perfbench: Start, spec_for: Start, number: signal.Signals
) -> None:
    server = mock(ttft_s=0.3)
    run = perfbench(spec_for(server, LONG, objectives=[{"metric": "ttft", "max": "10s"}]))
    run.wait_for_rows(8)
    pids = run.descendants()
    run.signal(number)
    assert run.wait(20) == 130
    assert f"interrupted: stopped by {number.name}" in run.stderr
    summary = run.summary
    assert (summary["state"], summary["verdict"]) == ("interrupted", "Inconclusive")
    assert run.stage["requests"]["failed"] == 0, "those under way were given the time to finish"
    assert run.stage["requests"]["total"] == run.count() == server.stats()["started"] - 1
    assert dict(run.query("SELECT key, value FROM run"))["state"] == "interrupted"
    assert gone(pids)


def test_requests_that_take_longer_than_the_grace_are_cut_off(mock: Start, perfbench: Start, spec_for: Start) -> None:
    server = mock(stall_rate=0.5, stall_s=100, output_tokens=4)
    run = perfbench(spec_for(server, LONG, load={"gracePeriod": "300ms"}, target={"connectionTest": False}))
    run.wait_for_rows(1)
    time.sleep(0.5)
    run.signal(signal.SIGTERM)
    began_s = time.monotonic()
    assert run.wait(20) == 130
    assert time.monotonic() - began_s < 10
    assert run.stage["errors"] == {}
    assert run.stage["requests"]["unfinished"] == run.count("failure = 'unfinished'") == 4
    assert run.count() == server.stats()["started"]


def test_a_second_signal_ends_it_at_once(mock: Start, perfbench: Start, spec_for: Start) -> None:
    server = mock(ttft_s=60)
    run = perfbench(spec_for(server, LONG, load={"gracePeriod": "60s"}, target={"connectionTest": False}))
    run.until(lambda: server.stats()["in_flight"] == 4)
    run.signal(signal.SIGINT)
    time.sleep(0.3)
    assert run.process.poll() is None
    run.signal(signal.SIGINT)
    assert run.wait(15) == 130
    assert (run.stage["errors"], run.stage["requests"]["unfinished"]) == ({}, 4)


def test_many_signals_do_not_lose_the_summary(mock: Start, perfbench: Start, spec_for: Start) -> None:
    """Ctrl-C is pressed more than twice, and a terminal sends it to every process of the run."""
    run = perfbench(spec_for("unused", LONG, target={"url": None, "mock": {"ttft": "5ms", "itl": "1ms"}}))
    run.wait_for_rows(10)
    deadline_s = time.monotonic() + 20
    while run.process.poll() is None and time.monotonic() < deadline_s:
        os.killpg(run.process.pid, signal.SIGINT)
        time.sleep(0.01)
    assert run.wait(20) in (130, 1, -signal.SIGINT), "killed while it printed, at worst"
    assert run.summary["state"] == "interrupted"
    assert run.stage["requests"]["total"] == run.count() > 0
    assert (run.folder / "results.sqlite").exists()


def test_ctrl_c_reaches_the_mock_only_when_it_is_no_longer_needed(perfbench: Start, spec_for: Start) -> None:
    """A terminal sends it to every process of the run: requests under way finish all the same."""
    run = perfbench(spec_for("unused", LONG, target={"url": None, "mock": {"ttft": "300ms", "itl": "1ms"}}))
    run.wait_for_rows(4)
    os.killpg(run.process.pid, signal.SIGINT)
    assert run.wait(20) == 130
    assert run.stage["requests"]["failed"] == 0, run.stage["errors"]


def test_a_signal_while_waiting_for_the_target(mock: Start, perfbench: Start, spec_for: Start) -> None:
    run = perfbench(spec_for("http://127.0.0.1:9", LONG, target={"waitFor": "60s"}))
    run.until(lambda: len(run.descendants()) > 0)
    time.sleep(0.7)
    run.signal(signal.SIGTERM)
    assert run.wait(15) == 130
    assert run.summary["state"] == "interrupted"


def test_kill_9_loses_the_last_second_at_most(mock: Start, perfbench: Start, spec_for: Start) -> None:
    """At a rate that a busy machine can store too: what waits to be read there is lost with the program."""
    server = mock(ttft_s=0.002)
    run = perfbench(spec_for(server, {"rate": 60, "duration": "5m"}, runner={"workers": 2}))
    run.wait_for_rows(50)
    time.sleep(2)
    pids = run.descendants()
    done = server.stats()["done"]
    time.sleep(2)
    run.signal(signal.SIGKILL)
    run.wait(5)
    assert gone(pids), "shards end when nobody takes their results"
    assert run.query("PRAGMA integrity_check") == [("ok",)]
    assert run.count() >= done, "what was done two seconds before is there"
    assert not (run.folder / "results.sqlite").exists()


def test_a_lost_shard_fails_the_run_and_keeps_the_rows(mock: Start, perfbench: Start, spec_for: Start) -> None:
    server = mock()
    run = perfbench(spec_for(server, LONG, runner={"workers": 2}))
    run.wait_for_rows(50)
    pids = run.descendants()
    os.kill(pids[0], signal.SIGKILL)
    assert run.wait(20) == 1
    assert "load-generating process" in run.stderr
    assert "ended unexpectedly, killed; what was measured is kept" in run.stderr
    assert run.summary["state"] == "failed"
    assert run.stage["requests"]["total"] == run.count() >= 50
    assert run.query("PRAGMA integrity_check") == [("ok",)]
    assert gone(pids)


def test_an_endpoint_that_dies_is_told(mock: Start, perfbench: Start, spec_for: Start) -> None:
    server = mock(ttft_s=0.05)
    run = perfbench(spec_for(server, {"concurrency": 4, "requests": 300}))
    run.wait_for_rows(20)
    server.stop()
    assert run.wait(20) == 1
    errors = run.stage["errors"]
    assert errors["connect"] > 0
    assert set(errors) <= {"connect", "disconnected"}
    assert run.count() == 300
    assert "of stage c4 failed (connect" in run.stderr


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    folder = tmp_path / "disk"
    folder.mkdir()
    mounted = subprocess.run(["mount", "-t", "tmpfs", "-o", "size=8m", "tmpfs", str(folder)], capture_output=True)
    if mounted.returncode != 0:
        if os.environ.get("CI"):
            pytest.fail(f"cannot mount a small disk: {mounted.stderr.decode()}")
        pytest.skip("a small disk can be mounted by root only")
    yield folder
    subprocess.run(["umount", "-l", str(folder)], check=True)


def test_a_full_disk_ends_the_run_and_keeps_what_is_there(
    mock: Start, perfbench: Start, spec_for: Start, small_disk: Path
) -> None:
    server = mock(output_tokens=64, ttft_s=0.05, itl_s=0.0)  # about 2 MB/s
    run = perfbench(spec_for(server, LONG, request={"maxTokens": 64}), name="disk/run")
    assert run.wait(60) == 1
    assert "is there room on the disk?" in run.stderr or "is the disk full" in run.stderr
    db = sqlite3.connect(f"file:{run.database}?mode=ro", uri=True)
    assert db.execute("PRAGMA integrity_check").fetchone() == ("ok",)
    assert db.execute("SELECT count(*) FROM result").fetchone()[0] > 0
    db.close()


def test_a_file_that_a_full_disk_left_unfinished_is_not_called_complete(
    mock: Start, perfbench: Start, spec_for: Start, small_disk: Path, tmp_path: Path
) -> None:
    server, word = mock(output_tokens=64, ttft_s=0.05, itl_s=0.0), tmp_path / "word"
    spec = spec_for(server, LONG, request={"maxTokens": 64})
    run = perfbench(spec, "--termination-message", str(word), name="disk/run")
    assert run.wait(60) == 1
    outcome = Outcome.model_validate_json(word.read_text())
    assert outcome.reason == "CannotStore"
    assert outcome.results is None or not outcome.results.is_complete


@pytest.mark.parametrize("free_bytes", [0, 600_000])
def test_a_disk_that_is_full_from_the_start_is_bad_input(
    mock: Start, perfbench: Start, spec_for: Start, small_disk: Path, free_bytes: int
) -> None:
    server, filler = mock(), small_disk / "filler"
    subprocess.run(["dd", "if=/dev/zero", f"of={filler}", "bs=64k"], capture_output=True)
    os.truncate(filler, filler.stat().st_size - free_bytes)
    run = perfbench(spec_for(server), name="disk/run")
    assert run.wait(20) == 2
    assert any(words in run.stderr for words in ("No space", "is there room on the disk?", "is the disk full"))
    assert server.stats()["started"] == 0
    assert not list(run.folder.glob("*")), "nothing that would be taken for a run that was killed"


@pytest.mark.parametrize("free_bytes", [0, 200_000])
def test_recovering_on_a_full_disk_says_so_and_can_be_done_again(
    mock: Start, perfbench: Start, spec_for: Start, small_disk: Path, free_bytes: int
) -> None:
    server = mock(output_tokens=64, ttft_s=0.05, itl_s=0.0)
    run = perfbench(spec_for(server, LONG, request={"maxTokens": 64}), name="disk/run")
    run.wait_for_rows(50)
    run.signal(signal.SIGKILL)
    run.wait(5)
    filler = small_disk / "filler"
    subprocess.run(["dd", "if=/dev/zero", f"of={filler}", "bs=64k"], capture_output=True)
    os.truncate(filler, filler.stat().st_size - free_bytes)
    command = [str(Path(sys.executable).parent / "perfbench"), "recover", str(run.folder)]
    full = subprocess.run(command, capture_output=True, text=True)
    assert full.returncode in (1, 2), full.stdout
    assert "Traceback" not in full.stderr
    assert any(words in full.stderr for words in ("No space", "is there room on the disk?", "is the disk full"))
    assert not (run.folder / "summary.json").exists()
    filler.unlink()
    again = subprocess.run(command, capture_output=True, text=True)
    assert again.returncode == 0, again.stderr
    assert run.stage["requests"]["total"] == run.count() >= 50
    assert run.query("PRAGMA integrity_check") == [("ok",)]


def test_a_plugin_that_blocks_its_process_is_ended_all_the_same(tmp_path: Path) -> None:
    plugin = tmp_path / "stuck.py"
    plugin.write_text(
        "import time\n"
        "from perfbench_plugins.api.default_api import DefaultApiPlugin\n"
        "from perfbench_plugins.registry import register_api\n\n\n"
        "@register_api('stuck')\nclass Stuck(DefaultApiPlugin):\n"
        "    def build_request(self, messages, param=None):\n        return {'a': 1}\n\n"
        "    def parse_responses(self, responses, request=None, **more):\n        return 1, 1\n\n"
        "    async def process_request(self, client_session, url, headers, body):\n        time.sleep(1000)\n"
    )
    folder = tmp_path / "run"
    argv = [
        str(Path(sys.executable).parent / "perfbench"),
        "run",
        "--plugin",
        str(plugin),
        "--api",
        "stuck",
        "--url",
        "http://127.0.0.1:9/x",
        "--model",
        "m",
    ]
    argv += ["--number", "3", "--no-test-connection", "--grace-period", "1s", "-q", "--results-dir", str(folder)]
    process = subprocess.Popen(argv, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    deadline = time.monotonic() + 20
    while not (folder / "results.sqlite.partial").exists() and time.monotonic() < deadline:
        time.sleep(0.1)
    time.sleep(1)
    process.send_signal(signal.SIGTERM)
    assert process.wait(timeout=30) == 130
    assert (folder / "summary.json").exists()
