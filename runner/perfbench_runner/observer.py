"""Those who watch a run: the progress line on a terminal, the HTTP endpoint in a pod."""

from typing import TYPE_CHECKING

from perfbench_api.outcome import Outcome
from perfbench_runner.result import Result

if TYPE_CHECKING:
    from perfbench_runner.control import Control


class Observer:
    """Watches a run from the control process; every method may be left out."""

    async def open(self, control: "Control") -> None:
        """The run is about to start."""

    def add(self, result: Result) -> None:
        """One more measured request."""

    def tick(self, control: "Control") -> None:
        """Called four times a second while the run goes on."""

    def stage(self, control: "Control") -> None:
        """A stage begins now, or has ended."""

    async def loaded(self, control: "Control") -> None:
        """The load is over; nothing is summarised yet. Not called when there was no load."""

    async def close(self, outcome: Outcome) -> None:
        """The run is over and its files are written."""
