"""How well the figure of `until` is known of all requests of a stage that it did not end, in words.

The engine looks at the growing data now and then, and keeps only why it ended a stage. What is said of all requests is
computed from the results file, as every figure: of any number of workers and runners alike, and once more at any time.
"""

import sqlite3
from collections import Counter
from typing import Any

import numpy as np

from perfbench_api.sections.until import Until
from perfbench_runner.results.dependence import BATCHES
from perfbench_runner.results.looks import FEWEST, first_look
from perfbench_runner.results.precision import (
    STEP,
    Done,
    Known,
    in_words,
    known,
    known_of_steps,
    known_rate,
    part_of_gaps,
)
from perfbench_runner.results.quantiles import Array
from perfbench_runner.results.rows import GAPS_AT_ONCE, Ints, Part, Rows, parse_gaps

STEPS = 10_000
"""More than there are between a microsecond and what an int64 holds."""


def reached(db: sqlite3.Connection, part: Part, plan: dict[str, Any], rows: Rows, tpot: Array) -> str:
    """Of a stage with this plan; empty where it has no `until`, or ended early and says why.

    `rows`: the requests that figures are of; `tpot`: of each the seconds per output token, NaN where they are not defined.
    """
    if "until" not in plan or "ending" in plan:
        return ""
    until = Until.model_validate(plan["until"])
    asked = f"until: ±{until.within:.1%}"
    count, found = _found(db, part, until, rows, tpot)
    if found is None:
        return f"too few requests to say how well {until.figure} is known ({asked})"
    how_well = in_words(found, count, until.figure)
    if found.half_width <= until.within:
        return f"{how_well} ({asked}), which was seen too late to end the stage"
    return f"ended before {until.figure} was known to what was asked ({asked}): {how_well}"


def _found(db: sqlite3.Connection, part: Part, until: Until, rows: Rows, tpot: Array) -> tuple[int, Known | None]:
    """How many requests there are that have the figure, and how well it is known; None of fewer than the engine looks at."""
    if until.is_throughput:
        done = _done(rows, until.metric)
        return len(done), known_rate(done) if len(done) >= FEWEST else None
    if until.metric == "itl":
        count = _with_gaps(db, part)
        return count, known_of_steps(_gap_parts(db, part, count), until.probability) if count >= FEWEST else None
    values = _values(rows, tpot, until.metric)
    return len(values), known(values, until.probability) if len(values) >= first_look(until.probability) else None


def _values(rows: Rows, tpot: Array, metric: str) -> list[float]:
    """Of the succeeded requests that have this latency, in the order in which they began; seconds."""
    values = {
        "ttft": rows["first_chunk_latency"],
        "tpot": tpot,
        "e2e_latency": rows["latency"],
        "scheduled_latency": rows["completed_time"] - rows["scheduled_time"],
    }[metric]
    order = np.argsort(rows["start_time"], kind="stable")
    found = values[order][rows.is_ok[order]]
    in_order: list[float] = found[np.isfinite(found)].tolist()
    return in_order


def _done(rows: Rows, metric: str) -> list[Done]:
    """When succeeded requests ended, and how much each adds to a throughput."""
    output, prompt = (np.nan_to_num(rows[name]) for name in ("completion_tokens", "prompt_tokens"))
    amounts = {
        "request_throughput": np.ones(len(rows)),
        "output_token_throughput": output,
        "input_token_throughput": prompt,
        "total_token_throughput": output + prompt,
    }[metric]
    is_in = rows.is_ok & np.isfinite(rows["completed_time"])
    return list(map(Done, rows["completed_time"][is_in].tolist(), amounts[is_in].tolist()))


def _having_gaps(part: Part) -> str:
    return (
        f"FROM requests r JOIN gaps g ON g.id = r.id WHERE {part.condition} AND r.success = 1 AND r.excluded IS NULL"
        " AND length(g.gaps_us) > 2"
    )


def _with_gaps(db: sqlite3.Connection, part: Part) -> int:
    """How many requests have gaps."""
    count: int = db.execute(f"SELECT count(*) {_having_gaps(part)}", part.values).fetchone()[0]
    return count


def _gap_parts(db: sqlite3.Connection, part: Part, count: int) -> list[Counter[int]]:
    """Of each tenth of the requests that have gaps, in the order in which they began: how many gaps are of each step."""
    began = db.execute(f"SELECT r.id {_having_gaps(part)} ORDER BY r.start_time, r.id", part.values)
    part_of = {number: part_of_gaps(place, count) for place, (number,) in enumerate(began)}
    counts = np.zeros((BATCHES[0], STEPS), dtype=np.int64)
    cursor = db.execute(f"SELECT r.id, g.gaps_us {_having_gaps(part)}", part.values)
    while chunk := cursor.fetchmany(GAPS_AT_ONCE):
        numbers, texts = zip(*chunk, strict=True)
        which = np.repeat([part_of[number] for number in numbers], [text.count(",") + 1 for text in texts])
        at = which * STEPS + _steps(parse_gaps(texts))
        counts += np.bincount(at, minlength=counts.size).reshape(counts.shape)
    return [Counter({step: int(row[step]) for step in np.flatnonzero(row).tolist()}) for row in counts]


def _steps(gaps_us: Ints) -> Ints:
    """As `precision.steps_of` has them, of gaps in microseconds."""
    steps: Ints = np.floor(np.log(np.maximum(gaps_us, 1)) / STEP).astype(np.int64)
    return steps
