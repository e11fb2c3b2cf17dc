"""What a search asks for, is told, and answers. Pure."""

from collections.abc import Sequence
from dataclasses import dataclass
from math import inf
from typing import Literal, NamedTuple

from perfbench_runner.load.limit import Share, share_of

FOLLOWED = 0.5
"""A share follows the rate as it was really offered by about half: a queue needs time to feel it."""

Role = Literal["bracket", "local", "confirm"]


class Point(NamedTuple):
    """What was measured at one load."""

    load: float
    shares: tuple[Share, ...]
    """How often each objective was kept, in their order."""
    role: Role = "local"
    offered: float | None = None
    """The load as it came out: random arrivals are never quite as many as asked for. None where it is exact."""
    halves: tuple[tuple[Share, ...], ...] = ()
    """The same by the first and second half of its requests, whose scatter tells how sure a fit is."""

    @property
    def felt(self) -> float:
        """The load that its shares are those of."""
        return self.load if self.offered is None else self.load * (self.offered / self.load) ** FOLLOWED


@dataclass(frozen=True)
class Range:
    """What is searched for."""

    low: float
    high: float
    precision: float
    """The answer's interval may reach so far, as a share, to either side."""
    bounds: tuple[float, ...]
    """For each objective the share of requests that must keep it: 0.99 for a p99."""
    is_whole: bool = False
    """Loads are whole numbers: of concurrency."""
    requests: int | None = None
    """Of each point; as many as the data need if None."""


@dataclass(frozen=True)
class Budget:
    """What may still be used."""

    requests: float = inf
    seconds: float = inf


@dataclass(frozen=True)
class Next:
    """A point to measure."""

    load: float
    requests: int
    """That count."""
    role: Role

    @property
    def settling(self) -> int:
        """Requests before those, in which the queue becomes what it is at this load."""
        return self.requests // 5

    @property
    def total(self) -> int:
        """All that are sent."""
        return self.requests + self.settling


@dataclass(frozen=True)
class Answer:
    """The highest load at which the objectives hold, and how sure that is."""

    load: float | None
    """None where they do not even hold at the lowest load of the range."""
    low: float | None
    high: float | None
    """None: nothing above `low` was tried, or nothing is known."""
    confirmed: bool | None
    """Whether they held in a run at `low`; None where there was none, or it left it open."""
    reason: str


def measured(asked: Next, counts: Sequence[Sequence[tuple[int, int]]], offered: float | None = None) -> Point:
    """The point that was asked for: of each objective and request, in order, how much was kept of how much (`limit.share_of`).

    `offered` is the load as it came out. Of bracketing points, which are short, neither that nor halves say anything.
    """
    shares = tuple(map(share_of, counts))
    if asked.role == "bracket":
        return Point(asked.load, shares, asked.role)
    halves = tuple(
        tuple(share_of(half)._replace(deff=share.deff) for half, share in zip(each, shares, strict=True))
        for each in zip(*map(_halves, counts), strict=True)
    )
    return Point(asked.load, shares, asked.role, offered, halves)


def _halves(counts: Sequence[tuple[int, int]]) -> tuple[Sequence[tuple[int, int]], Sequence[tuple[int, int]]]:
    """Of one objective; others may be of other requests."""
    middle = len(counts) // 2
    return counts[:middle], counts[middle:]
