"""The latencies of some of a stage's requests. Definitions: docs/metrics.md."""

import numpy as np

from perfbench_runner.results.measured import Distribution
from perfbench_runner.results.quantiles import Array, distribution
from perfbench_runner.results.rows import Rows


def ttft(rows: Rows) -> Distribution:
    """Of succeeded requests, and of unfinished ones: those that were cut before their first content are bounded below."""
    first, waited = rows["first_chunk_latency"], rows["completed_time"] - rows["start_time"]
    seen = first[rows.is_ok | rows.is_unfinished]
    if np.isnan(seen).all():  # not streamed: there is no first token
        return Distribution()
    return distribution(seen, waited[rows.is_unfinished & np.isnan(first)])


def tpot_of(rows: Rows, choices: int) -> Array:
    """As stored; where requests asked for several answers, an equal part of the tokens is taken for each. NaN: undefined."""
    if choices == 1:
        return rows["time_per_output_token"]
    tokens = rows["completion_tokens"] / choices
    decoding_s = rows["latency"] - rows["first_chunk_latency"]
    is_defined = rows.is_ok & (tokens >= 2)
    return np.where(is_defined, decoding_s, np.nan) / np.where(is_defined, tokens - 1, 1.0)


def e2e_latency(rows: Rows) -> Distribution:
    """Of succeeded requests; of unfinished ones it is known only that it is longer."""
    waited_s = rows["completed_time"] - rows["start_time"]
    return distribution(rows["latency"][rows.is_ok], waited_s[rows.is_unfinished])


def scheduled_latency(rows: Rows, unsent: Array) -> Distribution:
    """The same from when they were due; `unsent`: when others were due that were never sent, and until when, shape (n, 2)."""
    waited_s = rows["completed_time"] - rows["scheduled_time"]
    censored = np.concatenate([waited_s[rows.is_unfinished], unsent[:, 1] - unsent[:, 0]])
    return distribution(waited_s[rows.is_ok], censored)
