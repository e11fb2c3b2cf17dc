"""Creates a benchmark's objects, each once, and finds those that a process created before it died."""

import contextlib
import logging
from dataclasses import dataclass

from perfbench_api.resource import PerfBenchmark
from perfbench_operator.cluster import Cluster, ConflictError, NotFoundError, RefusedError
from perfbench_operator.kube import Data, Resource
from perfbench_operator.objects.claim import build_claim, is_ours
from perfbench_operator.objects.config_map import (
    ConfigMapKeys,
    ObjectsError,
    build_config_map,
    referenced_config_maps,
)
from perfbench_operator.objects.identity import Identity
from perfbench_operator.objects.job import build_job
from perfbench_operator.settings import Settings
from perfbench_operator.status.troubles import Trouble, forbidden

logger = logging.getLogger(__name__)


class BlockedError(Exception):
    """The Job cannot be created yet, or ever."""

    def __init__(self, trouble: Trouble) -> None:
        super().__init__(trouble.message)
        self.trouble = trouble


@dataclass(frozen=True)
class Creator:
    """Creates the objects of benchmarks; keeps nothing between calls."""

    cluster: Cluster
    settings: Settings

    async def job(self, benchmark: PerfBenchmark, body: Data) -> tuple[Resource | None, Trouble | None]:
        """The benchmark's Job, created if it never was; or why it cannot be created."""
        identity = Identity.of(body)
        try:
            with contextlib.suppress(NotFoundError):
                return await self.existing_job(identity), None
            # A Job that existed and is gone was deleted by someone: a second one would measure twice.
            if (body.get("status") or {}).get("startTime") or benchmark.spec.cancel:
                return None, None
            return await self._create(benchmark, identity), None
        except BlockedError as error:
            return None, error.trouble

    async def existing_job(self, identity: Identity) -> Resource:
        """The benchmark's Job; raises NotFoundError, or BlockedError if another object has its name."""
        return await self._read_own("Job", identity)

    async def _read_own(self, kind: str, identity: Identity) -> Resource:
        found = await self.cluster.read(kind, identity.namespace, identity.child)
        if not identity.owns(found):
            text = f"{kind} {identity.child} exists but does not belong to this benchmark; delete it"
            raise BlockedError(Trouble("NameTaken", text))
        return found

    async def _create(self, benchmark: PerfBenchmark, identity: Identity) -> Resource:
        keys = await self._config_map_keys(benchmark, identity)
        try:
            config_map = build_config_map(benchmark, identity, keys, self.settings)
            job = build_job(benchmark, identity, keys, self.settings)
        except ObjectsError as error:
            raise BlockedError(Trouble("InvalidSpec", str(error), is_final=True)) from None
        await self._ensure(config_map, identity)
        await self._ensure_claim(benchmark, identity)
        created = await self._ensure(job, identity)
        logger.info("created Job %s/%s", identity.namespace, identity.child)
        return created

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
            return await self._read_own(item["kind"], identity)
        except RefusedError as error:
            raise BlockedError(_refusal(error)) from None

    async def _ensure_claim(self, benchmark: PerfBenchmark, identity: Identity) -> None:
        claim = build_claim(benchmark, identity)
        if claim is None:
            return
        try:
            await self.cluster.create(claim)
        except ConflictError:
            found = await self.cluster.read("PersistentVolumeClaim", identity.namespace, identity.claim)
            if not is_ours(found, identity):
                text = f"claim {identity.claim} exists and was not created by perfbench; set results.claim to use it anyway"
                raise BlockedError(Trouble("ClaimTaken", text)) from None
        except RefusedError as error:
            raise BlockedError(_refusal(error)) from None


def _refusal(error: RefusedError) -> Trouble:
    """An object that is invalid stays invalid; quotas and rights may change."""
    if error.is_invalid:
        return Trouble("InvalidSpec", str(error), is_final=True)
    return forbidden(str(error))
