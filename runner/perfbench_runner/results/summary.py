"""The summary of a run: figures of each stage, computed from the results file, and how trustworthy they are.

The results file is the only source: the same function summarises a run that just ended, one that was cut off, and one
of last year. Definitions of all figures: docs/metrics.md. Quantiles are numpy's (linear interpolation).
"""

import json
import sqlite3
from collections import Counter
from collections.abc import Iterable
from typing import Any, Literal

import numpy as np
import orjson
from pydantic import BaseModel, ConfigDict

from perfbench_api.outcome import ClientState, Verdict
from perfbench_runner.results import client_health as health
from perfbench_runner.server.figures import server_figures

QUANTILES = {"p50": 0.5, "p90": 0.9, "p95": 0.95, "p99": 0.99, "p99_9": 0.999}
RATE_KEPT = 0.98
"""An open loop that sends less than this share of its rate has not kept it."""


class _Model(BaseModel):
    model_config = ConfigDict(extra="forbid", use_attribute_docstrings=True)


class Distribution(_Model):
    """Statistics of a figure; null where there is no value."""

    mean: float | None = None
    std: float | None = None
    min: float | None = None
    p50: float | None = None
    p90: float | None = None
    p95: float | None = None
    p99: float | None = None
    p99_9: float | None = None
    max: float | None = None
    count: int = 0


class Requests(_Model):
    """Counts of requests."""

    total: int
    succeeded: int
    failed: int


class Client(_Model):
    """Whether the client itself was the bottleneck."""

    state: ClientState = "valid"
    reasons: list[str] = []
    figures: dict[str, float] = {}
    """What was judged, by the names of docs/client-health.md; seconds and shares of 1."""


class Conversations(_Model):
    """Figures of conversations, where a stage had any."""

    total: int
    completed: int
    """Conversations that came to their end, every turn succeeded."""
    turns: Distribution
    duration_s: Distribution
    """From the first turn sent to the last answer's end, think time included."""
    first_turn_ttft_s: Distribution
    later_turn_ttft_s: Distribution


class StageSummary(_Model):
    """Figures of one stage. Latencies are of succeeded requests."""

    name: str
    requests: Requests
    duration_s: float
    """The measured window: from the first request sent to the last answer's end."""
    request_throughput_rps: float | None
    """Succeeded requests over the measured window."""
    output_token_throughput_tps: float | None
    total_token_throughput_tps: float | None
    input_token_throughput_tps: float | None = None
    """Prompt tokens of succeeded requests over the measured window; null where nobody counted them."""
    ttft_s: Distribution
    """From sent to the first non-empty content."""
    itl_s: Distribution
    """Gaps between chunks with content, of all requests together."""
    tpot_s: Distribution
    """(e2e - TTFT) / (output tokens - 1) of each request with two tokens or more."""
    e2e_latency_s: Distribution
    """From sent to the end of the answer."""
    scheduled_latency_s: Distribution
    """From scheduled to the end of the answer."""
    dispatch_lag_s: Distribution
    """From scheduled to sent, connecting left out: the client's own delay."""
    connect_s: Distribution
    """TCP connect and TLS of new connections."""
    output_tokens: Distribution
    prompt_tokens: Distribution
    errors: dict[str, int]
    """Failed requests by kind."""
    token_sources: dict[str, int] = {}
    """Who counted the tokens: usage, tokenizer, chunks, plugin or none."""
    offered_rate_rps: float | None = None
    """Open loop: the rate asked for."""
    sent_rate_rps: float | None = None
    """Open loop: the rate at which requests were really sent."""
    conversations: Conversations | None = None
    cached_prompt_share: float | None = None
    """Prompt tokens that the server reported as cached, of all prompt tokens of requests with such a report."""
    server: dict[str, dict[str, float]] = {}
    """What the server said of itself over the measured window, by neutral name; see docs/monitoring.md."""
    client: Client = Client()


class ObjectiveResult(_Model):
    """Whether one objective was kept in one stage."""

    metric: str
    statistic: str | None
    stage: str
    bound: str
    value: float | None
    """In seconds, per second or share of 1; null where there is nothing to judge."""
    kept: bool | None
    """Null where the value cannot be judged."""


class Summary(_Model):
    """summary.json."""

    name: str
    verdict: Verdict | None
    """Whether all objectives were kept; null without objectives."""
    verdict_reasons: list[str] = []
    state: Literal["complete", "interrupted", "failed"] = "complete"
    """interrupted: stopped before its end; failed: could not go on. What was measured until then is summarised."""
    message: str = ""
    started_at: str = ""
    """UTC, ISO 8601."""
    perfbench_version: str = ""
    client: Client = Client()
    objectives: list[ObjectiveResult] = []
    unmeasured_requests: dict[str, int] = {}
    """Requests sent beside the measured ones: connection tests and warm-up."""
    calibration: dict[str, Any] | None = None
    """This client's own error on this machine, if `--calibrate` asked for it."""
    stages: list[StageSummary]


def distribution(values: Iterable[float] | np.ndarray[Any, Any]) -> Distribution:
    """Statistics of values; empty for none."""
    array = np.asarray(values if isinstance(values, np.ndarray) else list(values), dtype=np.float64)
    if not len(array):
        return Distribution()
    quantiles = np.quantile(array, list(QUANTILES.values()))
    return Distribution(
        mean=float(array.mean()),
        std=float(array.std()),
        min=float(array.min()),
        max=float(array.max()),
        count=len(array),
        **dict(zip(QUANTILES, map(float, quantiles), strict=True)),
    )


def stage_summary(db: sqlite3.Connection, number: int, name: str, plan: dict[str, Any]) -> StageSummary:
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


def _client(db: sqlite3.Connection, number: int, lags_s: np.ndarray[Any, Any]) -> Client:
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
    return Client(state=state, reasons=reasons, figures=found)


def _note_lost_rate(summary: StageSummary, scheduled: np.ndarray[Any, Any]) -> None:
    """An open loop whose requests left later and later has not made the load that it was asked for."""
    asked, sent = _sent_rate(scheduled), summary.sent_rate_rps
    if not summary.offered_rate_rps or not asked or not sent or sent >= RATE_KEPT * asked:
        return
    client = summary.client
    client.reasons.append(f"only {sent:.1f} of {asked:.1f} requests/s were sent: the rate was not kept")
    if client.state == "valid":
        client.state = "degraded"


def worst_client(stages: list[StageSummary]) -> Client:
    """The run's client: as bad as in its worst stage, with the reasons of all stages."""
    state = max((stage.client.state for stage in stages), key=health.STATES.index, default="valid")
    reasons = [f"{stage.name}: {reason}" for stage in stages for reason in stage.client.reasons]
    return Client(state=state, reasons=reasons)


def summarise(db: sqlite3.Connection) -> list[StageSummary]:
    """The figures of all stages of a results file that have at least one result."""
    rows = db.execute("SELECT stage, name, plan FROM stage ORDER BY stage").fetchall()
    return [stage_summary(db, number, name, json.loads(plan)) for number, name, plan in rows]
