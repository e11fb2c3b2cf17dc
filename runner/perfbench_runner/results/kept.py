"""Which requests of a stage kept an objective: what a search goes by. Failed and cut-off requests kept none."""

import json
import sqlite3
from collections.abc import Sequence
from dataclasses import dataclass

from perfbench_api.sections import Objective
from perfbench_runner.results.asked import Limits

Counts = list[tuple[int, int]]
"""Of each request, in order of their schedule: how much of it kept the objective, of how much."""

VALUES = {
    "ttft": "first_chunk_latency",
    "tpot": "time_per_output_token",
    "e2e_latency": "CASE WHEN success THEN completed_time - start_time END",
    "scheduled_latency": "CASE WHEN success THEN completed_time - scheduled_time END",
    "failed_share": "NULL",
    "itl": "NULL",
}

LIMITED = {"tpot": "CASE WHEN first_chunk_latency IS NOT NULL THEN coalesce(time_per_output_token, 0) END"}
"""... as limits of goodput take them: of one token there is no time between any."""


@dataclass(frozen=True)
class Pace:
    """What a stage made of its load."""

    throughput_rps: float
    latency_s: float
    """Mean of the succeeded requests; 0.0 if there are none."""


def kept(
    db: sqlite3.Connection, stage: int, objective: Objective, settling: int, limits: Limits | None = None
) -> Counts:
    """What of each request kept the objective, without the first `settling` of the stage; `limits` are those of goodput."""
    if objective.metric == "goodput_share":
        return _good(db, stage, objective.workload, settling, limits or {None: {}})
    rows = db.execute(
        f"SELECT id, success, coalesce(failure, ''), {VALUES[objective.metric]}, scheduled_time, start_time"  # noqa: S608  # ours
        ", workload FROM requests WHERE stage = ?1 UNION ALL SELECT NULL, 0, 'unsent', NULL, scheduled_time, NULL, workload"
        " FROM unsent WHERE stage = ?1 ORDER BY scheduled_time, start_time",
        (stage,),
    ).fetchall()[settling:]
    rows = [row for row in rows if objective.workload in (None, row[-1])]
    bound = objective.max if objective.max is not None else float("inf")
    if objective.metric == "itl":
        return [_gaps(db, number, success, bound) for number, success, *_ in rows]
    if objective.metric == "failed_share":
        return [(int(success), int(failure not in ("unfinished", "unsent"))) for _, success, failure, *_ in rows]
    counted = ("unfinished", "") if objective.metric == "ttft" else ("",)  # one that was cut off may have begun in time
    return [_one(failure in counted, success, value, bound) for _, success, failure, value, *_ in rows]


def _good(db: sqlite3.Connection, stage: int, workload: str | None, settling: int, limits: Limits) -> Counts:
    """As `results.goodput` counts: who kept all limits, of all; of none where they need a first token and there is none."""
    names = list(dict.fromkeys(name for each in limits.values() for name in each))
    bounds = {of: [own.get(name) for name in names] for of, own in limits.items()}
    needs_first = {of: not own.keys().isdisjoint(("ttft", "tpot")) for of, own in limits.items()}
    values = [VALUES["ttft"], *(LIMITED.get(name, VALUES[name]) for name in names)]
    rows = db.execute(
        f"SELECT success, {', '.join(values)}, scheduled_time, start_time, workload FROM requests WHERE stage = ?1"  # noqa: S608
        f" UNION ALL SELECT 0, {'NULL, ' * len(values)} scheduled_time, NULL, workload FROM unsent WHERE stage = ?1"
        " ORDER BY scheduled_time, start_time",
        (stage,),
    ).fetchall()[settling:]
    rows = [row for row in rows if workload in (None, row[-1])]
    firsts = [row[1] for row in rows if row[0] and needs_first.get(row[-1], needs_first[None])]
    if firsts and all(first is None for first in firsts):
        return [(0, 0)] * len(rows)
    return [(int(bool(row[0]) and _keeps(row[2:-3], bounds.get(row[-1], bounds[None]))), 1) for row in rows]


def _keeps(values: Sequence[float | None], bounds: Sequence[float | None]) -> bool:
    return all(
        bound is None or (value is not None and value <= bound) for value, bound in zip(values, bounds, strict=True)
    )


def _one(counts: bool, success: int, value: float | None, bound: float) -> tuple[int, int]:
    """A request that has no such latency, for it had no content or one token, is none of them."""
    if success and value is None:
        return 0, 0
    return int(counts and value is not None and value <= bound), 1


def _gaps(db: sqlite3.Connection, number: int | None, success: int, bound: float) -> tuple[int, int]:
    """A request's gaps between chunks; one that failed has one, which is too long."""
    row = db.execute("SELECT gaps_us FROM gaps WHERE id = ?", (number,)).fetchone() if success else None
    if not success:
        return 0, 1
    gaps = json.loads(row[0]) if row else []
    return sum(gap <= bound * 1e6 for gap in gaps), len(gaps)


def exclude_settling(db: sqlite3.Connection) -> None:
    """Mark the first requests of a search's stages, in order of their schedule, as being in no figure.

    Only now, in the file that has the rows of all runners: which requests are the first ones nobody knows before.
    """
    found = db.execute("SELECT value FROM run WHERE key = 'search'").fetchone()
    for stage, point in enumerate(json.loads(found[0])["points"] if found else ()):
        _exclude(db, stage, point.get("settling", 0))


def _exclude(db: sqlite3.Connection, stage: int, settling: int) -> None:
    db.execute(
        "UPDATE requests SET excluded = 'settling' WHERE id IN (SELECT id FROM (SELECT id, scheduled_time, start_time FROM"
        " requests WHERE stage = ?1 UNION ALL SELECT NULL, scheduled_time, NULL FROM unsent WHERE stage = ?1"
        " ORDER BY scheduled_time, start_time LIMIT ?2))",
        (stage, settling),
    )


def offered_rps(db: sqlite3.Connection, stage: int, settling: int) -> float | None:
    """Requests a second as a stage's schedule had them, without its first ones: random arrivals are not quite what was asked."""
    due = db.execute(
        "SELECT scheduled_time FROM requests WHERE stage = ?1 UNION ALL SELECT scheduled_time FROM unsent WHERE stage = ?1"
        " ORDER BY scheduled_time",
        (stage,),
    ).fetchall()[settling:]
    took_s = due[-1][0] - due[0][0] if due else 0.0
    return (len(due) - 1) / took_s if took_s > 0 else None


def pace(db: sqlite3.Connection, stage: int, settling: int) -> Pace:
    """Throughput and mean latency of a stage, without its first requests."""
    rows = db.execute(
        "SELECT success, start_time, completed_time FROM requests WHERE stage = ? ORDER BY scheduled_time, start_time",
        (stage,),
    ).fetchall()[settling:]
    done = [(start_s, end_s) for success, start_s, end_s in rows if success]
    if not done:
        return Pace(0.0, 0.0)
    began_s, ended_s = min(row[1] for row in rows), max(end_s for _, end_s in done)
    return Pace(len(done) / max(ended_s - began_s, 1e-9), sum(end_s - start_s for start_s, end_s in done) / len(done))
