"""What a run needs of this machine, told before it: open files, and room on the disk."""

import resource
import sqlite3
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from random import Random
from typing import Any

import orjson
import pytest

from perfbench_api.resource import PerfBenchmark
from perfbench_api.sections import Stage
from perfbench_plugins.arguments import Arguments
from perfbench_plugins.benchmark_data import BenchmarkData
from perfbench_plugins.reading import Messages
from perfbench_runner.results.result import Result
from perfbench_runner.results.store import PAGE_BYTES, Store
from perfbench_runner.run import disk, open_files
from perfbench_runner.run.disk import Room, Shape

MB = 1_000_000


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


def shape(messages: str = "all", body_bytes: float = 300, tokens: float = 100, **more: Any) -> Shape:
    return Shape(messages, body_bytes, tokens, **more)


@pytest.mark.parametrize(
    ("stages", "counted", "seconds"),
    [
        ([{"concurrency": 1, "requests": 1000}], 1000, 0),
        ([{"rate": 5, "duration": "60s"}, {"rate": 1, "requests": 5}], 305, 65),
        ([{"concurrency": 1, "duration": "60s"}], None, 0),
        ([{"concurrency": 1, "requests": 9}, {"concurrency": 2, "duration": "60s"}], None, 0),
    ],
)
def test_the_room_that_a_run_takes_is_that_of_its_requests_and_of_its_time(
    stages: list[dict[str, Any]], counted: int | None, seconds: float
) -> None:
    shapes = [shape(tokens=10), shape()]
    found = disk.estimate(spec(stages).spec, shapes, are_here=True)
    if counted is None:
        assert found is None
    else:
        rows_bytes = counted * disk.request_bytes(shapes[1]) + seconds * disk.SECOND_BYTES
        assert found == disk.room(rows_bytes)


def test_a_search_takes_the_room_of_the_most_that_it_may_send() -> None:
    data = {"target": {"mock": {}}, "load": {"search": {"rate": {"from": 1, "to": 64}, "maxRequests": 5000}}}
    searched = PerfBenchmark.read({"metadata": {"name": "m"}, "spec": data}).spec
    found = disk.estimate(searched, [shape()], are_here=True)
    assert found is not None
    assert found.results == pytest.approx(disk.FILE_BYTES + 5000 * disk.request_bytes(shape()), rel=0.01)


@pytest.mark.parametrize(
    ("given", "expected"),
    [
        ({"max_tokens": 100}, Shape("all", 400, 100, True, 1)),
        ({"max_tokens": None, "stream": False}, Shape("all", 400, 256, False, 1)),
        ({"max_tokens": [10, 200], "n_choices": 3}, Shape("all", 400, 200, True, 3)),
    ],
)
def test_the_longest_answer_counts(given: dict[str, Any], expected: Shape) -> None:
    assert disk.shape_of("all", Arguments(url="http://x/v1", model="m", **given), 400) == expected


TEXT = " a server's own words differ and so compress less than those of a mock which says the same again".split()
PIECES = [piece for word in TEXT for piece in (f" {word[:4]}", word[4:]) if piece]


def answer(tokens: int, is_stream: bool) -> Messages:
    """Like vLLM's, of words in no order."""
    draw = Random(7)
    pieces = [draw.choice(PIECES) for _ in range(tokens)]
    about = {"id": "chatcmpl-0123456789abcdef0123456789abcdef", "created": 1764170000, "model": "llama-3.1-8b-instruct"}
    of_stream = {"logprobs": None, "finish_reason": None, "token_ids": None}
    if not is_stream:
        choice = {"message": {"role": "assistant", "content": "".join(pieces), "tool_calls": []}, **of_stream}
        usage = {"prompt_tokens": 1000, "completion_tokens": tokens, "total_tokens": 1000 + tokens}
        return Messages([orjson.dumps({**about, "object": "chat.completion", "choices": [choice], "usage": usage})])
    kind = {**about, "object": "chat.completion.chunk"}
    return Messages([orjson.dumps({**kind, "choices": [{"delta": {"content": each}, **of_stream}]}) for each in pieces])


