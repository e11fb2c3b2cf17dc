"""The controller: watches fill the cache, a work queue holds what they concern, workers reconcile it; a periodic list is a
safety net."""

import asyncio
import logging
from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import datetime
from time import monotonic, time

from perfbench_operator.api import ConflictError
from perfbench_operator.cache import Cache, uid, version
from perfbench_operator.cluster import Cluster, Source
from perfbench_operator.health import Health
from perfbench_operator.kube import NamespacedName, Resource, namespaced_name
from perfbench_operator.lease import Turns
from perfbench_operator.metrics import OperatorMetrics
from perfbench_operator.reconciler import Reconciler
from perfbench_operator.runners import Runners
from perfbench_operator.settings import Settings
from perfbench_operator.status.draft import is_final
from perfbench_operator.watch import FAILURES, follow
from perfbench_operator.workqueue import WorkQueue

logger = logging.getLogger(__name__)
WORKERS = 8
"""Benchmarks that are reconciled at the same time: a reconcile spends nearly all of its time waiting."""
ERROR_DELAYS_S = (1.0, 2.0, 5.0, 10.0, 30.0)
"""Delays after consecutive errors of one benchmark; the last one repeats."""
CONFLICT_DELAY_S = 0.2
KINDS = ("PerfBenchmark", "Job", "Pod")


