"""How far a runner's clock is from the leader's. Pure estimates from exchanges of times.

An exchange cannot tell the delay of its two ways apart, so it is wrong by half of their difference, and never by more than
half of what both took. The least delay of many has waited the least, and wins. Clocks drift by some 20 us a second, so the
best exchange of every 30 s is kept, and a straight line through those tells one clock from the other at any time of the run.
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import NamedTuple

BEST_OF_S = 30.0
"""Of the exchanges of so many seconds the one with the least delay counts."""
LONG_ENOUGH_S = 10.0
"""Over less than this, delays hide any drift: it is taken to be none."""
MOST_DRIFT = 1e-3
"""Twice what a clock that is being set right (500 us a second) gains: more than this is delays, and no drift."""


class Exchange(NamedTuple):
    """One question and its answer. Seconds: the first and last of the runner's clock, the others of the leader's."""

    asked_s: float
    received_s: float
    answered_s: float
    got_s: float

    @property
    def offset_s(self) -> float:
        """What is to be added to the runner's clock to have the leader's."""
        return ((self.received_s - self.asked_s) + (self.answered_s - self.got_s)) / 2

    @property
    def delay_s(self) -> float:
        """What both ways took together."""
        return (self.got_s - self.asked_s) - (self.answered_s - self.received_s)

    @property
    def middle_s(self) -> float:
        """When it was, by the runner's clock."""
        return (self.asked_s + self.got_s) / 2


@dataclass(frozen=True)
class ClockLine:
    """The leader's clock as seen from a runner: its own time, and an offset that changes evenly."""

    offset_s: float = 0.0
    """At `at_s` of the runner's clock."""
    drift: float = 0.0
    """Seconds by which the leader's clock gains on the runner's in each second; 0.0 where the run was too short to tell."""
    at_s: float = 0.0
    bound_s: float = 0.0
    """The offset is wrong by no more than this when it was measured: half of the delay of the worst exchange that was used."""
    residual_s: float = 0.0
    """The largest distance of one of them from the line."""

    def shift_s(self, own_s: float) -> float:
        """What is to be added to this time of the runner's clock."""
        return self.offset_s + self.drift * (own_s - self.at_s)

    def to_leader(self, own_s: float) -> float:
        """A time of the runner's clock, by the leader's."""
        return own_s + self.shift_s(own_s)

    def to_own(self, leader_s: float) -> float:
        """A time of the leader's clock, by the runner's."""
        return self.at_s + (leader_s - self.at_s - self.offset_s) / (1.0 + self.drift)


def clock_line(exchanges: Iterable[Exchange]) -> ClockLine:
    """The line through the best exchange of every 30 s; raises ValueError without any exchange."""
    best = _best(exchanges)
    if not best:
        raise ValueError("the clocks were never compared")
    bound_s = max(exchange.delay_s for exchange in best) / 2
    quickest = min(best, key=lambda exchange: exchange.delay_s)
    level = ClockLine(quickest.offset_s, 0.0, quickest.middle_s, quickest.delay_s / 2)
    if best[-1].middle_s - best[0].middle_s < LONG_ENOUGH_S:
        return level
    at_s = sum(exchange.middle_s for exchange in best) / len(best)
    offset_s = sum(exchange.offset_s for exchange in best) / len(best)
    spread = sum((exchange.middle_s - at_s) ** 2 for exchange in best)
    drift = sum((exchange.middle_s - at_s) * (exchange.offset_s - offset_s) for exchange in best) / spread
    if abs(drift) > MOST_DRIFT:
        return level
    line = ClockLine(offset_s, drift, at_s, bound_s)
    residual_s = max(abs(exchange.offset_s - line.shift_s(exchange.middle_s)) for exchange in best)
    return ClockLine(offset_s, drift, at_s, bound_s, residual_s)


def _best(exchanges: Iterable[Exchange]) -> Sequence[Exchange]:
    """Of every 30 s the exchange with the least delay, in their order. One that took less than no time is no exchange."""
    best: dict[int, Exchange] = {}
    for exchange in exchanges:
        number = int(exchange.middle_s // BEST_OF_S)
        if exchange.delay_s >= 0 and (number not in best or exchange.delay_s < best[number].delay_s):
            best[number] = exchange
    return [best[number] for number in sorted(best)]
