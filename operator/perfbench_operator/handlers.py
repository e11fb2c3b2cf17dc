"""What kopf does for the operator: it watches, and tells the handlers here of every change.

They are `on.event` handlers, which write nothing to what they watch: no finalizer that blocks a deletion while the operator is
away, no annotations, and no right to patch is needed. They only pass on what they are told; controller.py decides what to do.

A kopf operator ends as a whole when one of its collections cannot be read, and ends every task of its event loop with it. So
each namespace has one of its own, in a thread and an event loop of its own, as kopf's documentation has it for several
operators in a process.
"""

import asyncio
from collections.abc import Awaitable, Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from threading import Thread
from types import SimpleNamespace
from typing import Any

import aiohttp
import kopf

from perfbench_api import GROUP, PLURAL, VERSION
from perfbench_operator.api import PAGE, REQUEST_S
from perfbench_operator.cluster import Source, collection_path
from perfbench_operator.kube import Resource
from perfbench_operator.objects.identity import SELECTOR

LEASES = ("coordination.k8s.io", "v1", "leases")
WATCH_S = 270
"""The API server ends a watch after this time; the next one goes on from the last version."""
JOBS = ("batch", "v1", "jobs")
PODS = ("", "v1", "pods")


@dataclass
class KopfOperator:
    """One kopf operator, for the collections of one namespace or of all of them. What it calls, it calls in its own thread."""

    open_session: Callable[[Sequence[aiohttp.TraceConfig]], Awaitable[tuple[str, aiohttp.ClientSession]]]
    """The API server's address, and a session that is logged in."""
    sources: Sequence[Source]
    on_change: Callable[[Source, str, Resource], None]
    """An object was listed or ADDED, MODIFIED or DELETED."""
    on_open: Callable[[Source], None]
    """A watch is open that follows a list: whatever changes from now on, on_change is told."""
    on_end: Callable[[Exception | None], None]
    """It has ended: why, or None if it was told to."""
    _loop: asyncio.AbstractEventLoop = field(init=False, default_factory=asyncio.new_event_loop)
    _stopped: asyncio.Event = field(init=False, default_factory=asyncio.Event)

    @property
    def namespace(self) -> str | None:
        """The namespace that it serves; None for all."""
        return self.sources[0].namespace

    def start(self) -> None:
        """Start it; on_end is called in any case."""
        Thread(target=self._run, name=f"kopf {self.namespace or ''}", daemon=True).start()

    def stop(self) -> None:
        """Have it end soon."""
        with suppress(RuntimeError):  # it has ended
            self._loop.call_soon_threadsafe(self._stopped.set)

    def _run(self) -> None:
        error = None
        try:
            with asyncio.Runner(loop_factory=lambda: self._loop) as runner:
                runner.run(self._operate())
        except Exception as failure:  # noqa: BLE001 - whatever ends it, somebody must be told
            error = failure
        self.on_end(error)

    async def _operate(self) -> None:
        scope: dict[str, Any] = {"namespaces": [self.namespace]} if self.namespace else {"clusterwide": True}
        await kopf.operator(
            registry=self._handlers(), settings=settings(), standalone=True, stop_flag=self._stopped, **scope
        )

    def _handlers(self) -> kopf.OperatorRegistry:
        registry = kopf.OperatorRegistry()
        kinds = {source.kind: source for source in self.sources}

        def tell(kind: str, event: kopf.RawEvent) -> None:
            self.on_change(kinds[kind], event["type"] or "LISTED", dict(event["object"]))

        @kopf.on.login(registry=registry)
        async def login(**_: Any) -> kopf.AiohttpSession:
            server, session = await self.open_session([Openings(self.sources, self.on_open).trace()])
            return kopf.AiohttpSession(server=server, aiohttp_session=session)

        @kopf.on.event(GROUP, VERSION, PLURAL, registry=registry)
        async def benchmark(event: kopf.RawEvent, **_: Any) -> None:
            tell("PerfBenchmark", event)

        @kopf.on.event(*JOBS, registry=registry)
        async def job(event: kopf.RawEvent, **_: Any) -> None:
            tell("Job", event)

        @kopf.on.event(*PODS, registry=registry)
        async def pod(event: kopf.RawEvent, **_: Any) -> None:
            tell("Pod", event)

        if "Lease" in kinds:

            @kopf.on.event(*LEASES, registry=registry)
            async def lease(event: kopf.RawEvent, **_: Any) -> None:
                tell("Lease", event)

        return registry


@dataclass
class Openings:
    """Finds in the requests that kopf makes when a watch is open that follows a list: kopf itself does not tell."""

    sources: Sequence[Source]
    on_open: Callable[[Source], None]
    listed: set[Source] = field(default_factory=set)

    def trace(self) -> aiohttp.TraceConfig:
        """What a session calls with each request that it has made."""
        config = aiohttp.TraceConfig()
        config.on_request_end.append(self._answered)
        return config

    async def _answered(
        self, session: aiohttp.ClientSession, context: SimpleNamespace, params: aiohttp.TraceRequestEndParams
    ) -> None:
        path = params.url.path  # the API server's own address may have one, too
        source = next((one for one in self.sources if path.endswith(collection_path(one))), None)
        if source is None or params.response.status != 200:
            return
        if "watch" not in params.url.query:
            self.listed.add(source)
        elif source in self.listed:
            self.listed.discard(source)
            self.on_open(source)


def settings() -> kopf.OperatorSettings:
    """What kopf is to do: watch, and nothing else."""
    found = kopf.OperatorSettings()
    for group, _, plural in (JOBS, PODS, LEASES):
        found.watching.label_selectors[group, plural] = SELECTOR  # the API server selects
    found.watching.server_timeout = WATCH_S  # the API server then ends a watch, and kopf starts the next
    found.watching.client_timeout = WATCH_S + 30
    found.watching.connect_timeout = REQUEST_S
    found.watching.chunk_size = PAGE
    found.networking.request_timeout = REQUEST_S
    found.networking.error_backoffs = (1, 2, 3)  # then it ends, or begins anew where the API server is away
    found.queueing.idle_timeout = 1.0
    found.scanning.disabled = True  # so that no right to list namespaces or CRDs is needed
    found.posting.enabled = False  # the reconciler writes Events itself, each only once
    found.process.ultimate_exiting_timeout = None  # it would kill the process
    # Unused while there are only on.event handlers; if that changes, these are ours and not those of every kopf operator.
    found.persistence.finalizer = f"{GROUP}/operator"
    found.persistence.progress_storage = kopf.AnnotationsProgressStorage(prefix=GROUP)
    found.persistence.diffbase_storage = kopf.AnnotationsDiffBaseStorage(prefix=GROUP)
    return found
