"""An API server in memory, over HTTP, with what Kubernetes does to Jobs: enough for whole operators to work against.

It can be told to kill whoever asks, before a request is done or after, as a process dies: its connection is cut.
"""

import asyncio
import copy
import itertools
import json
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager, suppress
from typing import Any

from aiohttp import web
from bodies import timestamp_now

from perfbench_operator.kube import Data, merge_patch

Resource = dict[str, Any]


DISCOVERY: dict[str, Any] = {
    "/api": {"versions": ["v1"]},
    "/api/v1": {"pods": "Pod", "configmaps": "ConfigMap", "events": "Event", "namespaces": "Namespace"},
    "/apis/batch/v1": {"jobs": "Job"},
    "/apis/coordination.k8s.io/v1": {"leases": "Lease"},
    "/apis/apiextensions.k8s.io/v1": {"customresourcedefinitions": "CustomResourceDefinition"},
    "/apis/perfbench.io/v1alpha1": {"perfbenchmarks": "PerfBenchmark"},
}


class FakeApi:
    """Objects by plural, namespace and name, and everybody who watches them."""

    def __init__(self) -> None:
        self.objects: dict[tuple[str, str, str], Resource] = {}
        self.made: list[str] = []
        """Kind and name of every object that was created."""
        self.watchers: list[tuple[str, str, asyncio.Queue[tuple[str, Resource]]]] = []
        """Plural, namespace (empty for all) and what is to be told."""
        self.forbidden: set[str] = set()
        """Namespaces in which nobody has any right."""
        self.has_crd = True
        self.token = ""
        """Whoever brings another one is not let in."""
        self.on_moment: Callable[[str, str], bool] = lambda kind, moment: False
        self.kinds: list[str] = []
        self._versions, self._uids = itertools.count(100), itertools.count(1)

    # Objects

    def put(self, plural: str, item: Resource, event: str) -> Resource:
        """Keep an object, with a new version, and tell those who watch."""
        meta = item["metadata"]
        meta["resourceVersion"] = str(next(self._versions))
        self.objects[plural, meta["namespace"], meta["name"]] = item
        self._tell(plural, event, item)
        return item

    def lose_place(self, plural: str) -> None:
        """Whoever watches is told to list anew."""
        for kind, _, queue in self.watchers:
            if kind == plural:
                queue.put_nowait(("ERROR", {"kind": "Status", "code": 410, "message": "too old"}))

    def make(self, plural: str, item: Resource) -> Resource:
        """Create an object."""
        meta = item["metadata"]
        meta |= {"uid": f"{next(self._uids):08x}-{plural}", "creationTimestamp": timestamp_now(), "generation": 1}
        self.made.append(f"{plural} {meta['name']}")
        return self.put(plural, item, "ADDED")

    def drop(self, plural: str, namespace: str, name: str) -> None:
        """Delete an object, and whatever it owns."""
        item = self.objects.pop((plural, namespace, name), None)
        if item is None:
            return
        item["metadata"]["resourceVersion"] = str(next(self._versions))
        self._tell(plural, "DELETED", item)
        uid = item["metadata"]["uid"]
        for key, other in list(self.objects.items()):
            if any(owner["uid"] == uid for owner in other["metadata"].get("ownerReferences", [])):
                self.drop(*key)

    def all(self, plural: str) -> list[Resource]:
        """All objects of a kind."""
        return [item for (kind, _, _), item in self.objects.items() if kind == plural]

    def _tell(self, plural: str, event: str, item: Resource) -> None:
        for kind, namespace, queue in self.watchers:
            if kind == plural and namespace in ("", item["metadata"]["namespace"]):
                queue.put_nowait((event, copy.deepcopy(item)))

    # HTTP

    async def handle(self, request: web.Request) -> web.StreamResponse:
        """Any request."""
        text = await request.text()
        body = json.loads(text) if text else {}
        plural, namespace, name, part = _parts(request.path)
        verb = "watch" if "watch" in request.query else request.method
        detail = (
            str((body.get("status") or {}).get("phase") or body.get("reason") or "") if isinstance(body, dict) else ""
        )
        kind = " ".join(filter(None, (verb, plural, part, detail)))
        self.kinds.append(kind)
        if self.on_moment(kind, "before"):
            return _cut(request)
        if self.token and request.headers.get("Authorization") != f"Bearer {self.token}":
            return web.json_response({"kind": "Status", "code": 401}, status=401)
        if not plural or (plural == "perfbenchmarks" and not self.has_crd):
            return self._discover(request, kind)
        if namespace in self.forbidden:
            return web.json_response({"kind": "Status", "message": f"no role in {namespace}"}, status=403)
        if verb == "watch":
            return await self._watch(request, kind, plural, namespace)
        status, answer = self._answer(request.method, plural, namespace, name, body)
        if self.on_moment(kind, "after"):
            return _cut(request)
        return web.json_response(answer, status=status)

    def _discover(self, request: web.Request, kind: str) -> web.StreamResponse:
        known = {path: found for path, found in DISCOVERY.items() if self.has_crd or "perfbench" not in path}
        groups = [path.split("/")[2:] for path in known if path.startswith("/apis")]
        versions = {group: {"version": version} for group, version in groups}
        answer = known.get(request.path)
        if request.path == "/apis":
            answer = {
                "groups": [
                    {"name": group, "versions": [one], "preferredVersion": one} for group, one in versions.items()
                ]
            }
        elif answer and "versions" not in answer:
            verbs = ["get", "list", "patch", "watch"]
            answer = {
                "resources": [
                    {"name": plural, "singularName": one.lower(), "kind": one, "namespaced": True, "verbs": verbs}
                    for plural, one in answer.items()
                ]
            }
        if self.on_moment(kind, "after"):
            return _cut(request)
        return web.json_response(answer or {"kind": "Status", "message": "not found"}, status=200 if answer else 404)

    def _answer(self, method: str, plural: str, namespace: str, name: str, body: Data) -> tuple[int, Data]:
        key = (plural, namespace, name)
        if method == "POST":
            if (plural, namespace, body["metadata"]["name"]) in self.objects:
                return 409, {"message": "exists"}
            return 201, copy.deepcopy(self.make(plural, dict(body)))
        if method == "GET" and not name:
            where = {namespace} if namespace else {key[1] for key in self.objects}
            found = [item for key, item in self.objects.items() if key[0] == plural and key[1] in where]
            return 200, {"items": copy.deepcopy(found), "metadata": {"resourceVersion": str(next(self._versions))}}
        if key not in self.objects:
            return 404, {"message": "not found"}
        item = self.objects[key]
        if method == "GET":
            return 200, copy.deepcopy(item)
        if method == "DELETE":
            self.drop(*key)
            return 200, {}
        wanted = body.get("metadata", {}).get("resourceVersion")
        if wanted and wanted != item["metadata"]["resourceVersion"]:
            return 409, {"message": "changed"}
        changed = _merged(item, body)
        if merge_patch(item, changed):
            self.put(plural, changed, "MODIFIED")
        return 200, copy.deepcopy(self.objects[key])

    async def _watch(self, request: web.Request, kind: str, plural: str, namespace: str) -> web.StreamResponse:
        queue: asyncio.Queue[tuple[str, Resource]] = asyncio.Queue()
        since = int(request.query["resourceVersion"])
        for item in self.all(plural):
            is_seen = namespace in ("", item["metadata"]["namespace"])
            if is_seen and int(item["metadata"]["resourceVersion"]) > since:
                queue.put_nowait(("MODIFIED", copy.deepcopy(item)))
        watcher = (plural, namespace, queue)
        self.watchers.append(watcher)
        if self.on_moment(kind, "after"):
            return _cut(request)
        response = web.StreamResponse()
        try:
            await response.prepare(request)
            while True:
                event, item = await queue.get()
                await response.write(json.dumps({"type": event, "object": item}).encode() + b"\n")
                if event == "ERROR":
                    return response
        except (ConnectionError, asyncio.CancelledError):
            return response
        finally:
            with suppress(ValueError):
                self.watchers.remove(watcher)


