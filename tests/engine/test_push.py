"""A run's metrics in a real Pushgateway."""

import re
import subprocess
import time
import urllib.request
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

Start = Callable[..., Any]


@pytest.fixture
def gateway(pushgateway: str, tmp_path: Path) -> Iterator[str]:
    """Its address; it takes a free port and says which."""
    log = tmp_path / "pushgateway.log"
    command = [pushgateway, "--web.listen-address=127.0.0.1:0", "--persistence.file="]
    with log.open("w") as file:
        process = subprocess.Popen(command, stdout=file, stderr=file, cwd=tmp_path)
    try:
        deadline_s = time.monotonic() + 20
        while not (found := re.search(r"Listening on\D+(127\.0\.0\.1:\d+)", log.read_text())):
            assert process.poll() is None, log.read_text()
            assert time.monotonic() < deadline_s, log.read_text()
            time.sleep(0.05)
        yield f"http://{found[1]}"
    finally:
        process.kill()
        process.wait()


def page(gateway: str) -> dict[str, float]:
    with urllib.request.urlopen(f"{gateway}/metrics", timeout=5) as answer:
        lines = answer.read().decode().splitlines()
    return {name: float(value) for name, _, value in (line.rpartition(" ") for line in lines if line[:1] != "#")}


def test_the_last_run_of_a_benchmark_stays_in_the_gateway(
    mock: Start, perfbench: Start, spec_for: Start, gateway: str
) -> None:
    server = mock()
    own = 'benchmark="run",instance="",job="perfbench",model="m",namespace="",'
    for requests, folder in ((40, "one/run"), (6, "two/run")):
        spec = spec_for(server, {"name": "only", "concurrency": 2, "requests": requests}, results={"push": gateway})
        run = perfbench(spec, name=folder)
        assert run.wait(30) == 0
        assert [line for line in run.stderr.splitlines() if "the client itself" not in line] == []  # a busy machine
        found = page(gateway)
        count = f'perfbench_requests_total{{{own}outcome="success",stage="only",workload="openqa"}}'
        assert found[count] == requests
        assert found[f'perfbench_phase{{{own}phase="done",workload="openqa"}}'] == 1
        assert found[f'perfbench_ttft_seconds_count{{{own}stage="only",workload="openqa"}}'] == requests
    assert not [name for name, value in found.items() if name.startswith("push_failure_time_seconds") and value]
