"""Goodput: requests that kept all limits of a single request (DistServe's definition). Pure functions of a stage's rows."""

from collections.abc import Mapping

import numpy as np

from perfbench_runner.results.quantiles import Array
from perfbench_runner.results.rows import Mask, Rows
from perfbench_runner.results.summary import Goodput
from perfbench_runner.results.throughput import per_second
from perfbench_runner.results.windows import Span

NOT_STREAMED = "no answer has a first token: they are not streamed"


def latencies(rows: Rows, tpot: Array) -> dict[str, Array]:
    """Of each request, by the names of limits; NaN where there is none."""
    ended, first = rows["completed_time"], rows["first_chunk_latency"]
    is_single = np.isnan(tpot) & ~np.isnan(first)  # of one token there is no time between any
    return {
        "ttft": first,
        "tpot": np.where(is_single, 0.0, tpot),
        "e2e_latency": ended - rows["start_time"],
        "scheduled_latency": ended - rows["scheduled_time"],
    }


def good(rows: Rows, tpot: Array, limits: Mapping[str, float]) -> Mask:
    """Which requests succeeded and kept all limits."""
    found, kept = latencies(rows, tpot), rows.is_ok.copy()
    for name, limit in limits.items():
        kept &= found[name] <= limit
    return kept


def goodput(
    rows: Rows, every: Rows, tpot: Array, unsent: int, span: Span, limits: Mapping[str, float]
) -> Goodput | None:
    """A stage's goodput; None where no limits are given.

    The share is of `rows`, those that figures are of, and of requests that were due and never sent; the rate is of `every`
    request that ended in the window, those of ramps included, as throughputs are. `tpot` is of every one.
    """
    if not limits:
        return None
    total, own = len(rows) + unsent, tpot[every["is_excluded"] == 0]
    is_ok, found = rows.is_ok, latencies(rows, own)
    needs_first = "ttft" in limits or "tpot" in limits
    reason = NOT_STREAMED if needs_first and is_ok.any() and np.isnan(found["ttft"][is_ok]).all() else ""
    kept, in_window = good(rows, own, limits), good(every, tpot, limits) & span.has(every["completed_time"])
    count, tokens = int(kept.sum()), every["completion_tokens"][in_window]
    is_counted = not reason and bool(len(every)) and not np.isnan(tokens).any()
    return Goodput(
        limits_s=dict(limits),
        total=total,
        good=count,
        share=count / total if total and not reason else None,
        rate_rps=None if reason else per_second(float(in_window.sum()), span.duration_s),
        output_token_throughput_tps=per_second(float(tokens.sum()), span.duration_s) if is_counted else None,
        missed={name: int((is_ok & ~(found[name] <= limit)).sum()) for name, limit in limits.items()},
        reason=reason,
    )
