"""What those who send requests see of where they come from."""

from collections.abc import Sequence
from typing import NamedTuple, Protocol

from perfbench_plugins.api.base import ApiPluginBase
from perfbench_runner.load.mix import Order
from perfbench_runner.shard.request import PreparedRequest


class Kind(NamedTuple):
    """A kind of a run's requests, a workload sent to a target: most runs have one, which has no name."""

    api: ApiPluginBase
    """Reads their answers."""
    workload: str | None = None
    target: str | None = None

    @property
    def whose(self) -> str:
        """Its names, in words; empty where it is the only one."""
        return whose(self.target, self.workload)


def whose(target: str | None, workload: str | None) -> str:
    """The names of a kind, in words; empty where it is the only one."""
    names = (("target", target), ("workload", workload))
    return ", ".join(f"{what} {name}" for what, name in names if name is not None)


class Requests(Protocol):
    """The sequence of a run's requests, as those see it who send them: `Feed`, or `MixedFeed` of several kinds."""

    together: int
    """So many requests in a row are due at the same time: one to each target, where these are side by side."""
    dataset_entries: int | None
    """How many entries the dataset has; None as long as its end was not seen, and where there are several kinds."""

    @property
    def kinds(self) -> Sequence[Kind]:
        """By the numbers that requests have as their `kind`."""

    @property
    def has_schedule(self) -> bool:
        """Whether the dataset says when to send."""

    @property
    def offset(self) -> int:
        """Entries that are left out at the start."""

    def first(self) -> PreparedRequest:
        """The first request, which stays the first: a wrong dataset or plugin shows here, before any load."""

    def first_bodies(self) -> list[bytes]:
        """The body of the first request of each kind, of a conversation's first turn."""

    def test_requests(self) -> list[PreparedRequest]:
        """Short requests to test the connection with, one of each kind."""

    def start_at(self, number: int, stage: int | None = None, turn: int | None = None) -> None:
        """Go on with this entry, and with the arguments of this stage; raises REFUSALS.

        `turn`: so many requests, of whichever kind, come before it where kinds take turns; `number` if not given.
        """

    def __next__(self) -> PreparedRequest:
        """The next request; raises StopIteration where a schedule ends, and REFUSALS."""

    def skip(self, count: int) -> float | None:
        """Leave out so many requests, which other runners send; raises as `next` does. When the first of them is due."""

    def by_kind(self) -> "Sequence[Requests]":
        """The requests of each kind by themselves, from here on."""

    def orders(self, runner: int, runners: int) -> Sequence[Order]:
        """Whose turn it is among one of several runners' requests; those to each target by themselves, where side by side."""

    def pass_over(self, skipped: int) -> int:
        """The kind of a request that is never drawn, after so many that other runners would have sent."""

    def put_back(self, prepared: PreparedRequest) -> None:
        """Give back the request that was drawn last: it is the next one again."""
