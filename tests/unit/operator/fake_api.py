"""An API server in memory, over HTTP, with what Kubernetes does to Jobs: enough for whole operators to work against.

It can be told to kill whoever asks, before a request is done or after, as a process dies: its connection is cut.
"""

import asyncio
import copy
import itertools
import json
from collections.abc import Callable
from contextlib import suppress
from typing import Any

from aiohttp import web
from bodies import timestamp_now

from perfbench_operator.kube import Data, merge_patch

Resource = dict[str, Any]


class FakeApi:
    """Objects by plural, namespace and name, and everybody who watches them."""

    def __init__(self) -> None:
        self.objects: dict[tuple[str, str, str], Resource] = {}
        self.made: list[str] = []
        """Kind and name of every object that was created."""
        self.watchers: list[tuple[str, asyncio.Queue[tuple[str, Resource]]]] = []
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
        for kind, queue in self.watchers:
            if kind == plural:
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
        if verb == "watch":
            return await self._watch(request, kind, plural)
        status, answer = self._answer(request.method, plural, namespace, name, body)
        if self.on_moment(kind, "after"):
            return _cut(request)
        return web.json_response(answer, status=status)

    def _answer(self, method: str, plural: str, namespace: str, name: str, body: Data) -> tuple[int, Data]:
        key = (plural, namespace, name)
        if method == "POST":
            if (plural, namespace, body["metadata"]["name"]) in self.objects:
                return 409, {"message": "exists"}
            return 201, copy.deepcopy(self.make(plural, dict(body)))
        if method == "GET" and not name:
            found = [item for (kind, where, _), item in self.objects.items() if kind == plural and where == namespace]
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

    async def _watch(self, request: web.Request, kind: str, plural: str) -> web.StreamResponse:
        queue: asyncio.Queue[tuple[str, Resource]] = asyncio.Queue()
        since = int(request.query["resourceVersion"])
        for item in self.all(plural):
            if int(item["metadata"]["resourceVersion"]) > since:
                queue.put_nowait(("MODIFIED", copy.deepcopy(item)))
        watcher = (plural, queue)
        self.watchers.append(watcher)
        if self.on_moment(kind, "after"):
            return _cut(request)
        response = web.StreamResponse()
        try:
            await response.prepare(request)
            while True:
                event, item = await queue.get()
                await response.write(json.dumps({"type": event, "object": item}).encode() + b"\n")
        except (ConnectionError, asyncio.CancelledError):
            return response
        finally:
            with suppress(ValueError):
                self.watchers.remove(watcher)


def _parts(path: str) -> tuple[str, str, str, str]:
    """Plural, namespace, name and subresource of a path."""
    _, _, rest = path.partition("/namespaces/")
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
