"""Fixtures of the tests that need a real inference server: llama-server, built once (llama_build.py), and random models."""

from __future__ import annotations

import json
import os
import sqlite3
import subprocess
import sys
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
import yaml

HERE = Path(__file__).resolve().parent
sys.path.insert(0, str(HERE))  # llama_build.py is a program first: these modules are no package

import llama_build  # noqa: E402
import random_models  # noqa: E402
from llama_server import LlamaServer  # noqa: E402
from stamping_proxy import StampingProxy  # noqa: E402

COMMAND = [str(Path(sys.executable).parent / "perfbench"), "run", "--no-fail"]


@pytest.fixture(scope="session")
def program(request: pytest.FixtureRequest) -> Path:
    """Path of llama-server. Without a compiler these tests are skipped, saying so; where CI=true they fail."""
    if reason := llama_build.missing():
        _give_up(f"llama-server needs {reason}")
    terminal = request.config.pluginmanager.getplugin("capturemanager")
    with terminal.global_and_fixture_disabled():  # it may take minutes: say what takes them
        try:
            return llama_build.build()
        except (llama_build.BuildError, subprocess.CalledProcessError) as error:
            pytest.fail(str(error), pytrace=False)


def _give_up(reason: str) -> None:
    if os.environ.get("CI") == "true":
        pytest.fail(reason, pytrace=False)
    pytest.skip(reason)


@pytest.fixture(scope="session")
def model_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """tiny.gguf, mid.gguf and the folder `tokenizer`."""
    folder = tmp_path_factory.mktemp("models")
    docs = HERE.parents[1] / "docs"
    random_models.make(
        folder, "\n".join((docs / name).read_text() for name in ("metrics.md", "datasets.md", "plugins.md"))
    )
    return folder


Serve = Callable[..., LlamaServer]


@pytest.fixture
def serve(program: Path, model_folder: Path, tmp_path: Path) -> Iterator[Serve]:
    """Start a server of a model with further options; it ends with the test."""
    started: list[LlamaServer] = []

    def start(model: str = "tiny", *options: str) -> LlamaServer:
        server = LlamaServer(program, model_folder / f"{model}.gguf", tmp_path / f"{model}.log", *options)
        started.append(server)
        server.start()
        return server

    yield start
    for server in started:
        server.kill()


@pytest.fixture
def proxied() -> Iterator[Callable[[LlamaServer], StampingProxy]]:
    """A stamping proxy before a server."""
    made: list[StampingProxy] = []

    def start(server: LlamaServer) -> StampingProxy:
        made.append(StampingProxy(server.port))
        return made[-1]

    yield start
    for proxy in made:
        proxy.close()


@dataclass
class Run:
    """A run of the command that is over."""

    folder: Path
    code: int
    stdout: str
    stderr: str

    @property
    def summary(self) -> dict[str, Any]:
        found: dict[str, Any] = json.loads((self.folder / "summary.json").read_text())
        return found

    @property
    def stages(self) -> list[dict[str, Any]]:
        stages: list[dict[str, Any]] = self.summary["stages"]
        return stages

    @property
    def stage(self) -> dict[str, Any]:
        """Its only stage."""
        (stage,) = self.stages
        return stage

    @property
    def notes(self) -> str:
        """The notes of all stages."""
        return "\n".join(note for stage in self.stages for note in stage["notes"])

    def rows(self, columns: str) -> list[tuple[Any, ...]]:
        """Rows of the results file, in the order of sending."""
        return self.query(f"SELECT {columns} FROM requests ORDER BY start_time")

    def query(self, sql: str) -> list[tuple[Any, ...]]:
        """What the results file answers."""
        db = sqlite3.connect(self.folder / "results.sqlite")
        try:
            return db.execute(sql).fetchall()
        finally:
            db.close()


class Runner:
    """Runs the command against a server."""

    def __init__(self, folder: Path) -> None:
        self._folder, self._count = folder, 0

    def begin(self, url: str, *stages: dict[str, Any], **sections: Any) -> tuple[subprocess.Popen[str], Path]:
        """Start a run with these stages; further sections of the spec are put over what there is."""
        self._count += 1
        spec: dict[str, Any] = {
            # llama-server ends a connection after a stream although it has announced to keep it: docs/servers.md.
            "target": {"url": url, "model": "tiny", "keepAlive": False},
            "request": {"maxTokens": 16, "extraArgs": {"ignore_eos": True}},
            "load": {"stages": list(stages) or [{"concurrency": 2, "requests": 12}]},
        }
        for name, values in sections.items():
            spec[name] = spec.get(name, {}) | values if isinstance(values, dict) else values
        folder, file = self._folder / f"run{self._count}", self._folder / f"run{self._count}.yaml"
        file.write_text(yaml.safe_dump({"kind": "PerfBenchmark", "metadata": {"name": "run"}, "spec": spec}))
        process = subprocess.Popen(
            [*COMMAND, "--results-dir", str(folder), str(file)],
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            env={**os.environ, "COLUMNS": "160"},
        )
        return process, folder

    def __call__(self, url: str, *stages: dict[str, Any], **sections: Any) -> Run:
        """The same, and wait for its end; a run that could not be made fails the test."""
        return self.end(*self.begin(url, *stages, **sections))

    def end(self, process: subprocess.Popen[str], folder: Path) -> Run:
        """Wait for the end of a run."""
        try:
            stdout, stderr = process.communicate(timeout=90)
        finally:
            process.kill()
        run = Run(folder, process.returncode, stdout, stderr)
        assert (folder / "summary.json").exists(), stdout + stderr
        return run


@pytest.fixture
def measured(tmp_path: Path) -> Runner:
    """Measure a server."""
    return Runner(tmp_path)
