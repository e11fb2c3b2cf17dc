"""Gathers what a status is computed from: from the cache what is there, from the API server what seems to be missing.

Requests that repeat, such as for events, are made the more rarely the longer a benchmark waits.
"""

import logging
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass, field, replace
from datetime import datetime

from perfbench_api.resource import PerfBenchmark
from perfbench_operator.admitter import Admitter
from perfbench_operator.api import ApiError, NotFoundError, RefusedError
from perfbench_operator.cache import Cache, by_age, uid
from perfbench_operator.cluster import Cluster
from perfbench_operator.creator import BlockedError, Creator
from perfbench_operator.kube import Data, Resource
from perfbench_operator.objects.address import service_of
from perfbench_operator.objects.claim import claim_name
from perfbench_operator.objects.identity import Identity, is_owned_by
from perfbench_operator.objects.sizing import too_few
from perfbench_operator.runners import Runners
from perfbench_operator.settings import Settings
from perfbench_operator.status.observed import Observed, Recovery
from perfbench_operator.status.pods import has_ended, is_finished, is_running, is_true, outcome_of
from perfbench_operator.status.troubles import Trouble

logger = logging.getLogger(__name__)
SOON_S, LATE_S = 3.0, 60.0
"""How long a repeated request waits at least and at most; in between, half as long as the benchmark has waited."""


