"""Figures of the steady part of a stage, beside those of the whole."""

from dataclasses import replace
from typing import Any

import numpy as np

from perfbench_runner.results.latencies import e2e_latency, scheduled_latency, tpot_of, ttft
from perfbench_runner.results.measured import Steady
from perfbench_runner.results.quantiles import Array, distribution
from perfbench_runner.results.rows import Rows
from perfbench_runner.results.steady import steady_cut
from perfbench_runner.results.throughput import EdgeGaps, window_throughput
from perfbench_runner.results.windows import Span


def steady_figures(
    plan: dict[str, Any],
    begin_s: float | None,
    every: Rows,
    rows: Rows,
    unsent: Array,
    span: Span,
    choices: int,
    edge_gaps: EdgeGaps,
) -> Steady | None:
    """From when on a stage is steady; None where nothing can be said, and where the load changes by itself.

    `begin_s`: when its load began. `every` has all its requests, `rows` those that figures are of; `unsent` has when others
    were due that were never sent, and until when they were held, shape (n, 2).
    """
    ok = rows.is_ok & (rows["latency"] > 0)  # others have no logarithm
    starts = rows["start_time"][ok]
    order = np.argsort(starts, kind="stable")
    cut = None if _changes(plan) else steady_cut(rows["latency"][ok][order])
    if cut is None:
        return None
    start_s = float(starts[order][cut.requests])
    rest, late_unsent = rows.where(rows["start_time"] >= start_s), unsent[unsent[:, 0] >= start_s]
    late = replace(span, start_s=max(start_s, span.start_s))
    has_window = late.duration_s > 0 and span.kind != "overall"
    done = window_throughput(every, late, edge_gaps)[0] if has_window else None
    return Steady(
        start_s=start_s - (float(rows["scheduled_time"].min()) if begin_s is None else begin_s),
        dropped=cut.requests,
        dropped_share=cut.share,
        is_steady=cut.is_steady,
        change=cut.change,
        request_throughput_rps=done.request_throughput_rps if done else None,
        output_token_throughput_tps=done.output_token_throughput_tps if done else None,
        ttft_s=ttft(rest),
        tpot_s=distribution(tpot_of(rest, choices)[rest.is_ok]),
        e2e_latency_s=e2e_latency(rest),
        scheduled_latency_s=scheduled_latency(rest, late_unsent),
    )


def _changes(plan: dict[str, Any]) -> bool:
    is_recorded = plan.get("recordedTimes") == "played" or plan.get("arrival") == "recorded"
    return is_recorded or "profile" in plan or "timestamps" in plan
