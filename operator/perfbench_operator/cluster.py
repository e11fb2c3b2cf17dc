"""Every request that the operator makes, to Kubernetes and to runners.

RIGHTS lists the calls to Kubernetes; a test ensures that the chart's RBAC grants exactly these.
"""

import json
import os
from collections.abc import Sequence
from typing import Any, TypeVar

import aiohttp
from kubernetes.aio import client, config
from pydantic import BaseModel, ValidationError

from perfbench_api import GROUP, PLURAL, VERSION
from perfbench_api.outcome import Outcome, Progress
from perfbench_operator.kube import Data, Resource
from perfbench_operator.objects.identity import SELECTOR, UID_LABEL, Identity
from perfbench_operator.objects.layout import PORT

M = TypeVar("M", bound=BaseModel)
RIGHTS: dict[tuple[str, str], tuple[str, ...]] = {
    (GROUP, PLURAL): ("delete", "get", "list", "watch"),
    (GROUP, f"{PLURAL}/status"): ("patch",),
    ("batch", "jobs"): ("create", "get", "list", "patch", "watch"),
    ("", "pods"): ("list", "patch", "watch"),
    ("", "configmaps"): ("create", "get"),
    ("", "persistentvolumeclaims"): ("create", "get"),
    ("", "events"): ("create", "list"),
}
"""Verbs by API group and resource. No right on secrets: the operator never reads one."""
REQUEST_S = 15.0
"""Timeout of a request to the API server."""
PROGRESS_S = 2.0
"""Timeout of asking a runner for its progress: a slow runner must not delay other benchmarks."""
_ANSWER_BYTES = 4 * 1024 * 1024
"""Longest answer of a runner that is read: pods may be anything."""
_MERGE = "application/merge-patch+json"


class ApiError(Exception):
    """The API server failed or cannot be reached; a retry may help."""


class NotFoundError(Exception):
    """There is no such object."""


class ConflictError(Exception):
    """The object already exists, or has changed since it was read."""


class RefusedError(Exception):
    """The API server rejects an object (HTTP 400, 403 or 422); the message says why. Only after 403 may a retry help."""

    def __init__(self, message: str, is_invalid: bool) -> None:
        super().__init__(message)
        self.is_invalid = is_invalid
        """The object itself is invalid."""


