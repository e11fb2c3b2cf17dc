"""A request is sent again only if its idle connection had ended before the request can have reached anyone."""

import asyncio
import os
import socket
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field

import pytest

from perfbench_runner.shard import connection as connection_module
from perfbench_runner.shard.connection import Connection, ended_before_arrival
from perfbench_runner.shard.tcp_info import TcpInfo
from perfbench_runner.shard.transport import HttpTransport, Limits

OK = b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\n{}"


@dataclass
class Server:
    """Answers the first request of all; what it does with the others is `handle`'s business."""

    handle: Callable[[asyncio.StreamWriter], Awaitable[None]]
    requests: list[float] = field(default_factory=list)
    """When each was read, by time.perf_counter()."""
    writers: list[asyncio.StreamWriter] = field(default_factory=list)
    port: int = 0

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.writers.append(writer)
        try:
            while await reader.readuntil(b"\r\n\r\n{}"):
                self.requests.append(time.perf_counter())
                if len(self.requests) == 1:
                    writer.write(OK)
                else:
                    await self.handle(writer)
                if writer.is_closing():
                    return
        except (ConnectionError, asyncio.IncompleteReadError):
            pass
        finally:
            writer.close()


@asynccontextmanager
async def a_used_connection(
    handle: Callable[[asyncio.StreamWriter], Awaitable[None]],
) -> AsyncIterator[tuple[Server, HttpTransport, str]]:
    """A server and a transport with one idle connection to it."""
    server = Server(handle)
    listener = await asyncio.start_server(server.serve, "127.0.0.1", 0)
    transport = HttpTransport(Limits(2, 5, 10))
    url = f"http://127.0.0.1:{listener.sockets[0].getsockname()[1]}/"
    try:
        first = await transport.post(url, {}, b"{}")
        assert (first.failure, transport.open_connections) == ("", 1)
        yield server, transport, url
    finally:
        await transport.close()
        listener.close()


def dying_after(delay_s: float) -> Callable[[asyncio.StreamWriter], Awaitable[None]]:
    async def die(writer: asyncio.StreamWriter) -> None:
        await asyncio.sleep(delay_s)
        writer.transport.abort()

    return die


async def answer(writer: asyncio.StreamWriter) -> None:
    writer.write(OK)


async def test_a_server_that_dies_within_a_request_is_a_failure_and_gets_it_once() -> None:
    async with a_used_connection(dying_after(1.5)) as (server, transport, url):
        exchange = await transport.post(url, {}, b"{}")
    assert (exchange.failure, exchange.resends) == ("disconnected", 0)
    assert "the connection ended before the response" in exchange.error
    assert len(server.requests) == 2
    assert 1.4 < exchange.end_s - exchange.sent_s < 4


async def test_a_server_that_dies_of_a_request_at_once_gets_it_once(monkeypatch: pytest.MonkeyPatch) -> None:
    """Its kernel had acknowledged the request: time alone would say that the connection had been closed before."""
    monkeypatch.setattr(connection_module, "STALE_S", 60.0)
    async with a_used_connection(dying_after(0)) as (server, transport, url):
        exchange = await transport.post(url, {}, b"{}")
    assert (exchange.failure, exchange.resends, len(server.requests)) == ("disconnected", 0, 2)


async def test_where_the_kernel_says_nothing_time_decides(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(connection_module, "tcp_info", lambda sock: None)
    async with a_used_connection(dying_after(0.2)) as (server, transport, url):
        late = await transport.post(url, {}, b"{}")
    assert (late.failure, late.resends, len(server.requests)) == ("disconnected", 0, 2)


async def test_an_idle_connection_that_the_server_closed_is_not_used() -> None:
    async with a_used_connection(answer) as (server, transport, url):
        server.writers[0].close()
        await asyncio.sleep(0.1)
        assert transport.open_connections == 0
        exchange = await transport.post(url, {}, b"{}")
    assert (exchange.failure, exchange.resends, len(server.requests)) == ("", 0, 2)


def close_unseen(server: Server) -> None:
    """The server's end comes, but our event loop does not get to look."""
    with socket.socket(fileno=os.dup(server.writers[0].get_extra_info("socket").fileno())) as sock:
        sock.shutdown(socket.SHUT_RDWR)
    time.sleep(0.05)


async def test_an_end_that_the_event_loop_has_not_seen_is_seen_before_sending() -> None:
    async with a_used_connection(answer) as (server, transport, url):
        close_unseen(server)
        exchange = await transport.post(url, {}, b"{}")
    assert (exchange.failure, exchange.resends, len(server.requests)) == ("", 0, 2)


async def test_a_request_that_crossed_the_end_of_its_connection_is_sent_again(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Connection, "is_ready", True)  # as if the end had not come yet
    async with a_used_connection(answer) as (server, transport, url):
        close_unseen(server)
        before_s = time.perf_counter()
        exchange = await transport.post(url, {}, b"{}")
    assert (exchange.failure, exchange.error, exchange.resends) == ("", "", 1)
    assert (exchange.body, len(server.requests)) == (b"{}", 2)
    assert before_s < exchange.sent_s < server.requests[1], "latency counts from the first sending"
    assert (exchange.connect_s, exchange.tls_s, exchange.connected_s) == (0, 0, 0), "latency, and not a wait to send"


async def test_when_nobody_listens_any_more_the_failure_says_so(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Connection, "is_ready", True)
    async with a_used_connection(answer) as (server, transport, url):
        close_unseen(server)
        monkeypatch.setattr("perfbench_runner.shard.addresses.Addresses.next", _nowhere)
        exchange = await transport.post(url, {}, b"{}")
    assert (exchange.failure, exchange.resends, len(server.requests)) == ("connect", 1, 1)
    assert exchange.end_s >= exchange.sent_s > 0


async def _nowhere(_: object) -> tuple[int, tuple[str, int]]:
    raise ConnectionRefusedError(111, "Connection refused")


@pytest.mark.parametrize(
    ("elapsed_s", "acknowledged", "rtt_s", "is_early"),
    [
        (0.001, 1000, 0.0001, True),
        (0.001, 1001, 0.0001, False),  # one byte of it was received
        (0.006, 1000, 0.0001, False),
        (0.006, 1000, 0.001, True),  # two round trips of a millisecond
        (0.100, 1000, 0.050, True),
        (0.600, 1000, 2.0, False),  # a round trip that long is no excuse for everything
        (0.001, None, None, True),
        (0.006, None, None, False),
    ],
)
def test_what_proves_that_a_connection_had_ended(
    elapsed_s: float, acknowledged: int | None, rtt_s: float | None, is_early: bool
) -> None:
    info = None if acknowledged is None or rtt_s is None else TcpInfo(rtt_s, acknowledged, segments=1)
    assert ended_before_arrival(elapsed_s, 1000, info) is is_early
