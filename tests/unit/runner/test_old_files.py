"""Results files of older versions: read as they are, and finished when their run was killed."""

import base64
import json
import pickle
import sqlite3
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest

from perfbench_plugins.benchmark_data import BenchmarkData
from perfbench_runner.results import schema
from perfbench_runner.results.encoding import decode
from perfbench_runner.results.figures import summarise
from perfbench_runner.results.reading import open_results, stored
from perfbench_runner.results.result import Result
from perfbench_runner.results.schema import COLUMNS, FORMER, MIGRATIONS, migrate
from perfbench_runner.results.store import FILE, PARTIAL, Store

ROWS = [
    {"start_time": 10.0, "completed_time": 12.0, "latency": 2.0, "first_chunk_latency": 0.5, "success": 1},
    {"start_time": 12.0, "completed_time": 13.0, "latency": 1.0, "first_chunk_latency": 0.25, "success": 1},
    {"start_time": 13.0, "completed_time": 14.0, "success": 0, "failure": "cancelled"},
    {"start_time": 13.5, "completed_time": 14.0, "success": 0, "failure": "timeout", "request": None},
]


def text(value: Any) -> str:
    return base64.b64encode(pickle.dumps(value, 4)).decode()


def old_file(path: Path, last: str) -> None:
    """A file as versions wrote it that had migrations up to `last`; the oldest had no last_turn."""
    with closing(sqlite3.connect(path)) as db:
        db.execute("CREATE TABLE migration (name TEXT PRIMARY KEY, applied REAL)")
        for function in MIGRATIONS[: [one.__name__ for one in MIGRATIONS].index(last) + 1]:
            function(db)
            db.execute("INSERT INTO migration VALUES (?, 0.0)", (function.__name__,))
        names = list(FORMER)
        if last == "m001_initial":
            db.execute("ALTER TABLE result DROP COLUMN last_turn")
            names.remove("last_turn")
        for number, row in enumerate(ROWS):
            values = {
                "request": text({"n": number}),
                "inter_token_latencies": "[0.0100004,0.02]" if row["success"] else "[]",
                "response_messages": text([json.dumps({"id": number})]),
                "completion_tokens": 3 if row["success"] else None,
                "is_stream": 1,
                "stage": 0,
                "seq": number,
                "shard": 0,
                "scheduled_time": row["start_time"],
                "dispatch_lag": 0.0,
                "connect_time": 0.0,
                "tls_time": 0.0,
            } | row
            db.execute(
                f"INSERT INTO result VALUES ({', '.join('?' * len(names))})",
                [values.get(name) for name in names],
            )
        db.execute("INSERT INTO stage VALUES (0, 'c1', '{\"concurrency\": 1, \"requests\": 4}', 9.9, 14.1, 0.1, NULL)")
        db.execute("INSERT INTO run VALUES ('name', 'old')")
        db.commit()


VERSIONS = ["m001_initial", "m003_server_metric_by_time"]


@pytest.fixture(params=VERSIONS)
def old(request: pytest.FixtureRequest, tmp_path: Path) -> Path:
    old_file(tmp_path / FILE, request.param)
    return tmp_path / FILE


def check(db: sqlite3.Connection) -> None:
    (stage,) = summarise(db)
    assert stage.requests.model_dump() == {
        "total": 4,
        "succeeded": 2,
        "failed": 1,
        "unfinished": 1,
        "unsent": 0,
        "no_content": 0,
        "resent": 0,
        "retried": 0,
        "excluded": 0,
    }
    assert stage.errors == {"timeout": 1}
    assert (stage.itl_s.count, stage.itl_s.min, stage.itl_s.max) == (4, 0.01, 0.02), "to whole microseconds"
    assert (stage.e2e_latency_s.count, stage.e2e_latency_s.censored) == (2, 1)
    assert stage.window is not None
    assert stage.window.kind == "all_lanes_busy"


def test_an_old_file_is_read_without_being_changed(old: Path) -> None:
    before = old.read_bytes()
    with closing(open_results(old)) as db:
        check(db)
        assert db.execute("SELECT count(*) FROM result").fetchone() == (4,)
        with pytest.raises(sqlite3.OperationalError, match="readonly"):
            db.execute("DELETE FROM main.result")
    assert stored(old).rows == 4
    assert old.read_bytes() == before
    assert [path.name for path in old.parent.iterdir()] == [FILE]


def test_a_file_from_before_ramps_is_read_and_brought_up_to_date(tmp_path: Path) -> None:
    """It has all columns but `excluded`; those of its gaps are kept."""
    results = Store(tmp_path)
    results.set_stage(0, "c1", {"concurrency": 1, "requests": 1})
    data = BenchmarkData(success=True, start_time=1.0, completed_time=2.0, query_latency=1.0, first_chunk_latency=0.5)
    data.inter_chunk_latency, data.gap_tokens = [0.25, 0.25], [1, 2]
    results.add(Result(stage=0, seq=0, shard=0, scheduled_s=1.0, data=data))
    results.commit()
    results.db.execute("DROP VIEW result")
    results.db.execute("ALTER TABLE requests DROP COLUMN excluded")
    results.db.execute("CREATE VIEW result AS SELECT id FROM requests")
    results.db.execute("DELETE FROM migration WHERE name = 'm007_excluded'")
    file = results.close()
    with closing(open_results(file)) as db:
        (stage,) = summarise(db)
    assert (stage.requests.total, stage.requests.excluded, stage.token_gap_s.count) == (1, 0, 3)
    file.rename(tmp_path / PARTIAL)
    again = Store(tmp_path)
    assert again.db.execute("SELECT excluded FROM result").fetchall() == [(None,)]
    again.db.close()


