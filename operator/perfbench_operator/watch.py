"""Follows collections: each is listed once and then watched, and listed anew when the watch has lost its place.

Every collection is followed on its own: a namespace that is gone, or where the operator has lost its rights, is told of and
tried again, and the others do not notice.
"""

import asyncio
import logging
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from typing import Protocol

from perfbench_operator.api import ApiError, ConflictError, GoneError, NotFoundError, RefusedError
from perfbench_operator.cluster import Source
from perfbench_operator.kube import Resource

logger = logging.getLogger(__name__)
DELAYS_S = (0.5, 1.0, 2.0, 5.0, 10.0, 30.0)
"""Delays after consecutive failures of one collection; the last one repeats."""
FAILURES = (ApiError, NotFoundError, ConflictError, RefusedError)


class Watched(Protocol):
    """Where the collections are."""

    async def read_all(self, source: Source) -> tuple[Sequence[Resource], str]:
        """All objects, and the version to watch from."""

    def watch(self, source: Source, version: str) -> AsyncIterator[tuple[str, Resource]]:
        """Changes since a version; ends from time to time."""


class Sink(Protocol):
    """Who is told what a collection has."""

    def listed(self, source: Source, items: Sequence[Resource]) -> None:
        """These, and no others, are there."""

    def changed(self, source: Source, kind: str, item: Resource) -> None:
        """An object was ADDED, MODIFIED or DELETED; or BOOKMARK: the watch lives, and nothing has changed."""

    def failed(self, source: Source, problem: str) -> None:
        """The collection cannot be read."""


async def follow(
    cluster: Watched, source: Source, sink: Sink, sleep: Callable[[float], Awaitable[None]] = asyncio.sleep
) -> None:
    """Follow a collection until cancelled."""
    failures = 0
    told = ""
    while True:
        try:
            items, version = await cluster.read_all(source)
            sink.listed(source, items)
            if told:
                logger.info("%s: readable again", _name(source))
            failures, told = 0, ""
            await _watch(cluster, source, sink, version)
        except GoneError:
            continue
        except FAILURES as error:
            problem = str(error) or type(error).__name__
            sink.failed(source, problem)
            if problem != told:
                logger.warning("%s: %s", _name(source), problem)
            told = problem
            await sleep(DELAYS_S[min(failures, len(DELAYS_S) - 1)])
            failures += 1


async def _watch(cluster: Watched, source: Source, sink: Sink, version: str) -> None:
    while True:
        async for kind, item in cluster.watch(source, version):
            version = item["metadata"]["resourceVersion"]
            sink.changed(source, kind, item)


def _name(source: Source) -> str:
    return f"{source.kind}s in {f'namespace {source.namespace}' if source.namespace else 'all namespaces'}"
