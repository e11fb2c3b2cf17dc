"""Faults around a run, of plugins, disks, streams and command lines: told in words, never by a traceback."""

import shutil
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from perfbench_runner.engine import advice

Start = Callable[..., Any]
COMMAND = str(Path(sys.executable).parent / "perfbench")
ODD = """
import sys
from perfbench_plugins.api.openai_api import OpenaiPlugin
from perfbench_plugins.registry import register_api
@register_api('returns-none')
class ReturnsNone(OpenaiPlugin):
    def read_message(self, message):
        return None
@register_api('exits')
class Exits(OpenaiPlugin):
    async def process_request(self, client_session, url, headers, body):
        sys.exit('bye')
"""


@pytest.mark.parametrize(
    ("api", "words"),
    [
        ("returns-none", "ReturnsNone.read_message returned None, no Piece"),
        ("exits", "Exits.process_request"),
    ],
)
def test_a_plugin_s_mistake_is_its_request_s_failure(
    mock: Start, perfbench: Start, spec_for: Start, tmp_path: Path, api: str, words: str
) -> None:
    (tmp_path / "odd.py").write_text(ODD)
    spec = spec_for(mock(), target={"api": api, "connectionTest": False}, plugins=[{"file": "odd.py"}])
    run = perfbench(spec)
    assert run.wait(30) == 1
    assert words in run.stderr
    assert len(run.stderr.splitlines()) <= 2, run.stderr
    assert run.summary["state"] == "failed"


def test_a_folder_that_is_deleted_in_mid_run_ends_it_in_words(mock: Start, perfbench: Start, spec_for: Start) -> None:
    run = perfbench(spec_for(mock(), {"concurrency": 4, "requests": 100_000}))
    run.wait_for_rows(10)
    shutil.rmtree(run.folder)
    assert run.wait(30) == 1
    assert "it is gone; somebody has deleted or moved it while the run went on" in run.stderr
    assert "What was stored" not in run.stderr


@pytest.mark.parametrize("seconds", ["0", "-1", "nan", "0s", "x"])
def test_a_calibration_of_no_length_is_refused(tmp_path: Path, seconds: str) -> None:
    assert "--seconds" in error_of("calibrate", "--seconds", seconds, "-o", str(tmp_path))


def error_of(*command: str, code: int = 2) -> str:
    """The one line that a command fails with."""
    done = subprocess.run([COMMAND, *command], capture_output=True, text=True, check=False, timeout=60)
    assert done.returncode == code, done.stderr
    (line,) = done.stderr.splitlines()
    assert line.startswith("error: ")
    return line


FLAGS = ("run", "--url", "http://127.0.0.1:9", "--model", "m", "-n", "3")


@pytest.mark.parametrize(
    ("args", "words"),
    [
        ((*FLAGS, "--results-dir", "x" * 300), "File name too long"),
        ((*FLAGS, "--set", "spec.load.stages=" + "[" * 3000), "is no YAML value"),
        ((*FLAGS, "--api-args", "[" * 3000), "--api-args"),
        ((*FLAGS, "--duration", "10s", "20s"), "20s: is taken for a manifest FILE"),
        ((*FLAGS, "--ca-file", "nothing.pem"), "spec.target.tls.ca.file: cannot read nothing.pem: No such file"),
    ],
)
def test_a_command_line_that_cannot_be(args: tuple[str, ...], words: str) -> None:
    line = error_of(*args)
    assert words in line
    assert len(line) < 900


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("[" * 5000, "is nested too deeply"),
        ("a: " + "[" * 5000, "is nested too deeply"),
        ("kind: PerfBnchmark", "holds no PerfBenchmark, only kind PerfBnchmark; did you mean PerfBenchmark?"),
        ("kind: Pod", "holds no PerfBenchmark, only kind Pod"),
        ("", "holds no PerfBenchmark; it is empty"),
        ("- 1", "holds no PerfBenchmark; it must be a map with metadata and spec"),
    ],
)
def test_a_file_that_is_no_manifest(tmp_path: Path, text: str, words: str) -> None:
    (tmp_path / "m.yaml").write_text(text)
    assert words in error_of("run", str(tmp_path / "m.yaml"))


@pytest.mark.parametrize("where", ["> /dev/full", ">&-", "2>&-", "2> /dev/full"])
@pytest.mark.parametrize("more", ["", "--json"])
def test_a_run_whose_output_cannot_be_written_keeps_its_results(
    mock: Start, tmp_path: Path, where: str, more: str
) -> None:
    url = mock().base_url
    run = f"{COMMAND} run --url {url} --model m -n 3 --max-tokens 4 --results-dir run {more} {where}"
    done = subprocess.run(["sh", "-c", run], capture_output=True, text=True, check=False, timeout=60, cwd=tmp_path)
    assert "Traceback" not in done.stderr
    assert (tmp_path / "run/results.sqlite").exists()
    if where == "> /dev/full":
        assert done.returncode == 1
        assert "error: cannot write the output: No space left on device" in done.stderr
    else:
        assert done.returncode == 0 or where == "2> /dev/full", "a warning of the client's may not be written either"


@pytest.mark.parametrize("command", ["explain", "plugins", "--help", "mock --help"])
@pytest.mark.parametrize(("where", "code"), [("> /dev/full", 1), (">&-", 0), ("| head -c 1", 0)])
def test_output_that_cannot_be_written_is_told_in_words(command: str, where: str, code: int) -> None:
    done = subprocess.run(
        ["sh", "-c", f"{COMMAND} {command} {where}"], capture_output=True, text=True, check=False, timeout=30
    )
    assert "Traceback" not in done.stderr
    assert done.returncode == code, done.stderr


@pytest.mark.alone
def test_a_run_that_is_under_way_is_not_recovered(mock: Start, perfbench: Start, spec_for: Start) -> None:
    run = perfbench(spec_for(mock(), {"concurrency": 2, "requests": 100_000}))
    run.wait_for_rows(5)
    began_s = time.monotonic()
    assert "the run is still under way" in error_of("recover", str(run.folder))
    assert time.monotonic() - began_s < 6
    assert run.process.poll() is None
    run.signal(9)
    run.wait(10)
    done = subprocess.run([COMMAND, "recover", str(run.folder)], capture_output=True, text=True, check=False)
    assert (done.returncode, "Traceback" in done.stderr) == (0, False), done.stderr
    assert run.summary["state"] == "interrupted"


@pytest.mark.parametrize(
    ("code", "words"),
    [(-9, "out of memory?"), (-11, "by SIGSEGV"), (3, "with exit code 3 (does a plugin end the process?)")],
)
def test_of_a_lost_process_it_is_said_how_it_ended(code: int, words: str) -> None:
    assert words in advice.lost(2, code)
    assert ("memory" in advice.lost(2, code)) == (code == -9)


@pytest.mark.parametrize(
    ("kind", "error", "wanted", "unwanted"),
    [
        ("connect", "connection refused; does the server run, and is the port right?", "refused", "names its host"),
        ("connect", "unknown host: x", "check that target.url names its host", ""),
        ("timeout", "not complete within 3 s (totalTimeout)", "raise target.totalTimeout", "connectTimeout"),
        ("timeout", "silent for 3 s (readTimeout)", "raise target.readTimeout", "connectTimeout"),
        ("timeout", "no connection within 3 s (connectTimeout)", "raise target.connectTimeout", "readTimeout"),
    ],
)
def test_advice_is_given_once_and_fits(kind: str, error: str, wanted: str, unwanted: str) -> None:
    text = advice.advice("http://x", kind, error)
    assert wanted in text
    assert not unwanted or unwanted not in text
