"""A proxy in front of the API server that counts what an operator asks, and fails it at chosen moments.

It passes requests on to `kubectl proxy`, which works with any cluster that kubectl reaches.
"""

from __future__ import annotations

import asyncio
import json
import re
import subprocess
import threading
import time
import urllib.error
import urllib.request
from collections.abc import Callable, Iterator
from concurrent.futures import Future
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Literal

import aiohttp
from aiohttp import web
from kube import Cluster

Moment = Literal["before", "after"]
_OPENER = urllib.request.build_opener(urllib.request.ProxyHandler({}))
_PLURALS = (
    "perfbenchmarks|jobs|pods|configmaps|persistentvolumeclaims|events|leases|namespaces|nodes|services|serviceaccounts"
)


@contextmanager
def kubectl_proxy(cluster: Cluster) -> Iterator[str]:
    """The address of `kubectl proxy` for a cluster."""
    command = [cluster.programs["kubectl"], "--kubeconfig", str(cluster.kubeconfig), "proxy", "--port=0"]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as process:
        try:
            assert process.stdout is not None
            line = process.stdout.readline()
            yield f"http://{line.rpartition(' ')[2].strip()}"
        finally:
            process.kill()


def kind_of(method: str, path: str, query: str, body: bytes) -> str:
    """What a request is for: the same kind, the same word, whatever the names in it."""
    found = re.search(rf"/(?:namespaces/[^/]+/)?({_PLURALS})(/[^/]+)?(/[a-z]+)?$", path)
    plural, name, part = found.groups() if found else (path, "", "")
    verb = {"GET": "get" if name else "list", "POST": "create"}.get(method, method.lower())
    if "watch=true" in query:
        verb = "watch"
    detail = ""
    if body:
        data = json.loads(body)
        detail = str((data.get("status") or {}).get("phase") or data.get("reason") or "")
    return " ".join(word for word in (verb, f"{plural}{part or ''}", detail) if word)


@dataclass
class Proxy:
    """Belongs to the thread that serves it; what tests read and set are single values."""

    upstream: str
    on_moment: Callable[[str, Moment], bool] = lambda kind, moment: False
    """Asked before a request is passed on, and before its answer is: whether the operator has been killed now."""
    is_away: bool = False
    counts: list[tuple[float, str]] = field(default_factory=list)
    """When each request came, by the monotonic clock, and its kind."""
    url: str = ""

    async def _handle(self, request: web.Request) -> web.StreamResponse:
        body = await request.read()
        kind = kind_of(request.method, request.path, request.query_string, body)
        self.counts.append((time.monotonic(), kind))
        if self.is_away or self.on_moment(kind, "before"):
            return _gone(request)
        async with self._session.request(
            request.method, f"{self.upstream}{request.path_qs}", data=body or None, headers=_headers(request)
        ) as answer:
            if kind.startswith("watch"):
                return await self._stream(request, kind, answer)
            data = await answer.read()
            if self.is_away or self.on_moment(kind, "after"):
                return _gone(request)
            return web.Response(body=data, status=answer.status, headers=_told(answer))

    async def _stream(self, request: web.Request, kind: str, answer: aiohttp.ClientResponse) -> web.StreamResponse:
        if self.on_moment(kind, "after"):
            return _gone(request)
        response = web.StreamResponse(status=answer.status, headers=_told(answer))
        await response.prepare(request)
        while not self.is_away:
            try:
                async with asyncio.timeout(0.5):
                    part = await answer.content.readany()
            except TimeoutError:
                continue
            if not part:
                return response
            await response.write(part)
        return _gone(request)

    async def _serve(self, ready: Future[asyncio.AbstractEventLoop], stopped: asyncio.Event) -> None:
        app = web.Application(client_max_size=64 * 1024 * 1024)
        app.router.add_route("*", "/{path:.*}", self._handle)
        runner = web.AppRunner(app, access_log=None, shutdown_timeout=0.1)
        async with aiohttp.ClientSession(
            timeout=aiohttp.ClientTimeout(total=None), auto_decompress=True
        ) as self._session:
            await runner.setup()
            site = web.TCPSite(runner, "127.0.0.1", 0)
            await site.start()
            self.url = f"http://127.0.0.1:{runner.addresses[0][1]}"
            ready.set_result(asyncio.get_running_loop())
            await stopped.wait()
            await runner.cleanup()

    @contextmanager
    def served(self) -> Iterator[None]:
        """Serve it in a thread of its own."""
        ready: Future[asyncio.AbstractEventLoop] = Future()
        stopped = asyncio.Event()
        # Not run_until_complete: who watched and was killed has left a handler that waits, which `run` ends.
        thread = threading.Thread(target=lambda: asyncio.run(self._serve(ready, stopped)))
        thread.start()
        loop = ready.result(10)
        try:
            yield
        finally:
            loop.call_soon_threadsafe(stopped.set)
            thread.join(10)


def _gone(request: web.Request) -> web.Response:
    """The connection ends without an answer."""
    if request.transport is not None:
        request.transport.abort()
    return web.Response(status=503)


def _headers(request: web.Request) -> dict[str, str]:
    return {name: request.headers[name] for name in ("Accept", "Content-Type") if name in request.headers}


def _told(answer: aiohttp.ClientResponse) -> dict[str, str]:
    return {name: answer.headers[name] for name in ("Content-Type", "Date", "Retry-After") if name in answer.headers}


@dataclass
class Killer:
    """Kills an operator before and after each kind of request, each once."""

    kill: Callable[[], None]
    seen: dict[tuple[str, Moment], int] = field(default_factory=dict)
    lock: threading.Lock = field(default_factory=threading.Lock)

    def __call__(self, kind: str, moment: Moment) -> bool:
        with self.lock:
            key = (kind, moment)
            if key in self.seen or (moment == "after" and (kind, "before") not in self.seen):
                return False
            self.seen[key] = 1
        self.kill()
        return True
