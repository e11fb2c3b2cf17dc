"""TLS: verified against one's own authority, with a client certificate where the server wants one."""

import asyncio
import socket
import ssl
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from functools import partial
from pathlib import Path
from typing import Any

import pytest

from perfbench_plugins.exchange import Exchange
from perfbench_runner.shard.transport import HttpTransport, Limits, tls_context

OK = b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\n{}"


@asynccontextmanager
async def serving(folder: Path, name: str = "server", wants_client: bool = False) -> AsyncIterator[int]:
    context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH, cafile=str(folder / "ours.pem"))
    context.load_cert_chain(folder / f"{name}.pem", folder / f"{name}.key")
    context.verify_mode = ssl.CERT_REQUIRED if wants_client else ssl.CERT_NONE

    async def handle(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            while await reader.readuntil(b"\r\n\r\n{}"):
                writer.write(OK[:40])
                await asyncio.sleep(0.01)
                writer.write(OK[40:])
        except (asyncio.IncompleteReadError, OSError):
            pass
        finally:
            writer.close()

    listener = await asyncio.start_server(handle, "127.0.0.1", 0, ssl=context)
    try:
        yield listener.sockets[0].getsockname()[1]
    finally:
        listener.close()


async def ask(url: str, times: int = 1, **tls: Any) -> list[Exchange]:
    transport = HttpTransport(Limits(2, 2, 5), partial(tls_context, **tls))
    try:
        return [await transport.post(url, {}, b"{}") for _ in range(times)]
    finally:
        await transport.close()


async def test_our_own_authority_is_trusted_and_the_connection_used_again(certificates: Path) -> None:
    async with serving(certificates) as port:
        first, second = await ask(f"https://127.0.0.1:{port}/", 2, ca_file=str(certificates / "ours.pem"))
    assert (first.failure, first.body, second.failure) == ("", b"{}", "")
    assert first.connect_s > 0
    assert first.tls_s > 0
    assert (second.connect_s, second.tls_s) == (0, 0)


async def test_names_are_checked(certificates: Path) -> None:
    async with serving(certificates, "elsewhere") as port:
        (exchange,) = await ask(f"https://localhost:{port}/", ca_file=str(certificates / "ours.pem"))
    assert exchange.failure == "connect"
    assert "certificate is not trusted" in exchange.error
    assert "another name than the one in target.url" in exchange.error


async def test_a_certificate_that_has_expired_is_to_be_renewed(certificates: Path) -> None:
    async with serving(certificates, "expired") as port:
        (exchange,) = await ask(f"https://127.0.0.1:{port}/", ca_file=str(certificates / "ours.pem"))
    assert exchange.failure == "connect"
    assert exchange.error.endswith("certificate has expired; renew it, or set this machine's clock")


@pytest.mark.parametrize("authority", ["another.pem", None])
async def test_another_authority_is_not_trusted(certificates: Path, authority: str | None) -> None:
    tls: dict[str, Any] = {"ca_file": str(certificates / authority)} if authority else {}
    async with serving(certificates) as port:
        (exchange,) = await ask(f"https://127.0.0.1:{port}/", **tls)
    assert exchange.failure == "connect"
    assert "its certificate is not trusted" in exchange.error
    assert "give target.tls.ca" in exchange.error


async def test_insecure_trusts_anyone(certificates: Path) -> None:
    async with serving(certificates, "elsewhere") as port:
        (exchange,) = await ask(f"https://127.0.0.1:{port}/", insecure=True)
    assert exchange.failure == ""


@pytest.mark.parametrize(("cert", "key"), [("client.pem", "client.key"), ("client-both.pem", None)])
async def test_a_client_certificate_is_shown(certificates: Path, cert: str, key: str | None) -> None:
    tls: dict[str, Any] = {"cert_file": str(certificates / cert), "key_file": str(certificates / key) if key else None}
    async with serving(certificates, wants_client=True) as port:
        (exchange,) = await ask(f"https://127.0.0.1:{port}/", ca_file=str(certificates / "ours.pem"), **tls)
    assert (exchange.failure, exchange.error) == ("", "")


async def test_without_a_client_certificate_the_server_refuses(certificates: Path) -> None:
    async with serving(certificates, wants_client=True) as port:
        (exchange,) = await ask(f"https://127.0.0.1:{port}/", ca_file=str(certificates / "ours.pem"))
    assert exchange.failure in ("connect", "disconnected")  # TLS 1.3 tells only after the handshake
    assert "http instead of https" not in exchange.error


async def test_https_to_a_plain_server_says_so() -> None:
    async def handle(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.read(100)
        writer.write(OK)
        writer.close()

    listener = await asyncio.start_server(handle, "127.0.0.1", 0)
    (exchange,) = await ask(f"https://127.0.0.1:{listener.sockets[0].getsockname()[1]}/")
    listener.close()
    assert exchange.failure == "connect"
    assert "is it http instead of https?" in exchange.error


async def test_a_handshake_that_hangs_is_a_connect_timeout() -> None:
    with socket.create_server(("127.0.0.1", 0)) as deaf:
        transport = HttpTransport(Limits(connect_s=0.3))
        exchange = await transport.post(f"https://127.0.0.1:{deaf.getsockname()[1]}/", {}, b"{}")
        await transport.close()
    assert exchange.failure == "timeout"
    assert "no connection to https://127.0.0.1" in exchange.error
