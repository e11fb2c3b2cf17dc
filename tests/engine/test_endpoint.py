"""What a runner serves while it runs and lingers, and what it leaves for the operator."""

import json
import signal
import socket
import time
import urllib.error
import urllib.request
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

Start = Callable[..., Any]
SHORT = {"concurrency": 2, "requests": 6}
LONG = {"concurrency": 2, "requests": 100_000}


@pytest.fixture
def listen() -> str:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        return f"127.0.0.1:{free.getsockname()[1]}"


def get(listen: str, path: str) -> str:
    """What the runner answers; nothing while it does not."""
    try:
        with urllib.request.urlopen(f"http://{listen}{path}", timeout=5) as answer:
            return str(answer.read().decode())
    except OSError:
        return ""


def test_a_run_can_be_watched(mock: Start, perfbench: Start, spec_for: Start, listen: str) -> None:
    run = perfbench(spec_for(mock(), LONG), "--listen", listen)
    run.until(lambda: 'perfbench_requests_total{benchmark="run"' in get(listen, "/metrics"))
    run.until(lambda: json.loads(get(listen, "/progress"))["phase"] == "running")
    assert json.loads(get(listen, "/progress"))["stage"] == "c2"
    assert get(listen, "/healthz") == "ok\n"
    with pytest.raises(urllib.error.HTTPError, match="404"):
        urllib.request.urlopen(f"http://{listen}/", timeout=5)
    run.signal(signal.SIGTERM)
    assert run.wait(20) == 130


def test_metrics_stay_as_long_as_the_run_lingers(
    mock: Start, perfbench: Start, spec_for: Start, listen: str, tmp_path: Path
) -> None:
    word = tmp_path / "word"
    spec = spec_for(mock(), SHORT, runner={"linger": "2s"})
    run = perfbench(spec, "--listen", listen, "--termination-message", str(word))
    run.until(lambda: '_phase{benchmark="run",model="m",namespace="",phase="done",workload="openqa"} 1.0'
              in get(listen, "/metrics"))  # fmt: skip
    assert json.loads(get(listen, "/progress"))["phase"] == "done"
    assert json.loads(word.read_text())["outcome"] == "succeeded", "before it lingers: the pod may be killed then"
    assert run.process.poll() is None
    assert run.wait(10) == 0


def test_a_signal_ends_the_lingering_at_once_and_changes_nothing_of_the_run(
    mock: Start, perfbench: Start, spec_for: Start, listen: str, tmp_path: Path
) -> None:
    word = tmp_path / "word"
    spec = spec_for(mock(), SHORT, runner={"linger": "1h"})
    run = perfbench(spec, "--listen", listen, "--termination-message", str(word))
    run.until(word.exists)
    run.until(lambda: bool(word.read_text()))
    began_s = time.monotonic()
    run.signal(signal.SIGTERM)
    assert run.wait(10) == 0
    assert time.monotonic() - began_s < 5
    assert run.summary["state"] == "complete"


def test_an_address_that_is_taken_is_told_before_any_load(
    mock: Start, perfbench: Start, spec_for: Start, tmp_path: Path
) -> None:
    server, word = mock(), tmp_path / "word"
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        listen = f"127.0.0.1:{taken.getsockname()[1]}"
        run = perfbench(spec_for(server), "--listen", listen, "--termination-message", str(word))
        assert run.wait(20) == 2
    assert f"--listen {listen}" in run.stderr
    assert "address already in use" in run.stderr
    assert json.loads(word.read_text())["reason"] == "InvalidSpec"
    assert server.stats()["started"] == 0


@pytest.mark.parametrize("listen", ["nonsense", "127.0.0.1:", "127.0.0.1:http"])
def test_an_address_that_is_none_is_bad_input(mock: Start, perfbench: Start, spec_for: Start, listen: str) -> None:
    run = perfbench(spec_for(mock()), "--listen", listen)
    assert run.wait(20) == 2
    assert "write it as HOST:PORT" in run.stderr
