"""What ends a stage before its count or duration: a figure that is known well enough, or a queue that grows without end.

Fed with results and counts, asked now and then.

A look at latencies takes only requests before the oldest that is still under way: slow ones are missing among the latest that
ended. Of a throughput there is no such order: what counts is when requests ended.
"""

from collections.abc import Sequence
from dataclasses import dataclass, field
from operator import itemgetter
from typing import Any

from perfbench_api.sections import Guards, Stage, Until
from perfbench_runner.load.saturation import Count, Saturation
from perfbench_runner.results.precision import Done, Precision, in_words, of_gaps, of_quantile, of_rate, steps_of
from perfbench_runner.results.result import Result


@dataclass
class Endings:
    """Of the stage under way. Belongs to the control process's loop; `look` may run in a thread."""

    until: Until | None = None
    saturation: Saturation | None = None
    """None where a queue may grow: in a closed loop it cannot, and a load that changes by itself is meant to let it."""
    _ramp_up_s: float = 0.0
    _precision: Precision[Any] | None = None
    _values: list[tuple[int, Any]] = field(default_factory=list)
    """Number in the run of each request that has a value, and what the precision is of: a latency, gaps, what was done."""

    @classmethod
    def of(cls, stage: Stage, guards: Guards) -> "Endings":
        """Those of a stage that is to begin."""
        until = stage.until
        is_watched = guards.over_saturation and stage.rate is not None and stage.arrival != "recorded"
        return cls(
            until,
            Saturation() if is_watched else None,
            stage.ramp_up or 0.0,
            None if until is None else _precision(until),
        )

    @property
    def are_any(self) -> bool:
        """Whether there is anything to look at."""
        return self.until is not None or self.saturation is not None

    def add(self, result: Result) -> None:
        """A request of the stage has ended."""
        if self.until is not None and result.excluded is None:
            value = part_of(result, self.until)
            if value is not None:
                self._values.append((result.seq, value))

    def count(self, at_s: float, due: int, answered: int) -> str | None:
        """How many requests were due and answered so far; why the stage is to end, in words, or None.

        `at_s` is since the stage began. While the load is ramped up nothing is said.
        """
        since_s = at_s - self._ramp_up_s
        if self.saturation is None or since_s <= 0 or not self.saturation.add(Count(since_s, due, answered)):
            return None
        before, after = self.saturation.waiting
        return (
            f"ended since the endpoint is over-saturated: within the last {since_s / 2:.0f} s the requests that were due"
            f" and had no answer grew from {before:,} to {after:,}, and answers came no faster"
        )

    def is_due(self, others: int = 0) -> bool:
        """Whether it is worth looking; `others`: values that other runners have."""
        return self._precision is not None and self._precision.is_due(len(self._values) + others)

    def _settled(self, oldest: int | None) -> list[Any]:
        """Values in the order of sending, of requests before the oldest that is under way; None where there is none."""
        values = self._values[:]  # a thread looks at them while others come
        if self.until is not None and self.until.is_throughput:
            return [value for _, value in values]
        values.sort(key=itemgetter(0))
        return [value for seq, value in values if oldest is None or seq < oldest]

    def look(self, oldest: int | None) -> str | None:
        """Why the stage is to end, in words; None where it is not. `oldest` is the number of that which is under way."""
        return self.look_at(self._settled(oldest))

    def look_at(self, values: Sequence[Any]) -> str | None:
        """The same by these values, in the order of sending: those of all runners, where there are several."""
        if self._precision is None or not self._precision.look(values):
            return None
        known, requests = self._precision.known, self._precision.requests
        if known is None or self.until is None:
            return None
        return f"ended since {in_words(known, requests, self.until.figure)}"


def _precision(until: Until) -> Precision[Any]:
    if until.is_throughput:
        return of_rate(until.within)
    return (of_gaps if until.metric == "itl" else of_quantile)(until.probability, until.within)


def part_of(result: Result, until: Until) -> Any:
    """What a request adds to what is known of a figure; None where it adds nothing."""
    if until.is_throughput:
        return Done(result.data.completed_time, amount_of(result, until.metric)) if result.data.success else None
    if until.metric == "itl":
        gaps_s = result.data.inter_chunk_latency if result.data.success else None
        return steps_of(gaps_s) if gaps_s else None
    return value_of(result, until.metric)


def amount_of(result: Result, metric: str) -> float:
    """How much a succeeded request adds to a throughput: itself, or its tokens."""
    output, prompt = result.data.completion_tokens or 0, result.data.prompt_tokens or 0
    amounts = {"request": 1, "output_token": output, "input_token": prompt, "total_token": output + prompt}
    return float(amounts[metric.removesuffix("_throughput")])


def value_of(result: Result, metric: str) -> float | None:
    """A latency of a request that succeeded, seconds; None where it has none."""
    data = result.data
    if not data.success:
        return None
    if metric == "scheduled_latency":
        return result.scheduled_latency_s
    names = {"ttft": "first_chunk_latency", "tpot": "time_per_output_token", "e2e_latency": "query_latency"}
    value: float | None = getattr(data, names[metric])
    return value
