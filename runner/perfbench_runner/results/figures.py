"""The figures of each stage, computed from the results file, and how trustworthy they are.

The results file is the only source: the same function summarises a run that just ended, one that was cut off, and one
of last year. Definitions of all figures: docs/metrics.md.
"""

import json
import sqlite3
from collections import Counter
from collections.abc import Callable
from typing import Any

import numpy as np
import orjson

from perfbench_runner.results import client_health as health
from perfbench_runner.results.quantiles import distribution
from perfbench_runner.results.summary import ClientHealth, Conversations, Requests, StageSummary

RATE_KEPT = 0.98
"""An open loop that sends less than this share of its rate has not kept it."""

ServerFigures = Callable[[sqlite3.Connection, float, float], dict[str, dict[str, float]]]
"""What the server said of itself from one time of the run's clock to another, by neutral name."""


def nothing_said(db: sqlite3.Connection, start_s: float, end_s: float) -> dict[str, dict[str, float]]:
    """The figures of a server that was not asked."""
    return {}


def stage_summary(
    db: sqlite3.Connection, number: int, name: str, plan: dict[str, Any], server_figures: ServerFigures
) -> StageSummary:
    """The figures of one stage of a results file."""
    columns = _columns(db, number)
    ok = columns["success"] == 1
    sent, ended = columns["start_time"], columns["completed_time"]
    window_s = float(ended.max() - sent.min()) if len(sent) else 0.0
    tokens_out, tokens_in = columns["completion_tokens"][ok], columns["prompt_tokens"][ok]
    rate = plan.get("rate")
    succeeded = int(ok.sum())
    client = _client(db, number, _own_lags(columns))
    summary = StageSummary(
        name=name,
        requests=Requests(total=len(ok), succeeded=succeeded, failed=len(ok) - succeeded),
        duration_s=window_s,
        request_throughput_rps=_per(succeeded, window_s),
        output_token_throughput_tps=_per(float(np.nansum(tokens_out)), window_s),
        total_token_throughput_tps=_per(float(np.nansum(tokens_out) + np.nansum(tokens_in)), window_s),
        input_token_throughput_tps=_per(float(np.nansum(tokens_in)), window_s) if len(_known(tokens_in)) else None,
        ttft_s=distribution(_known(columns["first_chunk_latency"][ok])),
        itl_s=distribution(_gaps(db, number)),
        tpot_s=distribution(_known(columns["time_per_output_token"][ok])),
        e2e_latency_s=distribution(_known(columns["latency"][ok])),
        scheduled_latency_s=distribution((ended - columns["scheduled_time"])[ok]),
        dispatch_lag_s=distribution(columns["dispatch_lag"]),
        connect_s=distribution(_connects(columns)),
        output_tokens=distribution(_known(tokens_out)),
        prompt_tokens=distribution(_known(tokens_in)),
        errors=_counts(db, number, "failure", "success = 0"),
        token_sources=_counts(db, number, "token_source", "success = 1"),
        offered_rate_rps=rate,
        sent_rate_rps=_sent_rate(sent) if rate else None,
        conversations=_conversations(db, number),
        cached_prompt_share=_cached_share(columns, ok),
        server=server_figures(db, float(sent.min()), float(ended.max())) if len(sent) else {},
        client=client,
    )
    _note_lost_rate(summary, columns["scheduled_time"])
    return summary


def _columns(db: sqlite3.Connection, number: int) -> dict[str, np.ndarray[Any, Any]]:
    names = [
        "success", "start_time", "completed_time", "scheduled_time", "dispatch_lag", "latency", "first_chunk_latency",
        "time_per_output_token", "prompt_tokens", "completion_tokens", "connect_time", "tls_time", "cached_tokens",
    ]  # fmt: skip
    rows = db.execute(f"SELECT {', '.join(names)} FROM result WHERE stage = ?", (number,)).fetchall()  # noqa: S608
    table = np.array(rows, dtype=np.float64).reshape(len(rows), len(names))
    return {name: table[:, index] for index, name in enumerate(names)}


def _gaps(db: sqlite3.Connection, number: int) -> np.ndarray[Any, Any]:
    rows = db.execute(
        "SELECT inter_token_latencies FROM result WHERE stage = ? AND success = 1 AND inter_token_latencies != '[]'",
        (number,),
    )
    parts = [np.asarray(orjson.loads(text), dtype=np.float64) for (text,) in rows]
    return _known(np.concatenate(parts)) if parts else np.empty(0)


def _connects(columns: dict[str, np.ndarray[Any, Any]]) -> np.ndarray[Any, Any]:
    taken = columns["connect_time"] + columns["tls_time"]
    new: np.ndarray[Any, Any] = taken[taken > 0]
    return new


