"""What a stage's requests and samples say of the client, by process: what `client_health` judges."""

import sqlite3

import numpy as np

from perfbench_runner.results import client_health as health
from perfbench_runner.results.rows import Mask, Rows
from perfbench_runner.results.summary import ClientHealth


def client(
    db: sqlite3.Connection,
    stage: int,
    rows: Rows,
    is_open_loop: bool,
    is_limited: bool,
    feed_share: float | None,
    workers: int | None,
) -> ClientHealth:
    """The judgement of the client in a stage. `is_limited`: requests may wait for a limit that was asked for."""
    cursor = db.execute("SELECT * FROM client_health WHERE stage = ?", (stage,))
    names = [column[0] for column in cursor.description]
    found = health.figures(dict(zip(names, row, strict=True)) for row in cursor)
    for shard, own in of_requests(rows, is_open_loop, is_limited).items():
        found.setdefault(shard, {}).update(own)
    if feed_share is not None:
        found.setdefault(health.CONTROL, {})["feed_share"] = feed_share
    judged = health.judge(found, workers)
    return ClientHealth(
        state=judged.state,
        latencies=judged.latencies,
        load=judged.load,
        stamps=stamps(rows),
        reasons=judged.reasons,
        figures=health.worst(found),
    )


def stamps(rows: Rows) -> health.Stamps | None:
    """Who took the times of arrival of these requests; None where nothing arrived, or nothing is known."""
    by_program = rows["by_program"]
    known = by_program[~np.isnan(by_program)]
    if not len(known):
        return None
    return "kernel" if not known.any() else "program" if known.all() else "mixed"


def of_requests(rows: Rows, is_open_loop: bool, is_limited: bool) -> dict[int, health.Figures]:
    """Figures by shard."""
    shards = np.unique(rows["shard"][~np.isnan(rows["shard"])]).tolist()
    return {int(shard): _of_shard(rows, rows["shard"] == shard, is_open_loop, is_limited) for shard in shards}


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
