"""One look at one benchmark: read what is there, do the one thing that is missing, write the status.

Nothing is remembered between looks but the last word of runners whose pods are being deleted, which a restart may lose
without harm. Every step can be the last one before the operator dies: the next look, by whichever process, goes on.
"""

import contextlib
import logging
from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from typing import Any

from perfbench_api import GROUP, KIND, VERSION
from perfbench_api.resource import PerfBenchmark, SpecError
from perfbench_api.status import FINAL, Status
from perfbench_operator import objects, state, troubles
from perfbench_operator.cluster import Cluster, ConflictError, NotFoundError, RefusedError
from perfbench_operator.objects import Identity, ObjectsError, Sources
from perfbench_operator.settings import Settings
from perfbench_operator.troubles import Trouble

logger = logging.getLogger(__name__)
Data = dict[str, Any]
Key = tuple[str, str]
"""Namespace and name."""


class _BlockedError(Exception):
    """The Job cannot be made yet, or ever."""

    def __init__(self, trouble: Trouble) -> None:
        super().__init__(trouble.message)
        self.trouble = trouble


@dataclass
class Reconciler:
    """Looks at benchmarks; `look` may run for several of them at a time, never twice for one."""

    cluster: Cluster
    settings: Settings
    clock: Callable[[], datetime] = lambda: datetime.now(UTC)
    leaving: dict[str, dict[str, Data]] = field(default_factory=dict)
    """Runners that a watch told of while they were being deleted, by uid of their benchmark and name."""

    def saw_pod(self, pod: Data) -> None:
        """Keep the last word of a pod that will be gone at the next look."""
        uid = pod["metadata"].get("labels", {}).get(objects.UID_LABEL, "")
        if pod["metadata"].get("deletionTimestamp") and troubles.terminated(pod):
            self.leaving.setdefault(uid, {})[pod["metadata"]["name"]] = pod

    async def look(self, key: Key) -> float | None:
        """Bring one benchmark forward; return when to look again (seconds), None when something must happen first."""
        try:
            body = await self.cluster.benchmark(*key)
        except NotFoundError:
            return None
        if body["metadata"].get("deletionTimestamp"):
            return None
        if state.is_final(body):
            return await self._after(body)
        await self._advance(body)
        return self.settings.active_interval_s

    async def _advance(self, body: Data) -> None:
        try:
            benchmark = PerfBenchmark.read(body)
        except SpecError as error:
            await self._write(body, state.invalid(body, self.clock(), error.problems))
            return
        identity = Identity.of(body)
        seen = await self._observe(benchmark, body, identity)
        status = state.compute(seen)
        await self._write(body, status)
        if seen.job is not None:
            await self._stop(seen, status)
        if status.phase in FINAL:
            self.leaving.pop(identity.uid, None)

    # What is there

    async def _observe(self, benchmark: PerfBenchmark, body: Data, identity: Identity) -> state.Observed:
        job, blocked = await self._job(benchmark, body, identity)
        pods = await self._pods(identity) if job else []
        pod = pods[-1] if pods else None
        runs = pod is not None and troubles.is_running(pod)
        return state.Observed(
            body=body,
            now=self.clock(),
            job=job,
            pods=pods,
            events=[] if job is None or runs else await self._events(identity, job, pod),
            progress=await self.cluster.progress(pod) if pod is not None and runs else None,
            claim=objects.claim_name(benchmark, identity),
            blocked=blocked,
            start_timeout_s=self.settings.start_timeout_s,
        )

    async def _pods(self, identity: Identity) -> list[Data]:
        found = {pod["metadata"]["name"]: pod for pod in await self.cluster.pods(identity)}
        return list((self.leaving.get(identity.uid, {}) | found).values())

    async def _events(self, identity: Identity, job: Data, pod: Data | None) -> list[Data]:
        newest = pod if pod is not None else job
        return await self.cluster.events(identity.namespace, [newest["metadata"]["uid"]])

    # The Job

    async def _job(
        self, benchmark: PerfBenchmark, body: Data, identity: Identity
    ) -> tuple[Data | None, Trouble | None]:
        """The benchmark's Job, made if it never was; or why it cannot be made."""
        try:
            with contextlib.suppress(NotFoundError):
                return await self._found("Job", identity), None
            # A Job that was there and is gone was deleted by someone: a second one would measure twice.
            if (body.get("status") or {}).get("startTime") or benchmark.spec.cancel:
                return None, None
            return await self._make(benchmark, identity), None
        except _BlockedError as error:
            return None, error.trouble

    async def _found(self, kind: str, identity: Identity) -> Data:
        found = await self.cluster.read(kind, identity.namespace, identity.child)
        if not identity.owns(found):
            text = f"a {kind} named {identity.child} exists that is not of this benchmark; delete it"
            raise _BlockedError(Trouble("NameTaken", text))
        return found

    async def _make(self, benchmark: PerfBenchmark, identity: Identity) -> Data:
        sources = await self._sources(benchmark, identity)
        try:
            config_map = objects.config_map(benchmark, identity, sources, self.settings)
            job = objects.job(benchmark, identity, sources, self.settings)
        except ObjectsError as error:
            raise _BlockedError(Trouble("InvalidSpec", str(error), is_final=True)) from None
        await self._ensure(config_map, identity)
        await self._ensure_claim(benchmark, identity)
        made = await self._ensure(job, identity)
        logger.info("made Job %s/%s", identity.namespace, identity.child)
        return made

    async def _sources(self, benchmark: PerfBenchmark, identity: Identity) -> Sources:
        keys: dict[str, tuple[str, ...]] = {}
        for name in objects.needed_config_maps(benchmark):
            try:
                found = await self.cluster.read("ConfigMap", identity.namespace, name)
            except NotFoundError:
                text = f"ConfigMap {name} not found; create it in namespace {identity.namespace}"
                raise _BlockedError(Trouble("ConfigMapMissing", text)) from None
            keys[name] = tuple(sorted([*(found.get("data") or {}), *(found.get("binaryData") or {})]))
        return Sources(keys)

    async def _ensure(self, item: Data, identity: Identity) -> Data:
        """Make an object, or find the one that was made before a restart."""
        try:
            return await self.cluster.create(item)
        except ConflictError:
            return await self._found(item["kind"], identity)
        except RefusedError as error:
            raise _BlockedError(_refusal(error)) from None

    async def _ensure_claim(self, benchmark: PerfBenchmark, identity: Identity) -> None:
        claim = objects.claim(benchmark, identity)
        if claim is None:
            return
        try:
            await self.cluster.create(claim)
        except ConflictError:
            found = await self.cluster.read("PersistentVolumeClaim", identity.namespace, identity.claim)
            if not objects.made_by_us(found, identity):
                text = (
                    f"claim {identity.claim} exists and is not perfbench's; give results.claim to use it nevertheless"
                )
                raise _BlockedError(Trouble("ClaimTaken", text)) from None
        except RefusedError as error:
            raise _BlockedError(_refusal(error)) from None

    # Ending

    async def _stop(self, seen: state.Observed, status: Status) -> None:
        """Have a run that was cancelled, or has failed before it began, end."""
        job = dict(seen.job or {})
        gave_up = status.phase == "Failed" and not troubles.is_true(job, "Failed")
        if not (seen.is_cancelled or gave_up) or status.phase == "Succeeded":
            return
        running = [dict(pod) for pod in seen.pods if troubles.is_running(pod)]
        for pod in running:
            if (pod["spec"].get("activeDeadlineSeconds") or 2) > 1:
                with contextlib.suppress(NotFoundError, ConflictError):
                    await self.cluster.end_gracefully(pod)
        finished = any(troubles.is_true(job, kind) for kind in ("Complete", "Failed"))
        # A runner that ended by its own decision ends its Job; after one that was lost the Job would start the next.
        finished = finished or any(state.outcome(pod) for pod in seen.pods)
        if not running and not finished and not job["spec"].get("suspend"):
            with contextlib.suppress(NotFoundError, ConflictError):
                await self.cluster.suspend(job)

    async def _after(self, body: Data) -> float | None:
        """After the end: see that nothing runs on, and delete the benchmark when its time is over."""
        if body["status"]["phase"] != "Succeeded":
            await self._stop_leftover(body)
        ttl_s = body["spec"].get("ttlSecondsAfterFinished")
        ended = body["status"].get("completionTime")
        if ttl_s is None or not ended:
            return None
        left = datetime.fromisoformat(ended) + timedelta(seconds=ttl_s) - self.clock()
        if left.total_seconds() > 0:
            return left.total_seconds() + 0.5
        with contextlib.suppress(NotFoundError, ConflictError):
            await self.cluster.delete_benchmark(body)
        return None

    async def _stop_leftover(self, body: Data) -> None:
        """Whoever wrote the final status may have died before ending the Job."""
        identity = Identity.of(body)
        with contextlib.suppress(NotFoundError, _BlockedError):
            job = await self._found("Job", identity)
            pods = await self._pods(identity)
            seen = state.Observed(body=body, now=self.clock(), job=job, pods=pods)
            await self._stop(seen, state.previous(body))

    # The status

    async def _write(self, body: Data, status: Status) -> None:
        old = body.get("status") or {}
        new = status.dump()
        patch = state.merge_patch(old, new)
        if not patch:
            return
        await self.cluster.patch_status(body, patch)
        event = news(body, old, new, self.clock())
        if event:
            logger.info("%s/%s: %s: %s", *_name(body), event["reason"], event["message"])
            with contextlib.suppress(ConflictError, RefusedError):  # told already; or the namespace is going
                await self.cluster.create(event)


