"""What a stage's requests say one by one: samples that objectives are judged by, made of its rows."""

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from typing import Protocol

import numpy as np

from perfbench_api.sections.objectives import COUNTS
from perfbench_runner.results.asked import Limits
from perfbench_runner.results.goodput import good
from perfbench_runner.results.intervals import Measured, Sample, Share, design_effect
from perfbench_runner.results.measured import Steady
from perfbench_runner.results.quantiles import Array
from perfbench_runner.results.rows import Ints, Mask, Part, Rows
from perfbench_runner.results.sliced_gaps import SlicedGaps
from perfbench_runner.results.summary import Figures
from perfbench_runner.results.windows import Span

GAPS = ("itl", "token_gap")
PARTS = 10
"""Slices of a window whose rates are compared."""


class Judge(Protocol):
    """Who judges stages while their rows are there."""

    def gaps(self, part: Part) -> Collection[str]:
        """Metrics of gaps that are judged of a part of a stage, or of all of it: only those are counted by time."""

    def see(self, evidence: "Evidence") -> None:
        """Judge a stage, or the part of it that is of one workload or target."""


@dataclass
class Evidence:
    """The figures and requests of a stage, or of one of its workloads or targets."""

    stage: Figures
    stages: Sequence[str]
    """The names of all stages of the run."""
    rows: Rows
    """Those that figures are of."""
    every: Rows
    """Those of ramps, too: throughputs are over a window, to which they may have done something."""
    unsent: Array
    """Times of requests that were never sent, shape (n, 2): when they were due, and until when they were held."""
    span: Span
    every_tpot: Array
    """Seconds per output token of each of `every`; NaN where it is not defined."""
    gaps: Mapping[str, SlicedGaps]
    """Of those metrics of gaps that are judged."""
    name: str
    """Of the stage."""
    workload: str | None = None
    looks: int = 1
    """As how many looks at growing data its end counts (`results.looks`)."""
    steady: Steady | None = None
    """Of the stage: whether it had become so."""
    target: str | None = None
    limits: Limits = field(default_factory=lambda: {None: {}})
    """Of a single request (`spec.goodput`)."""

    @cached_property
    def _order(self) -> Ints:
        order: Ints = np.argsort(self.rows["start_time"], kind="stable")
        return order

    @cached_property
    def _is_failed(self) -> Mask:
        failed: Mask = ~(self.rows.is_ok | self.rows.is_unfinished)
        return failed

    @cached_property
    def _took(self) -> Array:
        took: Array = self.rows["completed_time"] - self.rows["start_time"]
        return took

    @cached_property
    def tpot(self) -> Array:
        """Seconds per output token of each of `rows`."""
        own: Array = self.every_tpot[self.every["is_excluded"] == 0]
        return own

    def measured(self, metric: str) -> Measured | None:
        """The values of a latency, by the name that objectives have for it; None where there are none."""
        found: Measured | None
        if metric in GAPS:
            found = self.gaps.get(metric)
        elif metric in COUNTS:
            found = Sample.of(self.succeeded(metric))
        else:
            found = {"ttft": self._ttft, "tpot": self._tpot, "e2e_latency": self._e2e}.get(metric, self._scheduled)()
        return found if found is not None and found.count else None

    def _ttft(self) -> Sample | None:
        """Of those that were cut off, too: most had their first token before. An answer without content has none."""
        first, cut = self.rows["first_chunk_latency"], self.rows.is_unfinished
        seen = first[self.rows.is_ok | cut]
        if len(seen) and np.isnan(seen).all():
            return None  # not streamed: there is no first token
        is_waiting = np.isnan(first)
        values = np.where(is_waiting | self._is_failed, self._took, first)
        return self._sample(values, cut & is_waiting, ~(self.rows.is_ok & is_waiting))

    def _tpot(self) -> Sample | None:
        """Of those that were cut off nobody knows it: they are in no sample of it."""
        values = np.where(self._is_failed, self._took, self.tpot)
        is_known = self.rows.is_ok & ~np.isnan(self.tpot)
        if self.rows.is_ok.any() and not is_known.any():
            return None  # not streamed, or a token each
        return self._sample(values, np.zeros(len(self.rows), dtype=np.bool_), is_known | self._is_failed)

    def _e2e(self) -> Sample:
        return self._sample(self._took, self.rows.is_unfinished, np.ones(len(self.rows), dtype=np.bool_))

    def _scheduled(self) -> Sample:
        """Those that were never sent have waited at least until then."""
        due = np.concatenate([self.rows["scheduled_time"], self.unsent[:, 0]])
        until = np.concatenate([self.rows["completed_time"], self.unsent[:, 1]])
        order, held = np.argsort(due, kind="stable"), len(self.unsent)
        is_cut = np.concatenate([self.rows.is_unfinished, np.ones(held, dtype=np.bool_)])
        is_failed = np.concatenate([self._is_failed, np.zeros(held, dtype=np.bool_)])
        return Sample((until - due)[order], is_cut[order], is_failed[order])

    def _sample(self, values: Array, is_cut: Mask, is_in: Mask) -> Sample:
        order = self._order[is_in[self._order]]
        return Sample(values[order], is_cut[order], self._is_failed[order])

    def succeeded(self, metric: str) -> Array:
        """The values of succeeded requests, in the order in which they began: what a mean is of."""
        values = {
            "ttft": self.rows["first_chunk_latency"],
            "tpot": self.tpot,
            "e2e_latency": self._took,
            "scheduled_latency": self.rows["completed_time"] - self.rows["scheduled_time"],
            "output_tokens": self.rows["completion_tokens"],
            "prompt_tokens": self.rows["prompt_tokens"],
        }[metric]
        found: Array = values[self._order][self.rows.is_ok[self._order]]
        return found[~np.isnan(found)]

    def failures(self) -> tuple[Share, int]:
        """The share of failed requests of those that came to an end, and in how many bursts they came."""
        order = self._order[~self.rows.is_unfinished[self._order]]
        failed = self._is_failed[order]
        if not len(order):
            return Share(0.0, 0, 1.0), 0
        return Share(float(failed.mean()), len(order), design_effect(failed)), self._bursts(order[failed])

    def bad(self) -> Share:
        """The share of requests that did not keep all limits of goodput, of all that were due."""
        held = len(self.unsent)
        due = np.concatenate([self.rows["scheduled_time"], self.unsent[:, 0]])
        is_bad = np.concatenate([~good(self.rows, self.tpot, self.limits), np.ones(held, dtype=np.bool_)])
        if not len(due):
            return Share(0.0, 0, 1.0)
        return Share(float(is_bad.mean()), len(due), design_effect(is_bad[np.argsort(due, kind="stable")]))

    def memory(self) -> float:
        """The design effect of the share of requests that are faster than the median one."""
        sample = self._e2e()
        return sample.share_up_to(float(np.median(sample.values))).design_effect if sample.count else 1.0

    def _bursts(self, which: Ints) -> int:
        """Requests that began within a median latency of the one before are of one burst."""
        if not len(which):
            return 0
        return 1 + int((np.diff(self.rows["start_time"][which]) > np.median(self._took)).sum())

    def rates(self, metric: str) -> Array:
        """A throughput in each tenth of the window. Requests and tokens count evenly from their beginning to their end."""
        rows = self.every
        starts, ends = rows["start_time"], rows["completed_time"]
        firsts = starts + np.nan_to_num(rows["first_chunk_latency"])
        done = np.zeros(PARTS)
        if metric == "request_throughput":
            done += self._spread(starts, ends, np.ones(len(rows)))
        if metric == "goodput_rate" and self.stage.goodput:
            done += self._spread(starts, ends, good(rows, self.every_tpot, self.limits).astype(np.float64))
        if metric in ("output_token_throughput", "total_token_throughput"):
            done += self._spread(firsts, ends, rows["completion_tokens"])
        if metric in ("input_token_throughput", "total_token_throughput"):
            done += self._spread(starts, firsts, rows["prompt_tokens"])
        per_second: Array = done / (self.span.duration_s / PARTS)
        return per_second

    def _spread(self, starts: Array, ends: Array, amounts: Array) -> Array:
        """What of these amounts of succeeded requests falls into each part of the window."""
        ok = self.every.is_ok
        start, amount = starts[ok], np.nan_to_num(amounts[ok])
        length = np.maximum(ends[ok] - start, 1e-9)
        edges = np.linspace(self.span.start_s, self.span.end_s, PARTS + 1)
        done = [float((amount * np.clip((edge - start) / length, 0.0, 1.0)).sum()) for edge in edges]
        return np.diff(np.array(done))


class Judges:
    """Several judges, each of whom sees every stage."""

    def __init__(self, *judges: Judge) -> None:
        self._judges = judges

    def gaps(self, part: Part) -> Collection[str]:
        """What any of them judges."""
        return {name for judge in self._judges for name in judge.gaps(part)}

    def see(self, evidence: Evidence) -> None:
        """Show it to all."""
        for judge in self._judges:
            judge.see(evidence)


class Nobody:
    """A judge of nothing."""

    def gaps(self, part: Part) -> Collection[str]:
        """None."""
        return ()

    def see(self, evidence: Evidence) -> None:
        """Nothing to judge."""