@pytest.mark.parametrize(
    ("messages", "prompt"),
    [("all", 100), ("all", 4_000), ("all", 30_000), ("all", 1_000_000), ("failed", 4_000), ("none", 4_000)],
)
@pytest.mark.parametrize(("tokens", "is_stream"), [(n, kind) for n in (10, 256, 4000) for kind in (True, False)])
def test_results_take_at_most_what_was_estimated_and_half_of_it_at_least(
    tmp_path: Path, messages: str, prompt: int, tokens: int, is_stream: bool
) -> None:
    draw, store = Random(3), Store(tmp_path, messages)
    body = {"model": "llama", "messages": [{"role": "user", "content": "x" * prompt}], "max_tokens": tokens}
    of_body, said = orjson.dumps(body).decode(), answer(tokens, is_stream)
    requests = max(12, min(400, 40_000 // tokens, 4_000_000 // prompt))
    for number in range(requests):
        data = BenchmarkData(
            request=of_body,
            success=True,
            start_time=draw.random(),
            completed_time=draw.random(),
            query_latency=draw.random(),
            first_chunk_latency=draw.random(),
            time_per_output_token=draw.random(),
            inter_chunk_latency=[draw.gauss(0.02, 0.002) for _ in range(tokens - 1)] if is_stream else [],
            response_messages=said,
            prompt_tokens=prompt // 4,
            completion_tokens=tokens,
            is_stream=is_stream,
            model="llama-3.1-8b-instruct",
            token_source="usage",
        )
        store.add(Result(0, number, 0, draw.random(), data, draw.random(), 0.0, draw.random(), 10 * tokens))
    taken = store.close().stat().st_size
    estimated = disk.room(requests * disk.request_bytes(shape(messages, len(of_body), tokens, is_stream=is_stream)))
    assert taken <= estimated.results <= 2 * taken


@pytest.mark.parametrize("mean", [3_000, 15_000, 30_000, 60_000, 200_000])
def test_rows_of_all_lengths_take_at_most_what_is_estimated_of_their_mean(tmp_path: Path, mean: int) -> None:
    draw = Random(5)
    db = sqlite3.connect(tmp_path / "rows", isolation_level=None)
    db.execute(f"PRAGMA page_size = {PAGE_BYTES}")
    db.execute("CREATE TABLE bodies (id INTEGER PRIMARY KEY, request TEXT)")
    lengths = [draw.randrange(2 * mean) for _ in range(max(300, 10_000_000 // mean))]
    db.execute("BEGIN")
    db.executemany("INSERT INTO bodies VALUES (NULL, ?)", (("x" * length,) for length in lengths))
    db.execute("COMMIT")
    (pages,) = db.execute("PRAGMA page_count").fetchone()
    db.close()
    taken = (pages - 2) * PAGE_BYTES / len(lengths)
    assert taken <= disk.in_pages(sum(lengths) / len(lengths), sum(lengths) / len(lengths)) <= 1.8 * taken


@pytest.mark.parametrize(
    ("replicas", "are_here", "at_work"),
    [
        (1, False, 1000 * MB + disk.FILE_BYTES + disk.LOG_BYTES),
        (2, False, 2000 * MB + 2 * disk.FILE_BYTES),
        (2, True, 2500 * MB + 3 * disk.FILE_BYTES),
        (5, False, 1400 * MB + 5 * disk.FILE_BYTES),
        (5, True, 2200 * MB + 9 * disk.FILE_BYTES),
        (16, False, 1000 * MB + disk.LOG_BYTES + 16 * disk.FILE_BYTES),
        (16, True, 1937.5 * MB + disk.LOG_BYTES + 31 * disk.FILE_BYTES),
    ],
)
def test_the_leader_needs_room_for_the_files_of_all(replicas: int, are_here: bool, at_work: float) -> None:
    assert disk.room(1000 * MB, replicas, are_here) == (1000 * MB + disk.FILE_BYTES, at_work, 0)


def test_a_small_run_needs_no_more_than_twice_its_results() -> None:
    assert disk.room(10 * MB).at_work == 2 * disk.room(10 * MB).results


@pytest.mark.parametrize(
    ("found", "words", "is_warning"),
    [
        (None, "", False),
        (Room(3_000_000, 6_000_000), "", False),
        (
            Room(60_000_000, 120_000_000),
            "the results may take about 60 MB, 120 MB while they are written, if all",
            False,
        ),
        (Room(60_000_000, 120_000_000, 5_000), "are like the first, and 5 kB more for each that fails, in", False),
        (Room(10**18, 10**18), "the results may take about 1e+06 TB, 1e+06 TB while they are written, if", True),
    ],
)
def test_what_is_said_of_the_room(tmp_path: Path, found: Room | None, words: str, is_warning: bool) -> None:
    text, warns = disk.told(found, tmp_path)
    assert (words in text, bool(text), warns) == (True, bool(words), is_warning)
