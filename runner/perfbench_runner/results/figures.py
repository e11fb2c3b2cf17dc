"""The figures of each stage, computed from the results file, and how trustworthy they are.

The results file is the only source: the same function summarises a run that just ended, one that was cut off, and one
of last year. Rows are read once and gaps once, a little at a time. Definitions of all figures: docs/metrics.md.
"""

import json
import sqlite3
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any, TypeVar

import numpy as np

from perfbench_api.values import parse_duration
from perfbench_runner.results import client_health as health
from perfbench_runner.results.answers import of_smallest_parts, together
from perfbench_runner.results.asked import Asked, asked_of
from perfbench_runner.results.client_figures import clients
from perfbench_runner.results.client_summary import ClientHealth
from perfbench_runner.results.comparison import comparisons
from perfbench_runner.results.evidence import Judge, Nobody
from perfbench_runner.results.load_in_words import load_in_words
from perfbench_runner.results.looks import doublings
from perfbench_runner.results.measured import ServerFigure, Window
from perfbench_runner.results.notes import notes, notes_of_part
from perfbench_runner.results.parts import PartFigures, PartRows, part_figures
from perfbench_runner.results.quantiles import Array, distribution
from perfbench_runner.results.ramps import Ramps
from perfbench_runner.results.reached import reached
from perfbench_runner.results.reading import Tell, told_nobody
from perfbench_runner.results.repeats import SentToEach
from perfbench_runner.results.rows import Mask, Part, Rows, gaps_of, read_rows
from perfbench_runner.results.steady_figures import steady_figures
from perfbench_runner.results.store import StoreError
from perfbench_runner.results.summary import Figures, StageSummary, TargetSummary, WorkloadSummary
from perfbench_runner.results.throughput import overall_throughput, per_second
from perfbench_runner.results.windows import Span, StageTimes, units_of, window

OPEN_LOOPS = {"rate", "profile", "timestamps"}
"""What says, in a stage's plan, when requests are due."""
RATE_KEPT = 0.98
"""An open loop that sends less than this share of its rate has not kept it."""

Of = TypeVar("Of", WorkloadSummary, TargetSummary)
ServerFigures = Callable[[sqlite3.Connection, float, float], dict[str, ServerFigure]]
"""What the server said of itself from one time of the run's clock to another, by neutral name."""


def nothing_said(db: sqlite3.Connection, start_s: float, end_s: float) -> dict[str, ServerFigure]:
    """The figures of a server that was not asked."""
    return {}


@dataclass(frozen=True)
class _Run:
    """What all stages of a run share."""

    server_figures: ServerFigures
    before: SentToEach
    asked: Asked
    workers: int | None
    why_program: str
    judge: Judge
    stages: Sequence[str]
    """Their names."""


@dataclass(frozen=True)
class Stage:
    """What the results file says of a stage beside its requests."""

    number: int
    name: str
    plan: dict[str, Any]
    times: tuple[float | None, float | None, float | None]
    """When its load began, was to end, and was told to stop."""
    feed_share: float | None
    """Time spent on generating its requests, of its length."""
    unsent: Array
    """Times of requests that were never sent, shape (n, 2): when they were due, and until when they were held."""
    settled_s: float | None = None
    """Of a point of a search: when the last request was due that only let the queue settle."""


def summarise(
    db: sqlite3.Connection,
    server_figures: ServerFigures = nothing_said,
    tell: Tell = told_nobody,
    judge: Judge | None = None,
) -> list[StageSummary]:
    """The figures of all stages of a results file, in their order; raises StoreError when it cannot be read.

    `judge` sees each stage while its requests are in memory.
    """
    try:
        return _summarise(db, server_figures, tell, judge or Nobody())
    except sqlite3.Error as error:
        raise StoreError(f"cannot read the results to summarise them: {error}") from error


