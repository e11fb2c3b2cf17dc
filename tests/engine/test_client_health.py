"""A result says whether its client can be believed, and a calibration says how far."""

import json
import os
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

PERFBENCH = str(Path(sys.executable).parent / "perfbench")
CORES = sorted(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else []

needs_linux = pytest.mark.skipif(not CORES, reason="pins processes to a core: needs Linux")


def run(folder: Path, concurrency: int, requests: int, pin: bool = False) -> dict[str, Any]:
    """A run against a mock of its own; its summary."""
    load = f"spec.load.stages=[{{concurrency: {concurrency}, requests: {requests}}}]"
    manifest = folder / "benchmark.yaml"
    manifest.write_text(
        "kind: PerfBenchmark\nmetadata: {name: health}\nspec: {target: {mock: {}}, request: {maxTokens: 64}}\n"
    )
    argv = [PERFBENCH, "run", str(manifest), "--set", load, "--results-dir", str(folder / "run"), "-q"]
    pinned = (lambda: os.sched_setaffinity(0, {CORES[-1]})) if pin else None
    subprocess.run(argv, preexec_fn=pinned, check=False, timeout=120, stdout=subprocess.DEVNULL)
    summary: dict[str, Any] = json.loads((folder / "run" / "summary.json").read_text())
    return summary


@contextmanager
def busy_loops(count: int) -> Iterator[None]:
    """Processes that take all they can of the last core, for a minute at most."""
    code = f"import os, time; os.sched_setaffinity(0, {{{CORES[-1]}}}); end = time.time() + 60\nwhile time.time() < end: pass"
    processes = [subprocess.Popen([sys.executable, "-c", code]) for _ in range(count)]
    try:
        yield
    finally:
        for process in processes:
            process.kill()
            process.wait()


@needs_linux
@pytest.mark.alone
def test_a_starved_client_says_so_and_why(tmp_path: Path) -> None:
    with busy_loops(3):
        summary = run(tmp_path, concurrency=64, requests=192, pin=True)
    assert summary["client"]["state"] in ("degraded", "invalid")
    assert summary["client"]["reasons"]
    assert all(reason.startswith("c64: ") for reason in summary["client"]["reasons"])


@needs_linux
@pytest.mark.alone
def test_a_free_client_is_valid(tmp_path: Path) -> None:
    states = []
    for attempt in range(3):  # another process on a shared machine may disturb one run, hardly three
        (tmp_path / str(attempt)).mkdir()
        states.append(run(tmp_path / str(attempt), concurrency=4, requests=40)["client"]["state"])
        if states[-1] == "valid":
            break
    assert "valid" in states


def test_calibration_tells_error_and_ceiling_and_is_stored(tmp_path: Path) -> None:
    argv = [PERFBENCH, "calibrate", "--parallel", "8", "--seconds", "2", "-o", str(tmp_path)]
    done = subprocess.run(argv, capture_output=True, text=True, timeout=60, check=False)
    assert done.returncode == 0, done.stderr
    assert "ceiling" in done.stdout
    (file,) = tmp_path.glob("*/*/calibration.json")
    found = json.loads(file.read_text())
    (stage,) = found["stages"]
    assert stage["name"] == "c8"
    assert abs(stage["ttft_ms"]["p50"]) < 20
    assert found["ceiling"]["requests_per_s"] > 10
    assert stage["stamps"] == stage["truth_stamps"]
    assert set(stage["mock_lateness_ms"]) == {"mean", "p50", "p99", "max"}


def test_a_calibrated_run_has_its_own_error_beside_the_result(tmp_path: Path) -> None:
    argv = [
        PERFBENCH,
        "run",
        "examples/quickstart.yaml",
        "--calibrate",
        "--no-fail",
        "-q",
        "--results-dir",
        str(tmp_path / "run"),
    ]
    argv += ["--set", "spec.load.stages=[{concurrency: 2, requests: 4}]", "--set", "spec.load.warmup.requests=0"]
    done = subprocess.run(argv, capture_output=True, text=True, timeout=90, check=False)
    assert done.returncode == 0, done.stderr
    summary = json.loads((tmp_path / "run" / "summary.json").read_text())
    assert summary["calibration"]["stages"][0]["name"] == "c2"
    assert "calibrated c2: TTFT" in done.stdout
