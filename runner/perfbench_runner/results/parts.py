"""Figures that a stage has of all its requests together, and of those of each workload and target."""

import sqlite3
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

from perfbench_runner.results.answers import answers
from perfbench_runner.results.asked import Asked, Limits
from perfbench_runner.results.comparison import Compared, compared
from perfbench_runner.results.conversations import conversations
from perfbench_runner.results.evidence import Evidence, Judge
from perfbench_runner.results.goodput import goodput
from perfbench_runner.results.latencies import e2e_latency, scheduled_latency, tpot_of, ttft
from perfbench_runner.results.measured import Requests, ServerFigure, Steady
from perfbench_runner.results.prompt_cache import prompt_cache
from perfbench_runner.results.prompt_lengths import ttft_by_prompt
from perfbench_runner.results.quantiles import Array, distribution
from perfbench_runner.results.retries import retries
from perfbench_runner.results.rows import Part, Rows, gaps_of
from perfbench_runner.results.sliced_gaps import GapSlices, SlicedGaps, gap_distribution, token_gap_distribution
from perfbench_runner.results.summary import Figures
from perfbench_runner.results.throughput import Estimate, window_throughput
from perfbench_runner.results.windows import Span


@dataclass(frozen=True)
class PartRows:
    """The requests of a part of a stage."""

    part: Part
    name: str
    """That its figures have."""
    every: Rows
    """All of them."""
    rows: Rows
    """Those that figures are of."""
    unsent: Array
    """Times of requests that were never sent, shape (n, 2): when they were due, and until when they were held."""
    span: Span
    """The window of the stage."""


@dataclass(frozen=True)
class PartFigures:
    """What was found of a part: fields of `Figures`, and what they are judged by."""

    of: PartRows
    values: dict[str, Any]
    estimate: Estimate | None
    tpot: Array
    """Seconds per output token of every one of its requests; NaN where it is not defined."""
    gaps: dict[str, SlicedGaps]
    limits: Limits
    """Of a single request."""

    def share_of(self, total: int) -> float | None:
        """Its requests, of so many."""
        return len(self.of.rows) / total if total else None

    def compared(self) -> Compared:
        """The same of a target, to be compared with others."""
        return compared(self.of.name, self.of.rows, self.tpot[self.of.every["is_excluded"] == 0])

    def evidence(
        self, figures: Figures, stage: str, stages: Sequence[str], looks: int, steady: Steady | None
    ) -> Evidence:
        """The same, for a judge; `stages` are the names of all stages, `stage` that of this one, which had so many looks."""
        of = self.of
        return Evidence(
            figures, stages, of.rows, of.every, of.unsent, of.span, self.tpot, self.gaps, stage, of.part.workload,
            looks, steady, of.part.target, self.limits,
        )  # fmt: skip


def part_figures(
    db: sqlite3.Connection,
    of: PartRows,
    asked: Asked,
    judge: Judge,
    server: dict[str, ServerFigure],
    read: Callable[[int], None],
) -> PartFigures:
    """Figures of a part's requests; `read` is told how many rows of gaps were read."""
    rows, every, span, part = of.rows, of.every, of.span, of.part
    ok, cut = rows.is_ok, rows.is_unfinished
    throughput, estimate = window_throughput(every, span, lambda ids: gaps_of(db, ids))
    every_tpot = tpot_of(every, asked.choices)
    tpot = every_tpot[every["is_excluded"] == 0]
    first_s, last_s = (
        (float(rows["start_time"].min()), float(rows["completed_time"].max())) if len(rows) else (0.0, 0.0)
    )
    slices = {name: GapSlices(first_s, last_s) for name in judge.gaps(part)} if len(rows) else {}
    cache = prompt_cache(rows, server, asked.measures_cache)
    succeeded, unfinished = int(ok.sum()), int(cut.sum())
    values = {
        "name": of.name,
        "requests": Requests(
            total=len(rows),
            succeeded=succeeded,
            failed=len(rows) - succeeded - unfinished,
            unfinished=unfinished,
            unsent=len(of.unsent),
            no_content=int((rows["no_content"][ok] > 0).sum()),
            resent=int((rows["resends"] > 0).sum()),
            retried=int((rows["retries"] > 0).sum()),
            excluded=int(every["is_excluded"].sum()),
        ),
        **{name: value for name, value in throughput.model_dump().items() if name != "duration_s"},
        "goodput": goodput(rows, every, every_tpot, len(of.unsent), span, asked.limits),
        "retries": retries(rows, asked.retries),
        "ttft_s": ttft(rows),
        "ttft_by_prompt": ttft_by_prompt(rows),
        "itl_s": gap_distribution(db, part, read, slices.get("itl")),
        "token_gap_s": token_gap_distribution(db, part, slices.get("token_gap")),
        "tpot_s": distribution(tpot[ok]),
        "e2e_latency_s": e2e_latency(rows),
        "scheduled_latency_s": scheduled_latency(rows, of.unsent),
        "output_tokens": distribution(rows["completion_tokens"][ok]),
        "prompt_tokens": distribution(rows["prompt_tokens"][ok]),
        "errors": dict(rows.errors.most_common()),
        "status_codes": {str(code): count for code, count in sorted(rows.status_codes.items())},
        "token_sources": dict(rows.token_sources.most_common()),
        "conversations": conversations(rows),
        "cached_prompt_share": cache.share if cache.source == "usage" else None,
        "prompt_cache": cache,
        "answers": answers(rows, asked),
    }
    gaps = {name: each.measured() for name, each in slices.items()}
    return PartFigures(of, values, estimate, every_tpot, gaps, asked.limits)
