"""What a run needs of this machine, told before it: open files, and room on the disk."""

import resource
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from perfbench_api.resource import PerfBenchmark
from perfbench_api.sections import Stage
from perfbench_plugins.arguments import Arguments
from perfbench_runner.run import disk, open_files


@pytest.mark.parametrize(
    ("stage", "timeout_s", "expected"),
    [
        (Stage(concurrency=8, requests=100), 60, 8),
        (Stage(concurrency=5000, requests=100), 60, 100),
        (Stage(concurrency=5000, duration=10), 60, 5000),
        (Stage(rate=10, requests=100), None, 100),
        (Stage(rate=10, duration=30), 3600, 300),
        (Stage(rate=10, duration=3600), 60, 600),
        (Stage(rate=10, duration=30, max_concurrency=7), 60, 7),
        (Stage(arrival="recorded"), 60, 0),
    ],
)
def test_connections_that_a_stage_can_have(stage: Stage, timeout_s: float | None, expected: int) -> None:
    assert open_files.connections(stage, timeout_s) == expected


@pytest.mark.parametrize(
    ("stage", "workers", "limit", "words"),
    [
        (Stage(concurrency=960, duration=10), 1, 1024, ""),
        (Stage(concurrency=961, duration=10), 1, 1024, "of 961 requests at a time those above 960 will fail"),
        (Stage(concurrency=1920, duration=10), 2, 1024, ""),
        (Stage(concurrency=5000, duration=10), 2, 1024, "1,024 in each of 2 processes"),
        (Stage(rate=96, duration=60), 1, 1024, ""),
        (Stage(rate=960, duration=60), 1, 1024, "if answers take more than 1 s"),
        (Stage(rate=960, duration=60, max_concurrency=100), 1, 1024, ""),
        (Stage(rate=960, duration=60, max_concurrency=1000), 1, 1024, "of 1,000 requests at a time"),
        (Stage(concurrency=5000, duration=10), 1, float("inf"), ""),
        (Stage(concurrency=50, duration=10), 1, 32, "those above 0 will fail"),
    ],
)
def test_a_limit_on_open_files_that_is_too_low_is_told(stage: Stage, workers: int, limit: float, words: str) -> None:
    text = open_files.shortage(stage, 3600, workers, limit)
    assert words in text
    assert bool(text) == bool(words)
    assert not text or "ulimit -n" in text


@pytest.fixture
def low_limit() -> Iterator[int]:
    before = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (256, before[1]))
    yield 256
    resource.setrlimit(resource.RLIMIT_NOFILE, before)


@pytest.mark.parametrize(("concurrency", "expected"), [(8, 256), (300, 364), (900, 964)])
def test_the_limit_is_raised_as_far_as_it_is_needed_and_nothing_is_said(
    low_limit: int, concurrency: int, expected: int
) -> None:
    assert (
        open_files.provide([Stage(concurrency=1, requests=1), Stage(concurrency=concurrency, duration=1)], 60, 1) == ""
    )
    assert resource.getrlimit(resource.RLIMIT_NOFILE)[0] == expected


def test_a_limit_that_cannot_be_raised_is_told_before_the_run() -> None:
    command = (
        f"ulimit -n 300; exec {sys.executable} -m perfbench_runner run --dry-run --url http://127.0.0.1:9 --model m"
    )
    done = subprocess.run(
        ["sh", "-c", f"{command} --parallel 1000 --number 2000 --workers 1"], capture_output=True, text=True, check=True
    )
    assert "WARNING the limit on open files (300 in each of 1 processes) is too low for stage c1000" in done.stderr


def spec(stages: list[dict[str, Any]], **sections: Any) -> Any:
    data = {"target": {"mock": {}}, "load": {"stages": stages}, **sections}
    return PerfBenchmark.read({"metadata": {"name": "m"}, "spec": data})


@pytest.mark.parametrize(
    ("stages", "max_tokens", "messages", "expected"),
    [
        ([{"concurrency": 1, "requests": 1000}], 100, "all", 2_000_000 + round(1000 * 65_536 / 25)),
        ([{"concurrency": 1, "requests": 1000}], 100, "none", 2_000_000 + 1000 * 2000),
        ([{"concurrency": 1, "requests": 1000}], None, "all", 2_000_000 + round(1000 * 65_536 / 16)),
        ([{"concurrency": 1, "requests": 1000}], [10, 200], "all", 2_000_000 + round(1000 * 65_536 / 18)),
        (
            [{"rate": 5, "duration": "60s"}, {"rate": 1, "requests": 5}],
            100,
            "all",
            2_000_000 + round(305 * 65_536 / 25),
        ),
        ([{"concurrency": 1, "duration": "60s"}], 100, "all", None),
    ],
)
def test_the_room_that_results_take(
    stages: list[dict[str, Any]], max_tokens: Any, messages: str, expected: int | None
) -> None:
    benchmark = spec(stages, results={"messages": messages}, request={"maxTokens": max_tokens})
    arguments = Arguments(url="http://x/v1", model="m", max_tokens=max_tokens)
    assert disk.estimate(benchmark.spec, arguments, 400) == expected


@pytest.mark.parametrize(
    ("body_bytes", "expected"),
    [(750, 65_536 / 21), (18_000, 32_768), (25_000, 65_536), (49_000, 2 * 65_536), (750_000, 16 * 65_536)],
)
def test_a_row_takes_its_part_of_whole_pages(body_bytes: int, expected: float) -> None:
    assert disk.row_bytes("all", 100, body_bytes) == expected


@pytest.mark.parametrize(
    ("estimated", "words", "is_warning"),
    [
        (None, "", False),
        (3_000_000, "", False),
        (60_000_000, "the results may take about 60 MB, 120 MB while they are written, in", False),
        (250_000_000, "the results may take about 250 MB, 316 MB while", False),
        (10**18, "the results may take about 1e+06 TB, 1e+06 TB while they are written, and", True),
    ],
)
def test_what_is_said_of_the_room(tmp_path: Path, estimated: int | None, words: str, is_warning: bool) -> None:
    text, warns = disk.told(estimated, tmp_path)
    assert (words in text, bool(text), warns) == (True, bool(words), is_warning)
