"""The tables of a results file, and how files of older versions get to their newest form.

One request is up to three rows with one `id`: `requests` is narrow, so that figures are made of it at once; `gaps` and
`bodies` hold what is long. View `result` puts them together as EvalScope's readers and analysis scripts want them.
"""

# ruff: noqa: S608  # the names in these statements are our own

import sqlite3
from collections.abc import Callable, Container, Iterable
from time import time

from perfbench_runner.results import client_health as health
from perfbench_runner.results.encoding import encode

NARROW = {
    "start_time": "REAL",
    "success": "INTEGER",
    "completed_time": "REAL",
    "latency": "REAL",
    "first_chunk_latency": "REAL",
    "prompt_tokens": "INTEGER",
    "completion_tokens": "INTEGER",
    "max_gpu_memory_cost": "REAL",
    "time_per_output_token": "REAL",
    "request_id": "TEXT",
    "is_stream": "INTEGER",
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
    "entry": "INTEGER",
    "prompt_id": "INTEGER",
    "resends": "INTEGER",
    "chunks": "INTEGER",
    "stamps": "TEXT",
    "merged_segments": "INTEGER",
    "model": "TEXT",
    "asked_tokens": "INTEGER",
    "no_content": "INTEGER",
    "send_time": "REAL",
    "excluded": "TEXT",
    "runner": "INTEGER",
    "retries": "INTEGER",
    "retry_time": "REAL",
    "workload": "TEXT",
    "target": "TEXT",
}
"""Columns of table `requests`, after its `id`."""
NEW_IN_6 = ("stamps", "merged_segments", "model", "asked_tokens", "no_content", "send_time")
NEW_IN_7 = ("excluded",)
NEW_IN_10 = ("retries", "retry_time")
NEW = (*NEW_IN_6, *NEW_IN_7, "runner", *NEW_IN_10, "workload", "target")
"""Columns that files of older versions may lack."""

OF_KINDS = {"unsent": ("workload", "target"), "warmup_prompt": ("target",)}
"""Columns that tables of older versions may lack."""
STAGE_TIMES = ("begin_time", "deadline_time", "stop_time")
FEW = {
    "unsent": "stage INTEGER, seq INTEGER, scheduled_time REAL, until_time REAL",
    "warmup_prompt": "prompt_id INTEGER",
}
"""Tables of what is rare, and their columns."""
RUNNERS = {
    "runner": (
        "runner INTEGER PRIMARY KEY, name TEXT, node TEXT, state TEXT, reason TEXT, workers INTEGER,"
        " offset REAL, drift REAL, bound REAL, residual REAL, requests INTEGER"
    ),
    "runner_stage": (
        "runner INTEGER, stage INTEGER, begin_time REAL, first_sent_time REAL, end_time REAL, stop_time REAL,"
        " feed_time REAL, requests INTEGER, client TEXT, client_reasons TEXT"
    ),
}
"""Tables of a run of several runners, which have no rows otherwise, and their columns."""
NEW_OF_RUNNERS = {"requests": "INTEGER", "client": "TEXT", "client_reasons": "TEXT"}
"""Columns of `runner_stage` that files of older versions may lack."""

FORMER = """
request start_time inter_token_latencies success response_messages completed_time latency first_chunk_latency
prompt_tokens completion_tokens max_gpu_memory_cost time_per_output_token request_id is_stream
stage seq shard scheduled_time dispatch_lag connect_time tls_time first_byte_latency response_bytes status_code failure
error token_source cached_tokens trace_id turn last_turn
""".split()
"""Columns of table `result` of files until 2026-11-25."""

FORMERLY = {
    "failure": "CASE failure WHEN 'cancelled' THEN 'unfinished' ELSE failure END",
    "resends": "0",
    "chunks": (
        "CASE WHEN first_chunk_latency IS NOT NULL OR json_array_length(inter_token_latencies) > 0"
        " THEN json_array_length(inter_token_latencies) + 1 ELSE 0 END"
    ),
}
"""What newer columns are in those files, where they are not null and not called the same."""

EVALSCOPE = FORMER[:14]
COLUMNS = [*EVALSCOPE, *(name for name in NARROW if name not in EVALSCOPE), "rowid"]
"""Columns of view `result`: EvalScope's in its order, then ours. Its readers page by `rowid`, which a view has not."""

AS_EVALSCOPE = {
    "request": f"coalesce(b.request, '{encode(None)}')",
    "inter_token_latencies": "(SELECT json_group_array(value / 1e6) FROM json_each(g.gaps_us))",
    "response_messages": f"coalesce(b.response_messages, '{encode([])}')",
    "latency": "CASE WHEN r.success THEN coalesce(r.latency, r.completed_time - r.start_time) END",
    "first_chunk_latency": (
        "CASE WHEN r.success AND NOT r.is_stream"
        " THEN coalesce(r.first_chunk_latency, r.latency, r.completed_time - r.start_time)"
        " WHEN r.success THEN coalesce(r.first_chunk_latency, 0.0) ELSE r.first_chunk_latency END"
    ),
    "prompt_tokens": "CASE WHEN r.success THEN coalesce(r.prompt_tokens, 0) END",
    "completion_tokens": "CASE WHEN r.success THEN coalesce(r.completion_tokens, 0) END",
    "max_gpu_memory_cost": "coalesce(r.max_gpu_memory_cost, 0.0)",
    "time_per_output_token": "CASE WHEN r.success THEN coalesce(r.time_per_output_token, 0.0) END",
    "rowid": "r.id",
}
"""Where its readers would stumble over a null, EvalScope writes a value; so does the view, and `requests` does not."""

