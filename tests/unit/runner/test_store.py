"""The results file: EvalScope's table first, ours after it, and nothing in it that could run."""

import base64
import json
import pickle
import sqlite3
import threading
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from perfbench_plugins.benchmark_data import BenchmarkData
from perfbench_plugins.reading import Messages
from perfbench_runner.results import client_health as health
from perfbench_runner.results import schema, store
from perfbench_runner.results.encoding import decode, encode
from perfbench_runner.results.reading import facts, open_results
from perfbench_runner.results.result import Result
from perfbench_runner.results.schema import COLUMNS, MIGRATIONS, migrate
from perfbench_runner.results.store import Store, StoreError

EVALSCOPE = """
request start_time inter_token_latencies success response_messages completed_time latency first_chunk_latency
prompt_tokens completion_tokens max_gpu_memory_cost time_per_output_token request_id is_stream
""".split()


def result(success: bool = True, **fields: Any) -> Result:
    given: dict[str, Any] = {
        "request": '{"model": "m", "n": 1.5, "list": [null, true]}',
        "start_time": 10.0,
        "completed_time": 12.0,
        "query_latency": 2.0,
        "first_chunk_latency": 0.5,
        "inter_chunk_latency": [0.1, 0.2],
        "response_messages": Messages([b'{"id": "a"}', '{"id": "ä"}'.encode()]),
        "prompt_tokens": 3,
        "completion_tokens": 4,
        "failure": "" if success else "timeout",
        "error": None if success else "silent",
        "is_stream": True,
    }
    data = BenchmarkData(success=success, **given | fields)
    data.tidy()
    return Result(0, 7, 1, 9.9, data, 0.01, 0.02, 0.3, 99)


@pytest.fixture
def results(tmp_path: Path) -> Iterator[Store]:
    made = Store(tmp_path)
    yield made
    made.db.close()


def rows_of(path: Path) -> list[dict[str, Any]]:
    db = sqlite3.connect(path)
    try:
        cursor = db.execute("SELECT * FROM result ORDER BY rowid")
        return [dict(zip([column[0] for column in cursor.description], row, strict=True)) for row in cursor]
    finally:
        db.close()


def test_columns_are_evalscopes_in_their_order_and_then_ours(results: Store) -> None:
    names = [row[1] for row in results.db.execute("PRAGMA table_info(result)")]
    assert names[: len(EVALSCOPE)] == EVALSCOPE
    assert names == COLUMNS


def test_a_result_is_stored_as_the_documented_script_reads_it(results: Store) -> None:
    results.add(result())
    (row,) = rows_of(results.close())
    assert pickle.loads(base64.b64decode(row["request"])) == {"model": "m", "n": 1.5, "list": [None, True]}
    messages = pickle.loads(base64.b64decode(row["response_messages"]))
    assert [json.loads(message)["id"] for message in messages] == ["a", "ä"]
    assert json.loads(row["inter_token_latencies"]) == [0.1, 0.2]
    expected = {
        "success": 1,
        "start_time": 10.0,
        "completed_time": 12.0,
        "latency": 2.0,
        "first_chunk_latency": 0.5,
        "prompt_tokens": 3,
        "completion_tokens": 4,
        "is_stream": 1,
        "stage": 0,
        "seq": 7,
        "shard": 1,
        "scheduled_time": 9.9,
        "connect_time": 0.01,
        "tls_time": 0.02,
        "first_byte_latency": 0.3,
        "response_bytes": 99,
        "failure": None,
        "error": None,
    }
    assert {name: row[name] for name in expected} == expected
    assert row["dispatch_lag"] == pytest.approx(0.07)


def test_of_a_failure_what_it_had_measured_is_stored_and_why_it_failed(results: Store) -> None:
    results.add(result(success=False, status_code=200))
    (row,) = rows_of(results.close())
    names = ("latency", "time_per_output_token", "prompt_tokens", "completion_tokens")
    assert [row[name] for name in names] == [None] * 4
    assert (row["success"], row["failure"], row["error"], row["status_code"]) == (0, "timeout", "silent", 200)
    assert (row["first_chunk_latency"], json.loads(row["inter_token_latencies"])) == (0.5, [0.1, 0.2])
    assert (row["completed_time"], row["chunks"]) == (12.0, 3)


def test_repeats_and_what_was_never_sent_are_stored(results: Store) -> None:
    results.add(replace(result(), entry=70, prompt_id=-(2**63), resends=1))
    results.add_unsent(0, 8, 1.0, 3.5)
    results.add_warmup_prompt(5)
    path = results.close()
    (row,) = rows_of(path)
    assert [row[name] for name in ("entry", "prompt_id", "resends")] == [70, -(2**63), 1]
    db = sqlite3.connect(path)
    assert db.execute("SELECT * FROM unsent").fetchall() == [(0, 8, 1.0, 3.5, None, None, None)]
    assert db.execute("SELECT * FROM warmup_prompt").fetchall() == [(5, None)]
    db.close()