def _refusal(error: RefusedError) -> Trouble:
    """A pod that the API server cannot read will not become readable; quotas and rights change."""
    if error.is_invalid:
        return Trouble("InvalidSpec", str(error), is_final=True)
    return troubles.forbidden(str(error))


def _name(body: Data) -> Key:
    return body["metadata"]["namespace"], body["metadata"]["name"]


def news(body: Data, old: Data, new: Data, now: datetime) -> Data | None:
    """The Kubernetes Event of a change that people look for; None for figures that only moved on."""
    before, after = _headline(old), _headline(new)
    if before == after:
        return None
    phase, reason = after
    is_fine = phase in ("Running", "Succeeded", "Cancelled") or reason in ("Starting", "WaitingForTarget")
    meta, when = body["metadata"], state.timestamp(now)
    return {
        "apiVersion": "v1",
        "kind": "Event",
        "metadata": {
            # The same news has the same name: nobody is told twice, even after a restart.
            "name": f"{meta['name']}.{meta['uid'][:8]}.{phase}.{reason}".lower()[:253],
            "namespace": meta["namespace"],
            "labels": {objects.MANAGED_LABEL: objects.MANAGED_BY},
        },
        "involvedObject": {
            "apiVersion": f"{GROUP}/{VERSION}",
            "kind": KIND,
            "name": meta["name"],
            "namespace": meta["namespace"],
            "uid": meta["uid"],
            "resourceVersion": meta["resourceVersion"],
        },
        "type": "Normal" if is_fine else "Warning",
        "reason": phase if is_fine else reason,
        "message": new.get("message") or phase,
        "source": {"component": objects.MANAGED_BY},
        "firstTimestamp": when,
        "lastTimestamp": when,
        "count": 1,
    }


def _headline(status: Data) -> tuple[str, str]:
    """Phase and reason: of the failure if it failed, else why it does not run."""
    conditions = {item["type"]: item for item in status.get("conditions", [])}
    kind = "Failed" if status.get("phase") == "Failed" else "Running"
    return status.get("phase", ""), conditions.get(kind, {}).get("reason", "")