MIGRATIONS: list[Callable[[sqlite3.Connection], None]] = []


def migration(function: Callable[[sqlite3.Connection], None]) -> Callable[[sqlite3.Connection], None]:
    """Register a change of the schema; they are applied in order, each once, recorded in table `migration`."""
    MIGRATIONS.append(function)
    return function


@migration
def m001_initial(db: sqlite3.Connection) -> None:
    kinds = {"request": "TEXT", "inter_token_latencies": "TEXT", "response_messages": "TEXT", **NARROW}
    db.execute(f"CREATE TABLE result ({', '.join(f'{name} {kinds[name]}' for name in FORMER)})")
    db.execute("CREATE TABLE run (key TEXT PRIMARY KEY, value TEXT)")
    db.execute(
        "CREATE TABLE stage (stage INTEGER PRIMARY KEY, name TEXT, plan TEXT,"
        " start_time REAL, end_time REAL, feed_time REAL, summary TEXT)"
    )
    whole = ("shard", "stage", "in_flight", "backlog_bytes", "runner")
    columns = ", ".join(f"{name} {'INTEGER' if name in whole else 'REAL'}" for name in health.COLUMNS)
    db.execute(f"CREATE TABLE client_health ({columns})")
    db.execute("CREATE TABLE server_metric (time REAL, stage INTEGER, source TEXT, name TEXT, labels TEXT, value REAL)")


@migration
def m002_last_turn(db: sqlite3.Connection) -> None:
    if "last_turn" not in {row[1] for row in db.execute("PRAGMA table_info(result)")}:  # a new file has it already
        db.execute("ALTER TABLE result ADD COLUMN last_turn INTEGER")


@migration
def m003_server_metric_by_time(db: sqlite3.Connection) -> None:
    db.execute("CREATE INDEX server_metric_time ON server_metric (time)")  # each stage's figures look for their own


@migration
def m004_narrow_rows(db: sqlite3.Connection) -> None:
    db.execute("ALTER TABLE result RENAME TO former")
    columns = ", ".join(f"{name} {kind}" for name, kind in NARROW.items())
    db.execute(f"CREATE TABLE requests (id INTEGER PRIMARY KEY, {columns})")
    db.execute("CREATE TABLE gaps (id INTEGER PRIMARY KEY, gaps_us TEXT)")
    db.execute("CREATE TABLE bodies (id INTEGER PRIMARY KEY, request TEXT, response_messages TEXT)")
    for table, select in _from_former("former").items():
        db.execute(f"INSERT INTO {table} {select}")  # our names
    db.execute("DROP TABLE former")
    db.execute("CREATE INDEX requests_stage ON requests (stage)")
    _create_view(db)


@migration
def m005_load_and_repeats(db: sqlite3.Connection) -> None:
    for name in STAGE_TIMES:
        db.execute(f"ALTER TABLE stage ADD COLUMN {name} REAL")
    for table, columns in FEW.items():
        db.execute(f"CREATE TABLE {table} ({columns})")


@migration
def m006_stamps_and_what_was_asked(db: sqlite3.Connection) -> None:
    _add_columns(db, NEW)  # the view has them all
    db.execute("ALTER TABLE gaps ADD COLUMN tokens TEXT")
    db.execute("DROP VIEW result")
    _create_view(db)


@migration
def m007_excluded(db: sqlite3.Connection) -> None:
    _add_columns(db, NEW)
    db.execute("DROP VIEW result")
    _create_view(db)


@migration
def m008_runners(db: sqlite3.Connection) -> None:
    _add_columns(db, NEW)
    for table in ("client_health", "unsent"):
        if "runner" not in _names(db, "main", table):  # a new file has some already
            db.execute(f"ALTER TABLE {table} ADD COLUMN runner INTEGER")
    for table, columns in RUNNERS.items():
        db.execute(f"CREATE TABLE {table} ({columns})")
    db.execute("DROP VIEW result")
    _create_view(db)


@migration
def m009_runners_by_stage(db: sqlite3.Connection) -> None:
    had = _names(db, "main", "runner_stage")
    for name, kind in NEW_OF_RUNNERS.items():
        if name not in had:  # a new file has it already
            db.execute(f"ALTER TABLE runner_stage ADD COLUMN {name} {kind}")


@migration
def m010_retries(db: sqlite3.Connection) -> None:
    _add_columns(db, NEW_IN_10)
    db.execute("DROP VIEW result")
    _create_view(db)


@migration
def m011_workloads(db: sqlite3.Connection) -> None:
    _add_columns(db, ("workload",))
    db.execute("ALTER TABLE unsent ADD COLUMN workload TEXT")
    db.execute("DROP VIEW result")
    _create_view(db)


