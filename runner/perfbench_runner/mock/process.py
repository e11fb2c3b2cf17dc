"""The mock as a child process, so that it does not share a core's time or an interpreter with what measures it."""

import contextlib
import http.client
import json
import os
import subprocess
import sys
from typing import Any
from urllib.parse import urlsplit

from perfbench_runner.mock.settings import MockSettings

_STOP_S = 3.0


class MockProcess:
    """with MockProcess(settings) as mock: … mock.base_url … mock.stats() …

    It ends with the block, and by itself when this process dies, however it dies. Raises RuntimeError, with the
    reason, when it cannot start.
    """

    def __init__(self, settings: MockSettings | None = None) -> None:
        self.settings = settings or MockSettings()
        self.port = 0
        self._process: subprocess.Popen[bytes] | None = None

    @property
    def pid(self) -> int:
        """The child's process id, to pin or to watch it."""
        return self._running().pid

    @property
    def base_url(self) -> str:
        """http://host:port, without a path."""
        return self.settings.base_url(self.port)

    def start(self) -> None:
        """Returns when it listens, after a quarter of a second or so."""
        # -P: what lies in the working directory must not shadow a module.
        argv = [sys.executable, "-P", "-m", "perfbench_runner.mock"]
        order = json.dumps({"settings": self.settings.to_dict(), "parent": os.getpid()}).encode() + b"\n"
        pipe = subprocess.PIPE
        # In a group of its own: a terminal's Ctrl-C is for this process, which may still need it.
        self._process = process = subprocess.Popen(  # noqa: S603
            argv, stdin=pipe, stdout=pipe, stderr=pipe, process_group=0
        )
        try:
            with contextlib.suppress(BrokenPipeError):  # it died: its stderr says why
                _pipe(process.stdin).write(order)
                _pipe(process.stdin).flush()
            line = _pipe(process.stdout).readline()
            if not line.strip().isdigit():
                raise RuntimeError(self._why())
            self.port = int(line)
        except BaseException:
            self.stop()
            raise

    def stop(self) -> None:
        """End it, by force if it must be. Can be called twice."""
        if self._process is None:
            return
        process, self._process = self._process, None
        with contextlib.suppress(BrokenPipeError):
            _pipe(process.stdin).close()  # this ends it
        for force in (process.terminate, process.kill):
            try:
                process.wait(_STOP_S)
                break
            except subprocess.TimeoutExpired:
                force()
        process.wait()
        _pipe(process.stdout).close()
        _pipe(process.stderr).close()

    def __enter__(self) -> "MockProcess":
        self.start()
        return self

    def __exit__(self, *_: object) -> None:
        self.stop()

    def stats(self) -> dict[str, Any]:
        """The mock's own truth; see `mock/stats.py` for the fields."""
        stats: dict[str, Any] = json.loads(self._get("/stats"))
        return stats

    def reset(self) -> None:
        """Begin the statistics anew."""
        self._get("/reset")

    def _get(self, path: str) -> bytes:
        self._running()
        with contextlib.closing(http.client.HTTPConnection(urlsplit(self.base_url).netloc, timeout=30)) as connection:
            connection.request("GET", path)
            return connection.getresponse().read()

    def _running(self) -> "subprocess.Popen[bytes]":
        if self._process is None:
            raise RuntimeError("the mock endpoint is not running")
        return self._process

    def _why(self) -> str:
        process = self._running()
        process.kill()
        lines = _pipe(process.stderr).read().decode(errors="replace").strip().splitlines()
        return f"the mock endpoint did not start: {lines[-1] if lines else 'it said nothing'}"


def _pipe(stream: Any) -> Any:
    assert stream is not None  # noqa: S101  # for the type checker: Popen was given PIPE for all three
    return stream
