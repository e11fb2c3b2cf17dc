"""A stamping proxy: passes bytes on between client and server, and notes when. Of HTTP it knows where a request begins.

Its clock is CLOCK_MONOTONIC, as the client's is, and so its stamps can be compared with a client's to the microsecond.
"""

import re
import socket
import threading
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass, field
from itertools import pairwise
from time import perf_counter

CONTENT = re.compile(rb'data: \{[^\n]*?"content":"[^"][^\n]*\n')
"""An event with content, as llama-server writes it in chat completions."""


@dataclass
class Passed:
    """One connection: what came from the server, and when it had been passed on."""

    asked_s: list[float] = field(default_factory=list)
    """When each request's first bytes came."""
    pieces: list[tuple[float, bytes]] = field(default_factory=list)
    """Of the answers, in order."""

    def content_s(self, begin_s: float, end_s: float) -> list[float]:
        """When each event with content had been passed on, of those between two times."""
        times, ends, text = [], [], b""
        for at_s, data in self.pieces:
            if begin_s <= at_s < end_s:
                text += data
                times.append(at_s)
                ends.append(len(text))
        return [
            next(at_s for at_s, end in zip(times, ends, strict=True) if end >= event.end())
            for event in CONTENT.finditer(text)
        ]


class StampingProxy:
    """Listens, and passes everything on to one port of this machine. One thread a direction: nothing waits for anything."""

    def __init__(self, port: int) -> None:
        self._to = port
        self._server = socket.create_server(("127.0.0.1", 0))
        self.port = int(self._server.getsockname()[1])
        self.passed: list[Passed] = []
        self._sockets: list[socket.socket] = [self._server]
        self._threads: list[threading.Thread] = []
        self._begin(self._accept)

    @property
    def url(self) -> str:
        """Its address."""
        return f"http://127.0.0.1:{self.port}"

    def close(self) -> None:
        """End all connections, and take no more."""
        for one in self._sockets:
            with suppress(OSError):
                one.shutdown(socket.SHUT_RDWR)  # wakes who waits for it; closing alone does not
        for thread in self._threads:
            thread.join()
        for one in self._sockets:
            one.close()

    def _begin(self, target: Callable[..., None], *arguments: object) -> None:
        thread = threading.Thread(target=target, args=arguments, daemon=True)
        self._threads.append(thread)
        thread.start()

    def streams(self) -> list[tuple[float, list[float]]]:
        """Of each answer with content: when it was asked for, and when each content event had been passed on."""
        found = []
        for one in self.passed:
            for asked_s, next_s in pairwise([*one.asked_s, float("inf")]):
                if content := one.content_s(asked_s, next_s):
                    found.append((asked_s, content))
        return sorted(found)

    def _accept(self) -> None:
        with suppress(OSError):
            while True:
                client, _ = self._server.accept()
                # Here and not in a thread yet to be started: what waits in the kernel would be stamped too late.
                passed, first = Passed(), client.recv(2**16)
                self._came(first, passed)
                server = socket.create_connection(("127.0.0.1", self._to))
                self._sockets += [client, server]
                for one in (client, server):
                    one.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
                self.passed.append(passed)
                self._begin(self._down, server, client, passed)
                server.sendall(first)
                self._begin(self._up, client, server, passed)

    def _came(self, data: bytes, passed: Passed) -> None:
        if data.startswith(b"POST "):
            passed.asked_s.append(perf_counter())

    def _up(self, client: socket.socket, server: socket.socket, passed: Passed) -> None:
        with suppress(OSError):
            while data := client.recv(2**16):
                self._came(data, passed)
                server.sendall(data)
            server.shutdown(socket.SHUT_WR)

    def _down(self, server: socket.socket, client: socket.socket, passed: Passed) -> None:
        with suppress(OSError):
            while data := server.recv(2**16):
                client.sendall(data)
                passed.pieces.append((perf_counter(), data))
            client.shutdown(socket.SHUT_WR)
