"""Workers on this machine: the same command as the leader's, told by their environment that they are workers."""

import os
import signal
import subprocess
import sys
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from shutil import rmtree

from perfbench_api.redaction import KNOWN
from perfbench_runner.run import roles

END_S = 10.0
"""So long a worker may take to end when the run is over."""


@dataclass
class Processes:
    """Workers that this process has started, by number."""

    folder: Path
    """Each has a folder, and a log, in it."""
    all: dict[int, "subprocess.Popen[bytes]"] = field(default_factory=dict)

    def start(self, runners: int, manifest: Path, url: str, token: str, plugins: Sequence[str]) -> None:
        """Start all workers of a run. What secrets the manifest refers to, they get by their environment."""
        secrets = {name: value for value, name in KNOWN.names.items() if name}
        for number in range(1, runners):
            own = {roles.LEADER: url, roles.TOKEN: token, roles.RUNNER: str(number)}
            with self.log(number).open("wb") as log:
                self.all[number] = subprocess.Popen(  # noqa: S603
                    _command(manifest, self.folder_of(number), plugins),
                    stdin=subprocess.DEVNULL,
                    stdout=log,
                    stderr=log,
                    env={**os.environ, **secrets, **own},
                    process_group=0,  # a terminal's Ctrl-C is for the leader
                )

    def folder_of(self, number: int) -> Path:
        """Where a worker writes."""
        return self.folder / f"runner-{number}"

    def log(self, number: int) -> Path:
        """What it prints."""
        return self.folder / f"runner-{number}.log"

    def ended(self) -> Mapping[int, str]:
        """Workers that have ended, and how."""
        found = {}
        for number, process in self.all.items():
            if (code := process.poll()) is not None:
                how = f"with exit code {code}" if code >= 0 else f"by {signal.Signals(-code).name}"
                found[number] = f"its process ended {how}{self._last_words(number)}"
        return found

    def _last_words(self, number: int) -> str:
        with suppress(OSError):
            lines = self.log(number).read_text(errors="replace").strip().splitlines()
            if lines:
                return f": {KNOWN.text(lines[-1])[:500]}"
        return ""

    def end(self) -> None:
        """Wait for their end, and kill those that do not come to it."""
        for process in self.all.values():
            try:
                process.wait(END_S)
            except subprocess.TimeoutExpired:
                with suppress(ProcessLookupError):
                    os.killpg(process.pid, signal.SIGKILL)
                process.wait()

    def forget(self, number: int) -> None:
        """Remove what a worker has left: it is all in the leader's file."""
        rmtree(self.folder_of(number), ignore_errors=True)
        self.log(number).unlink(missing_ok=True)


def _command(manifest: Path, folder: Path, plugins: Sequence[str]) -> list[str]:
    given = [part for plugin in plugins for part in ("--plugin", plugin)]
    return [
        sys.executable,
        "-P",
        "-m",
        "perfbench_runner",
        "run",
        str(manifest),
        "--results-dir",
        str(folder),
        "-q",
        *given,
    ]
