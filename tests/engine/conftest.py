"""The transport's tests run on both event loops; whole runs are made by the command, against a mock that counts."""

import asyncio
import json
import os
import signal
import socket
import sqlite3
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Coroutine, Iterator
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest
import uvloop
import yaml

from perfbench_runner.mock.process import MockProcess
from perfbench_runner.mock.settings import MockSettings

sys.path.insert(0, str(Path(__file__).parent))  # tests import the helpers that lie beside them
COMMAND = [str(Path(sys.executable).parent / "perfbench")]


def pytest_asyncio_loop_factories(
    config: pytest.Config, item: pytest.Item
) -> dict[str, Callable[[], asyncio.AbstractEventLoop]]:
    if not item.path.name.startswith("test_transport"):
        return {"asyncio": asyncio.new_event_loop}
    return {"asyncio": asyncio.new_event_loop, "uvloop": uvloop.new_event_loop}


@pytest.fixture
def mock() -> Iterator[Callable[..., MockProcess]]:
    """Start a mock endpoint in a process of its own; quick unless told otherwise."""
    started: list[MockProcess] = []

    def start(**settings: Any) -> MockProcess:
        made = MockProcess(MockSettings(**{"ttft_s": 0.005, "itl_s": 0.001, "output_tokens": 4} | settings))
        made.start()
        started.append(made)
        return made

    yield start
    for each in started:
        each.stop()


@dataclass
class Run:
    """A run of the command, and what it left."""

    process: "subprocess.Popen[str]"
    folder: Path
    """Its --results-dir."""
    stdout: str = ""
    stderr: str = ""
    started_s: float = field(default_factory=time.monotonic)

    def wait(self, timeout_s: float = 60) -> int:
        """Its exit code."""
        try:
            self.stdout, self.stderr = self.process.communicate(timeout=timeout_s)
        except subprocess.TimeoutExpired:
            self.process.kill()
            self.stdout, self.stderr = self.process.communicate()
            pytest.fail(f"the command did not end within {timeout_s} s\n{self.stdout}\n{self.stderr}")
        assert "Traceback" not in self.stderr, self.stderr
        return self.process.returncode

    def signal(self, number: signal.Signals) -> None:
        self.process.send_signal(number)

    @property
    def database(self) -> Path:
        finished = self.folder / "results.sqlite"
        return finished if finished.exists() else self.folder / "results.sqlite.partial"

    def rows(self, columns: str = "count(*)", where: str = "1") -> list[tuple[Any, ...]]:
        """Rows of the results file."""
        db = sqlite3.connect(self.database)
        try:
            return db.execute(f"SELECT {columns} FROM result WHERE {where} ORDER BY rowid").fetchall()
        finally:
            db.close()

    def count(self, where: str = "1") -> int:
        return int(self.rows("count(*)", where)[0][0])

    def query(self, sql: str) -> list[tuple[Any, ...]]:
        db = sqlite3.connect(self.database)
        try:
            return db.execute(sql).fetchall()
        finally:
            db.close()

    @property
    def summary(self) -> dict[str, Any]:
        found: dict[str, Any] = json.loads((self.folder / "summary.json").read_text())
        return found

    @property
    def stage(self) -> dict[str, Any]:
        """The summary of its only stage."""
        (stage,) = self.summary["stages"]
        found: dict[str, Any] = stage
        return found

    def descendants(self) -> list[int]:
        """Process ids of its children and theirs."""
        return children_of(self.process.pid)

    def wait_for_rows(self, count: int, timeout_s: float = 30) -> None:
        """Until so many rows are committed."""

        def there() -> bool:
            try:
                return self.database.exists() and self.count() >= count
            except sqlite3.Error:
                return False

        self.until(there, timeout_s)

    def until(self, condition: Callable[[], bool], timeout_s: float = 30) -> None:
        """Until something is true of the run under way."""
        deadline_s = time.monotonic() + timeout_s
        while not condition():
            if self.process.poll() is not None or time.monotonic() > deadline_s:
                self.process.kill()
                self.wait()
                pytest.fail(f"it did not come to that: {self.stdout}\n{self.stderr}")
            time.sleep(0.02)


def children_of(pid: int) -> list[int]:
    """Process ids of all descendants."""
    try:
        text = "".join(path.read_text() for path in Path(f"/proc/{pid}/task").glob("*/children"))
    except OSError:
        return []
    own = [int(child) for child in text.split()]
    return own + [grandchild for child in own for grandchild in children_of(child)]


