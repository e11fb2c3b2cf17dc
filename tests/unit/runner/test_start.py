"""What a run loads and builds before its first request: most of its start is that."""

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import click
import pytest

from perfbench_runner.cli.commands import Commands

UP_TO_THE_FORK = """
import gc, json, os, sys
from perfbench_runner.__main__ import main

def models(model):
    return [model, *(found for below in model.__subclasses__() for found in models(below))]

def fork():
    from pydantic import BaseModel
    built = {cls.__name__ for cls in models(BaseModel) if type(cls.__pydantic_validator__).__name__ == "SchemaValidator"}
    told = {
        "modules": sorted(sys.modules),
        "models": sorted(built),
        "collections": [each["collections"] for each in gc.get_stats()],
        "frozen": gc.get_freeze_count(),
    }
    print(json.dumps(told), flush=True)
    os._exit(0)

os.fork = fork
main()
"""

LATER = {
    "aiohttp", "jinja2", "kopf", "kubernetes", "numpy", "prometheus_client", "rich", "tokenizers",
    "perfbench_api.explain", "perfbench_api.status", "perfbench_runner.cli.calibrate_command",
    "perfbench_runner.cli.plugins", "perfbench_runner.cli.table", "perfbench_runner.mock.server",
    "perfbench_runner.load.points",
    "perfbench_runner.results.figures", "perfbench_runner.results.summary", "perfbench_runner.run.calibrate",
    "perfbench_runner.runners",
}  # fmt: skip
"""What only results, a search, other commands or several runners need; `rich` is what shows progress, which -q does without."""


@pytest.fixture(scope="module")
def at_the_fork(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    """What a run is made of when its load-generating processes are forked."""
    flags = ["--url", "http://127.0.0.1:9", "--model", "m", "--number", "3", "--no-test-connection", "-q"]
    folder = str(tmp_path_factory.mktemp("run") / "results")
    words = [sys.executable, "-c", UP_TO_THE_FORK, "run", *flags, "--results-dir", folder]
    done = subprocess.run(words, capture_output=True, text=True, timeout=60)
    assert done.returncode == 0, done.stderr
    found: dict[str, Any] = json.loads(done.stdout)
    return found


def test_what_is_needed_later_is_loaded_later(at_the_fork: dict[str, Any]) -> None:
    modules = set(at_the_fork["modules"])
    assert sorted(LATER & modules) == []
    assert len(modules) < 620


def test_models_are_built_when_they_are_used(at_the_fork: dict[str, Any]) -> None:
    assert len(at_the_fork["models"]) < 25, at_the_fork["models"]
    assert {"PerfBenchmark", "Arguments"} <= set(at_the_fork["models"])


def test_nothing_that_was_loaded_is_looked_through_for_garbage(at_the_fork: dict[str, Any]) -> None:
    assert sum(at_the_fork["collections"]) < 20, at_the_fork["collections"]  # half of them before Python has started


def test_processes_share_what_was_loaded_before_the_fork(at_the_fork: dict[str, Any]) -> None:
    assert at_the_fork["frozen"] > 10_000
    assert "uvloop.loop" in at_the_fork["modules"]


@pytest.mark.parametrize("name", Commands())
def test_a_command_is_loaded_by_its_name(name: str) -> None:
    assert isinstance(Commands()[name], click.Command)
    assert Commands()[name].name == name


@pytest.mark.parametrize("words", [["--version"], ["nonsense"]])
def test_what_needs_no_command_loads_none(words: list[str]) -> None:
    program = "import sys; sys.modules['pydantic'] = None; from perfbench_runner.__main__ import main; main()"
    done = subprocess.run([sys.executable, "-c", program, *words], capture_output=True, text=True, timeout=30)
    assert done.returncode == (0 if words == ["--version"] else 2), done.stderr
    assert "Traceback" not in done.stderr


def test_a_name_that_is_no_command_is_corrected(tmp_path: Path) -> None:
    done = subprocess.run([sys.executable, "-m", "perfbench_runner", "calibrat"], capture_output=True, text=True)
    assert "Did you mean 'calibrate'?" in done.stderr
