"""Those who watch a run: the progress line on a terminal, the HTTP endpoint in a pod."""

import logging
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from perfbench_api.outcome import Outcome
from perfbench_runner.results.result import Result

if TYPE_CHECKING:
    from perfbench_runner.engine.control import Control


LOG = logging.getLogger(__name__)


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


class Observers:
    """All who watch a run. One that fails is told of in the log and watches no more: no run ends for who watches it."""

    def __init__(self, observers: Sequence[Observer] = ()) -> None:
        self._all, self._watching = list(observers), list(observers)

    def tell(self, method: str, *arguments: Any) -> None:
        """Call a method of each."""
        for observer in list(self._watching):
            try:
                getattr(observer, method)(*arguments)
            except Exception:  # noqa: BLE001  # whatever it is, it is its own
                self._drop(observer, method)

    async def ask(self, method: str, *arguments: Any) -> None:
        """Call a method of each that may take its time, one after the other."""
        for observer in list(self._all if method == "close" else self._watching):
            try:
                await getattr(observer, method)(*arguments)
            except Exception:  # noqa: BLE001  # whatever it is, it is its own
                self._drop(observer, method)

    def add(self, result: Result) -> None:
        """One more measured request."""
        self.tell("add", result)

    def _drop(self, observer: Observer, method: str) -> None:
        LOG.warning("%s.%s failed; the run goes on without it", type(observer).__name__, method, exc_info=True)
        if observer in self._watching:
            self._watching.remove(observer)