@asynccontextmanager
async def served(api: FakeApi) -> AsyncIterator[str]:
    """The address at which it can be asked."""
    app = web.Application()
    app.router.add_route("*", "/{path:.*}", api.handle)
    runner = web.AppRunner(app, access_log=None, shutdown_timeout=0.1, handler_cancellation=True)
    await runner.setup()
    await web.TCPSite(runner, "127.0.0.1", 0).start()
    try:
        yield f"http://127.0.0.1:{runner.addresses[0][1]}"
    finally:
        await runner.cleanup()


def _parts(path: str) -> tuple[str, str, str, str]:
    """Plural, namespace, name and subresource of a path; all of them empty for one that is no object's."""
    _, is_inside, rest = path.partition("/namespaces/")
    if not is_inside:
        words = path.split("/")[3 if path.startswith("/api/") else 4 :]
        return (words[0], "", "", "") if words else ("", "", "", "")
    namespace, plural, name, part = [*rest.split("/"), "", "", ""][:4]
    return plural, namespace, name, part


def _merged(old: Resource, patch: Data) -> Resource:
    new = {key: copy.deepcopy(value) for key, value in old.items() if patch.get(key, 0) is not None}
    for key, value in patch.items():
        if isinstance(value, dict):
            new[key] = _merged(new.get(key) or {}, value)
        elif value is not None:
            new[key] = value
    return new


def _cut(request: web.Request) -> web.Response:
    if request.transport is not None:
        request.transport.abort()
    return web.Response(status=503)
