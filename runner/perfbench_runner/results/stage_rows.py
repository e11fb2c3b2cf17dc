"""The rows of one stage as a search needs them, of any number of runners: what each has measured, without its texts.

Times are since the stage's load began, by each runner's own clock: it begins at one time for all, so no clocks are mixed.
"""

# ruff: noqa: S608  # the names in these statements are our own

import sqlite3
from collections.abc import Iterable, Sequence
from typing import NamedTuple

from perfbench_runner.results.schema import NARROW

TEXTS = ("failure", "excluded", "workload")
"""Of the columns of texts only what figures go by."""
COLUMNS = tuple(name for name, kind in NARROW.items() if kind != "TEXT" or name in TEXTS)
TIMES = ("start_time", "completed_time", "scheduled_time")
Cell = int | float | str | None
Held = tuple[float, str | None]
"""When a request was due that was never sent, and its workload."""


class StageRows(NamedTuple):
    """What one runner has measured in a stage."""

    requests: list[list[Cell]]
    """Of each request its COLUMNS, and then its gaps as in table `gaps`, or None."""
    unsent: list[Held]


def rows_of(db: sqlite3.Connection, stage: int, with_gaps: bool) -> StageRows:
    """The rows of a stage of a runner's own file; none where it had no part in it."""
    (began_s,) = db.execute("SELECT min(begin_time) FROM stage WHERE stage = ?", (stage,)).fetchone()
    if began_s is None:
        return StageRows([], [])
    columns = ", ".join(f"r.{name} - {began_s!r}" if name in TIMES else f"r.{name}" for name in COLUMNS)
    gaps = "(SELECT g.gaps_us FROM gaps g WHERE g.id = r.id)" if with_gaps else "NULL"
    requests = db.execute(f"SELECT {columns}, {gaps} FROM requests r WHERE r.stage = ? ORDER BY r.id", (stage,))
    unsent = db.execute("SELECT scheduled_time - ?, workload FROM unsent WHERE stage = ?", (began_s, stage))
    return StageRows([list(row) for row in requests], unsent.fetchall())


def together(stage: int, parts: Iterable[StageRows]) -> sqlite3.Connection:
    """A database in memory with the rows of all runners: tables `requests`, `gaps` and `unsent` of a stage."""
    db = sqlite3.connect(":memory:", isolation_level=None, check_same_thread=False)
    db.execute(f"CREATE TABLE requests (id INTEGER PRIMARY KEY, {_typed(NARROW)})")
    db.execute("CREATE TABLE gaps (id INTEGER PRIMARY KEY, gaps_us TEXT)")
    db.execute("CREATE TABLE unsent (stage INTEGER, scheduled_time REAL, workload TEXT)")
    insert = f"INSERT INTO requests (id, {', '.join(COLUMNS)}) VALUES (?{', ?' * len(COLUMNS)})"
    number = 0
    db.execute("BEGIN")
    for part in parts:
        for row in part.requests:
            number += 1
            db.execute(insert, (number, *row[:-1]))
            if row[-1] is not None:
                db.execute("INSERT INTO gaps VALUES (?, ?)", (number, row[-1]))
        db.executemany("INSERT INTO unsent VALUES (?, ?, ?)", ((stage, *one) for one in part.unsent))
    db.execute("UPDATE requests SET stage = ?", (stage,))
    db.execute("COMMIT")
    return db


def _typed(columns: dict[str, str]) -> str:
    return ", ".join(f"{name} {kind}" for name, kind in columns.items())


def is_of_its_kind(rows: Sequence[Sequence[Cell]]) -> bool:
    """Whether rows have as many cells as they should; each is a number, but those that are texts."""
    texts = {COLUMNS.index(name) for name in TEXTS} | {len(COLUMNS)}
    return all(
        len(row) == len(COLUMNS) + 1
        and all(isinstance(cell, str) <= (index in texts) for index, cell in enumerate(row))
        for row in rows
    )
