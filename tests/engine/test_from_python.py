"""`run_perf_benchmark` in the programs people have: notebooks with a running loop, programs with threads, Ctrl-C."""

import signal
import subprocess
import sys
import textwrap
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from perfbench_runner.cli.stage_results import StageResults

Start = Callable[..., Any]
SHORT = "Arguments(url=sys.argv[1], model='m', parallel=[1, 3], number=[3, 9], max_tokens=4)"
LONG = "Arguments(url=sys.argv[1], model='m', parallel=4, number=100000, max_tokens=4)"
BEGIN = """
import asyncio, os, signal, sys, threading, time
from perfbench_plugins.arguments import Arguments
from perfbench_runner.main import run_perf_benchmark
"""
PLUGIN = """
from perfbench_plugins.api.openai_api import OpenaiPlugin
from perfbench_plugins.registry import register_api
@register_api('mine')
class Mine(OpenaiPlugin):
    async def process_request(self, client_session, url, headers, body):
        return await super().process_request(client_session, url, headers, body)
"""


@pytest.fixture
def program(tmp_path: Path, mock: Start, started: Start) -> Start:
    """Start a Python program that gets the mock's address."""
    url = mock().base_url

    def start(*parts: str) -> "subprocess.Popen[str]":
        (tmp_path / "program.py").write_text("\n".join(textwrap.dedent(part) for part in (BEGIN, *parts)))
        process: subprocess.Popen[str] = started(sys.executable, "program.py", url, cwd=tmp_path)
        return process

    return start


def done(process: "subprocess.Popen[str]") -> str:
    stdout, stderr = process.communicate(timeout=60)
    assert process.returncode == 0, stderr
    return stdout


def test_it_runs_where_an_event_loop_is_running_as_in_a_notebook(program: Start) -> None:
    stdout = done(
        program(
            f"""
            async def cell():
                return run_perf_benchmark({SHORT})
            print(list(asyncio.run(cell())))
            """
        )
    )
    assert stdout == "['parallel_1_number_3', 'parallel_3_number_9']\n"


def test_it_can_be_awaited(program: Start) -> None:
    stdout = done(
        program(
            f"""
            async def cell():
                ticks, run = 0, asyncio.create_task(asyncio.to_thread(run_perf_benchmark, {SHORT}))
                while not run.done():
                    ticks += 1
                    await asyncio.sleep(0.01)
                print(len(await run), ticks > 5)
            asyncio.run(cell())
            """
        )
    )
    assert stdout == "2 True\n"


WITH_THREADS = """
def hold(lock=threading.Lock()):
    while True:
        with lock:
            time.sleep(0.001)
threading.Thread(target=hold, daemon=True).start()
"""


@pytest.mark.parametrize("api", ["openai", "mine"])
def test_it_runs_in_a_program_with_threads(program: Start, tmp_path: Path, api: str) -> None:
    """A fork would copy locks that are held: load-generating processes are made anew, and get the plugin's file."""
    (tmp_path / "own_plugin.py").write_text(PLUGIN)
    load = "from perfbench_plugins.loading import load_plugins\nload_plugins(['own_plugin.py'])"
    watched = "fork, os.fork = os.fork, lambda: sys.exit('forked')"
    run = f"print(list(run_perf_benchmark({SHORT[:-1]}, api={api!r}))))"
    assert "parallel_3" in done(program(load, WITH_THREADS, watched, run))


def test_a_plugin_that_other_processes_cannot_get_is_refused_before_anything_is_made(
    program: Start, tmp_path: Path
) -> None:
    process = program(PLUGIN, WITH_THREADS, f"run_perf_benchmark({SHORT[:-1]}, api='mine'))")
    _, stderr = process.communicate(timeout=30)
    last = stderr.strip().splitlines()[-1]
    assert "PluginError: API plugin Mine: Mine is defined in a notebook or in the program itself" in last
    assert "put it into a file of its own and import that" in last
    assert not (tmp_path / "outputs").exists()


def wait_for_rows(folder: Path) -> None:
    deadline_s = time.monotonic() + 30
    while sum(map(size_of, folder.glob("outputs/*/*/results.sqlite.partial*"))) < 500_000:
        assert time.monotonic() < deadline_s
        time.sleep(0.05)


