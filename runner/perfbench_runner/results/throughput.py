"""Throughputs of a stage over a window: requests count where they end, tokens where their chunks arrive."""

from collections.abc import Callable, Iterator
from typing import NamedTuple

import numpy as np

from perfbench_runner.results.measured import Throughput
from perfbench_runner.results.quantiles import Array
from perfbench_runner.results.rows import Ints, Rows
from perfbench_runner.results.windows import Span

EdgeGaps = Callable[[Ints], Iterator[tuple[int, Array]]]
"""Of rows with these ids: number among them, and their gaps in seconds."""


class Estimate(NamedTuple):
    """Output tokens of requests whose server never said how many there were."""

    requests: int
    chunks: float
    tokens_per_chunk: float


def per_second(amount: float, duration_s: float) -> float | None:
    """A rate; None over no time."""
    return amount / duration_s if duration_s > 0 else None


def overall_throughput(rows: Rows, duration_s: float) -> Throughput:
    """Succeeded requests and all of their tokens over the whole stage."""
    ok = rows.is_ok
    tokens_out = float(np.nansum(rows["completion_tokens"][ok]))
    tokens_in = float(np.nansum(rows["prompt_tokens"][ok]))
    return _throughput(duration_s, float(ok.sum()), tokens_out, tokens_in, _is_counted(rows))


def window_throughput(rows: Rows, span: Span, edge_gaps: EdgeGaps) -> tuple[Throughput, Estimate | None]:
    """What was done within a window, also by requests that began before it, outlived it, or never came to their end."""
    if span.kind == "overall":
        return overall_throughput(rows, span.duration_s), None
    ok = rows.is_ok
    requests = float((ok & span.has(rows["completed_time"])).sum())
    tokens_out, estimate = _tokens_out(rows, span, edge_gaps)
    found = _throughput(span.duration_s, requests, tokens_out, _tokens_in(rows, span), _is_counted(rows))
    return found, estimate


def _throughput(
    duration_s: float, requests: float, tokens_out: float, tokens_in: float, is_counted: bool
) -> Throughput:
    return Throughput(
        duration_s=duration_s,
        request_throughput_rps=per_second(requests, duration_s),
        output_token_throughput_tps=per_second(tokens_out, duration_s),
        total_token_throughput_tps=per_second(tokens_out + tokens_in, duration_s),
        input_token_throughput_tps=per_second(tokens_in, duration_s) if is_counted else None,
    )


def _is_counted(rows: Rows) -> bool:
    """Whether anybody counted prompt tokens."""
    return bool((~np.isnan(rows["prompt_tokens"][rows.is_ok])).any())


def _tokens_in(rows: Rows, span: Span) -> float:
    """Prompt tokens, counted when the first content arrives: by then the prompt has been read.

    Of unfinished requests, whose usage never came, they are taken to be the others' mean.
    """
    first_s = rows["start_time"] + rows["first_chunk_latency"]
    is_read = span.has(np.where(np.isnan(first_s), rows["completed_time"], first_s))
    known = rows["prompt_tokens"][rows.is_ok]
    tokens = float(np.nansum(rows["prompt_tokens"][rows.is_ok & is_read]))
    unknown = int((rows.is_unfinished & is_read & ~np.isnan(first_s)).sum())
    return tokens + (unknown * float(np.nanmean(known)) if unknown and (~np.isnan(known)).any() else 0.0)


def _tokens_out(rows: Rows, span: Span, edge_gaps: EdgeGaps) -> tuple[float, Estimate | None]:
    ok, chunks = rows.is_ok, rows["chunks"]
    first_s, ended_s = rows["start_time"] + rows["first_chunk_latency"], rows["completed_time"]
    is_stamped = (chunks > 0) & ~np.isnan(first_s)
    each = _tokens_per_chunk(rows)
    tokens = np.where(ok, np.nan_to_num(rows["completion_tokens"]), chunks * each)
    is_whole = is_stamped & span.has(first_s) & (ended_s <= span.end_s)
    found = float(tokens[is_whole].sum()) + float(tokens[ok & ~is_stamped & span.has(ended_s)].sum())
    is_open = ~ok & is_stamped
    guessed = int((is_whole & is_open).sum())
    guessed_chunks = float(chunks[is_whole & is_open].sum())
    edge = np.flatnonzero(is_stamped & ~is_whole & (first_s <= span.end_s) & (ended_s >= span.start_s))
    for number, gaps_s in edge_gaps(rows["id"][edge].astype(np.int64)):
        row = edge[number]
        times_s = first_s[row] + np.concatenate([[0.0], np.cumsum(gaps_s)])
        share = float(span.has(times_s).mean())
        found += float(tokens[row]) * share
        if not ok[row] and share:
            guessed, guessed_chunks = guessed + 1, guessed_chunks + share * float(chunks[row])
    return found, Estimate(guessed, guessed_chunks, each) if guessed else None


def _tokens_per_chunk(rows: Rows) -> float:
    counted = rows.is_ok & (rows["chunks"] > 0) & ~np.isnan(rows["completion_tokens"])
    chunks = float(rows["chunks"][counted].sum())
    return float(rows["completion_tokens"][counted].sum()) / chunks if chunks else 1.0
