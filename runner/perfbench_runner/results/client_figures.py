"""What a stage's requests and samples say of the client, by process: what `client_health` judges.

Of several runners each is judged for itself, and the worst one counts: one that is slow spoils what it measures.
"""

import sqlite3
from collections.abc import Iterable, Mapping, Sequence
from itertools import zip_longest
from typing import Any, NamedTuple

import numpy as np

from perfbench_runner.results import client_health as health
from perfbench_runner.results.client_summary import ClientHealth, RunnerSummary, StageRunner
from perfbench_runner.results.rows import Mask, Rows
from perfbench_runner.results.summary import StageSummary


class Clients(NamedTuple):
    """The judgement of a stage's client."""

    health: ClientHealth
    """Of the whole."""
    runners: list[StageRunner]
    """Of each of several runners; empty in a run of one."""


def clients(
    db: sqlite3.Connection,
    stage: int,
    rows: Rows,
    is_open_loop: bool,
    is_limited: bool,
    feed_share: float | None,
    workers: int | None,
) -> Clients:
    """The judgement of the client in a stage. `is_limited`: requests may wait for a limit that was asked for."""
    cursor = db.execute("SELECT * FROM client_health WHERE stage = ?", (stage,))
    names = [column[0] for column in cursor.description]
    samples = [dict(zip(names, row, strict=True)) for row in cursor]
    several = _runners(db, stage)
    found = [
        _judged(runner, _figures(runner, samples, rows, is_open_loop, is_limited), rows)
        for runner in several or [_Runner(0, "", "", workers, feed_share)]
    ]
    whole = _worst(found, stamps(rows))
    return Clients(whole, [_of_runner(db, stage, *each) for each in zip(several, found, strict=bool(several))])


def _worst(found: Sequence[ClientHealth], stamped_by: health.Stamps | None) -> ClientHealth:
    """Of several runners, each judged for itself: the worst counts, with the reasons of all.

    The first of each runner come first, those of the worst runners before the others: a status has room for a few only.
    """
    figures: health.Figures = {}
    for each in found:
        figures |= {name: max(value, figures.get(name, value)) for name, value in each.figures.items()}
    by_state = sorted(found, key=lambda each: -health.STATES.index(each.state))
    latencies, load = (
        max((getattr(each, what) for each in found), key=health.STATES.index) for what in ("latencies", "load")
    )
    return ClientHealth(
        state=max(latencies, load, key=health.STATES.index),
        latencies=latencies,
        load=load,
        stamps=stamped_by,
        reasons=_by_turns([each.reasons for each in by_state]),
        figures=figures,
    )


def _by_turns(lists: Iterable[Sequence[str]]) -> list[str]:
    """The first of each, then the second of each, and so on."""
    return [each for turn in zip_longest(*lists) for each in turn if each is not None]


def _of_runner(db: sqlite3.Connection, stage: int, runner: "_Runner", found: ClientHealth) -> StageRunner:
    """What a runner made of a stage: its times since that of the leader began."""
    row = db.execute(
        "SELECT r.requests, r.begin_time - s.begin_time, r.first_sent_time - s.begin_time, r.end_time - s.begin_time"
        " FROM runner_stage r JOIN stage s ON s.stage = r.stage WHERE r.runner = ? AND r.stage = ?",
        (runner.number, stage),
    ).fetchone()
    requests, begin_s, first_sent_s, end_s = row or (0, None, None, None)
    return StageRunner(
        runner=runner.number,
        requests=requests or 0,
        begin_s=begin_s,
        first_sent_s=first_sent_s,
        end_s=end_s,
        client=found,
    )


class _Runner(NamedTuple):
    """A runner of the run; of an only one nothing is said by name."""

    number: int
    title: str
    lost: str
    """Why not all of its load was made; else empty."""
    workers: int | None
    feed_share: float | None


def _runners(db: sqlite3.Connection, stage: int) -> list[_Runner]:
    """Those whose rows were merged; none of a run of one runner."""
    found = db.execute(
        "SELECT r.runner, r.name, r.node, r.state, r.reason, r.workers,"
        " CASE WHEN s.end_time > s.begin_time THEN s.feed_time / (s.end_time - s.begin_time) END"
        " FROM runner r LEFT JOIN runner_stage s ON s.runner = r.runner AND s.stage = ? ORDER BY r.runner",
        (stage,),
    )
    return [
        _Runner(number, title_of(number, name, node), reason if state != "merged" else "", workers, share)
        for number, name, node, state, reason, workers, share in found
    ]


