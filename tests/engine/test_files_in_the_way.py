"""Other programs, full disks and talkative plugins around the files of a run."""

import json
import signal
import sqlite3
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

Start = Callable[..., Any]
PERFBENCH = str(Path(sys.executable).parent / "perfbench")


def test_a_lock_of_another_program_loses_no_row(mock: Start, perfbench: Start, spec_for: Start) -> None:
    """It ended the run after 5 s, with a question about the room on the disk."""
    run = perfbench(spec_for(mock(ttft_s=0.02), {"rate": 20, "arrival": "constant", "requests": 200}))
    run.wait_for_rows(10)
    other = sqlite3.connect(run.database, isolation_level=None, timeout=10)
    other.execute("BEGIN IMMEDIATE")
    time.sleep(7)
    other.execute("ROLLBACK")
    other.close()
    assert run.wait() == 0, run.stderr
    assert run.count() == run.stage["requests"]["total"] == 200
    assert run.stage["requests"]["succeeded"] == 200


def test_a_summary_that_cannot_be_written_is_not_announced(mock: Start, perfbench: Start, spec_for: Start) -> None:
    """A full disk left an empty summary.json."""
    spec = spec_for(mock(), {"concurrency": 2, "requests": 6})
    run = perfbench(spec, name="run")
    deadline_s = time.monotonic() + 30
    while not run.folder.exists() and time.monotonic() < deadline_s:
        time.sleep(0.001)
    (run.folder / "summary.json.partial").symlink_to("/dev/full")
    assert run.wait() == 1
    assert "summary.json: [Errno 28] No space left on device; is there room on the disk?" in run.stderr
    assert "summary: " not in run.stdout
    assert not (run.folder / "summary.json").exists()
    assert run.count() == 6


def test_a_live_run_is_not_recovered(mock: Start, perfbench: Start, spec_for: Start) -> None:
    run = perfbench(spec_for(mock(ttft_s=0.02), {"concurrency": 2, "requests": 100_000}))
    run.wait_for_rows(4)
    recovered = subprocess.run([PERFBENCH, "recover", str(run.folder)], capture_output=True, text=True, timeout=60)
    assert recovered.returncode == 2
    assert "the run is still under way" in recovered.stderr
    run.signal(signal.SIGKILL)
    assert run.wait() == -signal.SIGKILL
    recovered = subprocess.run([PERFBENCH, "recover", str(run.folder)], capture_output=True, text=True, timeout=60)
    assert recovered.returncode == 0, recovered.stderr
    assert run.summary["state"] == "interrupted"


def test_what_a_plugin_prints_is_not_among_the_json(mock: Start, perfbench: Start, tmp_path: Path) -> None:
    plugin = tmp_path / "talks.py"
    plugin.write_text(
        "from perfbench_plugins.api.openai_api import OpenaiPlugin\n"
        "from perfbench_plugins.registry import register_api\n"
        "import os\n\n\n@register_api('talks')\nclass Talks(OpenaiPlugin):\n"
        "    def build_request(self, messages, param=None):\n"
        "        print('building')\n"
        "        os.write(1, b'straight to the file\\n')\n"
        "        return super().build_request(messages, param)\n"
    )
    flags = f"--plugin {plugin} --api talks --url {mock().base_url} --model m --number 3 --json"
    run = perfbench(None, *flags.split())
    assert run.wait() == 0, run.stderr
    assert json.loads(run.stdout)["stages"][0]["requests"]["succeeded"] == 3
    assert "building" in run.stderr
    assert "straight to the file" in run.stderr


def test_json_is_printed_when_the_connection_test_fails(perfbench: Start) -> None:
    run = perfbench(None, "--url", "http://127.0.0.1:9", "--model", "m", "--json")
    assert run.wait() == 1
    assert json.loads(run.stdout)["state"] == "failed"