def test_where_evalscopes_readers_would_stumble_over_a_null_the_view_has_a_value(tmp_path: Path) -> None:
    results = Store(tmp_path, "none")
    nothing = {"first_chunk_latency": None, "prompt_tokens": None, "completion_tokens": None, "query_latency": None}
    results.add(result(**nothing, inter_chunk_latency=[], is_stream=False, max_gpu_memory_cost=None))
    results.add(result(**nothing, inter_chunk_latency=[]))
    results.add(result(success=False, first_chunk_latency=None))
    path = results.close()
    whole, stream, failed = rows_of(path)
    assert (whole["latency"], whole["first_chunk_latency"]) == (2.0, 2.0), "of a whole answer it writes TTFT = latency"
    assert (stream["latency"], stream["first_chunk_latency"]) == (2.0, 0.0)
    for row in (whole, stream):
        assert [row[name] for name in ("prompt_tokens", "completion_tokens", "time_per_output_token")] == [0, 0, 0.0]
        assert (row["inter_token_latencies"], row["max_gpu_memory_cost"]) == ("[]", 0.0)
        assert pickle.loads(base64.b64decode(row["request"])) is None
        assert pickle.loads(base64.b64decode(row["response_messages"])) == []
    assert [failed[name] for name in ("latency", "first_chunk_latency", "prompt_tokens")] == [None] * 3
    db = sqlite3.connect(path)
    names = "first_chunk_latency, prompt_tokens, completion_tokens, time_per_output_token"
    assert db.execute(f"SELECT {names} FROM requests").fetchall() == [(None,) * 4] * 3, "there null is not known"
    assert db.execute("SELECT rowid FROM result ORDER BY rowid LIMIT 1 OFFSET 1").fetchall() == [(2,)]
    db.close()


@pytest.mark.parametrize(
    ("messages", "kept"), [("all", [True, True]), ("failed", [False, True]), ("none", [False] * 2)]
)
def test_bodies_are_kept_as_asked_for(tmp_path: Path, messages: str, kept: list[bool]) -> None:
    results = Store(tmp_path, messages)
    results.add(result())
    results.add(result(success=False))
    rows = rows_of(results.close())
    assert [decode(row["request"]) is not None for row in rows] == kept
    assert [decode(row["response_messages"]) != [] for row in rows] == kept
    assert rows[0]["latency"] == 2.0


@pytest.mark.parametrize(
    ("request_", "expected"),
    [({"a": 1}, {"a": 1}), ("no json", "no json"), (None, None), (b'{"a": 1}', {"a": 1}), ("", None), ([1], [1])],
)
def test_a_plugin_may_leave_any_request(results: Store, request_: Any, expected: Any) -> None:
    results.add(result(request=request_))
    (row,) = rows_of(results.close())
    assert decode(row["request"]) == expected


def test_a_plugin_may_leave_any_messages(results: Store) -> None:
    results.add(result(response_messages=[{"id": 1}, '{"id": 2}', object(), b"bytes"]))
    (row,) = rows_of(results.close())
    messages = decode(row["response_messages"])
    assert [json.loads(message)["id"] for message in messages[:2]] == [1, 2]
    assert all(isinstance(message, str) for message in messages)


@pytest.mark.parametrize(
    "fields",
    [
        {"status_code": "200"},
        {"prompt_tokens": 2**70},
        {"error": ValueError("x")},
        {"error": "\udc80"},
        {"request_id": 5},
        {"inter_chunk_latency": None},
        {"inter_chunk_latency": [float("nan")]},
        {"max_gpu_memory_cost": None},
        {"is_stream": None},
        {"trace_id": {"a": 1}},
        {"prompt_tokens": "many"},
    ],
)
def test_a_careless_plugin_does_not_end_the_run(results: Store, fields: dict[str, Any]) -> None:
    results.add(result(**fields))
    results.add(result())
    assert len(rows_of(results.close())) == 2


class _Evil:
    def __reduce__(self) -> Any:
        return print, ("owned",)


@pytest.mark.parametrize("value", [_Evil(), {"a": _Evil()}, print, BenchmarkData, Path("/"), range(3), 1j])
def test_nothing_but_plain_data_is_unpickled(value: Any) -> None:
    text = base64.b64encode(pickle.dumps(value)).decode()
    with pytest.raises(pickle.UnpicklingError, match="refused to load"):
        decode(text)


@pytest.mark.parametrize("value", [None, 1, -(2**80), 1.5, "ä", b"x", [1, [2]], {"a": {"b": None}}, (1,), True, {1, 2}])
def test_plain_data_comes_back(value: Any) -> None:
    assert decode(encode(value)) == value


