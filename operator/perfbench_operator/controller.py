"""The controller: what is watched concerns benchmarks, a work queue holds them, workers reconcile them."""

import asyncio
import logging
from dataclasses import dataclass, field
from datetime import datetime
from time import monotonic

from perfbench_operator.api import ConflictError
from perfbench_operator.cluster import Cluster
from perfbench_operator.kube import NamespacedName, namespaced_name
from perfbench_operator.lease import Turns
from perfbench_operator.metrics import OperatorMetrics
from perfbench_operator.reconciler import Reconciler
from perfbench_operator.runners import Runners
from perfbench_operator.settings import Settings
from perfbench_operator.status.draft import is_final
from perfbench_operator.watching import Watching
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
    queue: WorkQueue[NamespacedName] = field(init=False)
    failures: dict[NamespacedName, int] = field(default_factory=dict)
    """Consecutive errors of each benchmark."""
    tasks: list[asyncio.Task[None]] = field(default_factory=list)

    def __post_init__(self) -> None:
        given = self.settings
        self.queue = WorkQueue(self.metrics.queue_wait_seconds.observe)
        self.turns = Turns.of(
            self.cluster, given.namespaces, given.lease_namespace, given.identity, lambda: self.watching.all_again()
        )
        self.watching = Watching(given, self.cluster, self.turns, self.metrics, self._concerns, self._deleted)
        self.cache = self.watching.cache
        self.reconciler = Reconciler(self.cluster, self.runners, given, self.cache, self.now)
        self.metrics.queue_depth.set_function(lambda: len(self.queue))
        self.metrics.queue_delayed.set_function(lambda: self.queue.delayed)

    def now(self) -> datetime:
        """The API server's time."""
        return self.cluster.now()

    def start(self) -> None:
        """Start working, as soon as there is a Lease."""
        self.tasks = [asyncio.create_task(lease.keep()) for lease in self.turns.leases]
        self.tasks += [asyncio.create_task(self.watching.lead())]
        self.tasks += [asyncio.create_task(self._work()) for _ in range(WORKERS)]
        self.tasks.append(asyncio.create_task(self.watching.relist()))

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

    def _concerns(self, names: set[NamespacedName]) -> None:
        for name in names:
            self.queue.add(name)

    def _admit_others(self) -> None:
        """Somebody is over: those who wait may start."""
        self._concerns({namespaced_name(body) for body in self.reconciler.admitter.waiting()})

    def _deleted(self, gone: str) -> None:
        self.reconciler.forget(gone)
        self._admit_others()

    # Working

    def _may_work(self, namespace: str) -> bool:
        """Whether it is this operator's turn, and whether it has seen enough to decide anything."""
        return self.watching.has_seen(namespace) and self.turns.may_work(namespace)

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
