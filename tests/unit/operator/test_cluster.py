"""Requests to the API server, made to a server of our own."""

from __future__ import annotations

from typing import Any

from aiohttp import web
from aiohttp.test_utils import TestServer
from kubernetes.aio import client

from perfbench_operator.api import Api
from perfbench_operator.cluster import Cluster


async def test_objects_are_created_with_strict_field_validation() -> None:
    """Else a field that the API server does not know is dropped without a word."""
    seen: list[dict[str, str]] = []

    async def create(request: web.Request) -> web.Response:
        seen.append(dict(request.query))
        return web.json_response(await request.json(), status=201)

    app = web.Application()
    app.router.add_post("/apis/batch/v1/namespaces/team/jobs", create)
    async with TestServer(app) as server:
        cluster = Cluster(Api(client.ApiClient(client.Configuration(host=str(server.make_url("")).rstrip("/")))))
        job: dict[str, Any] = {"kind": "Job", "metadata": {"namespace": "team", "name": "a"}}
        try:
            assert await cluster.create(job) == job
        finally:
            await cluster.close()
    assert seen == [{"fieldValidation": "Strict"}]
