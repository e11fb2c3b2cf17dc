"""Reconciles one benchmark: sees what exists, takes the one step that is missing, writes the status.

Nothing that matters is remembered between calls. The operator may die before or after any request: the next call, in whichever
process, carries on.
"""

import contextlib
import logging
from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import datetime

from perfbench_api.resource import PerfBenchmark, SpecError
from perfbench_api.status import FINAL, Status
from perfbench_operator.admission import Limits
from perfbench_operator.admitter import Admitter
from perfbench_operator.api import ApiError, ConflictError, NotFoundError, RefusedError
from perfbench_operator.cache import Cache, uid
from perfbench_operator.cluster import Cluster
from perfbench_operator.creator import BlockedError, Creator
from perfbench_operator.events import phase_event
from perfbench_operator.kube import Data, NamespacedName, Resource, merge_patch, moment, namespaced_name
from perfbench_operator.objects.identity import Identity
from perfbench_operator.objects.kueue import queue_of
from perfbench_operator.objects.sizing import decided
from perfbench_operator.observer import Observer
from perfbench_operator.runners import Runners
from perfbench_operator.settings import Settings
from perfbench_operator.status.compute import compute, invalid
from perfbench_operator.status.draft import is_final, previous_status, with_other_conditions
from perfbench_operator.status.observed import Observed
from perfbench_operator.status.steps import held, held_s, steps
from perfbench_operator.status.writing import is_worth_writing

LONGEST_WAIT_S = 86400.0
"""How long a benchmark is left alone at most: timers do not take any number of seconds."""
logger = logging.getLogger(__name__)


