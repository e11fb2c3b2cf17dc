"""The stages of a search, one after the other: chosen by the only runner or the leader, followed by the other runners.

A point of several runners is made of the rows of all of them, as one runner's is of its own.
What chooses is loaded where there is a search.
"""

from collections.abc import Callable, Sequence
from contextlib import closing
from typing import TYPE_CHECKING

from perfbench_api.outcome import FoundLoad
from perfbench_api.resource import Spec
from perfbench_api.sections import Stage
from perfbench_runner.engine.agreement import Agreement
from perfbench_runner.results.stage_rows import StageRows, rows_of, together
from perfbench_runner.results.store import Store

if TYPE_CHECKING:
    from perfbench_runner.engine.searching import Searching


class Choosing:
    """Adds to `load.stages` while the run goes on. Belongs to the control process's loop."""

    def __init__(self, spec: Spec, store: Store, clock: Callable[[], float], agreement: Agreement) -> None:
        self._load, self._store, self._agreement = spec.load, store, agreement
        self._with_gaps = any(objective.metric == "itl" for objective in spec.objectives)
        self._searching = _searching(spec, store, clock) if agreement.leads else None

    @property
    def message(self) -> str:
        """How far the search is, for people; empty where another runner knows."""
        return "" if self._searching is None else self._searching.message

    @property
    def found(self) -> FoundLoad | None:
        """What is known so far."""
        return None if self._searching is None else self._searching.found

    async def begin(self) -> bool:
        """Have the first stage; false if the run was stopped."""
        return await self._next(0, StageRows([], []))

    def began(self, number: int, began_s: float) -> None:
        """The load of a stage begins."""
        if self._searching is not None:
            self._searching.began(number, began_s)

    async def after(self, number: int) -> None:
        """A stage is over: have the next one, if there is to be one. Raises StoreError."""
        is_alone = self._agreement.share.is_whole
        own = StageRows([], []) if is_alone else rows_of(self._store.db, number, self._with_gaps)
        await self._next(number + 1, own)

    async def _next(self, number: int, own: StageRows) -> bool:
        def choose(others: Sequence[StageRows]) -> Stage | None:
            return self._choose(number, own, others)

        stage = await self._agreement.next_stage(number, own, choose)
        if stage is not None and self._searching is None:
            self._load.stages[number:] = [stage]
        return stage is not None

    def _choose(self, number: int, own: StageRows, others: Sequence[StageRows]) -> Stage | None:
        if number and self._searching is not None:
            if self._agreement.share.is_whole:
                self._searching.after(number - 1)
            else:
                with closing(together(number - 1, (own, *others))) as db:
                    self._searching.after(number - 1, db)
        return self._load.stages[number] if number < len(self._load.stages) else None


def _searching(spec: Spec, store: Store, clock: Callable[[], float]) -> "Searching":
    from perfbench_runner.engine.searching import Searching

    return Searching(spec, store, clock)
