"""Results files of several runners become one: the leader's, with the rows of the others put in. Bounded in memory.

SQLite copies from file to file; no row comes into Python. Times are shifted onto the leader's clock: each row's by one
amount, that of its start, so that no duration changes. All else of a row is as it was measured, plus the runner's number.
One runner's rows come in one transaction, all or none.
"""

# ruff: noqa: S608  # the names in these statements are our own

import json
import sqlite3
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import NamedTuple, Protocol

from perfbench_runner.results import client_health as health
from perfbench_runner.results.schema import MIGRATIONS, NARROW
from perfbench_runner.results.writer import StoreError, told_in_words

TIMES = ("start_time", "completed_time", "scheduled_time")
"""Columns of `requests` that are times of a clock; all others are durations, counts and texts."""
CACHE_KIB = 32_768
"""So much of both files is in memory at most."""


class Clock(Protocol):
    """The leader's clock as seen from a runner."""

    @property
    def offset_s(self) -> float:
        """What is to be added to the runner's clock at `at_s` of it."""

    @property
    def drift(self) -> float:
        """By how much more that is each second later."""

    @property
    def at_s(self) -> float:
        """A time of the runner's clock."""

    @property
    def bound_s(self) -> float:
        """How wrong the offset may be."""

    @property
    def residual_s(self) -> float:
        """How far the clocks were from a straight line."""


class Counts(NamedTuple):
    """How many rows of each kind a runner's file has."""

    requests: int
    gaps: int
    bodies: int
    unsent: int
    samples: int


TABLES = dict(zip(Counts._fields, ("requests", "gaps", "bodies", "unsent", "client_health"), strict=True))


class RunnerFacts(NamedTuple):
    """What is kept of a runner beside its rows."""

    runner: int
    name: str
    """Its pod or host."""
    node: str
    state: str
    """merged, lost: nothing of it came, or cut: it ended before its work was done, and what it had measured is there."""
    reason: str
    workers: int | None
    clock: Clock | None


def add_runner(db: sqlite3.Connection, facts: RunnerFacts, requests: int) -> None:
    """Keep what is to be known of a runner; `requests` of it are in the file."""
    clock = facts.clock
    how = (None,) * 4 if clock is None else (_at(clock, 0.0), clock.drift, clock.bound_s, clock.residual_s)
    values = (facts.runner, facts.name, facts.node, facts.state, facts.reason, facts.workers, *how, requests)
    db.execute(f"INSERT OR REPLACE INTO runner VALUES ({', '.join('?' * len(values))})", values)


def add_leader(db: sqlite3.Connection, facts: RunnerFacts) -> None:
    """Keep what is to be known of the leader, whose rows are the file's own, before those of any other are put in."""
    with db:
        db.execute("BEGIN IMMEDIATE")
        (requests,) = db.execute("SELECT count(*) FROM requests").fetchone()
        add_runner(db, facts, requests)
        _add_stages(db, "main", facts.runner, "0.0", "r.runner IS NULL")


def merge(db: sqlite3.Connection, path: Path, facts: RunnerFacts) -> Counts:
    """Put a runner's file into the leader's, which is open for writing and in no transaction; raises StoreError.

    Counts are compared afterwards; where one does not fit nothing was put in.
    """
    if facts.clock is None:
        raise StoreError(f"{path}: the clock of runner {facts.runner} was never compared with the leader's")
    with told_in_words(path), _attached(db, path):
        _check(db, path)
        expected, before = _counts(db, "other"), _counts(db, "main")
        with db:
            db.execute("BEGIN IMMEDIATE")
            _add_rows(db, facts.runner, facts.clock)
            _add_stages(db, "other", facts.runner, _shift(facts.clock, "s.begin_time"), "1")
            _add_facts(db)
            add_runner(db, facts, expected.requests)
            found = Counts(*(now - then for now, then in zip(_counts(db, "main"), before, strict=True)))
            if found != expected:
                raise StoreError(f"{path} has {expected}, of which {found} were put into the leader's file")
        return found


@contextmanager
def _attached(db: sqlite3.Connection, path: Path) -> Iterator[None]:
    db.execute("ATTACH DATABASE ? AS other", (str(path),))
    for schema in ("main", "other"):
        db.execute(f"PRAGMA {schema}.cache_size = -{CACHE_KIB}")
    try:
        yield
    finally:
        db.execute("DETACH DATABASE other")


