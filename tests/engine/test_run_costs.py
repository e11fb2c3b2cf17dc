"""What a run costs: memory that stays flat, and a start that loads nothing heavy."""

import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

Start = Callable[..., Any]


def resident_mb(pids: list[int]) -> float:
    """Memory of processes, what they share counted once (proportional set size)."""
    total = 0
    for pid in pids:
        try:
            text = Path(f"/proc/{pid}/smaps_rollup").read_text()
        except OSError:
            continue
        total += next(int(line.split()[1]) for line in text.splitlines() if line.startswith("Pss:"))
    return total / 1024


@pytest.mark.alone
def test_memory_stays_flat_over_20_000_requests(mock: Start, perfbench: Start, spec_for: Start) -> None:
    server = mock(ttft_s=0.0, itl_s=0.0, output_tokens=1)
    spec = spec_for(server, {"concurrency": 16, "requests": 20_000}, request={"maxTokens": 1})
    run = perfbench(spec)
    early = late = 0.0
    while run.process.poll() is None:
        try:
            rows = run.count() if run.database.exists() else 0
        except Exception:  # noqa: BLE001  # between two names, or not yet created
            continue
        memory = resident_mb([run.process.pid, *run.descendants()])
        if rows < 2000:
            early = max(early, memory)
        elif rows < 19_000:
            late = max(late, memory)
        time.sleep(0.1)
    assert run.wait(90) == 0, run.stderr
    assert run.count() == run.stage["requests"]["total"] == 20_000
    assert server.stats()["started"] == 20_001
    assert run.query("PRAGMA integrity_check") == [("ok",)]
    assert early > 0
    assert late - early < 20, (early, late)


IMPORTS = """
import sys
sys.modules.update(dict.fromkeys({forbidden!r}))  # importing one of these raises now
{program}
"""


@pytest.mark.parametrize(
    ("program", "forbidden"),
    [
        ("import perfbench_api.resource, perfbench_api.status, perfbench_api.explain, perfbench_api.outcome",
         ["numpy", "kopf", "aiohttp", "orjson", "uvloop", "kubernetes", "click", "rich"]),
        ("import perfbench_plugins.arguments, perfbench_plugins.registry, perfbench_plugins.api.openai_api",
         ["numpy", "kopf", "aiohttp", "kubernetes", "tokenizers"]),
        ("import perfbench_runner.cli.run_command", ["numpy", "kopf", "aiohttp", "kubernetes", "tokenizers", "rich", "jinja2"]),
        ("import perfbench_runner.shard.shard", ["numpy", "kopf", "aiohttp", "kubernetes", "rich", "yaml", "sqlite3"]),
    ],
)  # fmt: skip
def test_nothing_heavy_is_imported_to_start(program: str, forbidden: list[str]) -> None:
    source = IMPORTS.format(forbidden=forbidden, program=program)
    found = subprocess.run([sys.executable, "-c", source], capture_output=True, text=True, timeout=30)
    assert found.returncode == 0, found.stderr


@pytest.mark.alone
def test_the_first_request_comes_soon(mock: Start, perfbench: Start, spec_for: Start) -> None:
    """Under 0.6 s on a machine of its own; this one is shared. What it is made of: tests/unit/runner/test_start.py."""
    server = mock()
    began_s = time.monotonic()
    run = perfbench(spec_for(server, target={"connectionTest": False}))
    while not server.stats()["started"]:
        assert time.monotonic() - began_s < 5
        time.sleep(0.01)
    assert run.wait() == 0
