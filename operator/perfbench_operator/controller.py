"""The controller: a work queue of benchmarks, the workers that reconcile them, and a periodic list as a safety net."""

import asyncio
import logging
from dataclasses import dataclass, field
from time import monotonic, time

from perfbench_operator.cluster import Cluster, ConflictError
from perfbench_operator.health import Health
from perfbench_operator.kube import Data, NamespacedName, namespaced_name
from perfbench_operator.metrics import OperatorMetrics
from perfbench_operator.objects.identity import NAME_LABEL
from perfbench_operator.reconciler import Reconciler
from perfbench_operator.settings import Settings
from perfbench_operator.status.draft import is_final
from perfbench_operator.workqueue import WorkQueue

logger = logging.getLogger(__name__)
WORKERS = 8
"""Benchmarks that are reconciled at the same time: a reconcile spends nearly all of its time waiting."""
ERROR_DELAYS_S = (1.0, 2.0, 5.0, 10.0, 30.0)
"""Delays after consecutive errors of one benchmark; the last one repeats."""
CONFLICT_DELAY_S = 0.2


@dataclass
class Controller:
    """Belongs to the event loop's thread. Prometheus' thread only reads `metrics`."""

    settings: Settings
    cluster: Cluster
    metrics: OperatorMetrics = field(default_factory=OperatorMetrics)
    queue: WorkQueue[NamespacedName] = field(init=False)
    health: Health = field(default_factory=lambda: Health(monotonic()))
    failures: dict[NamespacedName, int] = field(default_factory=dict)
    """Consecutive errors of each benchmark."""
    watched: dict[str, Data | None] = field(default_factory=dict)
    """Benchmarks that the watch has reported since the last list began, by uid; None for a deleted one."""
    tasks: list[asyncio.Task[None]] = field(default_factory=list)

    def __post_init__(self) -> None:
        self.reconciler = Reconciler(self.cluster, self.settings)
        self.queue = WorkQueue(self.metrics.queue_wait_seconds.observe)
        self.metrics.queue_depth.set_function(lambda: len(self.queue))
        self.metrics.queue_delayed.set_function(lambda: self.queue.delayed)

    def start(self) -> None:
        """Start the workers and the periodic list."""
        self.tasks = [asyncio.create_task(self._work()) for _ in range(WORKERS)]
        self.tasks.append(asyncio.create_task(self._relist()))

    async def stop(self) -> None:
        """Stop working; the next operator carries on with whatever is unfinished."""
        self.queue.close()
        for task in self.tasks:
            task.cancel()
        await asyncio.gather(*self.tasks, return_exceptions=True)
        await self.cluster.close()

    def saw_benchmark(self, body: Data, is_gone: bool) -> None:
        """The watch reported a benchmark. Changes of its status are our own and need no reconcile."""
        uid = body["metadata"]["uid"]
        is_new = uid not in self.health.watched
        self.health.saw(body, is_gone)
        self.watched[uid] = None if is_gone else body
        if is_gone:
            self.metrics.benchmarks.known.pop(uid, None)
            return
        self.metrics.benchmarks.known[uid] = body
        observed = (body.get("status") or {}).get("observedGeneration")
        if is_new or observed != body["metadata"].get("generation"):
            self.queue.add(namespaced_name(body))

    def saw_child(self, body: Data) -> None:
        """The watch reported a Job or pod."""
        name = body["metadata"].get("labels", {}).get(NAME_LABEL)
        if name:
            self.queue.add((body["metadata"]["namespace"], name))

    async def _work(self) -> None:
        while True:
            name = await self.queue.get()
            try:
                await self._reconcile(name)
            finally:
                self.queue.done(name)

    async def _reconcile(self, name: NamespacedName) -> None:
        started_s = monotonic()
        outcome = "ok"
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
        if again_s is not None:
            self.queue.add_after(name, again_s)

    def _failed(self, name: NamespacedName, error: Exception) -> float:
        count = self.failures.get(name, 0)
        self.failures[name] = count + 1
        self.metrics.errors.labels(type(error).__name__).inc()
        again_s = ERROR_DELAYS_S[min(count, len(ERROR_DELAYS_S) - 1)]
        logger.error("%s/%s: %s; retrying in %.0f s", *name, error or type(error).__name__, again_s, exc_info=error)
        return again_s

    async def _relist(self) -> None:
        """List all benchmarks periodically, to find what the watches have missed, and that they have missed it."""
        while True:
            try:
                await self._list()
            # Whatever the API server does, the next round tries again; the health check fails if this goes on.
            except Exception as error:  # noqa: BLE001
                self.health.list_failed(monotonic())
                self.metrics.errors.labels(type(error).__name__).inc()
                logger.warning("cannot list benchmarks: %s", error or type(error).__name__)
            await asyncio.sleep(self.settings.relist_interval_s)

    async def _list(self) -> None:
        self.watched.clear()
        found = [await self.cluster.benchmarks(namespace) for namespace in self.settings.namespaces or (None,)]
        listed: dict[str, Data | None] = {body["metadata"]["uid"]: body for bodies in found for body in bodies}
        # The list may be older than what the watch reported meanwhile: it must not bring back what was deleted.
        known = {uid: body for uid, body in {**listed, **self.watched}.items() if body is not None}
        now_s = monotonic()
        self.health.listed(known.values(), now_s)
        self.metrics.benchmarks.known = known
        self.metrics.benchmarks.watch_lag_s = self.health.watch_lag_s(now_s)
        self.metrics.benchmarks.listed_at_s = time()
        for body in known.values():
            if not is_final(body) or body["spec"].get("ttlSecondsAfterFinished") is not None:
                self.queue.add(namespaced_name(body))