def _summarise(db: sqlite3.Connection, server_figures: ServerFigures, tell: Tell, judge: Judge) -> list[StageSummary]:
    rows, gaps = (db.execute(f"SELECT count(*) FROM {table}").fetchone()[0] for table in ("requests", "gaps"))  # noqa: S608
    done = 0

    def read(more: int) -> None:
        nonlocal done
        done += more
        tell(done, rows + gaps)

    facts = dict(db.execute("SELECT key, value FROM run"))
    asked = asked_of(facts)
    before = SentToEach.of_run(db, facts, [each.name for each in asked.targets])
    workers = int(facts["workers"]) if facts.get("workers", "").isdigit() else None
    why = json.loads(facts.get("stamps", "{}")).get("reason", "")
    stages = _stages(db, "search" in facts)
    run = _Run(server_figures, before, asked, workers, why, judge, [stage.name for stage in stages])
    return [_stage_summary(db, stage, run, read) for stage in stages]


def _stages(db: sqlite3.Connection, is_search: bool) -> list[Stage]:
    share = "CASE WHEN end_time > start_time THEN feed_time / (end_time - start_time) END"
    rows = db.execute(
        f"SELECT stage, name, plan, begin_time, deadline_time, stop_time, {share} FROM stage ORDER BY stage"  # noqa: S608
    ).fetchall()
    found = []
    for number, name, text, *times, feed_share in rows:
        stage_plan, settled_s = json.loads(text), _settled(db, number) if is_search else None
        unsent = _unsent(db, Part(number), stage_plan, times[0], settled_s)
        found.append(Stage(number, name, stage_plan, tuple(times), feed_share, unsent, settled_s))
    return found


def _settled(db: sqlite3.Connection, number: int) -> float | None:
    sql = "SELECT max(scheduled_time) FROM requests WHERE stage = ? AND excluded = 'settling'"
    last_s: float | None = db.execute(sql, (number,)).fetchone()[0]
    return last_s


def _unsent(
    db: sqlite3.Connection, part: Part, plan: dict[str, Any], begin_s: float | None, settled_s: float | None
) -> Array:
    """Those that figures are of: what was due while the load was ramped up or down, or settled, is in none."""
    ramps = Ramps.of_plan(plan)
    rows = [
        times
        for times in db.execute(f"SELECT scheduled_time, until_time FROM unsent r WHERE {part.condition}", part.values)  # noqa: S608  # ours
        if (ramps.are_none or ramps.excluded(times[0] - (begin_s or 0.0)) is None)
        and (settled_s is None or times[0] > settled_s)
    ]
    return np.array(rows, dtype=np.float64).reshape(len(rows), 2)


def nothing_more(rows: int) -> None:
    """Rows that are read again are no progress."""


