"""The tables of a results file, and how files of older versions get to their newest form."""

import sqlite3
from collections.abc import Callable
from time import time

from perfbench_runner.results import client_health as health

COLUMNS = {
    # EvalScope's, in its order
    "request": "TEXT",
    "start_time": "REAL",
    "inter_token_latencies": "TEXT",
    "success": "INTEGER",
    "response_messages": "TEXT",
    "completed_time": "REAL",
    "latency": "REAL",
    "first_chunk_latency": "REAL",
    "prompt_tokens": "INTEGER",
    "completion_tokens": "INTEGER",
    "max_gpu_memory_cost": "REAL",
    "time_per_output_token": "REAL",
    "request_id": "TEXT",
    "is_stream": "INTEGER",
    # ours
    "stage": "INTEGER",
    "seq": "INTEGER",
    "shard": "INTEGER",
    "scheduled_time": "REAL",
    "dispatch_lag": "REAL",
    "connect_time": "REAL",
    "tls_time": "REAL",
    "first_byte_latency": "REAL",
    "response_bytes": "INTEGER",
    "status_code": "INTEGER",
    "failure": "TEXT",
    "error": "TEXT",
    "token_source": "TEXT",
    "cached_tokens": "INTEGER",
    "trace_id": "TEXT",
    "turn": "INTEGER",
    "last_turn": "INTEGER",
}

MIGRATIONS: list[Callable[[sqlite3.Connection], None]] = []


def migration(function: Callable[[sqlite3.Connection], None]) -> Callable[[sqlite3.Connection], None]:
    """Register a change of the schema; they are applied in order, each once, recorded in table `migration`."""
    MIGRATIONS.append(function)
    return function


@migration
def m001_initial(db: sqlite3.Connection) -> None:
    db.execute(f"CREATE TABLE result ({', '.join(f'{name} {kind}' for name, kind in COLUMNS.items())})")
    db.execute("CREATE TABLE run (key TEXT PRIMARY KEY, value TEXT)")
    db.execute(
        "CREATE TABLE stage (stage INTEGER PRIMARY KEY, name TEXT, plan TEXT,"
        " start_time REAL, end_time REAL, feed_time REAL, summary TEXT)"
    )
    whole = ("shard", "stage", "in_flight", "backlog_bytes")
    columns = ", ".join(f"{name} {'INTEGER' if name in whole else 'REAL'}" for name in health.COLUMNS)
    db.execute(f"CREATE TABLE client_health ({columns})")
    db.execute("CREATE TABLE server_metric (time REAL, stage INTEGER, source TEXT, name TEXT, labels TEXT, value REAL)")


@migration
def m002_last_turn(db: sqlite3.Connection) -> None:
    if "last_turn" not in {row[1] for row in db.execute("PRAGMA table_info(result)")}:  # a new file has all COLUMNS
        db.execute("ALTER TABLE result ADD COLUMN last_turn INTEGER")


@migration
def m003_server_metric_by_time(db: sqlite3.Connection) -> None:
    db.execute("CREATE INDEX server_metric_time ON server_metric (time)")  # each stage's figures look for their own


def migrate(db: sqlite3.Connection) -> None:
    """Bring a database, blank or old, to the newest schema."""
    db.execute("CREATE TABLE IF NOT EXISTS migration (name TEXT PRIMARY KEY, applied REAL)")
    done = {row[0] for row in db.execute("SELECT name FROM migration")}
    for function in MIGRATIONS:
        if function.__name__ not in done:
            function(db)
            db.execute("INSERT INTO migration VALUES (?, ?)", (function.__name__, time()))
    db.commit()
