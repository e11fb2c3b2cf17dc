"""Reconciles one benchmark: reads what exists, takes the one step that is missing, writes the status.

Nothing is remembered between calls except the termination messages of pods that are being deleted, and losing those in a
restart does no harm. The operator may die after any step: the next call, in whichever process, carries on.
"""

import contextlib
import logging
from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import UTC, datetime

from perfbench_api.resource import PerfBenchmark, SpecError
from perfbench_api.status import FINAL, Status
from perfbench_operator.cluster import Cluster, ConflictError, NotFoundError, RefusedError
from perfbench_operator.creator import BlockedError, Creator
from perfbench_operator.events import phase_event
from perfbench_operator.kube import Data, NamespacedName, Resource, merge_patch, namespaced_name
from perfbench_operator.objects.claim import claim_name
from perfbench_operator.objects.identity import UID_LABEL, Identity
from perfbench_operator.settings import Settings
from perfbench_operator.status.compute import Observed, compute, invalid
from perfbench_operator.status.draft import is_final, previous_status, with_other_conditions
from perfbench_operator.status.pods import is_running, is_true, outcome_of, terminated

LONGEST_WAIT_S = 86400.0
"""How long a benchmark is left alone at most: timers do not take any number of seconds."""
logger = logging.getLogger(__name__)


@dataclass
class Reconciler:
    """Reconciles benchmarks; several may be under way at a time, but never two for the same benchmark.

    Belongs to the event loop's thread.
    """

    cluster: Cluster
    settings: Settings
    clock: Callable[[], datetime] = lambda: datetime.now(UTC)
    terminating: dict[str, dict[str, Data]] = field(default_factory=dict)
    """Terminating pods whose runner has ended, as the watch last showed them: by the benchmark's uid, then by pod name."""

    def __post_init__(self) -> None:
        self._creator = Creator(self.cluster, self.settings)

    def saw_pod(self, pod: Data) -> None:
        """Keep the termination message of a pod that may be gone at the next reconcile."""
        uid = pod["metadata"].get("labels", {}).get(UID_LABEL, "")
        if pod["metadata"].get("deletionTimestamp") and terminated(pod):
            self.terminating.setdefault(uid, {})[pod["metadata"]["name"]] = pod

    async def reconcile(self, name: NamespacedName) -> float | None:
        """Bring one benchmark forward; return after how many seconds to call again, None to wait for a change."""
        try:
            body = await self.cluster.benchmark(*name)
        except NotFoundError:
            return None
        if body["metadata"].get("deletionTimestamp"):
            return None
        if is_final(body):
            return await self._clean_up(body)
        await self._advance(body)
        return self.settings.active_interval_s

    async def _advance(self, body: Resource) -> None:
        try:
            benchmark = PerfBenchmark.read(body)
        except SpecError as error:
            await self._write(body, invalid(body, self.clock(), error.problems))
            return
        identity = Identity.of(body)
        observed = await self._observe(benchmark, body, identity)
        status = compute(observed)
        await self._write(body, status)
        if observed.job is not None:
            await self._stop(observed, status)
        if status.phase in FINAL:
            self.terminating.pop(identity.uid, None)

    # What exists

    async def _observe(self, benchmark: PerfBenchmark, body: Data, identity: Identity) -> Observed:
        job, blocked = await self._creator.job(benchmark, body)
        pods = await self._pods(identity) if job else []
        pod = pods[-1] if pods else None
        runs = pod is not None and is_running(pod)
        progress = await self.cluster.progress(pod) if pod is not None and runs else None
        is_done = pod is not None and progress is not None and progress.phase == "done"
        return Observed(
            body=body,
            now=self.clock(),
            job=job,
            pods=pods,
            events=[] if job is None or runs else await self._events(identity, job, pod),
            progress=progress,
            outcome=await self.cluster.outcome(pod) if pod is not None and is_done else None,
            claim=claim_name(benchmark, identity),
            blocked=blocked,
            start_timeout_s=self.settings.start_timeout_s,
        )

    async def _pods(self, identity: Identity) -> list[Data]:
        found = {pod["metadata"]["name"]: pod for pod in await self.cluster.pods(identity)}
        return list((self.terminating.get(identity.uid, {}) | found).values())

    async def _events(self, identity: Identity, job: Data, pod: Data | None) -> list[Resource]:
        newest = pod if pod is not None else job
        return await self.cluster.events(identity.namespace, [newest["metadata"]["uid"]])

    # Ending

    async def _stop(self, observed: Observed, status: Status) -> None:
        """Stop a run that was cancelled, or that failed before it began."""
        job = dict(observed.job or {})
        gave_up = status.phase == "Failed" and not is_true(job, "Failed")
        if not (observed.is_cancelled or gave_up) or status.phase == "Succeeded":
            return
        running = [dict(pod) for pod in observed.pods if is_running(pod)]
        for pod in running:
            if (pod["spec"].get("activeDeadlineSeconds") or 2) > 1:
                with contextlib.suppress(NotFoundError, ConflictError):
                    await self.cluster.end_gracefully(pod)
        finished = any(is_true(job, kind) for kind in ("Complete", "Failed"))
        # A runner that ended by its own decision ends its Job; after one that was lost the Job would start another pod.
        finished = finished or any(outcome_of(pod) for pod in observed.pods)
        if not running and not finished and not job["spec"].get("suspend"):
            with contextlib.suppress(NotFoundError, ConflictError):
                await self.cluster.suspend(job)

    async def _clean_up(self, body: Resource) -> float | None:
        """After the end: make sure that nothing keeps running, and delete the benchmark when its TTL is over."""
        if body["status"]["phase"] != "Succeeded":
            await self._stop_leftover(body)
        ttl_s = body["spec"].get("ttlSecondsAfterFinished")
        ended = body["status"].get("completionTime")
        if ttl_s is None or not ended:
            return None
        left_s = float(ttl_s) - (self.clock() - datetime.fromisoformat(ended)).total_seconds()
        if left_s > 0:
            return min(left_s + 0.5, LONGEST_WAIT_S)
        with contextlib.suppress(NotFoundError, ConflictError):
            await self.cluster.delete_benchmark(body)
        return None

    async def _stop_leftover(self, body: Data) -> None:
        """The process that wrote the final status may have died before it stopped the Job."""
        identity = Identity.of(body)
        with contextlib.suppress(NotFoundError, BlockedError):
            job = await self._creator.existing_job(identity)
            pods = await self._pods(identity)
            observed = Observed(body=body, now=self.clock(), job=job, pods=pods)
            await self._stop(observed, previous_status(body))

    # The status

    async def _write(self, body: Resource, status: Status) -> None:
        old = body.get("status") or {}
        new = with_other_conditions(old, status.dump())
        patch = merge_patch(old, new)
        if not patch:
            return
        await self.cluster.patch_status(body, patch)
        event = phase_event(body, old, new, self.clock())
        if event:
            logger.info("%s/%s: %s: %s", *namespaced_name(body), event["reason"], event["message"])
            # The Event exists already, or the namespace is being deleted.
            with contextlib.suppress(ConflictError, RefusedError):
                await self.cluster.create(event)
