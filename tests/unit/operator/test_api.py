"""Requests to an API server, against one on this machine that answers as Kubernetes does."""

import asyncio
import json
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from datetime import UTC, datetime, timedelta
from email.utils import format_datetime
from typing import Any

import pytest
from aiohttp import web
from kubernetes.aio import client

from perfbench_operator.api import Api, ApiError, ConflictError, GoneError, NotFoundError, RefusedError
from perfbench_operator.cluster import Cluster, Source
from perfbench_operator.watch import follow

NOW = datetime(2026, 11, 24, 12, tzinfo=UTC)
PATH = "/api/v1/pods"
Handler = Callable[[web.Request], Awaitable[web.StreamResponse]]


@asynccontextmanager
async def api_of(handler: Handler) -> AsyncIterator[Api]:
    """A connection to a server that answers everything with one handler."""
    app = web.Application()
    app.router.add_route("*", "/{path:.*}", handler)
    runner = web.AppRunner(app, access_log=None, shutdown_timeout=0.1)
    await runner.setup()
    await web.TCPSite(runner, "127.0.0.1", 0).start()
    settings = client.Configuration(host=f"http://127.0.0.1:{runner.addresses[0][1]}")
    api = Api(client.ApiClient(settings), lambda: NOW)
    try:
        yield api
    finally:
        await api.close()
        await runner.cleanup()


def item(name: str, version: str = "1", **more: Any) -> dict[str, Any]:
    return {"metadata": {"name": name, "namespace": "n", "uid": name, "resourceVersion": version}, **more}


@pytest.mark.parametrize("count", [0, 1, 3, 16])
async def test_a_collection_is_read_in_pages(count: int) -> None:
    async def answer(request: web.Request) -> web.Response:
        start = int(request.query.get("continue", "0"))
        assert request.query["limit"] == "500"
        items = [item(str(number)) for number in range(start, min(start + 5, count))]
        token = {"continue": str(start + 5)} if start + 5 < count else {}
        return web.json_response({"items": items, "metadata": {"resourceVersion": "9", **token}})

    async with api_of(answer) as api:
        items, version = await api.read_all(PATH)
    assert ([one["metadata"]["name"] for one in items], version) == ([str(number) for number in range(count)], "9")


@pytest.mark.parametrize("size", [10, 70_000, 2_000_000])
async def test_a_watch_reads_objects_of_any_size(size: int) -> None:
    events = [{"type": "ADDED", "object": item("a", text="x" * size)}, {"type": "BOOKMARK", "object": item("", "8")}]

    async def answer(request: web.Request) -> web.StreamResponse:
        assert request.query["resourceVersion"] == "7"
        response = web.StreamResponse()
        await response.prepare(request)
        data = b"".join(json.dumps(event).encode() + b"\n" for event in events)
        for start in range(0, len(data), 50_001):
            await response.write(data[start : start + 50_001])
        return response

    async with api_of(answer) as api:
        assert [{"type": kind, "object": one} async for kind, one in api.watch(PATH, [], "7")] == events


async def watched(api: Api) -> list[tuple[str, dict[str, Any]]]:
    """What a watch reports."""
    return [event async for event in api.watch(PATH, [], "7")]


STATUSES: list[tuple[int, type[Exception]]] = [
    (404, NotFoundError),
    (409, ConflictError),
    (410, GoneError),
    (403, RefusedError),
    (422, RefusedError),
    (429, ApiError),
    (500, ApiError),
]


@pytest.mark.parametrize(("code", "error"), STATUSES)
@pytest.mark.parametrize("how", ["call", "watch", "event of a watch"])
async def test_every_refusal_has_its_own_error(code: int, error: type[Exception], how: str) -> None:
    status = {"kind": "Status", "code": code, "message": "why"}

    async def answer(request: web.Request) -> web.StreamResponse:
        if how == "event of a watch":
            return web.Response(text=json.dumps({"type": "ERROR", "object": status}) + "\n")
        return web.json_response(status, status=code)

    async with api_of(answer) as api:
        with pytest.raises(error, match="why"):
            await (api.call("GET", PATH) if how == "call" else watched(api))


async def test_an_api_server_that_is_away_is_an_error_to_be_retried() -> None:
    settings = client.Configuration(host="http://127.0.0.1:9")
    api = Api(client.ApiClient(settings))
    with pytest.raises(ApiError):
        await api.call("GET", PATH)
    with pytest.raises(ApiError):
        await watched(api)
    await api.close()


@pytest.mark.parametrize(("ahead", "told"), [(3600, 3600), (-3600, -3600), (1, 0), (0, 0)])
async def test_the_clock_is_the_api_server_s(ahead: int, told: int) -> None:
    async def answer(request: web.Request) -> web.Response:
        date = format_datetime(NOW + timedelta(seconds=ahead), usegmt=True)
        return web.json_response({}, headers={"Date": date})

    async with api_of(answer) as api:
        assert api.now() == NOW
        await api.call("GET", PATH)
        assert api.now() == NOW + timedelta(seconds=told)


class Seen:
    """What a collection is reported to have."""

    def __init__(self) -> None:
        self.names: set[str] = set()
        self.lists = 0
        self.problems: list[str] = []
        self.changed_once = asyncio.Event()

    def listed(self, source: Source, items: Any) -> None:
        self.lists += 1
        self.names = {one["metadata"]["name"] for one in items}
        self.changed_once.set()

    def changed(self, source: Source, kind: str, one: dict[str, Any]) -> None:
        name = one["metadata"]["name"]
        if kind == "DELETED":
            self.names.discard(name)
        elif kind != "BOOKMARK":
            self.names.add(name)
        self.changed_once.set()

    def failed(self, source: Source, problem: str) -> None:
        self.problems.append(problem)


async def test_a_collection_is_followed_through_ends_of_watches_lost_places_and_failures() -> None:
    """Each request gets the next answer of the script."""
    script: list[Any] = [
        ("list", ["a"]),
        ("watch", [("ADDED", "b"), ("DELETED", "a")]),
        ("watch", [("ADDED", "c")]),  # goes on where the last one ended
        ("watch", 410),
        ("list", ["d"]),
        ("watch", 500),
        ("list", 403),
        ("list", ["d", "e"]),
    ]
    asked: list[str] = []
    done = asyncio.Event()

    async def answer(request: web.Request) -> web.StreamResponse:
        kind = "watch" if "watch" in request.query else "list"
        if not script:
            done.set()
            await asyncio.sleep(60)
        expected, what = script.pop(0)
        asked.append(kind + request.query.get("resourceVersion", ""))
        assert kind == expected
        if isinstance(what, int):
            return web.json_response({"message": "no"}, status=what)
        if kind == "list":
            return web.json_response({"items": [item(name) for name in what], "metadata": {"resourceVersion": "5"}})
        events = [{"type": event, "object": item(name, "6")} for event, name in what]
        return web.Response(text="".join(json.dumps(event) + "\n" for event in events))

    async def sleep(delay_s: float) -> None:
        return

    seen = Seen()
    async with api_of(answer) as api:
        task = asyncio.create_task(follow(Cluster(api), Source("Pod"), seen, sleep))
        await asyncio.wait_for(done.wait(), 10)
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)
    assert seen.names == {"d", "e"}
    assert asked == ["list", "watch5", "watch6", "watch6", "list", "watch5", "list", "list"]
    assert len(seen.problems) == 2