@migration
def m012_targets(db: sqlite3.Connection) -> None:
    _add_columns(db, ("target",))
    for table in ("unsent", "warmup_prompt"):
        db.execute(f"ALTER TABLE {table} ADD COLUMN target TEXT")
    db.execute("DROP VIEW result")
    _create_view(db)


def _add_columns(db: sqlite3.Connection, names: Iterable[str]) -> None:
    had = _names(db, "main", "requests")
    for name in names:
        if name not in had:  # a new file has it already
            db.execute(f"ALTER TABLE requests ADD COLUMN {name} {NARROW[name]}")


def _create_view(db: sqlite3.Connection) -> None:
    columns = ", ".join(f"{AS_EVALSCOPE.get(name, f'r.{name}')} AS {name}" for name in COLUMNS)
    db.execute(
        f"CREATE VIEW result AS SELECT {columns}"
        " FROM requests r LEFT JOIN gaps g ON g.id = r.id LEFT JOIN bodies b ON b.id = r.id"
    )


def _names(db: sqlite3.Connection, schema: str, table: str) -> set[str]:
    return {row[1] for row in db.execute(f"PRAGMA {schema}.table_info({table})")}


def migrate(db: sqlite3.Connection) -> None:
    """Bring a database, blank or old, to the newest schema."""
    db.execute("CREATE TABLE IF NOT EXISTS migration (name TEXT PRIMARY KEY, applied REAL)")
    done = {row[0] for row in db.execute("SELECT name FROM migration")}
    for function in MIGRATIONS:
        if function.__name__ not in done:
            with db:  # one that is cut off has changed nothing
                if not db.in_transaction:
                    db.execute("BEGIN")
                function(db)
                db.execute("INSERT INTO migration VALUES (?, ?)", (function.__name__, time()))


def show_as_newest(db: sqlite3.Connection) -> None:
    """Let a file of an older version, which is only read, look like one of the newest: by temporary views."""
    tables = {row[0] for row in db.execute("SELECT name FROM main.sqlite_master WHERE type = 'table'")}
    if "requests" not in tables:
        names = {row[1] for row in db.execute("PRAGMA main.table_info(result)")}
        for table, select in _from_former("main.result", names, has_tokens=True).items():
            db.execute(f"CREATE TEMP VIEW {table} AS {select}")
    elif missing := [name for name in NEW if name not in _names(db, "main", "requests")]:
        nulls = ", ".join(f"NULL AS {name}" for name in missing)
        db.execute(f"CREATE TEMP VIEW requests AS SELECT *, {nulls} FROM main.requests")
        if "tokens" not in _names(db, "main", "gaps"):
            db.execute("CREATE TEMP VIEW gaps AS SELECT *, NULL AS tokens FROM main.gaps")
    _show_what_is_rare_as_newest(db, tables)
    for table, columns in RUNNERS.items():
        if table not in tables:
            db.execute(f"CREATE TEMP TABLE {table} ({columns})")
    if "runner_stage" in tables and "client" not in _names(db, "main", "runner_stage"):
        nulls = ", ".join(f"NULL AS {name}" for name in NEW_OF_RUNNERS)
        db.execute(f"CREATE TEMP VIEW runner_stage AS SELECT *, {nulls} FROM main.runner_stage")


def _show_what_is_rare_as_newest(db: sqlite3.Connection, tables: Container[str]) -> None:
    if "unsent" not in tables:
        times = ", ".join(f"NULL AS {name}" for name in STAGE_TIMES)
        db.execute(f"CREATE TEMP VIEW stage AS SELECT *, {times} FROM main.stage")
        for table, columns in FEW.items():
            db.execute(f"CREATE TEMP TABLE {table} ({columns})")
            for name in OF_KINDS[table]:
                db.execute(f"ALTER TABLE temp.{table} ADD COLUMN {name} TEXT")
        return
    for table, names in OF_KINDS.items():
        if missing := [name for name in names if name not in _names(db, "main", table)]:
            nulls = ", ".join(f"NULL AS {name}" for name in missing)
            db.execute(f"CREATE TEMP VIEW {table} AS SELECT *, {nulls} FROM main.{table}")


def _from_former(table: str, names: Container[str] = FORMER, has_tokens: bool = False) -> dict[str, str]:
    """For each of the newer tables a SELECT that makes its rows of the one table `result` of older files."""
    narrow = ", ".join(f"{FORMERLY.get(name, name if name in names else 'NULL')} AS {name}" for name in NARROW)
    return {
        "requests": f"SELECT rowid AS id, {narrow} FROM {table}",
        "gaps": (
            "SELECT rowid AS id, (SELECT json_group_array(CAST(round(value * 1e6) AS INTEGER))"
            f" FROM json_each(inter_token_latencies) WHERE value IS NOT NULL) AS gaps_us{', NULL AS tokens' * has_tokens}"
            f" FROM {table}"
        ),
        "bodies": (
            f"SELECT rowid AS id, request, response_messages FROM {table}"
            " WHERE request IS NOT NULL OR response_messages IS NOT NULL"
        ),
    }