@pytest.fixture
def perfbench(tmp_path: Path) -> Iterator[Callable[..., Run]]:
    """Start `perfbench run` with a spec (as data) or with flags; nothing of it outlives the test."""
    started: list[Run] = []

    def start(
        spec: dict[str, Any] | None = None, *args: str, name: str = "run", env: dict[str, str] | None = None
    ) -> Run:
        folder = tmp_path / name
        if spec is not None:
            file = tmp_path / f"{Path(name).name}.yaml"
            file.write_text(
                yaml.safe_dump({"kind": "PerfBenchmark", "metadata": {"name": Path(name).name}, "spec": spec})
            )
            args = (str(file), *args)
        process = subprocess.Popen(
            [*COMMAND, "run", "--results-dir", str(folder), *args],
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            cwd=tmp_path,
            env={**os.environ, **(env or {})},
            start_new_session=True,
        )
        run = Run(process, folder)
        started.append(run)
        return run

    yield start
    for run in started:
        if run.process.poll() is None:
            for pid in [*run.descendants(), run.process.pid]:
                with suppress(ProcessLookupError):
                    os.kill(pid, signal.SIGKILL)
        if run.process.stdout and not run.process.stdout.closed:
            run.process.communicate()


@pytest.fixture
def listen() -> str:
    """An address that is free, to listen at."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        return f"127.0.0.1:{free.getsockname()[1]}"


@pytest.fixture
def spec_for() -> Callable[..., dict[str, Any]]:
    """A spec against a mock: one stage unless `stages` says otherwise."""

    def make(mock: MockProcess | str, *stages: dict[str, Any], **sections: Any) -> dict[str, Any]:
        url = mock if isinstance(mock, str) else mock.base_url
        load = {"stages": list(stages) or [{"concurrency": 4, "requests": 40}], "gracePeriod": "5s"}
        target = {"url": url, "model": "m"} | sections.pop("target", {})
        request = {"maxTokens": 4} | sections.pop("request", {})
        return {"target": target, "load": load | sections.pop("load", {}), "request": request, **sections}

    return make


def openssl(*args: str) -> None:
    subprocess.run(["openssl", *args], check=True, capture_output=True)


@pytest.fixture(scope="session")
def certificates(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Two authorities, ours and another; of ours a server for 127.0.0.1, one for another name, one that has expired, a client."""
    folder = tmp_path_factory.mktemp("certificates")
    key = ["-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes", "-days", "2"]
    usage = ["-addext", "keyUsage=critical,keyCertSign"]
    for name in ("ours", "another"):
        files = ["-keyout", f"{folder}/{name}.key", "-out", f"{folder}/{name}.pem"]
        openssl("req", "-x509", *key, "-subj", f"/CN={name}", *usage, *files)
    for name, names in {
        "server": "IP:127.0.0.1,DNS:localhost",
        "elsewhere": "DNS:elsewhere.test",
        "client": "DNS:me",
    }.items():
        files = ["-keyout", f"{folder}/{name}.key", "-out", f"{folder}/{name}.pem"]
        signer = ["-CA", f"{folder}/ours.pem", "-CAkey", f"{folder}/ours.key"]
        openssl("req", "-x509", *key, *signer, "-subj", f"/CN={name}", "-addext", f"subjectAltName={names}", *files)
    request = ["-keyout", f"{folder}/expired.key", "-out", f"{folder}/expired.csr", "-subj", "/CN=expired"]
    openssl("req", "-new", *key[:-2], *request, "-addext", "subjectAltName=IP:127.0.0.1")
    late = ["-in", f"{folder}/expired.csr", "-out", f"{folder}/expired.pem", "-days", "-1", "-copy_extensions", "copy"]
    openssl("x509", "-req", "-CA", f"{folder}/ours.pem", "-CAkey", f"{folder}/ours.key", *late)
    both = (folder / "client.pem").read_text() + (folder / "client.key").read_text()
    (folder / "client-both.pem").write_text(both)
    return folder


@pytest.fixture
def started() -> Iterator[Callable[..., "subprocess.Popen[str]"]]:
    """Start any command; nothing of it outlives the test."""
    processes: list[subprocess.Popen[str]] = []

    def start(*command: str, **settings: Any) -> "subprocess.Popen[str]":
        pipe = subprocess.PIPE
        process = subprocess.Popen(command, stdout=pipe, stderr=pipe, text=True, start_new_session=True, **settings)
        processes.append(process)
        return process

    yield start
    for process in processes:
        if process.poll() is None:
            os.killpg(process.pid, signal.SIGKILL)
            process.communicate()


Handle = Callable[[asyncio.StreamReader, asyncio.StreamWriter], Coroutine[Any, Any, None]]


@pytest.fixture
def served() -> Iterator[Callable[[Handle], str]]:
    """Serve connections in any way, in a thread; the address of each such server."""
    loop = asyncio.new_event_loop()
    thread = threading.Thread(target=loop.run_forever)
    thread.start()
    listeners: list[asyncio.Server] = []

    def start(handle: Handle) -> str:
        listener = asyncio.run_coroutine_threadsafe(asyncio.start_server(handle, "127.0.0.1", 0), loop).result()
        listeners.append(listener)
        return f"http://127.0.0.1:{listener.sockets[0].getsockname()[1]}"

    yield start
    for listener in listeners:
        loop.call_soon_threadsafe(listener.close)
    loop.call_soon_threadsafe(lambda: loop.call_later(0.1, loop.stop))  # what is being written is written
    thread.join()
    loop.close()