def runners_of(db: sqlite3.Connection, stages: Iterable[StageSummary]) -> list[RunnerSummary]:
    """The runners of a run, the leader first; none of a run of one."""
    rows = db.execute(
        "SELECT r.runner, name, node, state, reason, workers, drift, bound, residual, requests,"
        " offset + drift * coalesce((SELECT begin_time FROM stage ORDER BY stage LIMIT 1) - offset, 0)"
        " FROM runner r ORDER BY r.runner"
    )
    states: dict[int, health.State] = {}
    for each in (each for stage in stages for each in stage.runners):
        states[each.runner] = max(each.client.state, states.get(each.runner, "valid"), key=health.STATES.index)
    return [
        RunnerSummary(
            runner=number,
            name=name or "",
            node=node or "",
            state=state,
            reason=reason or "",
            workers=workers,
            clock_offset_s=offset_s,
            clock_drift=drift,
            clock_bound_s=bound_s,
            clock_residual_s=residual_s,
            requests=requests,
            client=states.get(number, "valid" if state == "merged" else "invalid"),
        )
        for number, name, node, state, reason, workers, drift, bound_s, residual_s, requests, offset_s in rows
    ]


def title_of(number: int, name: str | None, node: str | None) -> str:
    """A runner, for people: runner 2, pod bench-x7k2p on node worker-3."""
    where = " on node ".join(filter(None, (name, node)))
    return f"runner {number}{f', {where}' if where else ''}"


def _figures(
    runner: _Runner, samples: Iterable[Mapping[str, Any]], rows: Rows, is_open_loop: bool, is_limited: bool
) -> dict[int, health.Figures]:
    """Figures of a runner's processes, by number."""
    found = health.figures(sample for sample in samples if (sample.get("runner") or 0) == runner.number)
    for shard, own in of_requests(rows, is_open_loop, is_limited, rows["runner"] == runner.number).items():
        found.setdefault(shard, {}).update(own)
    if runner.feed_share is not None:
        found.setdefault(health.CONTROL, {})["feed_share"] = runner.feed_share
    return found


def _judged(runner: _Runner, found: Mapping[int, health.Figures], rows: Rows) -> ClientHealth:
    """The judgement of one runner."""
    judged = health.judge(found, runner.workers)
    if runner.lost:
        judged = judged._replace(load="invalid", reasons=[f"load: {runner.lost}", *judged.reasons])
    if runner.title:
        judged = judged._replace(reasons=[_named(reason, runner.title) for reason in judged.reasons])
    return ClientHealth(
        state=judged.state,
        latencies=judged.latencies,
        load=judged.load,
        stamps=stamps(rows, rows["runner"] == runner.number),
        reasons=judged.reasons,
        figures=health.worst(found),
    )


def _named(reason: str, title: str) -> str:
    """A reason with the runner that it is of, after what it speaks against."""
    against, _, what = reason.partition(": ")
    return f"{against}: {title}: {what}"


def stamps(rows: Rows, own: Mask | None = None) -> health.Stamps | None:
    """Who took the times of arrival of these requests; None where nothing arrived, or nothing is known."""
    by_program = rows["by_program"] if own is None else rows["by_program"][own]
    known = by_program[~np.isnan(by_program)]
    if not len(known):
        return None
    return "kernel" if not known.any() else "program" if known.all() else "mixed"


def of_requests(
    rows: Rows, is_open_loop: bool, is_limited: bool, of_runner: Mask | None = None
) -> dict[int, health.Figures]:
    """Figures by shard, of one runner's requests if these are given."""
    own = ~np.isnan(rows["shard"]) if of_runner is None else of_runner & ~np.isnan(rows["shard"])
    shards = np.unique(rows["shard"][own]).tolist()
    return {int(shard): _of_shard(rows, own & (rows["shard"] == shard), is_open_loop, is_limited) for shard in shards}


def _of_shard(rows: Rows, own: Mask, is_open_loop: bool, is_limited: bool) -> health.Figures:
    found: health.Figures = {} if is_limited else _lags(rows, own, is_open_loop)
    by_program = rows["by_program"][own & ~np.isnan(rows["by_program"])]
    if len(by_program):
        found["program_stamps_share"] = float(by_program.mean())
    streamed = own & (rows["is_stream"] == 1) & ~np.isnan(rows["merged_segments"]) & (rows["chunks"] > 0)
    if streamed.any():
        share = float(rows["merged_segments"][streamed].sum() / rows["chunks"][streamed].sum())
        found["merged_share"] = min(1.0, share)
    return found


def _lags(rows: Rows, own: Mask, is_open_loop: bool) -> health.Figures:
    """Dispatch lags that say something of the client: of requests on kept-alive connections, where most are.

    At the start of a closed loop all lanes connect at once and wait for each other: the load's shape, not slowness.
    What a late client takes from a closed loop is concurrency, by the share of the time that its lanes are idle.
    """
    kept = own & ((rows["connect_time"] + rows["tls_time"]) == 0)
    which = kept if kept.sum() * 2 >= own.sum() else own
    lags = rows["dispatch_lag"][which]
    if is_open_loop:
        p99_s = float(np.quantile(lags, 0.99, method="lower"))
        return {"dispatch_lag_mean_s": float(lags.mean()), "dispatch_lag_p99_s": p99_s}
    lane_s = lags.sum() + (rows["completed_time"] - rows["start_time"])[which].sum()
    return {"idle_share": float(lags.sum() / lane_s) if lane_s > 0 else 0.0}
