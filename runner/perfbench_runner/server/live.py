"""The server's figures while a run goes on: gauges as they were seen last, counters as they grew since the run began.

A counter that is shown must never fall: Prometheus would take it for a restart, and the way back for an increase. So
what is shown is our own sum of increases, whichever replicas come, go, start again, or are not met for a while.
"""

from collections import defaultdict
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from time import perf_counter

from perfbench_runner.server.names import COUNTERS, KNOWN, STALE_S, neutral
from perfbench_runner.server.scrape import Reading

_KNOWN = frozenset(KNOWN)


@dataclass
class Growth:
    """One server's counter."""

    last: float
    total: float = 0.0

    def add(self, value: float) -> None:
        """See it again. One that is lower has begun at zero again."""
        if value == value:  # no NaN
            self.total += value - self.last if value >= self.last else value
            self.last = value


class ServerLive:
    """What all sources say now."""

    def __init__(self, clock: Callable[[], float] = perf_counter) -> None:
        self.clock = clock
        self._gauges: dict[str, tuple[float, list[Reading]]] = {}
        self._counters: dict[str, dict[tuple[str, str], Growth]] = defaultdict(dict)
        self.is_known = False
        """Whether anything was ever read."""

    def add(self, at_s: float, source: str, found: Iterable[Reading]) -> None:
        """Take over what a source said at a time of the run's clock."""
        known = [reading for reading in found if reading.name in _KNOWN]
        self.is_known = self.is_known or bool(known)
        self._gauges[source] = (at_s, [reading for reading in known if reading.name not in COUNTERS])
        counters = self._counters[source]
        for name, labels, value in known:
            if name in COUNTERS:
                counters.setdefault((name, labels), Growth(value)).add(value)

    def latest(self) -> dict[str, float]:
        """Figures under neutral names; a gauge that nobody told for a while is left out."""
        now_s = self.clock()
        samples: dict[str, list[tuple[str, str, float]]] = defaultdict(list)
        for source, (at_s, found) in self._gauges.items():
            if now_s - at_s < STALE_S:
                samples[source] += found
        for source, counters in self._counters.items():
            samples[source] += [(name, labels, growth.total) for (name, labels), growth in counters.items()]
        return neutral(samples.values())
