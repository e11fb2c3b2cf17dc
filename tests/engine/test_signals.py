"""Requests to end, at every moment of a process: from its first instruction to its last, as process 1 too."""

import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from perfbench_runner import signals

Start = Callable[..., Any]
COMMAND = str(Path(sys.executable).parent / "perfbench")
INIT = str(Path(__file__).parents[2] / "images/perfbench")
BOTH = pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
LONG = {"concurrency": 4, "requests": 100_000}


def end_of(process: "subprocess.Popen[str]", within_s: float = 20) -> tuple[int, str]:
    """Its exit code and what it said."""
    _, stderr = process.communicate(timeout=within_s)
    assert "Traceback" not in stderr
    return process.returncode, stderr


STARTED = "from perfbench_runner.__main__ import main; main()"
"""What the wrapper of the command does that an installer makes."""
LOADING = "import time; time.sleep(60)"
"""A module that takes a while to load."""


@BOTH
@pytest.mark.parametrize("module", ["yaml", "click"])
def test_a_signal_while_modules_are_loaded_ends_the_command(
    started: Start, tmp_path: Path, number: int, module: str
) -> None:
    package, _, name = module.rpartition(".")
    folder = tmp_path / package.replace(".", "/")
    folder.mkdir(exist_ok=True)
    if package:
        (folder / "__init__.py").write_text("")
    (folder / f"{name}.py").write_text(f"print('loading', flush=True); {LOADING}")
    process = started(sys.executable, "-m", "perfbench_runner", "run", env={**os.environ, "PYTHONPATH": str(tmp_path)})
    assert process.stdout is not None
    assert process.stdout.readline() == "loading\n"
    process.send_signal(number)
    assert end_of(process) == (130, f"stopped by {signal.Signals(number).name}\n")


@pytest.mark.parametrize("wait_s", [0.0, 0.02, 0.04, 0.06, 0.08, 0.1, 0.15, 0.2, 0.3, 0.4])
def test_ctrl_c_before_anything_is_loaded_leaves_no_trace_of_ours(started: Start, wait_s: float) -> None:
    """Until Python has started and its wrapper of the command has run, a signal is Python's own business."""
    process = started(sys.executable, "-c", STARTED, "run", "--url", "http://127.0.0.1:9", "--model", "m")
    time.sleep(wait_s)
    process.send_signal(signal.SIGINT)
    _, stderr = process.communicate(timeout=20)
    assert not any(name in stderr for name in ("signals.py", "/cli/", "click", "pydantic", "perfbench_api"))
    assert (process.returncode, stderr) == (130, "stopped by SIGINT\n") or process.returncode in (1, -signal.SIGINT)


def test_signals_are_followed_before_python_has_loaded_their_module() -> None:
    """`signal`, which is what takes the time, may not be loaded before they are."""
    program = (
        "import sys; before = set(sys.modules); import perfbench_runner.early as early; early.exit_at_once()\n"
        "print(sorted(set(sys.modules) - before))"
    )
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "['perfbench_runner', 'perfbench_runner.early']"


@BOTH
def test_a_signal_while_a_run_is_prepared_ends_it_and_nothing_is_sent(
    mock: Start, perfbench: Start, spec_for: Start, tmp_path: Path, number: int
) -> None:
    """Such as while a dataset is read, for minutes. The pod's last word says so, too."""
    (tmp_path / "slow.py").write_text(
        "from pathlib import Path\n"
        "from perfbench_plugins.datasets.base import DatasetPluginBase\n"
        "from perfbench_plugins.registry import register_dataset\n"
        "@register_dataset('slow')\n"
        "class Slow(DatasetPluginBase):\n"
        "    def build_messages(self):\n"
        "        Path('preparing').touch()\n"
        f"        {LOADING}\n"
        "        yield []\n"
    )
    server = mock()
    spec = spec_for(server, dataset={"name": "slow"}, plugins=[{"file": "slow.py"}])
    run = perfbench(spec, "--termination-message", "last-word")
    run.until((tmp_path / "preparing").exists)
    run.signal(number)
    name = signal.Signals(number).name
    assert run.wait(10) == 130
    assert run.stderr == f"stopped by {name}\n"
    assert server.stats()["started"] == 0
    assert f'"message":"stopped by {name} before anything was sent"' in (tmp_path / "last-word").read_text()


def test_a_request_to_end_that_was_swallowed_still_ends_the_run() -> None:
    """Python drops what is raised in a destructor: the request is kept for the run that comes."""
    program = (
        "import os, signal\n"
        "from perfbench_runner import signals\n"
        "signals.raise_interrupted()\n"
        "try:\n    os.kill(os.getpid(), signal.SIGTERM)\n"
        "except signals.Interrupted:\n    pass\n"
        "with signals.kept() as interrupts:\n    interrupts.listen(print)\n"
    )
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    assert done.stdout == "SIGTERM\n"


