"""Those who watch a run: the progress line on a terminal, the HTTP endpoint in a pod.

They see a run through `RunView`, read-only, and know nothing of the engine behind it.
"""

import asyncio
import logging
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from typing import Protocol

from perfbench_api.outcome import Outcome, Progress
from perfbench_runner.observe.told import RunnerFigures
from perfbench_runner.results.client_health import Sample
from perfbench_runner.results.result import Result

LOG = logging.getLogger(__name__)


class RunView(Protocol):
    """What observers see of a run under way. Belongs to the control process's loop."""

    @property
    def phase(self) -> str:
        """starting, waiting, warmup, running, pausing, storing or done."""

    @property
    def stage_index(self) -> int:
        """The measured stage under way, or the last one."""

    @property
    def samples(self) -> Sequence[Sample]:
        """The latest sample of every load-generating process."""

    @property
    def sent(self) -> int:
        """Requests of the stage under way that were sent, as of half a second ago."""

    @property
    def due(self) -> int:
        """Open loop: requests of the stage under way whose time has come."""

    @property
    def interrupted(self) -> asyncio.Event:
        """Set when a signal has asked for the end."""

    @property
    def clock(self) -> Callable[[], float]:
        """The run's monotonic clock, seconds."""

    def progress(self) -> Progress:
        """How far the run is."""

    def others(self, stage: int) -> Sequence[RunnerFigures]:
        """What the run's other runners have told of a stage; nothing in a run of one."""

    def store_server_metrics(self, rows: Iterable[tuple[float, int, str, str, str, float]]) -> None:
        """Keep readings: time, stage, source, name, labels, value. Raises StoreError."""


class Observer:
    """Watches a run from the control process; every method may be left out."""

    async def open(self, run: RunView) -> None:
        """The run is about to start."""

    def add(self, result: Result) -> None:
        """One more measured request."""

    def tick(self, run: RunView) -> None:
        """Called four times a second while the run goes on."""

    def stage(self, run: RunView) -> None:
        """A stage begins now, or has ended."""

    async def ready(self, run: RunView) -> None:
        """The next stage's load begins when all have returned: look at what must be seen before it, without delay."""

    async def loaded(self, run: RunView) -> None:
        """The load is over; nothing is summarised yet. Not called when there was no load."""

    def summarising(self, done: int, total: int) -> None:
        """So many rows of so many have been read for the summary; told now and then where it takes long."""

    async def close(self, outcome: Outcome) -> None:
        """The run is over and its files are written."""


class Observers(Observer):
    """All who watch a run. One that fails is told of in the log and watches no more: no run ends for who watches it."""

    def __init__(self, observers: Sequence[Observer] = ()) -> None:
        self._all, self._watching = list(observers), list(observers)

    async def open(self, run: RunView) -> None:
        """Tell each, one after the other."""
        for observer in self._watching.copy():
            with self._kept_apart(observer):
                await observer.open(run)

    def add(self, result: Result) -> None:
        """Tell each."""
        for observer in self._watching.copy():
            with self._kept_apart(observer):
                observer.add(result)

    def tick(self, run: RunView) -> None:
        """Tell each."""
        for observer in self._watching.copy():
            with self._kept_apart(observer):
                observer.tick(run)

    def stage(self, run: RunView) -> None:
        """Tell each."""
        for observer in self._watching.copy():
            with self._kept_apart(observer):
                observer.stage(run)

    async def ready(self, run: RunView) -> None:
        """Tell each, one after the other."""
        for observer in self._watching.copy():
            with self._kept_apart(observer):
                await observer.ready(run)

    async def loaded(self, run: RunView) -> None:
        """Tell each, one after the other."""
        for observer in self._watching.copy():
            with self._kept_apart(observer):
                await observer.loaded(run)

    def summarising(self, done: int, total: int) -> None:
        """Tell each."""
        for observer in self._watching.copy():
            with self._kept_apart(observer):
                observer.summarising(done, total)

    async def close(self, outcome: Outcome) -> None:
        """Tell each, those that were dropped too: what they hold must be given back."""
        for observer in self._all:
            with self._kept_apart(observer):
                await observer.close(outcome)

    @contextmanager
    def _kept_apart(self, observer: Observer) -> Iterator[None]:
        try:
            yield
        except Exception:  # whatever it is, it is its own
            LOG.warning("%s failed; the run goes on without it", type(observer).__name__, exc_info=True)
            if observer in self._watching:
                self._watching.remove(observer)
