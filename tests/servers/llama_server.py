"""A llama-server under test: started, asked, killed and started again."""

import json
import re
import signal
import socket
import subprocess
import time
from contextlib import suppress
from pathlib import Path
from typing import Any
from urllib.error import URLError
from urllib.request import Request, urlopen

START_S = 30.0
"""So long a model may take to load on a busy machine; it takes a fraction of a second."""


def free_port() -> int:
    """A port that nobody listens on."""
    with socket.create_server(("127.0.0.1", 0)) as server:
        return int(server.getsockname()[1])


class LlamaServer:
    """One process of llama-server, its metrics on."""

    def __init__(self, program: Path, model: Path, log: Path, *options: str) -> None:
        self.port, self._log = free_port(), log
        self._command = [
            str(program), "--model", str(model), "--alias", model.stem, "--host", "127.0.0.1", "--port", str(self.port),
            "--metrics", "--parallel", "4", "--threads", "1", "--threads-http", "4", *options,
        ]  # fmt: skip
        self.process: subprocess.Popen[bytes] | None = None

    @property
    def url(self) -> str:
        """Its address."""
        return f"http://127.0.0.1:{self.port}"

    def start(self) -> None:
        """Start it, and wait until it has its model."""
        with self._log.open("ab") as log:
            self.process = subprocess.Popen(self._command, stdout=log, stderr=log, start_new_session=True)
        until_s = time.monotonic() + START_S
        while not self._is_up():
            if self.process.poll() is not None or time.monotonic() > until_s:
                raise AssertionError(f"llama-server did not start: {self._log.read_text(errors='replace')[-2000:]}")
            time.sleep(0.05)

    def _is_up(self) -> bool:
        with suppress(URLError, OSError):
            return bool(self.get("/health"))
        return False

    def kill(self) -> None:
        """End it at once, as when its machine is gone."""
        if self.process is not None:
            with suppress(ProcessLookupError):
                self.process.send_signal(signal.SIGKILL)
            self.process.wait()

    def get(self, path: str) -> str:
        """The text at a path."""
        with urlopen(f"{self.url}{path}", timeout=10) as response:
            return str(response.read().decode())

    def post(self, path: str, body: dict[str, Any]) -> Any:
        """The answer to a body."""
        request = Request(f"{self.url}{path}", json.dumps(body).encode(), {"Content-Type": "application/json"})
        with urlopen(request, timeout=60) as response:
            return json.load(response)

    def counters(self) -> dict[str, float]:
        """Its own metrics, without their prefix."""
        found = re.findall(r"^llamacpp:(\w+) (\S+)$", self.get("/metrics"), re.MULTILINE)
        return {name: float(value) for name, value in found}