def _stage_summary(db: sqlite3.Connection, stage: Stage, run: _Run, read: Callable[[int], None]) -> StageSummary:
    whole = Part(stage.number)
    every = read_rows(db, whole, read)
    rows = _without_excluded(db, whole, every)
    sent, ended, scheduled = rows["start_time"], rows["completed_time"], rows["scheduled_time"]
    overall_s = float(every["completed_time"].max() - every["start_time"].min()) if len(every) else 0.0
    span = _span(stage, every)
    server = run.server_figures(db, float(sent.min()), float(ended.max())) if len(rows) else {}
    found = part_figures(
        db, PartRows(whole, stage.name, every, rows, stage.unsent, span), run.asked, run.judge, server, read
    )
    targets = [
        _part(db, stage, Part(stage.number, target=each.name), each, run.judge, span) for each in run.asked.targets
    ]
    is_limited = "maxConcurrency" in stage.plan
    judged = clients(db, stage.number, rows, _is_open_loop(stage.plan), is_limited, stage.feed_share, run.workers)
    summary = StageSummary(
        **found.values,
        load=load_in_words(stage.plan),
        duration_s=overall_s,
        window=_window(stage, every, span),
        overall=overall_throughput(every, overall_s),
        dispatch_lag_s=distribution(rows["dispatch_lag"]),
        connect_s=distribution(_connects(rows)),
        steady=steady_figures(
            stage.plan, stage.times[0], every, rows, stage.unsent, span, run.asked.choices, lambda ids: gaps_of(db, ids)
        ),
        offered_rate_rps=_offered_rate(stage, scheduled),
        sent_rate_rps=_rate(sent[_begins(rows)]) if _is_open_loop(stage.plan) else None,
        prompts=run.before.add(
            {each.of.name: (each.of.every, each.of.rows) for each in targets} or {"": (every, rows)}
        ),
        server=server,
        client=judged.health,
        runners=judged.runners,
    )
    lost = _lost_rate(summary, np.concatenate([scheduled[_begins(rows)], stage.unsent[:, 0]]))
    if lost:
        _blame(summary.client, f"{lost} (maxConcurrency held requests back)" if is_limited else lost)
    how_precise = reached(db, whole, stage.plan, rows, found.tpot[every["is_excluded"] == 0])
    summary.notes = notes(summary, span, found.estimate, run.asked, stage.plan, run.why_program, how_precise)
    looks = doublings(stage.plan, summary.requests.succeeded)
    run.judge.see(found.evidence(summary, stage.name, run.stages, looks, summary.steady))
    judged_as = partial(_judged, run=run, stage=summary, looks=looks)

    def by_workload(whole: Figures, asked: Asked, target: str | None = None) -> list[WorkloadSummary]:
        # One after the other: the rows of each are read when it is its turn.
        parts = (
            _part(db, stage, Part(stage.number, each.name, target), each, run.judge, span) for each in asked.workloads
        )
        return [judged_as(WorkloadSummary, *each, whole) for each in zip(parts, asked.workloads, strict=True)]

    summary.workloads = by_workload(summary, run.asked)
    for part, asked in zip(targets, run.asked.targets, strict=True):
        target = judged_as(TargetSummary, part, asked, summary)
        target.workloads = by_workload(target, asked, asked.name)
        summary.targets.append(target)
    summary.comparisons = comparisons([each.compared() for each in targets], run.asked.confidence)
    if parts := of_smallest_parts(summary):
        summary.answers = together(parts)
    return summary


def _judged(
    kind: type[Of], found: PartFigures, asked: Asked, whole: Figures, run: _Run, stage: StageSummary, looks: int
) -> Of:
    """The figures of a part of `whole`, and its verdict; the stage had so many looks."""
    summary = kind(**found.values, weight=asked.weight, share=found.share_of(whole.requests.total))
    summary.notes = notes_of_part(summary, found.estimate, asked)
    run.judge.see(found.evidence(summary, stage.name, run.stages, looks, stage.steady))
    return summary


def _part(db: sqlite3.Connection, stage: Stage, part: Part, asked: Asked, judge: Judge, span: Span) -> PartFigures:
    """The figures of what was sent of one workload, or to one target."""
    every = read_rows(db, part, nothing_more)
    rows, unsent = _without_excluded(db, part, every), _unsent(db, part, stage.plan, stage.times[0], stage.settled_s)
    return part_figures(db, PartRows(part, asked.name, every, rows, unsent, span), asked, judge, {}, nothing_more)


def _without_excluded(db: sqlite3.Connection, part: Part, every: Rows) -> Rows:
    """Those that figures are of."""
    return read_rows(db, part, nothing_more, with_excluded=False) if every["is_excluded"].any() else every


def _begins(rows: Rows) -> Mask:
    """Single requests, and first turns of conversations: what a rate counts."""
    turn = rows["turn"]
    begins: Mask = np.isnan(turn) | (turn == 1)
    return begins


def _is_open_loop(plan: dict[str, Any]) -> bool:
    return plan.get("arrival") == "recorded" or not OPEN_LOOPS.isdisjoint(plan)