def test_an_old_unfinished_file_becomes_a_new_one(old: Path) -> None:
    old.rename(old.parent / PARTIAL)
    results = Store(old.parent)
    check(results.db)
    names = [row[1] for row in results.db.execute("PRAGMA table_info(result)")]
    assert names == COLUMNS
    rows = results.db.execute(
        "SELECT request, response_messages, inter_token_latencies, failure, chunks, rowid FROM result"
    ).fetchall()
    assert [decode(row[0]) for row in rows] == [{"n": 0}, {"n": 1}, {"n": 2}, None]
    assert [json.loads(decode(row[1])[0])["id"] for row in rows] == [0, 1, 2, 3]
    assert [json.loads(row[2]) for row in rows] == [[0.01, 0.02], [0.01, 0.02], [], []]
    assert [row[3:] for row in rows] == [(None, 3, 1), (None, 3, 2), ("unfinished", 0, 3), ("timeout", 0, 4)]
    with closing(open_results(results.close())) as db:
        check(db)


def test_a_file_that_does_not_say_what_was_asked_nor_whose_stamps_they_are_is_read_and_finished(tmp_path: Path) -> None:
    """As versions wrote it until migration m005."""
    results = Store(tmp_path)
    results.db.execute("DROP VIEW result")
    for name in schema.NEW_IN_6:
        results.db.execute(f"ALTER TABLE requests DROP COLUMN {name}")
    results.db.execute("ALTER TABLE gaps DROP COLUMN tokens")
    results.db.execute("DELETE FROM migration WHERE name = 'm006_stamps_and_what_was_asked'")
    results.db.execute("CREATE VIEW result AS SELECT * FROM requests")
    results.set_stage(0, "c1", {"concurrency": 1, "requests": 1})
    results.db.execute("INSERT INTO requests (success, start_time, completed_time, stage) VALUES (1, 1.0, 2.0, 0)")
    results.db.execute("INSERT INTO gaps VALUES (1, '[1000,2000]')")
    results.db.execute("COMMIT")
    results.db.close()
    with closing(sqlite3.connect(tmp_path / PARTIAL)) as db:
        db.execute("PRAGMA journal_mode = DELETE")
    with closing(open_results(tmp_path / PARTIAL)) as db:
        (stage,) = summarise(db)
        assert (stage.itl_s.count, stage.token_gap_s.count, stage.requests.no_content) == (2, 0, 0)
        assert db.execute("SELECT stamps, merged_segments FROM requests").fetchall() == [(None, None)]
    again = Store(tmp_path)
    assert [row[1] for row in again.db.execute("PRAGMA table_info(result)")] == COLUMNS
    assert summarise(again.db)[0].itl_s.count == 2
    again.db.close()


def test_a_file_from_before_there_were_workloads_is_read_and_finished(tmp_path: Path) -> None:
    """As versions wrote it until migration m011."""
    results = Store(tmp_path)
    results.db.execute("DROP VIEW result")
    for table in ("requests", "unsent"):
        results.db.execute(f"ALTER TABLE {table} DROP COLUMN workload")
        results.db.execute(f"ALTER TABLE {table} DROP COLUMN target")
    results.db.execute("ALTER TABLE warmup_prompt DROP COLUMN target")
    results.db.execute("INSERT INTO warmup_prompt VALUES (7)")
    results.db.execute("DELETE FROM migration WHERE name IN ('m011_workloads', 'm012_targets')")
    results.db.execute("CREATE VIEW result AS SELECT * FROM requests")
    results.set_stage(0, "r1", {"rate": 1, "requests": 1})
    results.db.execute("INSERT INTO requests (success, start_time, completed_time, stage) VALUES (1, 1.0, 2.0, 0)")
    results.db.execute("INSERT INTO unsent (stage, seq, scheduled_time, until_time) VALUES (0, 2, 1.5, 2.0)")
    results.db.execute("COMMIT")
    with closing(open_results(tmp_path / PARTIAL)) as db:
        (stage,) = summarise(db)
        assert (stage.requests.total, stage.requests.unsent, stage.workloads) == (1, 1, [])
    results.db.close()
    again = Store(tmp_path)
    assert [row[1] for row in again.db.execute("PRAGMA table_info(result)")] == COLUMNS
    again.add_unsent(0, 3, 1.0, 2.0, "chat")
    again.commit()
    assert again.db.execute("SELECT workload, target FROM unsent").fetchall() == [(None, None), ("chat", None)]
    again.db.close()


def test_a_migration_that_is_cut_off_has_changed_nothing(old: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def m004_narrow_rows(db: sqlite3.Connection) -> None:
        MIGRATIONS[3](db)
        raise KeyboardInterrupt

    broken = [*MIGRATIONS[:3], m004_narrow_rows]
    with closing(sqlite3.connect(old)) as db:
        with monkeypatch.context() as patch:
            patch.setattr(schema, "MIGRATIONS", broken)
            with pytest.raises(KeyboardInterrupt):
                migrate(db)
        assert db.execute("SELECT type FROM sqlite_master WHERE name = 'result'").fetchone() == ("table",)
        migrate(db)
        check(db)
