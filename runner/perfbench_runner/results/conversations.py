"""Figures of a stage's conversations."""

import numpy as np

from perfbench_runner.results.measured import Conversations
from perfbench_runner.results.quantiles import distribution
from perfbench_runner.results.rows import Rows


def conversations(rows: Rows) -> Conversations | None:
    """None where it has none."""
    is_turn = ~np.isnan(rows["turn"])
    if not is_turn.any():
        return None
    order = np.flatnonzero(is_turn)[np.argsort(rows["seq"][is_turn], kind="stable")]
    firsts = np.flatnonzero(np.diff(rows["seq"][order], prepend=np.nan) != 0)
    turns = np.diff(firsts, append=len(order))
    starts, ends = rows["start_time"][order], rows["completed_time"][order]
    is_whole = np.minimum.reduceat(rows["success"][order], firsts) > 0
    is_ended = np.maximum.reduceat(rows["last_turn"][order], firsts) > 0
    ttft, ok = rows["first_chunk_latency"], rows.is_ok
    return Conversations(
        total=len(firsts),
        completed=int((is_whole & is_ended).sum()),
        turns=distribution(turns),
        duration_s=distribution(np.maximum.reduceat(ends, firsts) - np.minimum.reduceat(starts, firsts)),
        first_turn_ttft_s=distribution(ttft[ok & (rows["turn"] == 1)]),
        later_turn_ttft_s=distribution(ttft[ok & (rows["turn"] > 1)]),
    )
