"""Latencies by the length of the prompt. Pure functions.

How long a prompt was is told by the answer's usage, or counted where it came: of requests that failed or were cut off nobody
knows it. They are left out of figures, and counted; a bound on them is kept only if it would be even with all of them as
failures, and broken only if it would be without any that was slow.
"""

from dataclasses import dataclass, replace

import numpy as np

from perfbench_api.sections import Objective, PromptTokens
from perfbench_runner.results.evidence import Evidence
from perfbench_runner.results.intervals import Interval
from perfbench_runner.results.judging import Bounds, Finding, Levels, judge_mean, judge_quantile, more_requests
from perfbench_runner.results.measured import TtftByPrompt, TtftOfPrompts
from perfbench_runner.results.quantiles import QUANTILES, distribution
from perfbench_runner.results.rows import Mask, Rows


def ttft_by_prompt(rows: Rows) -> TtftByPrompt | None:
    """By powers of two; None where all are in one, or no length is known, or nothing was streamed."""
    tokens, first = rows["prompt_tokens"], rows["first_chunk_latency"]
    is_known = rows.is_ok & (tokens > 0) & ~np.isnan(first)
    exponents = np.floor(np.log2(tokens[is_known])).astype(np.int64)
    found = np.unique(exponents).tolist()
    if len(found) < 2:
        return None
    values = first[is_known]
    ranges = [
        TtftOfPrompts(from_tokens=2**each, to_tokens=2 ** (each + 1), ttft_s=distribution(values[exponents == each]))
        for each in found
    ]
    return TtftByPrompt(ranges=ranges, unknown=int((~rows.is_ok).sum()))


@dataclass(frozen=True)
class OfPrompts:
    """The requests of a range of lengths, as far as they are known."""

    best: Evidence
    """Those whose prompts are known to be of it, and of unknown ones those that were fast enough."""
    worst: Evidence
    """Those whose prompts are known to be of it, and all unknown ones as failures."""
    unknown: int
    """Requests that failed or were cut off; those that were never sent, too, where they are of the metric."""
    uncounted: int
    """Succeeded requests whose prompts nobody counted."""


def of_prompts(evidence: Evidence, metric: str, within: PromptTokens, most_s: float) -> OfPrompts:
    """Evidence of the requests of a range of lengths, for a bound of so many seconds on a metric."""
    rows, tokens = evidence.rows, evidence.rows["prompt_tokens"]
    below = np.inf if within.to is None else within.to
    is_of_it: Mask = rows.is_ok & (tokens >= (within.least or 0)) & (tokens < below)
    is_unknown = ~rows.is_ok
    is_fast = is_unknown & rows.is_unfinished & (rows["first_chunk_latency"] <= most_s) & (metric == "ttft")
    held = len(evidence.unsent) if metric == "scheduled_latency" else 0
    worst = _of(evidence, is_of_it | is_unknown)
    no_cut = np.zeros(len(worst.rows), dtype=np.bool_)
    worst = replace(worst, rows=replace(worst.rows, is_unfinished=no_cut), unsent=evidence.unsent)
    return OfPrompts(
        best=_of(evidence, is_of_it | is_fast),
        worst=worst,
        unknown=int(is_unknown.sum()) + held,
        uncounted=int((rows.is_ok & np.isnan(tokens)).sum()),
    )


def _of(evidence: Evidence, mask: Mask) -> Evidence:
    rows = evidence.rows.where(mask)
    return replace(evidence, rows=rows, every=rows, every_tpot=evidence.tpot[mask], unsent=np.empty((0, 2)), gaps={})


def judge_by_prompt(objective: Objective, within: PromptTokens, evidence: Evidence, levels: Levels) -> Finding:
    """Of prompts of a range of lengths: kept even if all requests of unknown length were of it, or broken even if none was."""
    bounds = Bounds(objective.min, objective.max)
    of = of_prompts(evidence, objective.metric, within, bounds.most or 0.0)
    if of.uncounted:
        reason = (
            f"nobody counted the prompts of {of.uncounted} requests; dataset.tokenizerPath lets them be counted here"
        )
        return Finding(None, reason=reason)
    total = evidence.stage.requests.total
    best = _of_prompts(objective, of.best, bounds, levels, total)
    if objective.statistic == "mean" or not of.unknown:  # a mean is of succeeded requests
        return best
    worst = _of_prompts(objective, of.worst, bounds, levels, total)
    if best.kept is False or worst.kept or best.value is None:
        return best if best.kept is False or best.value is None else replace(worst, value=best.value)
    low = best.interval.low if best.interval else None
    high = worst.interval.high if worst.interval else None
    reason = (
        f"{of.unknown} requests failed, were cut off or never sent: whether their prompts were so long is not known"
    )
    needed = best.needed if best.kept is None else None
    return Finding(None, best.value, Interval(low, high), reason if best.kept else best.reason, needed)


def _of_prompts(objective: Objective, evidence: Evidence, bounds: Bounds, levels: Levels, total: int) -> Finding:
    if objective.statistic == "mean":
        return judge_mean(evidence.succeeded(objective.metric), bounds, levels)
    measured = evidence.measured(objective.metric)
    if measured is None:
        return Finding(None, reason="no prompt was so long")
    found = judge_quantile(measured, QUANTILES[objective.statistic], bounds, levels)
    return replace(found, needed=more_requests(found.needed, measured.count, total))
