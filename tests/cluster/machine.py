"""What the test cluster asks of the machine: folders, commands, Debian packages, processes.

The whole of tests/cluster but the tests runs on the standard library, before any virtualenv exists.
"""

from __future__ import annotations

import contextlib
import fcntl
import json
import os
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

REPOSITORY = Path(__file__).resolve().parents[2]
CACHE = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "perfbench-cluster"
"""What is slow to make and may be kept for ever: binaries, base image, image layers."""
STATE = Path("/var/lib/perfbench-cluster")
"""The running cluster and nothing else; gone when it is down. Short: sockets lie in it (108 bytes at most)."""
LOGS = STATE / "logs"
PACKAGES = (
    "containerd",
    "runc",
    "containernetworking-plugins",
    "buildah",
    "iptables",
    "iproute2",
    "mmdebstrap",
    "busybox-static",
    "conntrack",
    "socat",
    "openssl",
)
TOOLS = ("prometheus", "prometheus-pushgateway", "ipset")
"""Of some tests."""


class ClusterError(Exception):
    """The cluster cannot be had; the message says why and what to do."""


def say(text: str) -> None:
    """Tell the person who waits; stdout is for answers."""
    print(text, file=sys.stderr, flush=True)


@contextlib.contextmanager
def step(what: str) -> Iterator[None]:
    """Say what took how long."""
    started_s = time.monotonic()
    yield
    say(f"{time.monotonic() - started_s:6.1f} s  {what}")


def run(*command: str | Path, cwd: Path | None = None, env: dict[str, str] | None = None, quiet: bool = False) -> str:
    """Run a command to its end and return what it printed; a failure shows the end of its output."""
    done = subprocess.run(
        [str(part) for part in command],
        cwd=cwd,
        env={**os.environ, **(env or {})},
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        check=False,
    )
    if done.returncode and not quiet:
        words = " ".join(str(part) for part in command[:4])
        raise ClusterError(f"`{words} …` failed ({done.returncode}):\n{(done.stdout + done.stderr)[-3000:].strip()}")
    return done.stdout


def missing() -> str:
    """Say in one line why this machine cannot hold the cluster; empty if it can."""
    if sys.platform != "linux":
        return "the test cluster needs Linux"
    if os.geteuid() != 0:
        return "the test cluster needs root"
    if shutil.which("go") is None and not any((CACHE / "bin").glob("*/helm")):
        return "the test cluster needs Go 1.25 or newer to build Kubernetes"
    if shutil.which("dpkg-query") is None and not all(map(shutil.which, ("containerd", "runc", "buildah"))):
        return "the test cluster needs Debian's packages: " + " ".join(PACKAGES)
    return ""


def install_packages(packages: Sequence[str] = PACKAGES) -> None:
    """Install the Debian packages that are not there yet."""
    if shutil.which("dpkg-query") is None:
        return
    query = ("dpkg-query", "--show", "--showformat", "${db:Status-Status} ${Package}\n", *packages)
    installed = run(*query, quiet=True).splitlines()  # it exits with 1 when one is unknown
    absent = [package for package in packages if f"installed {package}" not in installed]
    if not absent:
        return
    with step("Debian packages: " + " ".join(absent)):
        run("apt-get", "update", "-q")
        run(
            *("apt-get", "install", "-q", "-y", "--no-install-recommends", *absent),
            env={"DEBIAN_FRONTEND": "noninteractive"},
        )


@contextlib.contextmanager
def lock() -> Iterator[None]:
    """Let one `up`, `down` or `image` at a time change things."""
    CACHE.mkdir(parents=True, exist_ok=True)
    with (CACHE / "lock").open("w") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        yield


def wait_until(check: Callable[[], bool], what: str, timeout_s: float, hint: str = "") -> None:
    """Poll until check() holds; raise ClusterError after timeout_s seconds."""
    deadline_s = time.monotonic() + timeout_s
    while not check():
        if time.monotonic() > deadline_s:
            raise ClusterError(f"{what}: not after {timeout_s:.0f} s; {hint or f'see {LOGS}'}")
        time.sleep(0.1)


# Processes: a stored id is only ours while the start time matches, too; ids are used again.

_PIDS = STATE / "processes.json"


def start_time(pid: int) -> int:
    """Return when a process started, in clock ticks since boot; 0 if there is none or it is a zombie."""
    try:
        state, *fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    except OSError:
        return 0
    return 0 if state == "Z" else int(fields[18])


def parent(pid: int) -> int:
    """Return the id of a process's parent; raise OSError if there is no such process."""
    return int(Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[1])


def stored_processes() -> dict[str, tuple[int, int]]:
    """Return id and start time of every component that was started, by name, in the order of starting."""
    try:
        return {name: (pid, started) for name, (pid, started) in json.loads(_PIDS.read_text()).items()}
    except FileNotFoundError:
        return {}


def alive(process: tuple[int, int]) -> bool:
    """Say whether this very process still runs."""
    pid, started = process
    return started != 0 and start_time(pid) == started


def start(name: str, command: Sequence[str | Path]) -> None:
    """Start a component in the background and store its id."""
    LOGS.mkdir(parents=True, exist_ok=True)
    with (LOGS / f"{name}.log").open("ab") as log:
        process = subprocess.Popen(
            [str(part) for part in command],
            stdin=subprocess.DEVNULL,
            stdout=log,
            stderr=log,
            start_new_session=True,
            cwd=STATE,
        )
    process.returncode = 0  # it outlives this program on purpose: no ResourceWarning
    stored = stored_processes()
    stored[name] = (process.pid, start_time(process.pid))
    _PIDS.write_text(json.dumps(stored))


def forget(name: str) -> None:
    """A component is no longer part of the cluster; it must have ended."""
    stored = stored_processes()
    stored.pop(name, None)
    _PIDS.write_text(json.dumps(stored))


def kill(process: tuple[int, int]) -> None:
    """End a process of ours at once and wait until it is gone."""
    if not alive(process):
        return
    with contextlib.suppress(ProcessLookupError):
        os.kill(process[0], signal.SIGKILL)
    with contextlib.suppress(ChildProcessError):
        os.waitpid(process[0], 0)  # when `up` ends what it has just started
    wait_until(lambda: not alive(process), f"process {process[0]} ends", 10)
