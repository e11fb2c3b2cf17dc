"""Does a queue grow without end? A test on what an open loop sees: how many requests were due, and how many had their answer.

Of the second half of the time since the load was in full, cut into SLICES slices of equal length, the endpoint is taken to be
over-saturated when all of this holds, at three looks one after the other:

- the number of requests in the system (due, not answered) rises from slice to slice more than chance would have it: Mann and
  Kendall's S, the pairs that rise less those that fall, is at least TREND of 45 (for ten exchangeable values once in 200);
- it has grown by at least GROWTH of the requests that were due meanwhile: so large a part gets no answer in its time;
- answers come no faster in the later half of the slices than in the earlier: else the endpoint is still filling up.

Looks are at FIRST_S and then each time GAP times later. bench/saturation.py says how often it is wrong, and how soon it is right.
"""

from typing import NamedTuple

SLICES = 10
TREND = 29
GROWTH = 0.1
FASTER = 1.05
FEWEST_DUE = 100
FIRST_S, GAP = 20.0, 1.25
IN_A_ROW = 3


class Count(NamedTuple):
    """A moment of an open loop, seconds since its load was in full."""

    at_s: float
    due: int
    answered: int
    """Also those that failed."""


class Saturation:
    """Watches the queue of one stage."""

    def __init__(self) -> None:
        self._counts: list[Count] = []
        self._next_s = FIRST_S
        self._in_a_row = 0
        self.waiting: tuple[int, int] = (0, 0)
        """Requests in the system at the beginning and at the end of what was looked at last."""

    def add(self, count: Count) -> bool:
        """One more moment, later than the others; whether the endpoint is over-saturated by then."""
        self._counts.append(count)
        if count.at_s < self._next_s:
            return False
        self._next_s = max(self._next_s * GAP, count.at_s)
        half = [one for one in self._counts if one.at_s >= count.at_s / 2]
        self.waiting = (half[0].due - half[0].answered, half[-1].due - half[-1].answered)
        self._in_a_row = self._in_a_row + 1 if grows(half) else 0
        return self._in_a_row >= IN_A_ROW


def grows(counts: list[Count]) -> bool:
    """Whether the queue grows over these moments, by the three conditions above."""
    if len(counts) < 2 * SLICES:
        return False
    first, last = counts[0], counts[-1]
    due = last.due - first.due
    bounds = [first.at_s + (last.at_s - first.at_s) * number / SLICES for number in range(1, SLICES)]
    slices: list[list[int]] = [[] for _ in range(SLICES)]
    for count in counts:
        slices[sum(count.at_s >= bound for bound in bounds)].append(count.due - count.answered)
    if due < FEWEST_DUE or not all(slices):
        return False
    means = [sum(values) / len(values) for values in slices]
    has_trend = _kendall(means) >= TREND
    return has_trend and means[-1] - means[0] >= GROWTH * due * (SLICES - 1) / SLICES and _answers_are_no_faster(counts)


def _kendall(values: list[float]) -> int:
    pairs = ((before, after) for number, before in enumerate(values) for after in values[number + 1 :])
    return sum((after > before) - (after < before) for before, after in pairs)


def _answers_are_no_faster(counts: list[Count]) -> bool:
    first, last = counts[0], counts[-1]
    middle = min(counts, key=lambda count: abs(count.at_s - (first.at_s + last.at_s) / 2))
    early = (middle.answered - first.answered) / (middle.at_s - first.at_s)
    late = (last.answered - middle.answered) / (last.at_s - middle.at_s)
    return 0 < late <= FASTER * early
