"""The mock's HTTP/1.1, byte by byte: connections that are kept, pipelined, cut, odd or too much."""

import asyncio
import contextlib
import json
import time
from collections.abc import Callable

import pytest

from perfbench_runner.mock import http
from perfbench_runner.mock.server import MockServer
from perfbench_runner.mock.settings import MockSettings

FAST = MockSettings(ttft_s=0, itl_s=0)


def chat(stream: bool = True, tokens: int = 2, more: str = "", version: str = "1.1") -> bytes:
    body = json.dumps({"messages": [{"role": "user", "content": "x"}], "stream": stream, "max_tokens": tokens}).encode()
    head = f"POST /v1/chat/completions HTTP/{version}\r\nHost: x\r\n{more}Content-Length: {len(body)}\r\n\r\n"
    return head.encode() + body


async def talk(mock: MockServer, *parts: bytes, until_closed: bool = True) -> bytes:
    """Send the parts with pauses; what comes back until the mock closes."""
    reader, writer = await asyncio.open_connection("127.0.0.1", mock.port)
    for part in parts:
        writer.write(part)
        await asyncio.sleep(0.01)
    answer = await asyncio.wait_for(reader.read(), 5)
    writer.close()
    await writer.wait_closed()
    return answer


async def until(condition: Callable[[], object]) -> None:
    """Wait for it, 2 s at most."""
    deadline = time.monotonic() + 2
    while not condition() and time.monotonic() < deadline:  # noqa: ASYNC110  # there is no event for it
        await asyncio.sleep(0.005)


async def test_replies_on_one_connection_come_in_order_even_pipelined() -> None:
    async with MockServer(MockSettings(ttft_s=0.01, itl_s=0.001)) as mock:
        last = chat(stream=False, more="Connection: close\r\n")
        answer = await talk(mock, chat() + chat(stream=False) + b"GET /healthz HTTP/1.1\r\n\r\n" + chat() + last)
        assert answer.count(b"HTTP/1.1 200 OK") == 5
        ids = [answer.index(b"chatcmpl-%016x" % number) for number in (1, 2, 3, 4)]
        assert ids == sorted(ids)
        assert mock.stats.connections == 1
        assert mock.stats.peak_in_flight == 1


async def test_very_many_pipelined_requests_neither_recurse_nor_get_lost() -> None:
    async with MockServer(FAST) as mock:
        answer = await talk(
            mock, b"GET /healthz HTTP/1.1\r\n\r\n" * 3000 + b"GET /x HTTP/1.1\r\nConnection: close\r\n\r\n"
        )
        assert answer.count(b"HTTP/1.1 200 OK") == 3000
        assert answer.count(b"HTTP/1.1 404") == 1


async def test_a_request_may_arrive_in_pieces() -> None:
    async with MockServer(FAST) as mock:
        data = chat(more="Connection: close\r\n")
        answer = await talk(mock, data[:7], data[7:60], data[60:-5], data[-5:])
    assert answer.startswith(b"HTTP/1.1 200 OK\r\n")
    assert answer.endswith(b"data: [DONE]\n\n\r\n0\r\n\r\n")


async def test_a_chunked_request_body_is_understood() -> None:
    head, body = chat(stream=False).split(b"\r\n\r\n", 1)
    head = head.rpartition(b"\r\n")[0] + b"\r\nTransfer-Encoding: chunked\r\nConnection: close\r\n\r\n"
    async with MockServer(FAST) as mock:
        answer = await talk(mock, head + b"%x\r\n%b\r\n0\r\n\r\n" % (len(body), body))
    assert answer.startswith(b"HTTP/1.1 200 OK")


async def test_an_http_1_0_client_gets_no_chunks() -> None:
    async with MockServer(FAST) as mock:
        answer = await talk(mock, chat(version="1.0"))
    head, _, body = answer.partition(b"\r\n\r\n")
    assert b"chunked" not in head
    assert body.startswith(b"data: {")
    assert body.endswith(b"data: [DONE]\n\n")


async def test_a_client_that_waits_for_100_continue_gets_it() -> None:
    head, body = chat(stream=False, more="Expect: 100-continue\r\nConnection: close\r\n").split(b"\r\n\r\n", 1)
    async with MockServer(FAST) as mock:
        answer = await talk(mock, head + b"\r\n\r\n", body)
    assert answer.startswith(b"HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 200 OK\r\n")