@BOTH
@pytest.mark.parametrize("wait_s", [0.0, 0.1, 0.3, 0.6, 1.0, 1.4, 1.8, 2.5])
def test_a_signal_at_any_moment_gives_one_line_and_130(
    mock: Start, perfbench: Start, spec_for: Start, tmp_path: Path, number: int, wait_s: float
) -> None:
    run = perfbench(spec_for(mock(), LONG, load={"gracePeriod": "1s"}), "-q")
    run.until(lambda: handles(run.process.pid, number))  # before that it is Python, not we
    time.sleep(wait_s)
    os.killpg(run.process.pid, number)
    assert run.wait(20) == 130
    (line,) = [line for line in run.stderr.splitlines() if "warning" not in line]
    assert line.endswith(f"stopped by {signal.Signals(number).name}")


def handles(pid: int, number: int) -> bool:
    """Whether the process has a handler for the signal; Python's own for SIGINT comes first, so both are looked at."""
    fields = dict(line.split(":\t", 1) for line in Path(f"/proc/{pid}/status").read_text().splitlines())
    caught = int(fields["SigCgt"], 16)
    return all(caught >> (each - 1) & 1 for each in (number, signal.SIGTERM))


def test_a_signal_while_the_connection_is_tested_does_not_wait_for_the_answer(
    mock: Start, perfbench: Start, spec_for: Start
) -> None:
    server = mock(ttft_s=60)
    run = perfbench(spec_for(server, LONG, load={"gracePeriod": "60s"}))
    run.until(lambda: server.stats()["in_flight"] == 1)
    began_s = time.monotonic()
    run.signal(signal.SIGINT)
    assert run.wait(20) == 130
    assert time.monotonic() - began_s < 8
    assert run.stderr.splitlines()[-1] == "interrupted: stopped by SIGINT"


@BOTH
def test_the_mock_ends_when_it_is_told_to(started: Start, number: int) -> None:
    process = started(COMMAND, "mock")
    assert process.stdout is not None
    assert process.stdout.readline().startswith("mock endpoint: http://")
    process.send_signal(number)
    assert end_of(process) == (0, "")


# As process 1

as_root = pytest.mark.skipif(
    subprocess.run(["unshare", "--pid", "--fork", "--mount-proc", "true"], capture_output=True, check=False).returncode
    != 0,
    reason="a process 1 of one's own needs a namespace, which is for root",
)


@as_root
@pytest.mark.parametrize("wait_s", [0.0, 0.02, 0.1, 0.5, 1.5, 3.0])
def test_process_1_ends_whenever_it_is_told_to(started: Start, tmp_path: Path, mock: Start, wait_s: float) -> None:
    """The kernel drops what process 1 does not handle; the image's `perfbench` handles it before Python does."""
    flags = ("--url", mock().base_url, "--model", "m", "-q", "-n", "100000", "-o", str(tmp_path))
    process = started(
        *("unshare", "--pid", "--fork", "--mount-proc", "--kill-child", INIT, "run", *flags),
        env={**os.environ, "PERFBENCH": COMMAND},
    )
    children = Path(f"/proc/{process.pid}/task/{process.pid}/children")
    deadline_s = time.monotonic() + 60
    while not (pids := children.read_text().split()) or not handles(int(pids[0]), signal.SIGINT):
        assert time.monotonic() < deadline_s
    time.sleep(wait_s)
    os.kill(int(pids[0]), signal.SIGTERM)
    code, stderr = end_of(process)
    assert code == 130
    assert "stopped" in stderr


@as_root
@pytest.mark.parametrize(("said", "code"), [("exit 0", 0), ("exit 3", 3), ("kill -KILL $$", 137), ("cat; exit 5", 5)])
def test_process_1_ends_as_its_command_does(tmp_path: Path, said: str, code: int) -> None:
    command = tmp_path / "command"
    command.write_text(f'#!/bin/sh\necho "$1"\n{said}\n')
    command.chmod(0o755)
    done = subprocess.run(
        ["unshare", "--pid", "--fork", INIT, "a b"],
        env={**os.environ, "PERFBENCH": str(command)},
        input="stdin\n",
        capture_output=True,
        text=True,
        check=False,
    )
    assert (done.returncode, done.stdout) == (code, "a b\nstdin\n" if "cat" in said else "a b\n")


def test_signals_of_a_program_are_its_own_again_after_a_run() -> None:
    def own(number: int, frame: object) -> None: ...

    before = {number: signal.signal(number, own) for number in signals.NUMBERS}
    try:
        with signals.kept() as interrupts:
            signal.raise_signal(signal.SIGTERM)
            assert interrupts.names == ["SIGTERM"]
        assert all(signal.getsignal(number) is own for number in signals.NUMBERS)
        signals.exit_with(0)
        assert signal.getsignal(signal.SIGINT) is own
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
