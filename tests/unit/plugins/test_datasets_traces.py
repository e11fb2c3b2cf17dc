"""Datasets with an arrival schedule: workload_trace, mooncake, replay."""

import base64
import json
import os
import pickle
import sqlite3
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import pytest

from perfbench_plugins.datasets.base import DatasetError, Item
from perfbench_plugins.datasets.replay import read_body
from perfbench_plugins.datasets.traces import seconds
from perfbench_plugins.tokens import load_tokenizer


def lines(file: Path, *values: Any) -> Path:
    file.write_text("".join(json.dumps(value) + "\n\n" for value in values))
    return file


def test_a_trace_is_played_in_the_order_of_time(dataset: Any, tmp_path: Path) -> None:
    file = lines(
        tmp_path / "a.jsonl",
        {"body": {"model": "x", "prompt": "b"}, "timestamp": "2026-01-01T00:00:04Z", "request_id": "r"},
        {
            "body": '{"model": "y", "prompt": "a"}',
            "timestamp": "2026-01-01T00:00:02",
            "headers": {"X-A": "1", "Host": "h"},
        },
    )
    args = {"speed": 2, "model_mapping": {"x": "big"}, "model_override": "small"}
    assert list(dataset("workload_trace", file, args, model=None)) == [
        Item({"model": "small", "prompt": "a"}, 0.0, headers={"X-A": "1"}),
        Item({"model": "big", "prompt": "b"}, 1.0, request_id="r"),
    ]


def test_answers_are_made_as_long_as_recorded_unless_a_grammar_ends_them(dataset: Any, tmp_path: Path) -> None:
    bodies: list[dict[str, Any]] = [
        {"prompt": "a", "max_completion_tokens": 1},
        {"prompt": "a", "response_format": {"type": "json_object"}},
        {"prompt": "a", "tools": [{}], "tool_choice": "auto"},
        {"prompt": "a", "guided_regex": "a+"},
    ]
    file = lines(tmp_path / "a.jsonl", *({"body": body, "timestamp": 1, "completion_tokens": 9} for body in bodies))
    sent = [item.messages for item in dataset("workload_trace", file, {"match_output_length": True})]
    assert sent[0] == {"prompt": "a", "max_completion_tokens": 9, "ignore_eos": True}
    assert [(body.get("max_tokens"), body.get("ignore_eos")) for body in sent[1:]] == [(9, None), (9, True), (9, None)]


@pytest.mark.parametrize(
    ("record", "problem"),
    [
        ({"timestamp": 1}, "line 3: body: missing"),
        ({"body": {}, "timestamp": "soon"}, "line 3: timestamp: 'soon' is no timestamp"),
        ({"body": {}, "timestamp": 1, "bdy": 1}, "line 3: bdy: unknown field; did you mean 'body'"),
        ("text", "line 3"),
    ],
)
def test_a_mistake_in_the_last_line_shows_before_the_first_is_sent(
    dataset: Any, tmp_path: Path, record: Any, problem: str
) -> None:
    file = lines(tmp_path / "a.jsonl", {"body": {}, "timestamp": 0}, record)
    with pytest.raises(DatasetError, match=problem):
        next(iter(dataset("workload_trace", file)))


def test_a_trace_needs_lines(dataset: Any, tmp_path: Path) -> None:
    with pytest.raises(DatasetError, match=r"dataset\.path: missing"):
        next(iter(dataset("workload_trace")))
    with pytest.raises(DatasetError, match="is empty"):
        next(iter(dataset("workload_trace", lines(tmp_path / "a.jsonl"))))


def test_timestamps_are_numbers_or_iso_8601() -> None:
    assert seconds(3) == seconds("3") == 3.0
    assert seconds("1970-01-01T00:01:00+00:00") == seconds("1970-01-01T00:01:00Z") == seconds("1970-01-01 00:01") == 60


def test_mooncakes_equal_blocks_have_equal_texts(dataset: Any, tmp_path: Path) -> None:
    file = lines(
        tmp_path / "a.jsonl",
        {"timestamp": 0, "input_length": 25, "output_length": 500, "hash_ids": [0, 1, 2]},
        {"timestamp": 3000, "input_length": 22, "output_length": 0, "hash_ids": [0, 1, 3]},
        {"timestamp": 3000, "input_tokens": 8, "output_tokens": 1, "hash_ids": [0], "session_id": "s"},
    )
    items = list(dataset("mooncake", file, {"block_size": 10, "ignore_eos": True}, apply_chat_template=False))
    words = [item.messages.split() for item in items]
    assert [len(prompt) for prompt in words] == [25, 22, 8]
    assert words[0][:20] == words[1][:20]
    assert words[0][:8] == words[2]
    assert words[0][20:22] != words[1][20:]
    assert [(item.at_s, item.max_tokens, item.extra) for item in items] == [
        (0.0, 500, {"ignore_eos": True}),
        (3.0, 1, {"ignore_eos": True}),
        (3.0, 1, {"ignore_eos": True}),
    ]
    assert len(list(dataset("mooncake", file, {"max_input_length": 20}))) == 1


