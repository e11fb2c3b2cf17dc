"""Every request that the operator makes to Kubernetes, in terms of benchmarks.

RIGHTS lists them; a test ensures that the chart's RBAC grants exactly these.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime

import aiohttp

from perfbench_api import GROUP, PLURAL, VERSION
from perfbench_operator.api import MERGE, Api, Query
from perfbench_operator.kube import Data, Resource
from perfbench_operator.objects.identity import SELECTOR, STARTED, UID_LABEL, Identity

RIGHTS: dict[tuple[str, str], tuple[str, ...]] = {
    (GROUP, PLURAL): ("delete", "get", "list", "patch", "watch"),
    (GROUP, f"{PLURAL}/status"): ("patch",),
    ("batch", "jobs"): ("create", "delete", "get", "list", "patch", "watch"),
    ("", "pods"): ("list", "patch", "watch"),
    ("", "configmaps"): ("create", "get"),
    ("", "persistentvolumeclaims"): ("create", "get"),
    ("", "secrets"): ("create",),
    ("", "services"): ("create",),
    ("", "events"): ("create", "list"),
    ("discovery.k8s.io", "endpointslices"): ("list",),
}
"""Verbs by API group and resource. The operator makes the token of a run of several runners, and never reads a Secret."""
LEASE_RIGHTS: dict[tuple[str, str], tuple[str, ...]] = {("coordination.k8s.io", "leases"): ("create", "get", "patch")}
"""Where the operator's Lease is: see lease.py. One for all namespaces lists and watches the others' Leases, too."""


@dataclass(frozen=True)
class Source:
    """A collection that is watched: one kind, in a namespace or in all of them."""

    kind: str
    namespace: str | None = None


class Cluster:
    """What the operator asks of Kubernetes. Belongs to one event loop; close it after use."""

    def __init__(self, api: Api) -> None:
        self._api = api

    async def close(self) -> None:
        """Close the connections."""
        await self._api.close()

    def now(self) -> datetime:
        """The API server's time."""
        return self._api.now()

    # Collections

    async def open_session(self, traces: Sequence[aiohttp.TraceConfig]) -> tuple[str, aiohttp.ClientSession]:
        """The API server's address, and a session that is logged in, for kopf."""
        return await self._api.open_session(traces)

    async def read_all(self, source: Source) -> list[Resource]:
        """All objects of a collection."""
        return await self._api.read_all(collection_path(source), _selection(source))

    async def check(self, source: Source) -> None:
        """See whether a collection can be listed: raises NotFoundError, RefusedError or ApiError if not."""
        await self._api.call("GET", collection_path(source), query=[*_selection(source), ("limit", "1")])

    # Benchmarks

    async def benchmark(self, namespace: str, name: str) -> Resource:
        """Read a PerfBenchmark; raises NotFoundError."""
        return await self._api.call("GET", _path("PerfBenchmark", namespace, name))

    async def patch_status(self, body: Data, patch: Data) -> Resource:
        """Change a PerfBenchmark's status if it is still as it was read; raises ConflictError, NotFoundError."""
        meta = body["metadata"]
        fenced = {"metadata": {"resourceVersion": meta["resourceVersion"], "uid": meta["uid"]}, "status": patch}
        path = f"{_path('PerfBenchmark', meta['namespace'], meta['name'])}/status"
        return await self._api.call("PATCH", path, fenced, kind=MERGE)

    async def mark_started(self, body: Data) -> Resource:
        """Note in a PerfBenchmark that it is being started: what backups keep, unlike its status."""
        meta = body["metadata"]
        fenced = {
            "metadata": {
                "resourceVersion": meta["resourceVersion"],
                "uid": meta["uid"],
                "annotations": {STARTED: meta["uid"]},
            }
        }
        return await self._api.call(
            "PATCH", _path("PerfBenchmark", meta["namespace"], meta["name"]), fenced, kind=MERGE
        )

    async def delete_benchmark(self, body: Data) -> None:
        """Delete exactly this PerfBenchmark, not a later one of the same name."""
        meta = body["metadata"]
        options = {"preconditions": {"uid": meta["uid"]}, "propagationPolicy": "Background"}
        await self._api.call("DELETE", _path("PerfBenchmark", meta["namespace"], meta["name"]), options)

    # Objects of a benchmark

    async def create(self, item: Resource) -> Resource:
        """Create a ConfigMap, PersistentVolumeClaim, Job, Secret, Service or Event; raises ConflictError, RefusedError.

        A field that this version of Kubernetes does not know is refused: it would be dropped without a word.
        """
        path = _path(item["kind"], item["metadata"]["namespace"])
        return await self._api.call("POST", path, item, query=[("fieldValidation", "Strict")])

    async def read(self, kind: str, namespace: str, name: str) -> Resource:
        """Read a ConfigMap, PersistentVolumeClaim or Job; raises NotFoundError."""
        return await self._api.call("GET", _path(kind, namespace, name))

    async def pods(self, identity: Identity) -> list[Resource]:
        """The pods that are labelled as the benchmark's."""
        query = [("labelSelector", f"{SELECTOR},{UID_LABEL}={identity.uid}")]
        return await self._api.read_all(_path("Pod", identity.namespace), query)

    async def events(self, namespace: str, uids: Sequence[str]) -> list[Resource]:
        """Events about some objects."""
        path = _path("Event", namespace)
        found = [await self._api.read_all(path, [("fieldSelector", f"involvedObject.uid={uid}")]) for uid in uids]
        return [event for events in found for event in events]

    async def nodes_of_service(self, namespace: str, name: str) -> set[str]:
        """The nodes that a Service's pods run on; raises RefusedError where it may not be known."""
        query = [("labelSelector", f"kubernetes.io/service-name={name}")]
        slices = await self._api.read_all(_path("EndpointSlice", namespace), query)
        endpoints = [endpoint for item in slices for endpoint in item.get("endpoints") or []]
        return {str(endpoint["nodeName"]) for endpoint in endpoints if endpoint.get("nodeName")}

    async def suspend(self, job: Data) -> None:
        """Stop a Job whose runner has not started: Kubernetes deletes its pods and creates no more."""
        meta = job["metadata"]
        patch = {"metadata": {"uid": meta["uid"]}, "spec": {"suspend": True}}
        await self._api.call("PATCH", _path("Job", meta["namespace"], meta["name"]), patch, kind=MERGE)

    async def delete_job(self, job: Data) -> None:
        """Delete exactly this Job and its pods."""
        meta = job["metadata"]
        options = {"preconditions": {"uid": meta["uid"]}, "propagationPolicy": "Background"}
        await self._api.call("DELETE", _path("Job", meta["namespace"], meta["name"]), options)

    async def end_gracefully(self, pod: Data) -> None:
        """Have the kubelet stop a pod within its grace period; unlike a deleted pod it keeps its termination message."""
        meta = pod["metadata"]
        patch = {"metadata": {"uid": meta["uid"]}, "spec": {"activeDeadlineSeconds": 1}}
        await self._api.call("PATCH", _path("Pod", meta["namespace"], meta["name"]), patch, kind=MERGE)

    # Leases

    async def lease(self, namespace: str, name: str) -> Resource:
        """Read a Lease; raises NotFoundError."""
        return await self._api.call("GET", _path("Lease", namespace, name))

    async def create_lease(self, lease: Resource) -> Resource:
        """Create a Lease; raises ConflictError, RefusedError."""
        return await self._api.call("POST", _path("Lease", lease["metadata"]["namespace"]), lease)

    async def patch_lease(self, lease: Data, spec: Data) -> Resource:
        """Change a Lease if it is still as it was read; raises ConflictError."""
        meta = lease["metadata"]
        fenced = {"metadata": {"resourceVersion": meta["resourceVersion"], "uid": meta["uid"]}, "spec": spec}
        return await self._api.call("PATCH", _path("Lease", meta["namespace"], meta["name"]), fenced, kind=MERGE)


