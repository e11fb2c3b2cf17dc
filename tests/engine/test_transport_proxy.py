"""Other ways to a server than its own TCP port: an HTTP proxy, and a Unix socket."""

import asyncio
import ssl
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from functools import partial
from pathlib import Path
from typing import Any

import pytest
from relaying import relay_to

from perfbench_plugins.exchange import Exchange
from perfbench_runner.shard.destination import Proxy
from perfbench_runner.shard.transport import HttpTransport, Limits, tls_context

OK = b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\n{}"
Handle = Callable[[asyncio.StreamReader, asyncio.StreamWriter], Awaitable[None]]


@asynccontextmanager
async def listening(handle: Handle, **settings: Any) -> AsyncIterator[int]:
    listener = await asyncio.start_server(handle, "127.0.0.1", 0, **settings)
    try:
        yield listener.sockets[0].getsockname()[1]
    finally:
        listener.close()


def answering(heads: list[str]) -> Handle:
    """A server, or a proxy that answers itself, which notes the heads of requests."""

    async def handle(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            while head := (await reader.readuntil(b"\r\n\r\n")).decode():
                heads.append(head)
                await reader.readexactly(2)
                writer.write(OK)
        except (asyncio.IncompleteReadError, OSError):
            pass
        finally:
            writer.close()

    return handle


def tunnelling(to: int, heads: list[str], answer: bytes = b"HTTP/1.1 200 Connection established\r\n\r\n") -> Handle:
    """A proxy that passes on bytes to a port, whatever host it is asked for, or refuses."""

    async def handle(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        heads.append((await reader.readuntil(b"\r\n\r\n")).decode())
        writer.write(answer[:9])  # a head may come in pieces
        await asyncio.sleep(0.01)
        writer.write(answer[9:])
        if b" 200 " not in answer:
            writer.close()
            return
        await relay_to(to, reader, writer)

    return handle


async def ask(url: str, proxy: Proxy | None = None, times: int = 1, **tls: Any) -> list[Exchange]:
    transport = HttpTransport(Limits(5, 5, 10), partial(tls_context, **tls), proxy=proxy)
    try:
        return [await transport.post(url, {"X-Own": "1"}, b"{}") for _ in range(times)]
    finally:
        await transport.close()


async def test_a_proxy_gets_requests_with_the_whole_url() -> None:
    heads: list[str] = []
    async with listening(answering(heads)) as port:
        proxy = Proxy("127.0.0.1", port, "Basic bmFtZTpwYXNz")
        exchanges = await ask("http://endpoint.test:8000/v1/x?a=1", proxy, times=3)
    assert [(each.failure, each.body) for each in exchanges] == [("", b"{}")] * 3
    assert heads[0].startswith("POST http://endpoint.test:8000/v1/x?a=1 HTTP/1.1\r\nHost: endpoint.test:8000\r\n")
    assert "\r\nX-Own: 1\r\n" in heads[0]
    assert "\r\nProxy-Authorization: Basic bmFtZTpwYXNz\r\n" in heads[0]
    assert exchanges[2].connect_s == 0, "the connection to the proxy is used again"


async def test_a_proxy_passes_on_tls_and_sees_neither_request_nor_its_headers(certificates: Path) -> None:
    server = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    server.load_cert_chain(certificates / "server.pem", certificates / "server.key")
    heads: list[str] = []
    asked: list[str] = []
    async with (
        listening(answering(heads), ssl=server) as port,
        listening(tunnelling(port, asked)) as proxy_port,
    ):
        proxy = Proxy("127.0.0.1", proxy_port, "Basic bmFtZTpwYXNz")
        first, second = await ask("https://localhost:8443/v1", proxy, 2, ca_file=str(certificates / "ours.pem"))
    assert (first.failure, first.error, second.failure) == ("", "", "")
    (connect,) = asked
    assert connect.startswith("CONNECT localhost:8443 HTTP/1.1\r\nHost: localhost:8443\r\n")
    assert "Proxy-Authorization: Basic bmFtZTpwYXNz" in connect
    assert "X-Own" not in connect
    assert heads[0].startswith("POST /v1 HTTP/1.1\r\n")
    assert "Proxy-Authorization" not in heads[0]
    assert first.tls_s > 0


@pytest.mark.parametrize(
    ("answer", "words"),
    [
        (b"HTTP/1.1 407 Proxy Authentication Required\r\n\r\n", "wants a user name and password"),
        (b"HTTP/1.1 403 Forbidden\r\n\r\n", "answered CONNECT with 403 Forbidden"),
        (b"HTTP/1.1 502 Bad Gateway\r\nContent-Length: 2\r\n\r\n", "answered CONNECT with 502 Bad Gateway"),
        (b"SSH-2.0-OpenSSH\r\n\r\n", "is it one?"),
        (b"\x05\xff", "is it one?"),
        (b"", "is it one?"),
    ],
)
async def test_a_proxy_that_lets_nobody_through_is_told(answer: bytes, words: str) -> None:
    async with listening(tunnelling(9, [], answer)) as port:
        (exchange,) = await ask("https://endpoint.test/v1", Proxy("127.0.0.1", port))
    assert exchange.failure == "connect"
    assert f"https://endpoint.test:443 through the proxy http://127.0.0.1:{port}: the proxy" in exchange.error
    assert words in exchange.error


async def test_a_server_behind_a_unix_socket(tmp_path: Path) -> None:
    heads: list[str] = []
    path = tmp_path / "server.sock"
    listener = await asyncio.start_unix_server(answering(heads), path)
    try:
        exchanges = await ask(f"unix:{path}:/v1/chat/completions?a=1", times=2)
    finally:
        listener.close()
    assert [(each.failure, each.error, each.body) for each in exchanges] == [("", "", b"{}")] * 2
    assert heads[0].startswith("POST /v1/chat/completions?a=1 HTTP/1.1\r\nHost: localhost\r\n")
    assert exchanges[0].stamps_by == "program"
    assert exchanges[1].connect_s == 0
    assert exchanges[0].sent_s <= exchanges[0].first_byte_s <= exchanges[0].end_s


async def test_a_socket_that_is_not_there_is_told(tmp_path: Path) -> None:
    (exchange,) = await ask(f"unix:{tmp_path}/nobody.sock:/v1")
    assert exchange.failure == "connect"
    assert exchange.error == f"unix:{tmp_path}/nobody.sock: there is no such socket; does the server run?"
