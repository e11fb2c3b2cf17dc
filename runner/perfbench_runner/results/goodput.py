"""Goodput: requests that kept all limits of a single request (DistServe's definition). Pure functions of a stage's rows.

Each request has the limits of its workload; where that has none, it is good if it succeeded.
"""

import numpy as np

from perfbench_runner.results.asked import Limits
from perfbench_runner.results.measured import Goodput
from perfbench_runner.results.quantiles import Array
from perfbench_runner.results.rows import Mask, Rows
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


def bounds(rows: Rows, limits: Limits) -> dict[str, Array]:
    """The limit of each request by the metric that it is of, seconds; NaN where its workload has none."""
    own = [limits.get(workload, limits[None]) for workload in rows.workloads]
    names = dict.fromkeys(name for each in limits.values() for name in each)
    return {name: np.array([each.get(name, np.nan) for each in own])[rows.workload] for name in names}


def missed(rows: Rows, tpot: Array, limits: Limits) -> dict[str, Mask]:
    """Which requests did not keep a limit that they have, or have nothing that could keep it; by its metric."""
    found = latencies(rows, tpot)
    return {name: ~np.isnan(bound) & ~(found[name] <= bound) for name, bound in bounds(rows, limits).items()}


def good(rows: Rows, tpot: Array, limits: Limits) -> Mask:
    """Which requests succeeded and kept all of their limits."""
    kept = rows.is_ok.copy()
    for is_missed in missed(rows, tpot, limits).values():
        kept &= ~is_missed
    return kept


def goodput(rows: Rows, every: Rows, tpot: Array, unsent: int, span: Span, limits: Limits) -> Goodput | None:
    """A stage's goodput; None where no limits are given.

    The share is of `rows`, those that figures are of, and of requests that were due and never sent; the rate is of `every`
    request that ended in the window, those of ramps included, as throughputs are. `tpot` is of every one.
    """
    if not any(limits.values()):
        return None
    total, own = len(rows) + unsent, tpot[every["is_excluded"] == 0]
    is_ok, needs_first = rows.is_ok, np.zeros(len(rows), dtype=np.bool_)
    for name, bound in bounds(rows, limits).items():
        needs_first |= is_ok & ~np.isnan(bound) & (name in ("ttft", "tpot"))
    firsts = rows["first_chunk_latency"][needs_first]
    reason = NOT_STREAMED if len(firsts) and np.isnan(firsts).all() else ""
    kept, in_window = good(rows, own, limits), good(every, tpot, limits) & span.has(every["completed_time"])
    count, tokens = int(kept.sum()), every["completion_tokens"][in_window]
    is_counted = not reason and bool(len(every)) and not np.isnan(tokens).any()
    return Goodput(
        limits_s=_of_all(limits),
        total=total,
        good=count,
        share=count / total if total and not reason else None,
        rate_rps=None if reason else per_second(float(in_window.sum()), span.duration_s),
        output_token_throughput_tps=per_second(float(tokens.sum()), span.duration_s) if is_counted else None,
        missed={name: int((is_ok & which).sum()) for name, which in missed(rows, own, limits).items()},
        reason=reason,
    )


def _of_all(limits: Limits) -> dict[str, float]:
    """Those that all workloads have alike."""
    first, *others = [own for workload, own in limits.items() if workload is not None] or [limits[None]]
    return {name: value for name, value in first.items() if all(own.get(name) == value for own in others)}