def _check(db: sqlite3.Connection, path: Path) -> None:
    """Only files of the same schema are merged: runners of one run are of one version."""
    known = {function.__name__ for function in MIGRATIONS}
    found = {name for (name,) in db.execute("SELECT name FROM other.migration")}
    if found != known:
        raise StoreError(f"{path} was written by another version of perfbench: all runners must have the same image")


def _counts(db: sqlite3.Connection, schema: str) -> Counts:
    counts = (db.execute(f"SELECT count(*) FROM {schema}.{table}").fetchone()[0] for table in TABLES.values())
    return Counts(*counts)


def _at(clock: Clock, own_s: float) -> float:
    """What is to be added to this time of a runner's clock."""
    return clock.offset_s + clock.drift * (own_s - clock.at_s)


def _shift(clock: Clock, at: str) -> str:
    """The same, as SQL: `at` is a column."""
    return f"({_at(clock, 0.0)!r} + {clock.drift!r} * {at})"


def _add_rows(db: sqlite3.Connection, runner: int, clock: Clock) -> None:
    (last_id,) = db.execute("SELECT coalesce(max(id), 0) FROM main.requests").fetchone()
    shift = _shift(clock, "coalesce(start_time, scheduled_time)")
    changed: dict[str, Callable[[str], str]] = dict.fromkeys(TIMES, lambda name: f"{name} + {shift}")
    changed["runner"] = lambda name: str(runner)
    columns = ", ".join(changed.get(name, str)(name) for name in NARROW)
    db.execute(f"INSERT INTO main.requests SELECT id + {last_id}, {columns} FROM other.requests ORDER BY id")
    db.execute(f"INSERT INTO main.gaps SELECT id + {last_id}, gaps_us, tokens FROM other.gaps ORDER BY id")
    db.execute(
        f"INSERT INTO main.bodies SELECT id + {last_id}, request, response_messages FROM other.bodies ORDER BY id"
    )
    until = _shift(clock, "scheduled_time")
    db.execute(
        "INSERT INTO main.unsent (stage, seq, scheduled_time, until_time, runner, workload, target)"
        f" SELECT stage, seq, scheduled_time + {until}, until_time + {until}, {runner}, workload, target FROM other.unsent"
    )
    sampled = {"at_s": f"at_s + {_shift(clock, 'at_s')}", "runner": str(runner)}
    samples = ", ".join(sampled.get(name, name) for name in health.COLUMNS)
    db.execute(
        f"INSERT INTO main.client_health ({', '.join(health.COLUMNS)}) SELECT {samples} FROM other.client_health"
    )
    db.execute("INSERT INTO main.warmup_prompt SELECT prompt_id, target FROM other.warmup_prompt")


def _add_facts(db: sqlite3.Connection) -> None:
    """What runners count for themselves, and what only one may have seen."""
    ours, theirs = (
        dict(db.execute(f"SELECT key, value FROM {schema}.run WHERE key IN ('unmeasured_requests', 'dataset_entries')"))
        for schema in ("main", "other")
    )
    counts = [json.loads(facts.get("unmeasured_requests", "{}")) for facts in (ours, theirs)]
    total = {name: sum(count.get(name, 0) for count in counts) for name in {**counts[0], **counts[1]}}
    merged = {**theirs, **ours, **({"unmeasured_requests": json.dumps(total)} if total else {})}
    db.executemany("INSERT OR REPLACE INTO main.run VALUES (?, ?)", merged.items())


def _add_stages(db: sqlite3.Connection, schema: str, runner: int, shift: str, own: str) -> None:
    """When a runner's stages really were. A stage of the run was over when it was over for all."""
    times = ", ".join(
        f"{time} + {shift}"
        for time in (
            "s.begin_time",
            f"(SELECT min(r.start_time) FROM {schema}.requests r WHERE r.stage = s.stage AND {own})",
            "s.end_time",
            "s.stop_time",
        )
    )
    requests = f"(SELECT count(*) FROM {schema}.requests r WHERE r.stage = s.stage AND {own})"
    db.execute(
        f"INSERT INTO main.runner_stage SELECT {runner}, s.stage, {times}, s.feed_time, {requests}, NULL, NULL"
        f" FROM {schema}.stage s"
    )
    db.execute(
        "UPDATE main.stage SET end_time = max(end_time, coalesce((SELECT max(r.end_time) FROM main.runner_stage r"
        " WHERE r.stage = main.stage.stage), end_time)), stop_time = (SELECT min(r.stop_time) FROM main.runner_stage r"
        " WHERE r.stage = main.stage.stage)"
    )
