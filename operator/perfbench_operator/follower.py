"""Follows collections: kopf watches them, and one more list says what its watches cannot.

kopf tells neither when it has seen all objects nor which of them have gone between two of its lists. So each collection is
listed once more as soon as kopf's watch of it is open: from then on the watch reports whatever changes.

Every namespace is followed on its own: one that is gone, or where the operator has lost its rights, is told of and tried
again, and the others do not notice.
"""

import asyncio
import logging
from collections.abc import Awaitable, Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass
from typing import Protocol

from perfbench_operator.api import ApiError, ConflictError, GoneError, NotFoundError, RefusedError
from perfbench_operator.cluster import Source
from perfbench_operator.handlers import KopfOperator
from perfbench_operator.kube import Resource

logger = logging.getLogger(__name__)
DELAYS_S = (0.5, 1.0, 2.0, 5.0, 10.0, 30.0)
"""Delays after consecutive failures of one namespace; the last one repeats."""
FAILURES = (ApiError, NotFoundError, ConflictError, RefusedError)
OPENING_S = 30.0
"""How long kopf may take until all of its watches are open."""
STOPPING_S = 5.0


class WatchError(ApiError):
    """kopf does not watch any more, or has not begun to."""


class Sink(Protocol):
    """Who is told what the collections have."""

    async def list(self, source: Source) -> None:
        """List a collection: these, and no others, are there. Raises one of FAILURES."""

    async def check(self, source: Source) -> None:
        """See whether a collection can be read. Raises one of FAILURES."""

    def changed(self, source: Source, kind: str, item: Resource) -> None:
        """An object was LISTED, ADDED, MODIFIED or DELETED."""

    def failed(self, source: Source, problem: str) -> None:
        """The collection cannot be read."""


@dataclass
class Follower:
    """Follows the collections of one namespace, or of all of them. Belongs to one event loop."""

    sources: Sequence[Source]
    sink: Sink
    kopf: Callable[..., KopfOperator]
    """Makes a kopf operator from its collections and what it is to call."""
    sleep: Callable[[float], Awaitable[None]] = asyncio.sleep
    failures: int = 0
    """Consecutive ones."""
    told: str = ""
    """The problem that was told last."""

    async def follow(self) -> None:
        """Follow until cancelled."""
        while True:
            try:
                await self._follow_once()
            except GoneError:
                continue  # a list took too long
            except FAILURES as error:
                self._tell(str(error) or type(error).__name__)
                delay_s = DELAYS_S[min(self.failures, len(DELAYS_S) - 1)]
                self.failures += 1
                await self.sleep(delay_s)

    async def _follow_once(self) -> None:
        """Until it fails, which it says by an exception."""
        for source in self.sources:
            await self.sink.check(source)  # the API server says in one line what keeps kopf from watching
        loop = asyncio.get_running_loop()
        news: asyncio.Queue[Source | WatchError] = asyncio.Queue()
        ended = asyncio.Event()

        def tell(call: Callable[..., object], *args: object) -> None:
            with suppress(RuntimeError):  # the process ends, and this loop has
                loop.call_soon_threadsafe(call, *args)

        def end(error: Exception | None) -> None:
            tell(news.put_nowait, WatchError(f"kopf has ended: {error!r}"))
            tell(ended.set)

        operator = self.kopf(
            sources=self.sources,
            on_change=lambda source, kind, item: tell(self.sink.changed, source, kind, item),
            on_open=lambda source: tell(news.put_nowait, source),
            on_end=end,
        )
        operator.start()
        try:
            await self._list_what_opens(news)
        finally:
            operator.stop()
            with suppress(TimeoutError):
                await asyncio.wait_for(ended.wait(), STOPPING_S)

    async def _list_what_opens(self, news: "asyncio.Queue[Source | WatchError]") -> None:
        closed = set(self.sources)
        try:
            async with asyncio.timeout(OPENING_S) as limit:
                while True:
                    source = await news.get()
                    if isinstance(source, WatchError):
                        raise source
                    await self.sink.list(source)
                    closed.discard(source)
                    if not closed and limit.when() is not None:
                        limit.reschedule(None)
                        self._succeeded()
        except TimeoutError:
            kinds = ", ".join(sorted(source.kind for source in closed))
            raise WatchError(f"kopf does not watch {kinds}: is the CustomResourceDefinition installed?") from None

    def _succeeded(self) -> None:
        if self.told:
            logger.info("%s: readable again", self._name)
        self.failures, self.told = 0, ""

    def _tell(self, problem: str) -> None:
        for source in self.sources:
            self.sink.failed(source, problem)
        if problem != self.told:
            logger.warning("%s: %s", self._name, problem)
        self.told = problem

    @property
    def _name(self) -> str:
        namespace = self.sources[0].namespace
        return f"namespace {namespace}" if namespace else "all namespaces"
