"""Which part of a stage its throughputs are over: that in which the load was as asked. Pure functions of times.

docs/metrics.md derives the windows; bench/window.py measures their bias.
"""

from dataclasses import dataclass
from typing import Literal, NamedTuple

import numpy as np

from perfbench_runner.results.quantiles import Array
from perfbench_runner.results.rows import Mask, Rows

Kind = Literal["all_lanes_busy", "schedule", "duration", "overall"]


class StageTimes(NamedTuple):
    """When a stage's load began, was to end (by duration) and was told to stop early; None where that does not apply."""

    begin_s: float
    deadline_s: float | None
    stop_s: float | None


@dataclass(frozen=True)
class Span:
    """A window on the run's clock."""

    start_s: float
    end_s: float
    kind: Kind
    reason: str = ""

    @property
    def duration_s(self) -> float:
        """Its length."""
        return self.end_s - self.start_s

    def has(self, times_s: Array) -> Mask:
        """Which times are in it. A window that begins with an event, such as a request sent, begins after it."""
        is_after = times_s > self.start_s if self.kind == "all_lanes_busy" else times_s >= self.start_s
        inside: Mask = is_after & (times_s <= self.end_s)
        return inside


class Units(NamedTuple):
    """What takes a lane of a closed loop: a request, or a conversation from its first turn sent to its last end."""

    starts_s: Array
    ends_s: Array


def units_of(rows: Rows) -> Units:
    """What takes a lane: single requests, and conversations, whose turns have one `seq`."""
    seq, starts, ends = rows["seq"], rows["start_time"], rows["completed_time"]
    if np.isnan(rows["turn"]).all():
        return Units(starts, ends)
    order = np.argsort(seq, kind="stable")
    firsts = np.flatnonzero(np.diff(seq[order], prepend=np.nan) != 0)
    return Units(np.minimum.reduceat(starts[order], firsts), np.maximum.reduceat(ends[order], firsts))


def window(
    lanes: int | None, count: int | None, times: StageTimes, units: Units, scheduled_s: Array, overall: Span
) -> Span:
    """The window of a stage with `lanes` (None: open loop) that ends after `count` units, or by its deadline.

    `scheduled_s` are all times at which requests were due, those never sent included.
    """
    stop_s = float("inf") if times.stop_s is None else times.stop_s
    is_by_count = (
        count is not None and len(scheduled_s) >= count
        if lanes is None
        else count is not None and (len(units.starts_s) >= count)
    )
    if times.deadline_s is not None and not is_by_count:
        return _or_overall(times.begin_s, min(times.deadline_s, stop_s), "duration", overall, "it was stopped at once")
    if lanes is None:
        end_s = min(float(scheduled_s.max()), stop_s)
        if not (units.ends_s <= end_s).any():
            return Span(overall.start_s, overall.end_s, "overall", "no request ended before the last one was due")
        return _or_overall(times.begin_s, end_s, "schedule", overall, "the schedule has no length")
    found = all_lanes_busy(units, lanes)
    if found is None:
        count = len(units.starts_s)
        few = f"{count} request{'s are' if count != 1 else ' is'} too few"
        reason = f"{few} to see {lanes} lanes busy all the time"
        return Span(overall.start_s, overall.end_s, "overall", reason)
    return _or_overall(*found, "all_lanes_busy", overall, "its lanes were never all busy")


def _or_overall(start_s: float, end_s: float, kind: Kind, overall: Span, reason: str) -> Span:
    if end_s > start_s:
        return Span(start_s, end_s, kind)
    return Span(overall.start_s, overall.end_s, "overall", reason)


def all_lanes_busy(units: Units, lanes: int) -> tuple[float, float] | None:
    """A window of whole rounds within that from all lanes busy to the last send; None where there is none.

    A round is `lanes` ends. Lanes that start together end together, and a window that cuts such a wave at an odd phase
    counts up to a wave too many or too few. So the window goes from one end to another that is a whole number of rounds
    later, the last one while every lane still finds work. It begins with the middle end of the first round: beginning
    with its first or last would let the lanes, which start in step and lose it, count half a request more or less each.
    """
    starts, ends = np.sort(units.starts_s), np.sort(units.ends_s)
    if len(starts) <= lanes:
        return None
    in_flight = np.arange(1, len(starts) + 1) - np.searchsorted(ends, starts, side="right")
    busy_s = starts[np.argmax(in_flight >= lanes) if in_flight.max() >= lanes else lanes - 1]
    ends = ends[ends <= starts[-1]]
    first = max((lanes + 1) // 2 - 1, int(np.searchsorted(ends, busy_s)))
    rounds = (len(ends) - 1 - first) // lanes
    return (float(ends[first]), float(ends[first + rounds * lanes])) if rounds > 0 else None