def _offered_rate(stage: Stage, scheduled: Array) -> float | None:
    """The rate asked for; the mean of one that changes; of recorded times, the rate that they have."""
    if stage.plan.get("recordedTimes") != "played" and "timestamps" not in stage.plan:
        rate: float | None = stage.plan.get("rate", stage.plan.get("schedule", {}).get("meanRate"))
        return rate
    return _rate(np.concatenate([scheduled, stage.unsent[:, 0]]))


def _span(stage: Stage, rows: Rows) -> Span:
    """The stage's window. Files of older versions do not say when its load began."""
    if not len(rows):
        return Span(0.0, 0.0, "overall", "there are no requests")
    overall = Span(float(rows["start_time"].min()), float(rows["completed_time"].max()), "overall")
    count = stage.plan.get("requests")
    if stage.settled_s is not None and not rows["is_excluded"].all():
        counted = rows.where(rows["is_excluded"] == 0)
        count, rows = None if count is None else count - (len(rows) - len(counted)), counted
    scheduled = np.concatenate([rows["scheduled_time"], stage.unsent[:, 0]])
    begin_s, deadline_s, stop_s = stage.times
    begin_s = float(scheduled.min()) if begin_s is None or stage.settled_s is not None else begin_s
    if deadline_s is None and "duration" in stage.plan:
        deadline_s = begin_s + parse_duration(stage.plan["duration"])
    lanes = None if _is_open_loop(stage.plan) else stage.plan.get("concurrency")
    if lanes is None and not _is_open_loop(stage.plan):
        return Span(overall.start_s, overall.end_s, "overall", "the file does not say what load was asked for")
    ramps = Ramps.of_plan(stage.plan)
    if deadline_s is not None:
        deadline_s -= ramps.down_s
    times = StageTimes(begin_s + ramps.up_s, deadline_s, stop_s)
    return window(lanes, count, times, units_of(rows), scheduled, overall)


def _window(stage: Stage, rows: Rows, span: Span) -> Window | None:
    if not len(rows):
        return None
    begin_s = stage.times[0] if stage.times[0] is not None else float(rows["scheduled_time"].min())
    return Window(
        start_s=span.start_s - begin_s,
        end_s=span.end_s - begin_s,
        duration_s=span.duration_s,
        kind=span.kind,
        reason=span.reason,
    )


def _connects(rows: Rows) -> Array:
    taken = rows["connect_time"] + rows["tls_time"]
    new: Array = taken[taken > 0]
    return new


def _rate(times_s: Array) -> float | None:
    """Requests per second between the first and the last."""
    return per_second(len(times_s) - 1, float(times_s.max() - times_s.min())) if len(times_s) > 1 else None


def _lost_rate(summary: StageSummary, scheduled: Array) -> str:
    """An open loop whose requests left later and later has not made the load that it was asked for."""
    asked, sent = _rate(scheduled), summary.sent_rate_rps
    if not summary.offered_rate_rps or not asked or not sent or sent >= RATE_KEPT * asked:
        return ""
    return f"only {sent:.1f} of {asked:.1f} requests/s were sent: the rate was not kept"


def _blame(client: ClientHealth, reason: str) -> None:
    client.reasons.append(f"load: {reason}")
    client.load, client.state = (
        max(state, "degraded", key=health.STATES.index) for state in (client.load, client.state)
    )


def worst_client(stages: list[StageSummary]) -> ClientHealth:
    """The run's client: as bad as in its worst stage, with the reasons of all stages."""
    clients = [stage.client for stage in stages]
    known = {client.stamps for client in clients} - {None}
    return ClientHealth(
        state=_worst(client.state for client in clients),
        latencies=_worst(client.latencies for client in clients),
        load=_worst(client.load for client in clients),
        stamps=None if not known else known.pop() if len(known) == 1 else "mixed",
        reasons=[f"{stage.name}: {reason}" for stage in stages for reason in stage.client.reasons],
    )


def _worst(states: Iterable[health.State]) -> health.State:
    return max(states, key=health.STATES.index, default="valid")
