"""Requests that an API plugin sends by itself (`process_request`), with an aiohttp session as EvalScope gives it."""

import asyncio
from collections.abc import Callable
from time import perf_counter
from typing import TYPE_CHECKING

import orjson

from perfbench_plugins.benchmark_data import BenchmarkData, whole
from perfbench_plugins.blame import blame
from perfbench_plugins.exchange import FailureKind
from perfbench_plugins.urls import split
from perfbench_runner.shard.destination import Proxy
from perfbench_runner.shard.messages import Wiring
from perfbench_runner.shard.transport import tls_context

if TYPE_CHECKING:
    import aiohttp


class PluginSender:
    """Sends through the wiring's plugin. Belongs to the shard's loop; the session is made with the first request."""

    def __init__(self, wiring: Wiring, clock: Callable[[], float] = perf_counter) -> None:
        self._wiring, self._clock = wiring, clock
        self._session: aiohttp.ClientSession | None = None
        parts = split(wiring.url)
        self._socket = parts.netloc if parts.scheme == "unix" else ""
        query = f"?{parts.query}" if parts.query else ""
        self._url = f"http://localhost{parts.path or '/'}{query}" if self._socket else wiring.url

    async def send(self, content: bytes, own_headers: dict[str, str] | None) -> BenchmarkData:
        """What the plugin measured; whatever it raises is this request's failure."""
        began_s, plugin = self._clock(), self._wiring.plugin
        headers = {"Content-Type": "application/json", **(own_headers or {}), **self._wiring.headers}
        try:
            body = orjson.loads(content)
            data = await plugin.process_request(await self._aiohttp(), self._url, headers, body)
            if not isinstance(data, BenchmarkData):
                raise TypeError(f"process_request returned {data!r}, no BenchmarkData")
        except asyncio.CancelledError as error:
            task = asyncio.current_task()
            is_ours = task is not None and task.cancelling()
            text = f"{type(plugin).__name__}.process_request: {blame(plugin, error)}"
            data = BenchmarkData(failure=FailureKind.PLUGIN, error=text)
            if is_ours:
                data = BenchmarkData(failure=FailureKind.UNFINISHED, error="cut off at the end of the grace period")
        except (Exception, SystemExit) as error:  # noqa: BLE001  # a plugin's own code: whatever it raised fails the request
            data = BenchmarkData(
                failure=FailureKind.PLUGIN, error=f"{type(plugin).__name__}.process_request: {blame(plugin, error)}"
            )
        return self._completed(data, content, began_s)

    def _completed(self, data: BenchmarkData, content: bytes, began_s: float) -> BenchmarkData:
        """What a plugin may leave out, put in."""
        data.request = data.request or content.decode()
        data.start_time = data.start_time or began_s
        data.completed_time = data.completed_time or self._clock()
        if not data.success and not data.failure:
            status = whole(data.status_code) or 0
            data.failure = FailureKind.http(status) if status >= 400 else FailureKind.PLUGIN
        return data

    async def _aiohttp(self) -> "aiohttp.ClientSession":
        if self._session is None:
            import aiohttp

            limits = self._wiring.limits
            timeout = aiohttp.ClientTimeout(total=limits.total_s, connect=limits.connect_s, sock_read=limits.read_s)
            connector: aiohttp.BaseConnector = (
                aiohttp.UnixConnector(self._socket, limit=0)
                if self._socket
                else aiohttp.TCPConnector(limit=0, ssl=tls_context(**self._wiring.tls))
            )
            proxy = self._wiring.proxy
            self._session = aiohttp.ClientSession(
                connector=connector,
                timeout=timeout,
                read_bufsize=2**20,
                proxy=str(proxy) if proxy else None,
                proxy_auth=_auth(proxy) if proxy and proxy.authorization else None,
            )
        return self._session

    async def close(self) -> None:
        """Close its connections."""
        if self._session:
            await self._session.close()


def _auth(proxy: Proxy) -> "aiohttp.BasicAuth":
    import aiohttp

    return aiohttp.BasicAuth.decode(proxy.authorization)
