"""The addresses of a host, looked up now and then and used in turn."""

import asyncio
import socket
from collections.abc import Callable
from contextlib import suppress
from ipaddress import ip_address

from perfbench_runner.shard.destination import Origin

Address = tuple[int, tuple[str, int] | str]
"""Address family and address, as a socket takes them."""

RESOLVE_AGAIN_S = 30.0


class Addresses:
    """All addresses of a host in turn, so that several of a headless Service share the load."""

    def __init__(self, origin: Origin, clock: Callable[[], float], first: int = 0) -> None:
        """`first`: which address to begin with, counted round. Shards that all began with the same one would favour it."""
        self._origin, self._clock, self._next = origin, clock, first
        self._resolution: asyncio.Future[list[Address]] | None = None
        self._resolved_s = 0.0

    async def next(self) -> Address:
        """The next address. Raises OSError for an unknown host; a failed look-up is not remembered."""
        resolution = self._resolution
        if resolution is None or self._clock() - self._resolved_s > RESOLVE_AGAIN_S or _failed(resolution):
            self._resolved_s = self._clock()
            self._resolution = resolution = asyncio.ensure_future(resolve(self._origin))
        addresses = await asyncio.shield(resolution)  # one look-up serves all that wait for it
        turn, self._next = self._next, self._next + 1
        return addresses[turn % len(addresses)]


def _failed(resolution: "asyncio.Future[list[Address]]") -> bool:
    return resolution.done() and (resolution.cancelled() or resolution.exception() is not None)


async def resolve(origin: Origin) -> list[Address]:
    """All addresses to connect to, of one family: IPv4 where there is one. Raises OSError for an unknown host."""
    if origin.socket:
        return [(socket.AF_UNIX, origin.socket)]
    host, port = origin.peer
    with suppress(ValueError):  # a plain address needs no resolver
        family = socket.AF_INET if ip_address(host).version == 4 else socket.AF_INET6
        return [(family, (host, port))]
    found = await asyncio.get_running_loop().getaddrinfo(host, port, type=socket.SOCK_STREAM)
    families = {entry[0] for entry in found}
    family = socket.AF_INET if socket.AF_INET in families else found[0][0]
    return [(entry[0], (str(entry[4][0]), int(entry[4][1]))) for entry in found if entry[0] == family]
