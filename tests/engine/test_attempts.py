"""What is found in the folders of a benchmark's attempts: the last whole one counts, else what the last one has left."""

import json
import os
import shutil
import signal
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from perfbench_api.outcome import Outcome

COMMAND = [str(Path(sys.executable).parent / "perfbench")]
SHORT = {"concurrency": 2, "requests": 6}
LONG = {"concurrency": 2, "duration": "60s"}


@pytest.fixture
def whole(mock: Any, perfbench: Any, spec_for: Any) -> Path:
    """The folder of a run that went to its end."""
    run = perfbench(spec_for(mock(), SHORT), name="whole")
    assert run.wait() == 0
    folder: Path = run.folder
    return folder


@pytest.fixture
def partial(mock: Any, perfbench: Any, spec_for: Any) -> Path:
    """The folder of a run that was killed."""
    run = perfbench(spec_for(mock(), LONG), name="partial")
    run.wait_for_rows(5)
    run.signal(signal.SIGKILL)
    run.process.communicate()
    folder: Path = run.folder
    return folder


def told(folder: Path, tmp_path: Path) -> tuple[int, Outcome]:
    """Exit code and termination message of looking for what the attempts have left."""
    word = tmp_path / "word"
    command = [*COMMAND, "recover", str(folder), "--termination-message", str(word)]
    done = subprocess.run(command, capture_output=True, text=True, timeout=60, check=False)
    return done.returncode, Outcome.model_validate(json.loads(word.read_text()))


def attempt(folder: Path, source: Path, age_s: int) -> Path:
    """An attempt that began so long ago."""
    copied = folder / f"attempt-{age_s}"
    shutil.copytree(source, copied)
    began_s = (source / "manifest.yaml").stat().st_mtime - age_s
    os.utime(copied / "manifest.yaml", (began_s, began_s))
    return copied


@pytest.mark.parametrize("ages_s", [(20, 10), (10, 20)], ids=["the whole one came first", "the whole one came last"])
def test_the_whole_attempt_counts(whole: Path, partial: Path, tmp_path: Path, ages_s: tuple[int, int]) -> None:
    folder = tmp_path / "attempts"
    expected = attempt(folder, whole, ages_s[0])
    attempt(folder, partial, ages_s[1])
    code, outcome = told(folder, tmp_path)
    assert (code, outcome.outcome) == (0, "succeeded")
    assert outcome.results is not None
    assert outcome.results.path == str(expected / "results.sqlite")
    assert outcome.stages[0]["requests"]["succeeded"] == 6


def test_of_attempts_that_were_killed_the_last_one_is_finished(partial: Path, tmp_path: Path) -> None:
    folder = tmp_path / "attempts"
    attempt(folder, partial, 20)
    last = attempt(folder, partial, 10)
    code, outcome = told(folder, tmp_path)
    assert (code, outcome.outcome) == (0, "interrupted")
    assert outcome.results is not None
    assert outcome.results.is_complete
    assert (last / "results.sqlite").exists()
    assert told(folder, tmp_path)[1].results == outcome.results, "and again, if the first answer was lost"


@pytest.mark.parametrize("what", ["no folder", "an empty folder", "an empty attempt"])
def test_nothing_is_told_as_nothing(what: str, tmp_path: Path) -> None:
    folder = tmp_path / "attempts"
    if what != "no folder":
        (folder / "attempt" if what == "an empty attempt" else folder).mkdir(parents=True)
    code, outcome = told(folder, tmp_path)
    assert code != 0
    assert (outcome.outcome, outcome.results, outcome.stages) == ("failed", None, [])
    assert "holds no run" in outcome.message
