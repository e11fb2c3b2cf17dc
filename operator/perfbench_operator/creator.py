"""Creates a benchmark's objects, each once, and finds those that a process created before it died."""

import logging
from collections.abc import Sequence
from dataclasses import dataclass
from secrets import token_urlsafe

from perfbench_api.resource import PerfBenchmark
from perfbench_operator.api import ConflictError, NotFoundError, RefusedError
from perfbench_operator.cluster import Cluster
from perfbench_operator.kube import Resource
from perfbench_operator.objects.claim import build_claim, is_ours
from perfbench_operator.objects.config_map import (
    ConfigMapKeys,
    ObjectsError,
    build_config_map,
    referenced_config_maps,
)
from perfbench_operator.objects.identity import Identity
from perfbench_operator.objects.job import build_job, build_recovery
from perfbench_operator.objects.workers import build_workers
from perfbench_operator.settings import Settings
from perfbench_operator.status.troubles import Trouble, refused

logger = logging.getLogger(__name__)


class BlockedError(Exception):
    """The Job cannot be created yet, or ever."""

    def __init__(self, trouble: Trouble) -> None:
        super().__init__(trouble.message)
        self.trouble = trouble


@dataclass(frozen=True)
class Plan:
    """The objects of a benchmark, in the order in which they are created."""

    config_map: Resource
    claim: Resource | None
    """None where an existing one is used."""
    job: Resource
    workers: Sequence[Resource] = ()
    """What a run of several runners has beside."""


@dataclass(frozen=True)
class Creator:
    """Creates the objects of benchmarks; keeps nothing between calls."""

    cluster: Cluster
    settings: Settings

    async def plan(self, benchmark: PerfBenchmark, identity: Identity) -> Plan:
        """What is to be created. Raises BlockedError if that cannot be said yet, or ever."""
        keys = await self._config_map_keys(benchmark, identity)
        try:
            config_map = build_config_map(benchmark, identity, keys, self.settings)
            job = build_job(benchmark, identity, keys, self.settings)
            workers = build_workers(benchmark, identity, keys, self.settings, token_urlsafe(32))
        except ObjectsError as error:
            raise BlockedError(Trouble("InvalidSpec", str(error), is_final=True)) from None
        return Plan(config_map, build_claim(benchmark, identity), job, workers)

    async def create(self, plan: Plan, identity: Identity) -> Resource:
        """Create the Job and what it needs, or find what was created before. Raises BlockedError."""
        await self._ensure(plan.config_map, identity)
        await self._ensure_claim(plan.claim, identity)
        for item in plan.workers:
            await self._ensure_worker(item)
        created = await self._ensure(plan.job, identity)
        logger.info("created Job %s/%s", identity.namespace, identity.child)
        return created

    async def recovery(self, benchmark: PerfBenchmark, identity: Identity) -> Resource:
        """Create the Job that looks for what a lost runner has stored. Raises BlockedError."""
        created = await self._ensure(build_recovery(benchmark, identity, self.settings), identity)
        logger.info("created Job %s/%s", identity.namespace, identity.recovery)
        return created

    async def existing_job(self, identity: Identity) -> Resource | None:
        """The benchmark's Job, if there is one. Raises BlockedError if another object has its name."""
        try:
            return await self._read_own("Job", identity.child, identity)
        except NotFoundError:
            return None

    async def _read_own(self, kind: str, name: str, identity: Identity) -> Resource:
        found = await self.cluster.read(kind, identity.namespace, name)
        if not identity.owns(found):
            text = f"{kind} {name} exists but does not belong to this benchmark; delete it"
            raise BlockedError(Trouble("NameTaken", text))
        return found

    async def _config_map_keys(self, benchmark: PerfBenchmark, identity: Identity) -> ConfigMapKeys:
        keys: dict[str, tuple[str, ...]] = {}
        for name in referenced_config_maps(benchmark):
            try:
                found = await self.cluster.read("ConfigMap", identity.namespace, name)
            except NotFoundError:
                text = f"ConfigMap {name} not found; create it in namespace {identity.namespace}"
                raise BlockedError(Trouble("ConfigMapMissing", text)) from None
            keys[name] = tuple(sorted([*(found.get("data") or {}), *(found.get("binaryData") or {})]))
        return keys

    async def _ensure(self, item: Resource, identity: Identity) -> Resource:
        """Create an object, or find the one that was created before a restart."""
        try:
            return await self.cluster.create(item)
        except ConflictError:
            return await self._read_own(item["kind"], item["metadata"]["name"], identity)
        except RefusedError as error:
            raise BlockedError(refused(str(error), error.is_invalid)) from None

    async def _ensure_worker(self, item: Resource) -> None:
        """Create it, unless that was done before a restart. Its name has the benchmark's uid; Secrets cannot be read."""
        try:
            await self.cluster.create(item)
        except ConflictError:
            return
        except RefusedError as error:
            raise BlockedError(refused(str(error), error.is_invalid)) from None

    async def _ensure_claim(self, claim: Resource | None, identity: Identity) -> None:
        if claim is None:
            return
        name = claim["metadata"]["name"]
        try:
            await self.cluster.create(claim)
        except ConflictError:
            found = await self.cluster.read("PersistentVolumeClaim", identity.namespace, name)
            if not is_ours(found, identity):
                text = f"claim {name} exists and was not created by perfbench; set results.claim to use it anyway"
                raise BlockedError(Trouble("ClaimTaken", text)) from None
        except RefusedError as error:
            raise BlockedError(refused(str(error), error.is_invalid)) from None