_COLLECTIONS = {
    "PerfBenchmark": (f"/apis/{GROUP}/{VERSION}", PLURAL),
    "ConfigMap": ("/api/v1", "configmaps"),
    "PersistentVolumeClaim": ("/api/v1", "persistentvolumeclaims"),
    "Job": ("/apis/batch/v1", "jobs"),
    "Pod": ("/api/v1", "pods"),
    "Secret": ("/api/v1", "secrets"),
    "Service": ("/api/v1", "services"),
    "Event": ("/api/v1", "events"),
    "EndpointSlice": ("/apis/discovery.k8s.io/v1", "endpointslices"),
    "Lease": ("/apis/coordination.k8s.io/v1", "leases"),
}


def _path(kind: str, namespace: str | None, name: str = "") -> str:
    group, plural = _COLLECTIONS[kind]
    inside = f"/namespaces/{namespace}" if namespace else ""
    return f"{group}{inside}/{plural}" + (f"/{name}" if name else "")


def collection_path(source: Source) -> str:
    """Where a collection is."""
    return _path(source.kind, source.namespace)


def _selection(source: Source) -> Query:
    """Of everything but benchmarks, only the operator's own objects."""
    return [] if source.kind == "PerfBenchmark" else [("labelSelector", SELECTOR)]