def _counts(db: sqlite3.Connection, number: int, column: str, where: str) -> dict[str, int]:
    sql = f"SELECT {column}, count(*) FROM result WHERE stage = ? AND {where} AND {column} IS NOT NULL GROUP BY 1"  # noqa: S608
    return dict(Counter(dict(db.execute(sql, (number,)).fetchall())).most_common())


def _known(values: np.ndarray[Any, Any]) -> np.ndarray[Any, Any]:
    known: np.ndarray[Any, Any] = values[~np.isnan(values)]
    return known


def _per(amount: float, window_s: float) -> float | None:
    return amount / window_s if window_s > 0 else None


def _sent_rate(sent: np.ndarray[Any, Any]) -> float | None:
    """Requests per second between the first and the last one sent."""
    return _per(len(sent) - 1, float(sent.max() - sent.min())) if len(sent) > 1 else None


def _cached_share(columns: dict[str, np.ndarray[Any, Any]], ok: np.ndarray[Any, Any]) -> float | None:
    reported = ok & ~np.isnan(columns["cached_tokens"])
    prompt = float(np.nansum(columns["prompt_tokens"][reported]))
    return float(np.nansum(columns["cached_tokens"][reported])) / prompt if prompt else None


def _conversations(db: sqlite3.Connection, number: int) -> Conversations | None:
    where = "FROM result WHERE stage = ? AND turn IS NOT NULL"
    rows = db.execute(
        f"SELECT count(*), min(start_time), max(completed_time), min(success) AND max(last_turn) {where} GROUP BY trace_id",
        (number,),
    ).fetchall()
    if not rows:
        return None
    ttfts = {
        is_first: [
            row[0]
            for row in db.execute(
                f"SELECT first_chunk_latency {where} AND success = 1 AND (turn = 1) = ?",
                (number, is_first),
            )
            if row[0] is not None
        ]
        for is_first in (True, False)
    }
    return Conversations(
        total=len(rows),
        completed=sum(row[3] or 0 for row in rows),
        turns=distribution(row[0] for row in rows),
        duration_s=distribution(row[2] - row[1] for row in rows),
        first_turn_ttft_s=distribution(ttfts[True]),
        later_turn_ttft_s=distribution(ttfts[False]),
    )


def _own_lags(columns: dict[str, np.ndarray[Any, Any]]) -> np.ndarray[Any, Any]:
    """Dispatch lags that say something of the client: of requests on kept-alive connections, where most are.

    At the start of a closed loop all lanes connect at once and wait for each other: the load's shape, not slowness.
    """
    kept = (columns["connect_time"] + columns["tls_time"]) == 0
    lags: np.ndarray[Any, Any] = columns["dispatch_lag"]
    return lags[kept] if kept.sum() * 2 >= len(lags) else lags


def _client(db: sqlite3.Connection, number: int, lags_s: np.ndarray[Any, Any]) -> ClientHealth:
    cursor = db.execute("SELECT * FROM client_health WHERE stage = ?", (number,))
    names = [column[0] for column in cursor.description]
    samples = [dict(zip(names, row, strict=True)) for row in cursor]
    found = health.figures(samples, lags_s.tolist())
    row = db.execute(
        "SELECT feed_time / (end_time - start_time) FROM stage WHERE stage = ? AND end_time > start_time", (number,)
    ).fetchone()
    if row and row[0] is not None:
        found["feed_share"] = row[0]
    state, reasons = health.judge(found)
    return ClientHealth(state=state, reasons=reasons, figures=found)


def _note_lost_rate(summary: StageSummary, scheduled: np.ndarray[Any, Any]) -> None:
    """An open loop whose requests left later and later has not made the load that it was asked for."""
    asked, sent = _sent_rate(scheduled), summary.sent_rate_rps
    if not summary.offered_rate_rps or not asked or not sent or sent >= RATE_KEPT * asked:
        return
    client = summary.client
    client.reasons.append(f"only {sent:.1f} of {asked:.1f} requests/s were sent: the rate was not kept")
    if client.state == "valid":
        client.state = "degraded"


def worst_client(stages: list[StageSummary]) -> ClientHealth:
    """The run's client: as bad as in its worst stage, with the reasons of all stages."""
    state = max((stage.client.state for stage in stages), key=health.STATES.index, default="valid")
    reasons = [f"{stage.name}: {reason}" for stage in stages for reason in stage.client.reasons]
    return ClientHealth(state=state, reasons=reasons)


def summarise(db: sqlite3.Connection, server_figures: ServerFigures = nothing_said) -> list[StageSummary]:
    """The figures of all stages of a results file, in their order."""
    rows = db.execute("SELECT stage, name, plan FROM stage ORDER BY stage").fetchall()
    return [stage_summary(db, number, name, json.loads(plan), server_figures) for number, name, plan in rows]
