"""All tests in their tiers: `scripts/test` without arguments.

The tests on the cluster mostly wait, so they run beside the others, which go from cheap to dear; what they print comes in
one piece when those are through. Tests that judge times narrowly (`pytest.mark.alone`) come last and have the machine to
themselves, and so has a test that failed among others: it runs once more, and counts as failed if it fails again. Those
that did not are listed, since a busy machine is no excuse for ever. Everything runs to its end, whatever fails; Ctrl-C ends
everything.
"""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import IO

ROOT = Path(__file__).resolve().parents[1]
CORES = os.cpu_count() or 1
TESTS_FAILED = 1
"""pytest's exit code for that, and for nothing else."""
SOURCES = ("crds", "operator", "plugins", "runner", "tests")
MOST_AGAIN = 12
"""More failures than this of a tier are not tried again."""


@dataclass(frozen=True)
class Tier:
    """Tests that one pytest runs."""

    name: str
    folders: tuple[str, ...]
    """Of tests/."""
    options: tuple[str, ...] = ()

    def command(self, failed: Path) -> list[str]:
        """The pytest of this tier, which keeps in that folder which tests failed."""
        return [*_pytest(failed), *self.options, *(f"tests/{folder}" for folder in self.folders)]


def again(failed: Path) -> list[str]:
    """The pytest that runs once more, one after the other, what failed by that folder."""
    return [*_pytest(failed), *_failed(failed)]


def _pytest(failed: Path) -> list[str]:
    color = ["--color=yes"] if sys.stdout.isatty() else []
    return [sys.executable, "-m", "pytest", *color, "-o", f"cache_dir={failed}"]


def _failed(failed: Path) -> list[str]:
    """The tests that failed, by the folder in which pytest keeps that; none where it kept nothing, or nothing failed."""
    kept = failed / "v" / "cache" / "lastfailed"
    return sorted(json.loads(kept.read_text())) if kept.exists() else []


BESIDE = Tier("cluster", ("cluster",))
TIERS = (
    # By files: what the tests of a file share is made once.
    Tier("unit", ("unit", "contract", "fuzz"), ("-m", "not alone", "-n", f"{CORES}", "--dist", "loadfile")),
    # Whole runs, which wait for the most part: more of them than cores.
    Tier("engine", ("engine",), ("-m", "not alone", "-n", f"{2 * CORES}", "--dist", "worksteal")),
    # Last, since the server may still be under way to be built.
    Tier("servers", ("servers",), ("-m", "not alone", "-n", f"{CORES}", "--dist", "loadfile")),
)
ALONE = Tier("alone", ("engine", "servers"), ("-m", "alone"))


@contextmanager
def started(
    command: Sequence[str], number: signal.Signals = signal.SIGINT, output: IO[bytes] | int | None = None
) -> Iterator[subprocess.Popen[bytes]]:
    """A program under way; if it is not over by then, it is ended by a signal and waited for.

    It is in a process group of its own: at Ctrl-C the terminal tells this program, which passes it on, once.
    """
    process = subprocess.Popen(
        command, stdin=subprocess.DEVNULL, stdout=output, stderr=output, cwd=ROOT, process_group=0
    )
    try:
        yield process
    finally:
        if process.poll() is None:
            process.send_signal(number)
            process.wait()


def run(command: Sequence[str]) -> int:
    """Run a program whose output is seen as it comes; its exit code."""
    with started(command) as process:
        return process.wait()


def follow(process: subprocess.Popen[bytes], log: Path) -> int:
    """Print what a program has written to its log, and what it writes until its end; its exit code."""
    with log.open("rb") as file:
        while True:
            code = process.poll()
            if part := file.read():
                sys.stdout.buffer.write(part)
                sys.stdout.flush()
            elif code is not None:
                return code
            else:
                time.sleep(0.2)


def say(text: str) -> None:
    print(f"\n##### {text}", flush=True)


def run_tiers() -> dict[str, int]:
    """Run all tiers; the exit code of each, by name."""
    with tempfile.TemporaryDirectory(prefix="perfbench-failed-") as folder:
        return _run_again(_run_tiers(Path(folder)), Path(folder))


def _run_again(codes: dict[str, int], failed: Path) -> dict[str, int]:
    """Run what failed once more, with the machine to itself; the exit codes that count."""
    for name, code in codes.items():
        if code == TESTS_FAILED and (tests := _failed(failed / name)):
            if len(tests) > MOST_AGAIN:
                say(f"{name}: {len(tests)} tests failed, which no busy machine explains")
                continue
            say(f"{name}: once more what failed, with the machine to itself")
            codes[name] = run(again(failed / name))
            if not codes[name]:
                print("passed, but failed beside others:", *tests, sep="\n  ", flush=True)
    return codes


def _run_tiers(failed: Path) -> dict[str, int]:
    codes = {}
    with tempfile.TemporaryDirectory(prefix="perfbench-tests-") as folder:
        log = Path(folder, f"{BESIDE.name}.log")
        say(f"{BESIDE.name}: runs beside the other tests; to see it: tail -f {log}")
        try:
            with log.open("wb") as file, started(BESIDE.command(failed / BESIDE.name), output=file) as beside:
                for tier in TIERS:
                    say(tier.name)
                    codes[tier.name] = run(tier.command(failed / tier.name))
                say(f"{BESIDE.name}: what it printed")
                codes[BESIDE.name] = follow(beside, log)
        finally:
            if BESIDE.name not in codes:  # it was ended: that may be why
                print(log.read_text(errors="replace"))
    say(f"{ALONE.name}: what judges times narrowly")
    codes[ALONE.name] = run(ALONE.command(failed / ALONE.name))
    return codes


def main() -> int:
    """Check, prepare, run all tiers; the exit code is 1 if any of it failed."""
    for number in (signal.SIGINT, signal.SIGTERM):  # SIGINT, too: where it is ignored, children would ignore it
        signal.signal(number, signal.default_int_handler)
    # The real server is built once, in minutes: from now on, while others wait for something; its tests wait for its end.
    builder = ["nice", "-n", "19", sys.executable, "tests/servers/llama_build.py"]
    with started(builder, signal.SIGTERM, subprocess.DEVNULL):
        if code := run(["scripts/check"]):
            return code
        # A third of each program's start is compiling, where the environment keeps Python from writing down what it made.
        run([sys.executable, "-m", "compileall", "-q", "-j", "0", *SOURCES])
        if "PERFBENCH_TEST_IMAGES" not in os.environ:  # helm and others that the other tiers need, too
            run([sys.executable, "tests/cluster/cluster.py", "programs"])
        codes = run_tiers()
    say("all tests")
    for name, code in codes.items():
        print(f"{'FAILED' if code else 'passed'}  {name}")
    return int(any(codes.values()))


if __name__ == "__main__":
    try:
        sys.exit(main())
    except KeyboardInterrupt:
        sys.exit(130)