def test_a_blank_and_an_old_database_reach_the_newest_schema(monkeypatch: pytest.MonkeyPatch) -> None:
    def tables_of(db: sqlite3.Connection) -> list[Any]:
        return db.execute("SELECT name, sql FROM sqlite_master WHERE type = 'table' ORDER BY name").fetchall()

    def m999_more(db: sqlite3.Connection) -> None:
        db.execute("CREATE TABLE more (a)")

    old, blank = sqlite3.connect(":memory:"), sqlite3.connect(":memory:")
    migrate(old)
    before = tables_of(old)
    migrate(old)
    assert tables_of(old) == before
    monkeypatch.setattr(schema, "MIGRATIONS", [*MIGRATIONS, m999_more])
    migrate(old)
    migrate(blank)
    assert tables_of(old) == tables_of(blank) != before
    names = [row[0] for row in old.execute("SELECT name FROM migration ORDER BY name")]
    assert names == [*(function.__name__ for function in MIGRATIONS), "m999_more"]
    old.close()
    blank.close()


def test_what_was_committed_is_there_for_others(results: Store) -> None:
    results.add(result())
    assert rows_of(results.path) == []
    results.commit()
    assert len(rows_of(results.path)) == 1


def test_at_the_end_it_is_one_file_under_its_own_name(tmp_path: Path) -> None:
    results = Store(tmp_path)
    results.set_run(name="a", versions={"x": 1})
    results.set_stage(0, "c1", {"concurrency": 1})
    results.begin_stage(0, 1.0, 1.5)
    results.end_stage(0, 2.0, 0.25, 1.25)
    results.set_summaries([{"a": 1}])
    results.add_sample(health.Sample(**dict.fromkeys(health.COLUMNS, 1)))
    results.add_server_metrics([(1.0, 0, "x", "n", "{}", 2.0)])
    path = results.close()
    assert [each.name for each in tmp_path.iterdir()] == ["results.sqlite"] == [path.name]
    db = open_results(tmp_path)
    assert dict(db.execute("SELECT * FROM run")) == {"name": "a", "versions": '{"x": 1}'}
    assert db.execute("SELECT * FROM stage").fetchall() == [
        (0, "c1", '{"concurrency": 1}', 1.0, 2.0, 0.25, '{"a": 1}', 1.0, 1.5, 1.25)
    ]
    assert db.execute("SELECT count(*) FROM client_health").fetchone() == (1,)
    assert db.execute("PRAGMA integrity_check").fetchone() == ("ok",)
    with pytest.raises(sqlite3.OperationalError, match="readonly"):
        db.execute("DELETE FROM requests")
    db.close()


def reading(path: Path) -> sqlite3.Connection:
    """Somebody in the middle of reading."""
    db = sqlite3.connect(path, check_same_thread=False)
    db.execute("BEGIN")
    db.execute("SELECT count(*) FROM run").fetchone()
    return db


def test_somebody_who_reads_at_the_end_is_waited_for(tmp_path: Path) -> None:
    results = Store(tmp_path)
    results.set_run(name="a")
    results.commit()
    reader = reading(results.path)
    results.set_run(more="b")
    later = threading.Timer(0.3, reader.close)
    later.start()
    path = results.close()
    later.join()
    assert [each.name for each in tmp_path.iterdir()] == [path.name]
    db = open_results(tmp_path)
    assert dict(db.execute("SELECT * FROM run")) == {"name": "a", "more": "b"}
    db.close()


def test_somebody_who_never_ends_reading_loses_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(store, "READERS_S", 0.1)
    results = Store(tmp_path)
    results.set_run(name="a")
    results.commit()
    reader = reading(results.path)
    results.set_run(more="b")
    with pytest.raises(StoreError, match="another program has it open"):
        results.close()
    reader.close()
    again = Store(tmp_path)
    assert facts(again.db)["more"] == "b"
    again.db.close()
    results.db.close()


def test_what_is_no_results_file_is_said_to_be_none(tmp_path: Path) -> None:
    with pytest.raises(StoreError, match="there is no"):
        open_results(tmp_path)
    (tmp_path / "x.sqlite").write_text("no database, but long enough to be looked at" * 100)
    with pytest.raises(StoreError, match="is no results file"):
        open_results(tmp_path / "x.sqlite")
    sqlite3.connect(tmp_path / "empty.sqlite").close()
    with pytest.raises(StoreError, match="is no results file"):
        open_results(tmp_path / "empty.sqlite")


def test_a_folder_that_cannot_be_written_is_named(tmp_path: Path) -> None:
    with pytest.raises(StoreError, match=r"cannot write .*nothing/results"):
        Store(tmp_path / "nothing")
