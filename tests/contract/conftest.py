"""Runs of all cases, by perfbench and, where it is installed, by EvalScope."""

import json
import os
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

HERE = Path(__file__).parent
VARIABLE = "PERFBENCH_EVALSCOPE"
"""Environment variable that names the Python of an environment with EvalScope in it."""


@contextmanager
def serving() -> Iterator[str]:
    """The endpoint, in a process of its own; its URL."""
    command = [sys.executable, str(HERE / "server.py")]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdin
        assert process.stdout
        yield f"http://127.0.0.1:{process.stdout.readline().strip()}"
        process.stdin.close()


def driven(python: str, folder: Path, *cases: str) -> dict[str, Any]:
    """What came of the cases (all, if none are named), run by this Python."""
    out = folder / "found.json"
    with serving() as url:
        command = [python, str(HERE / "drive.py"), url, str(folder), str(out), *cases]
        done = subprocess.run(command, capture_output=True, text=True, timeout=600, check=False, cwd=folder)
    assert out.exists(), done.stderr
    found: dict[str, Any] = json.loads(out.read_text())
    return found


@pytest.fixture(scope="session")
def evalscope_python() -> str:
    """The Python of an environment with EvalScope; skips where there is none."""
    python = os.environ.get(VARIABLE)
    if not python:
        pytest.skip(
            f"EvalScope is not installed: its dependencies are gigabytes, more than CI has time for. What it did is recorded"
            f" in {HERE.name}/recorded and compared with. To run it: pip install 'evalscope[perf]==1.14.1' into an"
            f" environment of its own, and {VARIABLE}=…/bin/python"
        )
    return python


@pytest.fixture(scope="session")
def ours(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    """What came of all cases here."""
    return driven(sys.executable, tmp_path_factory.mktemp("ours"))


@pytest.fixture(scope="session")
def theirs(evalscope_python: str, tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    """What came of all cases with EvalScope."""
    return driven(evalscope_python, tmp_path_factory.mktemp("theirs"))