class Cluster:
    """A connection to Kubernetes. Belongs to one event loop; close it after use."""

    def __init__(self, api: client.ApiClient) -> None:
        self._api = api
        self._runners = aiohttp.ClientSession(timeout=aiohttp.ClientTimeout(total=PROGRESS_S))

    @classmethod
    async def connect(cls) -> "Cluster":
        """Connect as the pod's service account, or by KUBECONFIG outside of a cluster."""
        if "KUBERNETES_SERVICE_HOST" in os.environ:
            config.load_incluster_config()  # type: ignore[no-untyped-call]
        else:
            await config.load_kube_config()  # type: ignore[no-untyped-call]
        return cls(client.ApiClient())

    async def close(self) -> None:
        """Close the connections."""
        await self._runners.close()
        await self._api.close()  # type: ignore[no-untyped-call]

    # Benchmarks

    async def benchmark(self, namespace: str, name: str) -> Resource:
        """Read a PerfBenchmark; raises NotFoundError."""
        return await self._call("GET", _benchmarks(namespace, name))

    async def benchmarks(self, namespace: str | None) -> list[Resource]:
        """All PerfBenchmarks of a namespace, or of all."""
        return await self._list(_benchmarks(namespace))

    async def patch_status(self, body: Data, patch: Data) -> Resource:
        """Change a PerfBenchmark's status if it is still as it was read; raises ConflictError, NotFoundError."""
        meta = body["metadata"]
        fenced = {"metadata": {"resourceVersion": meta["resourceVersion"], "uid": meta["uid"]}, "status": patch}
        return await self._call("PATCH", f"{_benchmarks(meta['namespace'], meta['name'])}/status", fenced, kind=_MERGE)

    async def delete_benchmark(self, body: Data) -> None:
        """Delete exactly this PerfBenchmark, not a later one of the same name."""
        meta = body["metadata"]
        options = {"preconditions": {"uid": meta["uid"]}, "propagationPolicy": "Background"}
        await self._call("DELETE", _benchmarks(meta["namespace"], meta["name"]), options)

    # Objects of a benchmark

    async def create(self, item: Resource) -> Resource:
        """Create a ConfigMap, PersistentVolumeClaim, Job or Event; raises ConflictError, RefusedError."""
        return await self._call("POST", _COLLECTIONS[item["kind"]].format(item["metadata"]["namespace"]), item)

    async def read(self, kind: str, namespace: str, name: str) -> Resource:
        """Read a ConfigMap, PersistentVolumeClaim or Job; raises NotFoundError."""
        return await self._call("GET", f"{_COLLECTIONS[kind].format(namespace)}/{name}")

    async def pods(self, identity: Identity) -> list[Resource]:
        """The benchmark's pods, the newest last."""
        query = [("labelSelector", f"{SELECTOR},{UID_LABEL}={identity.uid}")]
        pods = await self._list(_COLLECTIONS["Pod"].format(identity.namespace), query)
        return sorted(pods, key=lambda pod: str(pod["metadata"].get("creationTimestamp", "")))

    async def events(self, namespace: str, uids: Sequence[str]) -> list[Resource]:
        """Events about some objects."""
        path = _COLLECTIONS["Event"].format(namespace)
        found = [await self._list(path, [("fieldSelector", f"involvedObject.uid={uid}")]) for uid in uids]
        return [event for events in found for event in events]

    async def suspend(self, job: Data) -> None:
        """Stop a Job whose runner has not started: Kubernetes deletes its pods and creates no more."""
        meta = job["metadata"]
        path = f"{_COLLECTIONS['Job'].format(meta['namespace'])}/{meta['name']}"
        await self._call("PATCH", path, {"metadata": {"uid": meta["uid"]}, "spec": {"suspend": True}}, kind=_MERGE)

    async def end_gracefully(self, pod: Data) -> None:
        """Have the kubelet stop a pod within its grace period; unlike a deleted pod it keeps its termination message."""
        meta = pod["metadata"]
        path = f"{_COLLECTIONS['Pod'].format(meta['namespace'])}/{meta['name']}"
        patch = {"metadata": {"uid": meta["uid"]}, "spec": {"activeDeadlineSeconds": 1}}
        await self._call("PATCH", path, patch, kind=_MERGE)

    # Runners

    async def progress(self, pod: Data) -> Progress | None:
        """A runner's progress; None if it does not answer promptly."""
        return await self._ask(pod, "/progress", Progress)

    async def outcome(self, pod: Data) -> Outcome | None:
        """A finished runner's whole outcome, of which its termination message may have only a part; None as above."""
        return await self._ask(pod, "/outcome", Outcome)

    async def _ask(self, pod: Data, path: str, kind: type[M]) -> M | None:
        address = pod.get("status", {}).get("podIP")
        if not address:
            return None
        host = f"[{address}]" if ":" in address else address
        try:
            async with self._runners.get(f"http://{host}:{PORT}{path}", allow_redirects=False) as response:
                response.raise_for_status()
                return kind.model_validate_json(await _read(response.content))
        except (aiohttp.ClientError, TimeoutError, OSError, ValidationError):
            return None

    # Requests

    async def _list(self, path: str, query: list[tuple[str, str]] | None = None) -> list[Resource]:
        items: list[Resource] = (await self._call("GET", path, query=query or []))["items"]
        return items

    async def _call(
        self,
        method: str,
        path: str,
        body: Any = None,
        *,
        query: list[tuple[str, str]] | None = None,
        kind: str = "application/json",
    ) -> Resource:
        headers = {"Accept": "application/json", "Content-Type": kind}
        request = await self._api.param_serialize(
            method, path, query_params=query or [], header_params=headers, body=body, auth_settings=["BearerToken"]
        )
        response = await self._api.call_api(*request, _request_timeout=REQUEST_S)
        data: bytes = await response.read()  # type: ignore[no-untyped-call]
        if response.status >= 400:
            _raise(response.status, f"{method} {path}", data)
        answer: Resource = json.loads(data)
        return answer


_COLLECTIONS = {
    "ConfigMap": "/api/v1/namespaces/{}/configmaps",
    "PersistentVolumeClaim": "/api/v1/namespaces/{}/persistentvolumeclaims",
    "Job": "/apis/batch/v1/namespaces/{}/jobs",
    "Pod": "/api/v1/namespaces/{}/pods",
    "Event": "/api/v1/namespaces/{}/events",
}


def _benchmarks(namespace: str | None, name: str = "") -> str:
    inside = f"namespaces/{namespace}/" if namespace else ""
    return f"/apis/{GROUP}/{VERSION}/{inside}{PLURAL}" + (f"/{name}" if name else "")


async def _read(content: aiohttp.StreamReader) -> bytes:
    """An answer, up to a length: what is longer is cut, and so no valid JSON any more."""
    data = b""
    while len(data) < _ANSWER_BYTES and (part := await content.read(_ANSWER_BYTES - len(data))):
        data += part
    return data


def _raise(status: int, what: str, data: bytes) -> None:
    message = f"{what}: HTTP {status}: {_message(data)}"
    if status == 404:
        raise NotFoundError(message)
    if status == 409:
        raise ConflictError(message)
    if status in (400, 403, 422):
        raise RefusedError(_message(data), is_invalid=status != 403)
    raise ApiError(message)


def _message(data: bytes) -> str:
    try:
        return str(json.loads(data).get("message", ""))
    except ValueError:
        return data[:200].decode(errors="replace")
