"""Each way in which the mock fails when told to, and that it admits it in its statistics."""

import asyncio
import json
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import pytest

from perfbench_runner.mock.server import MockServer
from perfbench_runner.mock.settings import MockSettings


@asynccontextmanager
async def mocked(**settings: Any) -> AsyncIterator[MockServer]:
    async with MockServer(MockSettings(**{"ttft_s": 0.0, "itl_s": 0.0} | settings)) as mock:
        yield mock
        stats = mock.stats
        assert stats.started == stats.done + stats.failed + stats.aborted + stats.in_flight


async def ask(mock: MockServer, stream: bool = True, tokens: int = 8) -> tuple[int, bytes, bytes]:
    """Status, head and body as they are on the wire, until the mock closes."""
    body = json.dumps({"messages": [{"role": "user", "content": "x"}], "stream": stream, "max_tokens": tokens}).encode()
    reader, writer = await asyncio.open_connection("127.0.0.1", mock.port)
    head = b"POST /v1/chat/completions HTTP/1.1\r\nConnection: close\r\nContent-Length: %d\r\n\r\n" % len(body)
    writer.write(head + body)
    head, _, answer = (await asyncio.wait_for(reader.read(), 5)).partition(b"\r\n\r\n")
    writer.close()
    await writer.wait_closed()
    return int(head.split()[1]), head, answer


def tokens_in(body: bytes) -> int:
    return body.count(b'"delta":{"content":')


async def test_error_rate_answers_error_status() -> None:
    async with mocked(error_rate=1, error_status=503) as mock:
        status, _, body = await ask(mock)
        assert status == 503
        assert json.loads(body)["error"]["code"] == 503
        stats = mock.stats.as_dict()
    assert (stats["failed"], stats["done"], stats["by_status"], stats["injected"]) == (1, 0, {"503": 1}, {"error": 1})


@pytest.mark.parametrize("tokens", [1, 8])
async def test_broken_rate_cuts_the_connection_half_way(tokens: int) -> None:
    async with mocked(broken_rate=1) as mock:
        status, _, body = await ask(mock, tokens=tokens)
        assert status == 200
        assert tokens_in(body) == tokens // 2
        assert not body.endswith(b"0\r\n\r\n")
        _, head, body = await ask(mock, stream=False)
        assert 0 < len(body) < int(head.lower().partition(b"content-length: ")[2].split()[0])
        assert mock.stats.injected == {"broken": 2}


async def test_stream_error_rate_reports_an_error_under_200() -> None:
    async with mocked(stream_error_rate=1) as mock:
        status, _, body = await ask(mock)
        assert status == 200
        assert tokens_in(body) == 4
        assert b'data: {"error":{' in body
        assert b'finish_reason":"' not in body
        assert body.endswith(b"\r\n0\r\n\r\n"), "HTTP itself is whole"
        assert mock.stats.injected == {"stream_error": 1}


async def test_truncate_rate_leaves_out_the_end() -> None:
    async with mocked(truncate_rate=1) as mock:
        _, _, body = await ask(mock)
        assert tokens_in(body) == 8
        assert b'finish_reason":"' not in body
        assert b"[DONE]" not in body
        assert body.endswith(b"\r\n0\r\n\r\n")
        assert (mock.stats.failed, mock.stats.injected) == (1, {"truncated": 1})


@pytest.mark.parametrize("stream", [True, False])
@pytest.mark.parametrize("tokens", [1, 8])
async def test_stall_rate_pauses(stream: bool, tokens: int) -> None:
    async with mocked(stall_rate=1, stall_s=0.06) as mock:
        start = time.monotonic()
        _, _, body = await ask(mock, stream, tokens)
        assert 0.06 <= time.monotonic() - start < 0.5
        assert not stream or b"[DONE]" in body
        assert (mock.stats.done, mock.stats.injected) == (1, {"stalled": 1})


async def test_a_rate_hits_its_share_and_the_seed_fixes_whom() -> None:
    async def statuses(seed: int) -> list[int]:
        async with mocked(error_rate=0.3, seed=seed) as mock:
            return [(await ask(mock, tokens=1))[0] for _ in range(60)]

    first = await statuses(1)
    assert 6 <= first.count(500) <= 32
    assert first == await statuses(1)
    assert first != await statuses(2)


async def test_beyond_the_rate_limit_clients_are_told_to_wait() -> None:
    async with mocked(rate_limit=2, ttft_s=0.1) as mock:
        answers = await asyncio.gather(*(ask(mock) for _ in range(5)))
        assert sorted(status for status, _, _ in answers) == [200, 200, 429, 429, 429]
        assert all(b"retry-after: 1" in head for status, head, _ in answers if status == 429)
        assert (await ask(mock))[0] == 200
        assert mock.stats.by_status == {200: 3, 429: 3}