@dataclass
class Reconciler:
    """Reconciles benchmarks; several may be under way at a time, but never two for the same benchmark.

    Belongs to the event loop's thread.
    """

    cluster: Cluster
    runners: Runners
    settings: Settings
    cache: Cache
    clock: Callable[[], datetime]
    admitter: Admitter = field(init=False)
    observer: Observer = field(init=False)

    def __post_init__(self) -> None:
        self._creator = Creator(self.cluster, self.settings)
        limits = Limits(self.settings.max_concurrent, self.settings.max_concurrent_per_namespace)
        self.admitter = Admitter(self.cache, limits)
        self.observer = Observer(
            self.cluster, self.runners, self.settings, self.cache, self._creator, self.admitter, self.clock
        )

    def forget(self, gone: str) -> None:
        """A benchmark is over, or gone: nothing needs to be remembered of it."""
        self.admitter.forget(gone)
        self.observer.forget(gone)

    async def reconcile(self, name: NamespacedName) -> float | None:
        """Bring one benchmark forward; return after how many seconds to call again, None to wait for a change."""
        body = self.cache.benchmark(name)
        if body is None or body["metadata"].get("deletionTimestamp"):
            return None
        try:
            return await (self._clean_up(body) if is_final(body) else self._advance(body))
        except ConflictError:
            await self._refresh(name)
            raise

    async def _refresh(self, name: NamespacedName) -> None:
        """The benchmark has changed since it was seen: do not wait for the watch."""
        with contextlib.suppress(NotFoundError, ApiError):
            self.cache.put("PerfBenchmark", await self.cluster.benchmark(*name))

    async def _advance(self, body: Resource) -> float | None:
        try:
            benchmark = decided(PerfBenchmark.read(body), self.settings)
        except SpecError as error:
            await self._write(body, invalid(body, self.clock(), error.problems))
            return None
        try:
            observed = await self.observer.observe(benchmark, body)
        except BlockedError as error:  # another object has the name of its Job
            observed = Observed(body=body, now=self.clock(), blocked=error.trouble)
        self.cache.put("PerfBenchmark", dict(observed.body))
        status = compute(observed)
        await self._write(observed.body, status)
        await self._take_steps(benchmark, observed, status)
        return None if status.phase in ("Queued", "Suspended") else self.settings.active_interval_s

    async def _take_steps(self, benchmark: PerfBenchmark | None, observed: Observed, status: Status) -> None:
        todo = steps(observed, status)
        for pod in todo.end:
            with contextlib.suppress(NotFoundError, ConflictError):
                await self.cluster.end_gracefully(pod)
        for is_due, job in ((todo.suspend, observed.job), (todo.dismiss, observed.workers)):
            if is_due and job is not None:
                await self._suspend(job)
        if todo.recover and benchmark is not None:
            await self._recover(benchmark, observed)

    async def _recover(self, benchmark: PerfBenchmark, observed: Observed) -> None:
        identity = Identity.of(observed.body)
        try:
            self.cache.put("Job", await self._creator.recovery(benchmark, identity))
        except BlockedError as error:
            logger.warning("%s/%s: cannot look for results: %s", identity.namespace, identity.name, error)
            self.observer.unrecoverable.add(identity.uid)

    async def _clean_up(self, body: Resource) -> float | None:
        """After the end: make sure that nothing keeps running, and delete the benchmark when its TTL is over."""
        await self._acknowledge(body)
        observed = self.observer.seen(body)
        if body["status"]["phase"] != "Succeeded":
            # The process that wrote the final status may have died before it stopped the Job.
            await self._take_steps(None, observed, previous_status(body))
        waits = [await self._release(observed), await self._expire(body)]
        self.forget(uid(body))
        return min((wait_s for wait_s in waits if wait_s is not None), default=None)

    async def _acknowledge(self, body: Data) -> None:
        """A final phase never changes, but `ttlSecondsAfterFinished` may: say that it was seen."""
        generation = body["metadata"].get("generation")
        if generation != body["status"].get("observedGeneration"):
            self.cache.put("PerfBenchmark", await self.cluster.patch_status(body, {"observedGeneration": generation}))

    async def _suspend(self, job: Data) -> None:
        """Have a Job make no pods any more. Of one of Kueue's it is Kueue that says so: it would let go of it again."""
        with contextlib.suppress(NotFoundError, ConflictError):
            await (self.cluster.delete_job(job) if queue_of(job) else self.cluster.suspend(job))

    async def _release(self, observed: Observed) -> float | None:
        """End Jobs whose pods outlive the run: a sidecar, or a runner that hangs, would keep them for ever."""
        jobs, left_s = held(observed), held_s(observed)
        if not jobs or left_s != 0:
            return left_s if jobs else None
        for job in jobs:
            await self._suspend(job)
        return None

    async def _expire(self, body: Resource) -> float | None:
        """Delete the benchmark when its TTL is over; in how many seconds that is."""
        ttl_s = body["spec"].get("ttlSecondsAfterFinished")
        ended = moment(body["status"].get("completionTime"))
        if ttl_s is None or ended is None:
            return None
        left_s = float(ttl_s) - (self.clock() - ended).total_seconds()
        if left_s > 0:
            return min(left_s + 0.5, LONGEST_WAIT_S)
        with contextlib.suppress(NotFoundError, ConflictError):
            await self.cluster.delete_benchmark(body)
        return None

    # The status

    async def _write(self, body: Data, status: Status) -> None:
        old = body.get("status") or {}
        new = with_other_conditions(old, status.dump())
        patch = merge_patch(old, new)
        if not is_worth_writing(old, patch, self.clock()):
            return
        self.cache.put("PerfBenchmark", await self.cluster.patch_status(body, patch))
        event = phase_event(body, old, new, self.clock())
        if event:
            logger.info("%s/%s: %s: %s", *namespaced_name(body), event["reason"], event["message"])
            # The Event exists already, or the namespace is being deleted.
            with contextlib.suppress(ConflictError, RefusedError):
                await self.cluster.create(event)
        if status.phase in FINAL:
            self.forget(uid(body))
            self.cache.forget_pods(body)
