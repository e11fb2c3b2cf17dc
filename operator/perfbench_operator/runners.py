"""Asking runners over HTTP: how far they are, and how their run ended."""

from typing import TypeVar

import aiohttp
from pydantic import BaseModel, ValidationError

from perfbench_api.outcome import Outcome, Progress
from perfbench_operator.kube import Data
from perfbench_operator.objects.layout import PORT

TIMEOUT_S = 2.0
"""A slow runner must not delay other benchmarks."""
_BYTES = 4 * 1024 * 1024
"""Longest answer that is read: a pod may be anything."""
M = TypeVar("M", bound=BaseModel)


class Runners:
    """Belongs to one event loop; close it after use."""

    def __init__(self) -> None:
        self._session = aiohttp.ClientSession(timeout=aiohttp.ClientTimeout(total=TIMEOUT_S))

    async def close(self) -> None:
        """Close the connections."""
        await self._session.close()

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
            async with self._session.get(f"http://{host}:{PORT}{path}", allow_redirects=False) as response:
                response.raise_for_status()
                return kind.model_validate_json(await _read(response.content))
        except (aiohttp.ClientError, TimeoutError, OSError, ValidationError):
            return None


async def _read(content: aiohttp.StreamReader) -> bytes:
    """An answer, up to a length: what is longer is cut, and so no valid JSON any more."""
    data = b""
    while len(data) < _BYTES and (part := await content.read(_BYTES - len(data))):
        data += part
    return data
