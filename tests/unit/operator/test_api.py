"""Requests to an API server, against one on this machine that answers as Kubernetes does."""

from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from datetime import UTC, datetime, timedelta
from email.utils import format_datetime
from typing import Any

import pytest
from aiohttp import web
from kubernetes.aio import client

from perfbench_operator.api import Api, ApiError, ConflictError, GoneError, NotFoundError, RefusedError

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
        items = await api.read_all(PATH)
    assert [one["metadata"]["name"] for one in items] == [str(number) for number in range(count)]


STATUSES: list[tuple[int, type[Exception]]] = [
    (404, NotFoundError),
    (409, ConflictError),
    (410, GoneError),
    (403, RefusedError),
    (422, RefusedError),
    (429, ApiError),
    (500, ApiError),
]


async def test_a_webhook_that_does_not_answer_refuses_the_object_for_now() -> None:
    """The status of a benchmark stayed empty while Kueue was down."""

    async def answer(request: web.Request) -> web.StreamResponse:
        text = 'Internal error occurred: failed calling webhook "mjob.kb.io": connection refused'
        return web.json_response({"kind": "Status", "code": 500, "message": text}, status=500)

    async with api_of(answer) as api:
        with pytest.raises(RefusedError, match=r"mjob\.kb\.io") as caught:
            await api.call("GET", PATH)
    assert not caught.value.is_invalid


@pytest.mark.parametrize(("code", "error"), STATUSES)
async def test_every_refusal_has_its_own_error(code: int, error: type[Exception]) -> None:
    async def answer(request: web.Request) -> web.StreamResponse:
        return web.json_response({"kind": "Status", "code": code, "message": "why"}, status=code)

    async with api_of(answer) as api:
        with pytest.raises(error, match="why"):
            await api.call("GET", PATH)


async def test_an_api_server_that_is_away_is_an_error_to_be_retried() -> None:
    settings = client.Configuration(host="http://127.0.0.1:9")
    api = Api(client.ApiClient(settings))
    with pytest.raises(ApiError):
        await api.call("GET", PATH)
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
