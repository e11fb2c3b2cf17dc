"""The mock as a process: it starts fast, says what is wrong, and never outlives its parent."""

import http.client
import os
import signal
import socket
import subprocess
import sys
import time
from pathlib import Path

import pytest

from perfbench_runner.mock.process import MockProcess
from perfbench_runner.mock.settings import MockSettings


def gone(pid: int, within_s: float = 5.0) -> bool:
    """Whether the process ends in time; one that is not waited for counts."""
    deadline = time.monotonic() + within_s
    while time.monotonic() < deadline:
        try:
            state = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0]
        except OSError:
            return True
        if state == "Z":
            return True
        time.sleep(0.01)
    return False


def test_it_serves_within_the_block_and_is_gone_after() -> None:
    with MockProcess(MockSettings(model="m")) as mock:
        assert mock.base_url == f"http://127.0.0.1:{mock.port}"
        assert mock.stats()["started"] == 0
        mock.reset()
        pid = mock.pid
    assert gone(pid, 0.1)
    mock.stop()
    with pytest.raises(RuntimeError, match="not running"):
        mock.stats()


def test_a_port_in_use_is_reported_in_one_line() -> None:
    with (
        socket.create_server(("127.0.0.1", 0)) as taken,
        pytest.raises(RuntimeError, match=r"^the mock endpoint did not start: .*[Aa]ddress already in use"),
    ):
        MockProcess(MockSettings(port=taken.getsockname()[1])).start()


def test_it_stops_even_when_it_hangs(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("perfbench_runner.mock.process._STOP_S", 0.1)
    mock = MockProcess()
    mock.start()
    os.kill(mock.pid, signal.SIGSTOP)
    pid = mock.pid
    mock.stop()
    assert gone(pid, 0.1)


PARENT = """
import os, sys, time
from perfbench_runner.mock.process import MockProcess
mock = MockProcess()
mock.start()
if sys.argv[1] == "leak":
    mock._process.stdin.flush()
    if os.fork() == 0:  # a sibling that holds the pipe open
        time.sleep(5)
        os._exit(0)
print(mock.pid, flush=True)
time.sleep(60)
"""


@pytest.mark.skipif(sys.platform != "linux", reason="reads /proc")
@pytest.mark.parametrize("case", ["plain", "leak"])
def test_it_dies_with_its_parent_even_a_killed_one(case: str) -> None:
    parent = subprocess.Popen([sys.executable, "-c", PARENT, case], stdout=subprocess.PIPE)
    assert parent.stdout is not None
    pid = int(parent.stdout.readline())
    parent.kill()
    parent.wait()
    parent.stdout.close()
    assert gone(pid)


def test_a_ctrl_c_of_the_terminal_is_left_to_the_parent() -> None:
    with MockProcess() as mock:
        os.kill(mock.pid, signal.SIGINT)
        time.sleep(0.05)
        assert mock.stats()["started"] == 0


@pytest.mark.parametrize("ending", [signal.SIGINT, signal.SIGTERM])
def test_serve_prints_where_it_is_and_ends_cleanly(ending: signal.Signals) -> None:
    code = (
        "from perfbench_runner.mock.serve import serve; from perfbench_runner.mock.settings import MockSettings as S; "
    )
    process = subprocess.Popen(
        [sys.executable, "-c", code + "serve(S())"], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    )
    assert process.stdout is not None
    lines = [process.stdout.readline() for _ in range(3)]
    url = lines[0].split()[-1]
    assert url.startswith("http://127.0.0.1:")
    assert lines[2].startswith(f"try: curl -N {url} ")
    connection = http.client.HTTPConnection(url.split("/")[2], timeout=5)
    connection.request("GET", "/healthz")
    assert connection.getresponse().status == 200
    connection.close()
    process.send_signal(ending)
    out, err = process.communicate(timeout=5)
    assert (process.returncode, out, err) == (0, "", "")


def test_importing_the_server_is_light() -> None:
    heavy = "aiohttp numpy pydantic yaml click rich perfbench_api perfbench_plugins"
    code = "import sys, perfbench_runner.mock.__main__; print(*[name for name in sys.argv[1:] if name in sys.modules])"
    done = subprocess.run([sys.executable, "-c", code, *heavy.split()], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == ""