@dataclass
class Observer:
    """Belongs to the event loop's thread. What it remembers only saves requests; a new process does without it."""

    cluster: Cluster
    runners: Runners
    settings: Settings
    cache: Cache
    creator: Creator
    admitter: Admitter
    clock: Callable[[], datetime]
    unrecoverable: set[str] = field(default_factory=set)
    """Uids of benchmarks whose results nobody could look for."""
    _blocked: dict[str, tuple[datetime, Trouble]] = field(default_factory=dict)
    """Why a Job could not be made, and when that was tried; by uid of the benchmark."""
    _events: dict[str, tuple[datetime, str, list[Resource]]] = field(default_factory=dict)
    """Events, of which object, and when they were read; by uid of the benchmark."""
    _target_nodes: dict[str, set[str]] = field(default_factory=dict)
    """Nodes of the target's pods; by uid of the benchmark."""

    def forget(self, gone: str) -> None:
        """A benchmark is over, or gone."""
        self.unrecoverable.discard(gone)
        self._blocked.pop(gone, None)
        self._events.pop(gone, None)
        self._target_nodes.pop(gone, None)

    async def observe(self, benchmark: PerfBenchmark, body: Resource) -> Observed:
        """What is in the cluster of a benchmark; it is started where it may be."""
        identity = Identity.of(body)
        known = Observed(
            body=body,
            now=self.clock(),
            job=self._job(identity, identity.child),
            workers=self._job(identity, identity.workers),
            claim=claim_name(benchmark, identity),
            undersized=too_few(benchmark, self.settings),
            start_timeout_s=self.settings.start_timeout_s,
            lost_timeout_s=self.settings.lost_timeout_s,
        )
        if not known.has_started:
            known = await self._start(benchmark, known, identity)
        if not known.has_started:
            return known
        known = await self._confirmed(known, identity)
        known = replace(known, shared_nodes=await self._shared_nodes(benchmark, known, identity))
        return await self._ask(known, identity)

    def seen(self, body: Data) -> Observed:
        """What the cache has of a benchmark that is over."""
        identity = Identity.of(body)
        job, workers = (self._job(identity, name) for name in (identity.child, identity.workers))
        known = Observed(body=body, now=self.clock(), job=job, workers=workers)
        return replace(known, pods=self._own_pods(known, self.cache.pods(body)))

    # Before the start

    async def _start(self, benchmark: PerfBenchmark, known: Observed, identity: Identity) -> Observed:
        if known.is_cancelled or known.restored_from or known.is_suspended:
            return known
        place = self.admitter.place(known.body)
        if place:
            return replace(known, place=place)
        at, trouble = self._blocked.get(identity.uid, (None, None))
        if trouble and at and not self._is_due(at, known):
            return replace(known, blocked=trouble)
        try:
            plan = await self.creator.plan(benchmark, identity)
            known = await self._marked(known)
            job = await self.creator.create(plan, identity)
        except BlockedError as error:
            self._blocked[identity.uid] = (known.now, error.trouble)
            return replace(known, blocked=error.trouble)
        self._blocked.pop(identity.uid, None)
        self.cache.put("Job", job)
        return replace(known, job=job)

    async def _marked(self, known: Observed) -> Observed:
        """The benchmark, marked as started, which comes before anything is: what has the mark elsewhere is a copy of it."""
        if known.is_marked:
            return known
        body = await self.cluster.mark_started(known.body)
        self.cache.put("PerfBenchmark", body)
        return replace(known, body=body)

    def _is_due(self, at: datetime, known: Observed) -> bool:
        return (known.now - at).total_seconds() >= min(max(known.waited_s / 2, SOON_S), LATE_S)

    # Afterwards

    async def _confirmed(self, known: Observed, identity: Identity) -> Observed:
        """What the cache has, and what the cluster says of whatever seems to be gone: the cache may be behind."""
        if known.job is None:
            known = replace(known, job=await self.creator.existing_job(identity))
        pods = self._own_pods(known, self.cache.pods(known.body))
        if not [pod for pod in pods if outcome_of(pod)] and (known.job is None or is_finished(known.job)):
            pods = self._own_pods(known, await self._newest_pods(known.body, identity))
        return replace(known, pods=pods, recovery=self._recovery(known, identity))

    async def _newest_pods(self, body: Data, identity: Identity) -> list[Resource]:
        found = {uid(pod): pod for pod in await self.cluster.pods(identity)}
        for pod in found.values():
            self.cache.put("Pod", pod)
        gone = self.cache.gone.get(identity.uid, {})
        return by_age([*(pod for key, pod in gone.items() if key not in found), *found.values()])

    def _own_pods(self, known: Observed, pods: list[Resource]) -> list[Resource]:
        """Pods of the benchmark's own Job, also of one that is gone. Labels alone are no proof: anybody may set them."""
        job_uid = uid(known.job) if known.job is not None else known.previous.job_uid
        names = {runner.uid for runner in known.previous.runners or [] if runner.uid}
        namespace = known.body["metadata"]["namespace"]
        return [
            pod
            for pod in pods
            if pod["metadata"]["namespace"] == namespace
            and (uid(pod) in names or (job_uid and is_owned_by(pod, job_uid)))
        ]

    def _job(self, identity: Identity, name: str) -> Resource | None:
        found = self.cache.job(identity.namespace, name)
        return found if found is not None and identity.owns(found) else None

    def _recovery(self, known: Observed, identity: Identity) -> Recovery:
        if identity.uid in self.unrecoverable:
            return Recovery("failed")
        job = self._job(identity, identity.recovery)
        if job is None:
            return Recovery()
        pods = [pod for pod in self.cache.pods(known.body) if is_owned_by(pod, uid(job))]
        outcomes = [outcome for outcome in map(outcome_of, pods) if outcome]
        if outcomes:
            has_found = bool(outcomes[-1].results or outcomes[-1].stages)
            return Recovery("done", outcomes[-1] if has_found else None)
        return Recovery("failed" if is_true(job, "Failed") else "running")

    async def _ask(self, known: Observed, identity: Identity) -> Observed:
        """Ask the runner how far it is; of one that does not run, read the events."""
        pod = known.pod
        if pod is not None and has_ended(pod):
            return known
        if pod is None or not is_running(pod):
            is_starting = known.job is not None and not is_finished(known.job)
            return replace(known, events=await self._read_events(known, identity) if is_starting else [])
        progress = await self.runners.progress(pod)
        is_done = progress is not None and progress.phase == "done"
        return replace(known, progress=progress, outcome=await self.runners.outcome(pod) if is_done else None)

    async def _shared_nodes(self, benchmark: PerfBenchmark, known: Observed, identity: Identity) -> list[str]:
        """Nodes on which runners and the target's pods run, as they were when the first runner ran."""
        parts = [part for _, part in benchmark.spec.of_targets()]
        services = {found for part in parts if (found := service_of(part.target, identity.namespace))}
        if not services or known.pod is None or not is_running(known.pod):
            return []
        if identity.uid not in self._target_nodes:
            self._target_nodes[identity.uid] = found_nodes = set[str]()
            for service in services:
                with suppress(RefusedError, ApiError, NotFoundError):  # a namespace that is none of ours
                    found_nodes |= await self.cluster.nodes_of_service(*service)
        nodes = {pod["spec"].get("nodeName") for pod in self.cache.pods(known.body)}
        return sorted(nodes & self._target_nodes[identity.uid])

    async def _read_events(self, known: Observed, identity: Identity) -> list[Resource]:
        subject = uid(known.pod or known.job or {"metadata": {}})
        at, of, events = self._events.get(identity.uid, (None, "", []))
        if at is None or of != subject:
            events = []  # give it time to start first
        elif self._is_due(at, known):
            events = await self.cluster.events(identity.namespace, [subject])
        else:
            return events
        self._events[identity.uid] = (known.now, subject, events)
        return events