def test_mooncakes_lengths_are_exact_with_a_tokenizer(dataset: Any, tmp_path: Path, tokenizer_folder: Path) -> None:
    rows: list[dict[str, Any]] = [
        {"timestamp": n, "input_length": 60 + 37 * n, "output_length": 5, "hash_ids": [0, n, n + 1]} for n in range(9)
    ]
    tokenizer = load_tokenizer(str(tokenizer_folder))
    items = list(
        dataset(
            "mooncake", lines(tmp_path / "a.jsonl", *rows), {"block_size": 50}, tokenizer_path=str(tokenizer_folder)
        )
    )
    off = [tokenizer.count_messages(item.messages) - row["input_length"] for item, row in zip(items, rows, strict=True)]
    assert max(map(abs, off)) <= 1


def pickled(body: Any) -> str:
    return base64.b64encode(pickle.dumps(body)).decode()


def results(file: Path, rows: Iterable[tuple[Any, ...]]) -> Path:
    with sqlite3.connect(file) as db:
        db.execute(
            "CREATE TABLE result (request TEXT, start_time REAL, request_id TEXT, stage INTEGER, scheduled_time REAL)"
        )
        db.execute("CREATE TABLE stage (stage INTEGER PRIMARY KEY, name TEXT)")
        db.executemany("INSERT INTO result VALUES (?, ?, ?, ?, ?)", rows)
        db.executemany("INSERT INTO stage VALUES (?, ?)", [(0, "c1"), (1, "r5")])
    db.close()
    return file


ROWS = [
    (pickled({"model": "m", "prompt": "warm-up"}), 1.0, None, -1, 1.0),
    (pickled({"model": "m", "prompt": "b"}), 12.5, "id", 0, 12.0),
    (pickled({"model": "m", "prompt": "a"}), 10.0, None, 0, 10.0),
    (pickled(json.dumps({"model": "m", "prompt": "c"})), 20.0, None, 1, None),
]


def test_an_earlier_run_is_replayed_with_its_schedule(dataset: Any, tmp_path: Path) -> None:
    results(tmp_path / "results.sqlite", ROWS)
    items = list(dataset("replay", tmp_path, {"speed": 2, "model_override": "new"}))
    assert items == [
        Item({"model": "new", "prompt": "a"}, 0.0),
        Item({"model": "new", "prompt": "b"}, 1.0, request_id="id"),
        Item({"model": "new", "prompt": "c"}, 5.0),
    ]
    for stage in (0, "c1"):
        assert [item.messages["prompt"] for item in dataset("replay", tmp_path, {"stage": stage})] == ["a", "b"]
    with pytest.raises(DatasetError, match=r"no stage is named 'c9'; there are c1, r5"):
        list(dataset("replay", tmp_path, {"stage": "c9"}))


def test_a_results_file_of_evalscope_can_be_replayed(dataset: Any, tmp_path: Path) -> None:
    with sqlite3.connect(tmp_path / "benchmark_data.db") as db:
        db.execute("CREATE TABLE result (request TEXT, start_time REAL)")
        db.executemany("INSERT INTO result VALUES (?, ?)", [('{"prompt": "a"}', 7.0), ('{"prompt": "b"}', 7.5)])
    db.close()
    assert list(dataset("replay", tmp_path)) == [Item({"prompt": "a"}, 0.0), Item({"prompt": "b"}, 0.5)]


@pytest.mark.parametrize(
    ("rows", "problem"),
    [
        ([], "holds no requests"),
        ([(None, 1.0, None, 0, 1.0)], "1 of 1 requests .* only a run with results.messages `all`"),
        ([("gAROLg==", 1.0, None, 0, 1.0)], "1 of 1 requests .* only a run with results.messages `all`"),
        ([(pickled([1]), 1.0, None, 0, 1.0)], "it is a list, no object"),
        ([("&&", 1.0, None, 0, 1.0)], "a request in"),
    ],
)
def test_what_cannot_be_replayed_is_told(dataset: Any, tmp_path: Path, rows: Any, problem: str) -> None:
    with pytest.raises(DatasetError, match=problem):
        list(dataset("replay", results(tmp_path / "results.sqlite", rows)))


def test_files_that_are_no_results_are_told(dataset: Any, tmp_path: Path) -> None:
    (tmp_path / "text.sqlite").write_text("no database at all, but long enough to be looked at as one" * 20)
    for path, problem in (
        (None, "path: missing"),
        (tmp_path / "none", "no such file"),
        (tmp_path / "text.sqlite", "is no results file"),
    ):
        with pytest.raises(DatasetError, match=problem):
            list(dataset("replay", path))


class Evil:
    def __reduce__(self) -> Any:
        return os.system, ("touch /tmp/perfbench-evil",)


def test_a_pickle_runs_no_code() -> None:
    with pytest.raises(ValueError, match="results have only lists, dicts, strings and numbers"):
        read_body(pickled({"a": Evil()}))
    assert not Path("/tmp/perfbench-evil").exists()
    body = {"a": [1, 2.5, "x", None, True, b"y"], "b": {"c": (1,)}}
    assert read_body(pickled(body)) == body