def size_of(file: Path) -> int:
    """None of a journal that SQLite has just taken away."""
    try:
        return file.stat().st_size
    except FileNotFoundError:
        return 0


INTERRUPTED = """
try:
    {run}
except KeyboardInterrupt:
    print('KeyboardInterrupt', flush=True)
"""


@pytest.mark.parametrize("is_loop_running", [False, True], ids=["plain", "loop"])
def test_ctrl_c_is_a_keyboard_interrupt_when_all_is_stored(
    program: Start, tmp_path: Path, is_loop_running: bool
) -> None:
    run = f"cell({LONG})" if is_loop_running else f"run_perf_benchmark({LONG})"
    cell = """
    def cell(arguments):
        async def run():
            run_perf_benchmark(arguments)
        asyncio.run(run())
    """
    process = program(cell, INTERRUPTED.format(run=run))
    wait_for_rows(tmp_path)
    process.send_signal(signal.SIGINT)
    assert done(process) == "KeyboardInterrupt\n"
    assert list(tmp_path.glob("outputs/*/*/results.sqlite"))


def test_signals_are_the_program_s_own_again_after_a_run(program: Start) -> None:
    process = program(
        f"""
        signal.signal(signal.SIGINT, signal.default_int_handler)  # it is ignored where the tests run in the background
        run_perf_benchmark({SHORT})
        assert signal.getsignal(signal.SIGINT) is signal.default_int_handler
        assert signal.getsignal(signal.SIGTERM) is signal.SIG_DFL
        try:
            signal.raise_signal(signal.SIGINT)
        except KeyboardInterrupt:
            print('KeyboardInterrupt')
        """
    )
    assert done(process) == "KeyboardInterrupt\n"


def test_sigterm_ends_the_program_when_all_is_stored(program: Start, tmp_path: Path) -> None:
    process = program(f"run_perf_benchmark({LONG})\nprint('went on')")
    wait_for_rows(tmp_path)
    process.send_signal(signal.SIGTERM)
    stdout, stderr = process.communicate(timeout=30)
    assert (process.returncode, stdout) == (-signal.SIGTERM, ""), stderr
    assert list(tmp_path.glob("outputs/*/*/results.sqlite"))


def test_windows_is_refused_in_words() -> None:
    program = "import sys; sys.platform = 'win32'; import perfbench_runner.__main__"
    found = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=False)
    assert found.returncode == 2
    assert found.stderr == "error: perfbench runs on Linux and macOS; on Windows use WSL (wsl --install)\n"


# What it returns


def results() -> StageResults:
    metrics = {
        "name": "c1",
        "requests": {"total": 10, "failed": 0},
        "notes": ["x"],
        "request_throughput_rps": 12.345678,
        "ttft_s": {"p50": 0.5, "p99": None, "lower_bounds": {"p99": 1.0}},
        "client": {"state": "valid", "reasons": []},
    }
    other = {**metrics, "name": "<c2>"}
    return StageResults({"parallel_1_number_10": {"metrics": metrics}, "<b>": {"metrics": other}})


def test_results_are_a_dict_and_flat_rows() -> None:
    found = results()
    assert found["parallel_1_number_10"]["metrics"]["ttft_s"]["p50"] == 0.5
    assert found.rows()[0] == {
        "stage": "parallel_1_number_10",
        "requests.total": 10,
        "requests.failed": 0,
        "request_throughput_rps": 12.345678,
        "ttft_s.p50": 0.5,
        "ttft_s.p99": None,
        "ttft_s.lower_bounds.p99": 1.0,
        "client.state": "valid",
    }


def test_a_notebook_shows_a_table() -> None:
    html = results()._repr_html_()
    assert "<th>TTFT p50, s</th>" in html
    assert "<td>12.35</td>" in html
    assert "TTFT p99" not in html, "nobody has it"
    assert "<td>&lt;b&gt;</td>" in html


def test_pandas_gets_a_data_frame(monkeypatch: pytest.MonkeyPatch) -> None:
    class Frame(list[Any]):
        def set_index(self, name: str) -> tuple[str, list[Any]]:
            return name, list(self)

    pandas = type(sys)("pandas")
    pandas.DataFrame = Frame  # type: ignore[attr-defined]
    monkeypatch.setitem(sys.modules, "pandas", pandas)
    found = results()
    assert found.to_dataframe() == ("stage", found.rows())