async def test_an_upgrade_is_refused_clearly() -> None:
    async with MockServer(FAST) as mock:
        answer = await talk(mock, chat(more="Connection: Upgrade, HTTP2-Settings\r\nUpgrade: h2c\r\n"))
    assert answer.startswith(b"HTTP/1.1 400 Bad Request")
    assert answer.count(b"content-length") == 1
    assert b"leave out CONNECT and Upgrade" in answer


async def test_what_is_not_http_is_refused_after_the_reply_under_way() -> None:
    async with MockServer(MockSettings(ttft_s=0.03, itl_s=0)) as mock:
        answer = await talk(mock, b"\x16\x03\x01\x02\x00 hello\r\n\r\n")
        assert answer.startswith(b"HTTP/1.1 400 Bad Request")
        assert b"this is not HTTP" in answer
        answer = await talk(mock, chat() + b"nonsense \x00\r\n\r\n")
        assert answer.startswith(b"HTTP/1.1 200 OK")
        assert answer.index(b"[DONE]") < answer.index(b"HTTP/1.1 400 Bad Request")
        assert mock.stats.by_status == {200: 1, 400: 2}


async def test_a_body_too_large_is_refused_whether_announced_or_not(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(http, "MAX_BODY", 1000)
    post = b"POST /v1/chat/completions HTTP/1.1\r\n"
    async with MockServer(FAST) as mock:
        announced = await talk(mock, post + b"Content-Length: 5000\r\n\r\n" + b"x" * 2000, b"x" * 3000)
        chunked = await talk(mock, post + b"Transfer-Encoding: chunked\r\n\r\n" + b"400\r\n" + b"x" * 1024 + b"\r\n")
        assert announced.startswith(b"HTTP/1.1 413 ")
        assert chunked.startswith(b"HTTP/1.1 413 ")
        assert b"larger than 1000 bytes" in announced


async def test_a_client_that_leaves_ends_its_reply() -> None:
    async with MockServer(MockSettings(ttft_s=0.01, itl_s=0.01)) as mock:
        reader, writer = await asyncio.open_connection("127.0.0.1", mock.port)
        writer.write(chat(tokens=1000))
        await reader.readuntil(b'"content":" model"')
        assert mock.stats.in_flight == 1
        writer.close()
        await writer.wait_closed()
        await until(lambda: not mock.stats.in_flight)
        stats = mock.stats.as_dict()
    assert (stats["started"], stats["aborted"], stats["done"], stats["in_flight"]) == (1, 1, 0, 0)
    assert stats["open_connections"] == 0


async def test_a_client_that_does_not_read_does_not_hold_up_others() -> None:
    async with MockServer(FAST) as mock:
        _, lazy = await asyncio.open_connection("127.0.0.1", mock.port, limit=1024)
        lazy.write(chat(tokens=60_000))  # some 12 MB: more than the sockets hold
        await asyncio.sleep(0.05)
        answer = await asyncio.wait_for(talk(mock, chat(more="Connection: close\r\n")), 5)
        assert b"[DONE]" in answer
        lazy.transport.abort()


async def test_stop_ends_what_is_under_way() -> None:
    mock = MockServer(MockSettings(ttft_s=60, itl_s=0))
    await mock.start()
    reader, writer = await asyncio.open_connection("127.0.0.1", mock.port)
    writer.write(chat())
    await until(lambda: mock.stats.in_flight)
    await mock.stop()
    await mock.stop()
    assert await reader.read() == b""
    assert mock.stats.aborted == 1
    writer.close()


@pytest.mark.parametrize(
    ("host", "families"),
    [("::", ["127.0.0.1", "::1"]), ("", ["127.0.0.1", "::1"]), ("127.0.0.1", ["127.0.0.1"]), ("::1", ["::1"])],
)
async def test_all_addresses_are_those_of_both_families(host: str, families: list[str], has_ipv6: bool) -> None:
    if not has_ipv6:
        pytest.skip("this machine has no IPv6")
    async with MockServer(MockSettings(host=host)) as mock:
        answered = []
        for address in ("127.0.0.1", "::1"):
            with contextlib.suppress(OSError):
                _, writer = await asyncio.open_connection(address, mock.port)
                writer.close()
                answered.append(address)
    assert answered == families
