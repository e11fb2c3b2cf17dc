"""The API server: requests, lists in pages, sessions to watch by, and its clock.

Every time that Kubernetes writes is the API server's or a node's. So the operator measures by the API server's clock,
too, which each of its answers tells; an operator whose own clock is wrong ends nobody's run.
"""

import json
import os
from collections.abc import Callable, Sequence
from datetime import UTC, datetime, timedelta
from email.utils import parsedate_to_datetime
from typing import Any

import aiohttp
from kubernetes.aio import client, config
from kubernetes.aio.client.rest import RESTClientObject

from perfbench_operator.kube import Resource

REQUEST_S = 15.0
"""Timeout of a request to the API server."""
PAGE = 500
"""Objects in one answer to a list."""
_CLOCK_TOLERANCE_S = 2.0
"""The API server tells whole seconds: a smaller difference is none."""
MERGE = "application/merge-patch+json"
Query = Sequence[tuple[str, str]]


class ApiError(Exception):
    """The API server failed or cannot be reached; a retry may help."""


class GoneError(ApiError):
    """The version is too old to go on with a list: list anew."""


class NotFoundError(Exception):
    """There is no such object."""


class ConflictError(Exception):
    """The object already exists, or has changed since it was read."""


class RefusedError(Exception):
    """The API server rejects an object (HTTP 400, 403 or 422), or a webhook does not answer it; the message says why.

    A retry may help unless the object is invalid.
    """

    def __init__(self, message: str, is_invalid: bool) -> None:
        super().__init__(message)
        self.is_invalid = is_invalid
        """The object itself is invalid."""


class Api:
    """A connection to the API server. Belongs to one event loop; close it after use."""

    def __init__(self, connection: client.ApiClient, clock: Callable[[], datetime] = lambda: datetime.now(UTC)) -> None:
        self._connection, self._clock = connection, clock
        self._ahead = timedelta()
        """How far the API server's clock is ahead of ours."""

    @classmethod
    async def connect(cls) -> "Api":
        """Connect as the pod's service account, or by KUBECONFIG outside of a cluster."""
        settings = client.Configuration()
        if "KUBERNETES_SERVICE_HOST" in os.environ:
            config.load_incluster_config(client_configuration=settings)  # type: ignore[no-untyped-call]
        else:
            file = os.environ.get("KUBECONFIG")  # the library reads it when it is imported, which may be too early
            await config.load_kube_config(file, client_configuration=settings)  # type: ignore[no-untyped-call]
        return cls(client.ApiClient(settings))

    async def close(self) -> None:
        """Close the connections."""
        await self._connection.close()  # type: ignore[no-untyped-call]

    def now(self) -> datetime:
        """The API server's time."""
        return self._clock() + self._ahead

    async def open_session(self, traces: Sequence[aiohttp.TraceConfig]) -> tuple[str, aiohttp.ClientSession]:
        """The API server's address, and a session that is logged in; it belongs to the caller's event loop, who closes it."""
        settings = self._connection.configuration
        token = await settings.get_api_key_with_prefix("BearerToken", alias="authorization")
        session = aiohttp.ClientSession(
            connector=aiohttp.TCPConnector(limit=0, ssl=RESTClientObject(settings).ssl_context),
            headers={"Authorization": token} if token else {},
            proxy=settings.proxy,
            trace_configs=list(traces),
        )
        return str(settings.host), session

    async def call(
        self, method: str, path: str, body: Any = None, *, query: Query = (), kind: str = "application/json"
    ) -> Resource:
        """One request; raises ApiError, NotFoundError, ConflictError or RefusedError."""
        headers = {"Accept": "application/json", "Content-Type": kind}
        request = await self._connection.param_serialize(
            method, path, query_params=list(query), header_params=headers, body=body, auth_settings=["BearerToken"]
        )
        try:
            response: Any = await self._connection.call_api(*request, _request_timeout=REQUEST_S)
            data: bytes = await response.read()
        except (aiohttp.ClientError, TimeoutError, OSError) as error:
            raise ApiError(f"{method} {path}: {error or type(error).__name__}") from error
        self._compare_clocks(response.getheader("Date"))
        if response.status >= 400:
            _raise(response.status, f"{method} {path}", data)
        answer: Resource = json.loads(data)
        return answer

    async def read_all(self, path: str, query: Query = ()) -> list[Resource]:
        """All objects of a collection, read in pages."""
        items: list[Resource] = []
        token = ""
        while True:
            page = [*query, ("limit", str(PAGE)), *([("continue", token)] if token else [])]
            answer = await self.call("GET", path, query=page)
            items += answer["items"]
            token = (answer.get("metadata") or {}).get("continue") or ""
            if not token:
                return items

    def _compare_clocks(self, date: str | None) -> None:
        try:
            ahead = parsedate_to_datetime(date or "") - self._clock()
        except (ValueError, TypeError):
            return
        self._ahead = ahead if abs(ahead.total_seconds()) > _CLOCK_TOLERANCE_S else timedelta()


_WEBHOOK_FAILED = "failed calling webhook"
"""So the API server says, with HTTP 500, that a webhook did not answer which has to."""


def _raise(status: int, what: str, data: bytes) -> None:
    message = f"{what}: HTTP {status}: {_message(data)}"
    if status == 404:
        raise NotFoundError(message)
    if status == 409:
        raise ConflictError(message)
    if status == 410:
        raise GoneError(message)
    if status in (400, 403, 422) or _WEBHOOK_FAILED in message:
        raise RefusedError(_message(data), is_invalid=status in (400, 422))
    raise ApiError(message)


def _message(data: bytes) -> str:
    try:
        return str(json.loads(data).get("message", ""))
    except ValueError:
        return data[:200].decode(errors="replace")