@dataclass
class Controller:
    """Belongs to the event loop's thread. Prometheus' thread only reads `metrics`."""

    settings: Settings
    cluster: Cluster
    runners: Runners
    metrics: OperatorMetrics = field(default_factory=OperatorMetrics)
    cache: Cache = field(default_factory=Cache)
    queue: WorkQueue[NamespacedName] = field(init=False)
    health: Health = field(default_factory=lambda: Health(monotonic()))
    failures: dict[NamespacedName, int] = field(default_factory=dict)
    """Consecutive errors of each benchmark."""
    unreadable: dict[Source, str] = field(default_factory=dict)
    """Collections that cannot be read, and why."""
    tasks: list[asyncio.Task[None]] = field(default_factory=list)

    def __post_init__(self) -> None:
        self.reconciler = Reconciler(self.cluster, self.runners, self.settings, self.cache, self.now)
        self.queue = WorkQueue(self.metrics.queue_wait_seconds.observe)
        self.turns = Turns.of(
            self.cluster,
            self.settings.namespaces,
            self.settings.lease_namespace,
            self.settings.identity,
            self._all_again,
        )
        self.metrics.queue_depth.set_function(lambda: len(self.queue))
        self.metrics.queue_delayed.set_function(lambda: self.queue.delayed)
        self.metrics.benchmarks.known = self.cache.objects["PerfBenchmark"]
        scopes = self.settings.namespaces or (None,)
        self.sources = [Source(kind, namespace) for namespace in scopes for kind in KINDS]

    def now(self) -> datetime:
        """The API server's time."""
        return self.cluster.now()

    def start(self) -> None:
        """Start watching and working."""
        others = [] if self.settings.namespaces else [Source("Lease")]
        self.tasks = [asyncio.create_task(follow(self.cluster, source, self)) for source in (*self.sources, *others)]
        self.tasks += [asyncio.create_task(lease.keep()) for lease in self.turns.leases]
        self.tasks += [asyncio.create_task(self._work()) for _ in range(WORKERS)]
        self.tasks.append(asyncio.create_task(self._relist()))

    async def stop(self) -> None:
        """Stop working; the next operator carries on with whatever is unfinished."""
        self.queue.close()
        for task in self.tasks:
            task.cancel()
        await asyncio.gather(*self.tasks, return_exceptions=True)
        for lease in self.turns.leases:
            await lease.release()
        await self.runners.close()
        await self.cluster.close()

    # What the watches report

    def listed(self, source: Source, items: Sequence[Resource]) -> None:
        """A collection was listed."""
        is_new = source not in self.cache.listed_sources
        self.unreadable.pop(source, None)
        self.metrics.unreadable.set(len(self.unreadable))
        if source.kind == "Lease":
            for item in items:
                self.turns.saw(item)
            return
        concerned = self.cache.listed(source, items)
        if source.kind == "PerfBenchmark":
            for item in items:
                self.health.saw(item)
            self.metrics.benchmarks.listed_at_s = time()
        self._concerns(concerned)
        if is_new:
            self._all_again()

    def changed(self, source: Source, kind: str, item: Resource) -> None:
        """The watch reported a change."""
        if source.kind == "Lease":
            if kind != "BOOKMARK":
                self.turns.saw(item, is_gone=kind == "DELETED")
            return
        self.metrics.watch_events.labels(source.kind).inc()
        concerned = self.cache.changed(source.kind, kind, item)
        if source.kind == "PerfBenchmark" and kind != "BOOKMARK":
            self.health.saw(item, is_gone=kind == "DELETED")
            if kind == "DELETED":
                self.reconciler.forget(uid(item))
                self._admit_others()
        self._concerns(concerned)

    def failed(self, source: Source, problem: str) -> None:
        """A collection cannot be read."""
        is_new = source not in self.unreadable
        self.unreadable[source] = problem
        self.metrics.unreadable.set(len(self.unreadable))
        if is_new:
            self._all_again()

    def _concerns(self, names: set[NamespacedName]) -> None:
        for name in names:
            self.queue.add(name)

    def _admit_others(self) -> None:
        """Somebody is over: those who wait may start."""
        self._concerns({namespaced_name(body) for body in self.reconciler.admitter.waiting()})

    def _all_again(self) -> None:
        self._concerns(set(self.cache.objects["PerfBenchmark"]))

    # Working

    def _may_work(self, namespace: str) -> bool:
        """Whether it is this operator's turn, and whether it has seen enough to decide anything."""
        own = [source for source in self.sources if source.namespace in (None, namespace)]
        has_seen_own = all(source in self.cache.listed_sources for source in own)
        has_tried_all = all(source in self.cache.listed_sources or source in self.unreadable for source in self.sources)
        return has_seen_own and has_tried_all and self.turns.may_work(namespace)

    async def _work(self) -> None:
        while True:
            name = await self.queue.get()
            try:
                await self._reconcile(name)
            finally:
                self.queue.done(name)

    async def _reconcile(self, name: NamespacedName) -> None:
        if not self._may_work(name[0]):
            return  # all come again when everything has been seen, and when it is this operator's turn
        started_s = monotonic()
        outcome, before = "ok", self.cache.benchmark(name)
        try:
            again_s = await self.reconciler.reconcile(name)
            self.failures.pop(name, None)
        except ConflictError:  # it has changed since it was read
            outcome, again_s = "conflict", CONFLICT_DELAY_S
        # One benchmark that cannot be reconciled must not stop the others; it is retried, logged and counted.
        except Exception as error:  # noqa: BLE001
            outcome, again_s = "error", self._failed(name, error)
        self.metrics.reconciles.labels(outcome).inc()
        self.metrics.reconcile_seconds.observe(monotonic() - started_s)
        after = self.cache.benchmark(name)
        if before is not None and after is not None and is_final(after) and not is_final(before):
            self._admit_others()
        if again_s is not None:
            self.queue.add_after(name, again_s)

    def _failed(self, name: NamespacedName, error: Exception) -> float:
        count = self.failures.get(name, 0)
        self.failures[name] = count + 1
        self.metrics.errors.labels(type(error).__name__).inc()
        again_s = ERROR_DELAYS_S[min(count, len(ERROR_DELAYS_S) - 1)]
        logger.error("%s/%s: %s; retrying in %.0f s", *name, error or type(error).__name__, again_s, exc_info=error)
        return again_s

    # The safety net

    async def _relist(self) -> None:
        """List all benchmarks periodically, to find what the watches have missed, and that they have missed it."""
        while True:
            await asyncio.sleep(self.settings.relist_interval_s)
            await self.list_all()

    async def list_all(self) -> None:
        """Compare what the watches have reported with what there is."""
        for source in self.sources:
            if source.kind != "PerfBenchmark":
                continue
            before = dict(self.cache.objects["PerfBenchmark"])
            try:
                items, _ = await self.cluster.read_all(source)
            except FAILURES as error:
                self.health.list_failed(monotonic())
                self.metrics.errors.labels(type(error).__name__).inc()
                continue
            self._compare(source, before, items)

    def _compare(self, source: Source, before: dict[NamespacedName, Resource], items: list[Resource]) -> None:
        known = self.cache.objects["PerfBenchmark"]
        there = {namespaced_name(item) for item in items}
        for name, item in before.items():
            is_of_source = source.namespace in (None, name[0])
            if is_of_source and name not in there and known.get(name) is item:  # else the watch has been faster
                self._concerns(self.cache.changed("PerfBenchmark", "DELETED", item))
        for item in items:
            self._concerns(self.cache.put("PerfBenchmark", item))
        now_s = monotonic()
        self.health.listed([item for item in known.values() if version(item)], now_s)
        self.metrics.benchmarks.watch_lag_s = self.health.watch_lag_s(now_s)
        self.metrics.benchmarks.listed_at_s = time()
        self._concerns({name for name, item in known.items() if _needs_work(item)})


def _needs_work(body: Resource) -> bool:
    return not is_final(body) or body["spec"].get("ttlSecondsAfterFinished") is not None
