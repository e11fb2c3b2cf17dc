"""What is watched while this operator has a Lease: kopf's watches fill the cache, and a periodic list is a safety net."""

import asyncio
from collections.abc import Callable
from dataclasses import dataclass, field
from functools import partial
from time import monotonic, time

from perfbench_operator.cache import Cache, uid, version
from perfbench_operator.cluster import Cluster, Source
from perfbench_operator.follower import FAILURES, Follower
from perfbench_operator.handlers import KopfOperator
from perfbench_operator.health import Health
from perfbench_operator.kube import NamespacedName, Resource
from perfbench_operator.lease import Turns
from perfbench_operator.metrics import OperatorMetrics
from perfbench_operator.settings import Settings
from perfbench_operator.status.draft import is_final

KINDS = ("PerfBenchmark", "Job", "Pod")
SOON_S = 3.0


@dataclass
class Watching:
    """Belongs to the event loop's thread. Prometheus' thread only reads `metrics`."""

    settings: Settings
    cluster: Cluster
    turns: Turns
    metrics: OperatorMetrics
    on_concern: Callable[[set[NamespacedName]], None]
    """Something has changed that concerns these benchmarks."""
    on_deleted: Callable[[str], None]
    """A benchmark was deleted: its uid."""
    cache: Cache = field(default_factory=Cache)
    health: Health = field(default_factory=lambda: Health(monotonic()))
    unreadable: dict[Source, str] = field(default_factory=dict)
    """Collections that cannot be read, and why."""

    def __post_init__(self) -> None:
        kopf = partial(KopfOperator, self.cluster.open_session)
        scopes = [[Source(kind, namespace) for kind in KINDS] for namespace in self.settings.namespaces]
        self.followers = [Follower(sources, self, kopf) for sources in scopes or [[*map(Source, (*KINDS, "Lease"))]]]
        self.sources = [source for follower in self.followers for source in follower.sources]

    def has_seen(self, namespace: str) -> bool:
        """Whether enough has been seen to decide anything in a namespace: all of it, and whatever can be seen of the others."""
        seen, own = self.cache.listed_sources, [one for one in self.sources if one.namespace in (None, namespace)]
        return seen.issuperset(own) and all(one in seen or one in self.unreadable for one in self.sources)

    def all_again(self) -> None:
        """All benchmarks are to be looked at."""
        self.on_concern(set(self.cache.objects["PerfBenchmark"]))

    async def lead(self) -> None:
        """Watch while this operator has a Lease."""
        while True:
            await self.turns.taken.wait()
            self.metrics.benchmarks.known = self.cache.objects["PerfBenchmark"]
            tasks = [asyncio.create_task(follower.follow()) for follower in self.followers]
            lost = asyncio.create_task(self.turns.lost.wait())
            try:
                ended, _ = await asyncio.wait([lost, *tasks], return_when=asyncio.FIRST_COMPLETED)
                for task in ended - {lost}:
                    task.result()  # a follower does not end by itself: raise why
            finally:
                for one in (lost, *tasks):
                    one.cancel()
                await asyncio.gather(lost, *tasks, return_exceptions=True)
                self._forget_what_was_seen()

    def _forget_what_was_seen(self) -> None:
        """Nobody watches any more. Objects stay in the cache: of pods that go meanwhile nothing else is left."""
        self.cache.listed_sources.clear()
        self.unreadable.clear()
        self.metrics.unreadable.set(0)
        self.metrics.benchmarks.known = {}

    async def check(self, source: Source) -> None:
        """See whether a collection can be read."""
        await self.cluster.check(source)

    async def list(self, source: Source) -> None:
        """List a collection whose watch is open now."""
        await self._list(source)
        self.unreadable.pop(source, None)
        self.metrics.unreadable.set(len(self.unreadable))
        if source not in self.cache.listed_sources:
            self.cache.listed_sources.add(source)
            self.all_again()

    async def _list(self, source: Source) -> None:
        with self.cache.listing(source) as listing:
            items = await self.cluster.read_all(source)
            if source.kind == "Lease":
                for item in items:
                    self.turns.saw(item)
                return
            self.on_concern(self.cache.listed(listing, items))
        if source.kind == "PerfBenchmark":
            self.metrics.benchmarks.listed_at_s = time()

    def changed(self, source: Source, kind: str, item: Resource) -> None:
        """An object was LISTED, ADDED, MODIFIED or DELETED."""
        if source.kind == "Lease":
            self.turns.saw(item, is_gone=kind == "DELETED")
            return
        self.metrics.watch_events.labels(source.kind).inc()
        concerned = self.cache.changed(source.kind, kind, item)
        if source.kind == "PerfBenchmark":
            self.health.saw(item, is_gone=kind == "DELETED")
            if kind == "DELETED":
                self.on_deleted(uid(item))
        self.on_concern(concerned)

    def failed(self, source: Source, problem: str) -> None:
        """A collection cannot be read."""
        is_new = source not in self.unreadable
        self.unreadable[source] = problem
        self.metrics.unreadable.set(len(self.unreadable))
        if is_new:
            self.all_again()

    # The safety net

    async def relist(self) -> None:
        """List all benchmarks periodically, to find what the watches have missed, and that they have missed it."""
        delay_s = min(
            SOON_S, self.settings.relist_interval_s
        )  # so that one that waits for a Lease says soon that it is well
        while True:
            await asyncio.sleep(delay_s)
            await self.list_all()
            delay_s = self.settings.relist_interval_s

    async def list_all(self) -> None:
        """Compare what the watches have reported with what there is."""
        watched = [one for one in self.sources if one.kind == "PerfBenchmark" and one in self.cache.listed_sources]
        for source in watched:
            try:
                await self._list(source)
            except FAILURES as error:
                self.health.list_failed(monotonic())
                self.metrics.errors.labels(type(error).__name__).inc()
            else:
                self._compare()
        if not watched:
            self._wait()

    def _wait(self) -> None:
        """There is nothing to list: another operator has the Lease, or no namespace can be read."""
        now_s = monotonic()
        if now_s - self.turns.answered_s > self.settings.relist_interval_s:
            self.health.list_failed(now_s)
            return
        self.health.listed([], now_s)
        self.metrics.benchmarks.listed_at_s = time()

    def _compare(self) -> None:
        known, now_s = self.cache.objects["PerfBenchmark"], monotonic()
        self.health.listed([item for item in known.values() if version(item)], now_s)
        self.metrics.benchmarks.watch_lag_s = self.health.watch_lag_s(now_s)
        self.on_concern({name for name, item in known.items() if _needs_work(item)})


def _needs_work(body: Resource) -> bool:
    return not is_final(body) or body["spec"].get("ttlSecondsAfterFinished") is not None
