"""When tokens come: by absolute deadlines, and the mock's own account of it is true."""

import asyncio
import json
import socket
import statistics
import sys
import time
from itertools import pairwise

import pytest

from perfbench_runner.mock.process import MockProcess
from perfbench_runner.mock.replies import Fates
from perfbench_runner.mock.server import MockServer
from perfbench_runner.mock.settings import MockSettings
from perfbench_runner.mock.stats import Durations

pytestmark = pytest.mark.alone


async def stream(port: int, tokens: int) -> list[float]:
    """Seconds from sending to each token's arrival."""
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    body = json.dumps({"messages": [{"role": "user", "content": "x"}], "stream": True, "max_tokens": tokens}).encode()
    start, times = time.monotonic(), []
    writer.write(b"POST /v1/chat/completions HTTP/1.1\r\nContent-Length: %d\r\n\r\n%b" % (len(body), body))
    while (line := await reader.readuntil(b"\n")) != b"data: [DONE]\n":
        if b'"delta":{"content":' in line:
            times.append(time.monotonic() - start)
    writer.close()
    await writer.wait_closed()
    return times


async def test_tokens_come_when_due_and_do_not_drift() -> None:
    settings = MockSettings(ttft_s=0.04, itl_s=0.005)
    with MockProcess(settings) as mock:
        await stream(mock.port, 1)
        mock.reset()
        times = await stream(mock.port, 60)
        stats = mock.stats()
    late = [at - (settings.ttft_s + k * settings.itl_s) for k, at in enumerate(times)]
    assert min(late) >= 0, "a token came before it was due"
    assert statistics.median(late) < 0.005
    assert min(late[-20:]) < 0.003, "lateness adds up"
    assert stats["ttft_ms"]["n"] == 1
    assert stats["itl_ms"]["n"] == 59
    assert stats["lateness_ms"]["n"] == 60
    # Its account: what it says it produced is what arrived, up to the way here.
    assert 40 <= stats["ttft_ms"]["mean"] <= times[0] * 1e3
    assert stats["itl_ms"]["mean"] == pytest.approx((times[-1] - times[0]) / 59 * 1e3, abs=0.5)
    assert stats["lateness_ms"]["mean"] <= statistics.mean(late) * 1e3


async def test_many_streams_keep_their_own_time() -> None:
    with MockProcess(MockSettings(ttft_s=0.05, itl_s=0.01)) as mock:
        streams = await asyncio.gather(*(stream(mock.port, 20) for _ in range(32)))
        stats = mock.stats()
    assert all(len(times) == 20 for times in streams)
    assert all(times[-1] >= 0.05 + 19 * 0.01 for times in streams)
    assert (stats["done"], stats["output_tokens"], stats["peak_in_flight"]) == (32, 640, 32)
    assert stats["lateness_ms"]["p50"] < 10


async def test_a_whole_reply_comes_when_its_last_token_would() -> None:
    async with MockServer(MockSettings(ttft_s=0.02, itl_s=0.01)) as mock:
        reader, writer = await asyncio.open_connection("127.0.0.1", mock.port)
        start = time.monotonic()
        for path, body, due_s in (
            ("/v1/completions", {"prompt": "x", "max_tokens": 6}, 0.07),
            ("/v1/embeddings", {"input": "x"}, 0.02),
        ):
            data, start = json.dumps(body).encode(), time.monotonic()
            writer.write(f"POST {path} HTTP/1.1\r\nContent-Length: {len(data)}\r\n\r\n".encode() + data)
            await reader.readuntil(b"\r\n\r\n")
            assert due_s <= time.monotonic() - start < due_s + 0.04
            await reader.readuntil(b"}}")
        writer.close()
        assert mock.stats.lateness.count == 2


async def test_jitter_spreads_and_the_seed_fixes_it() -> None:
    settings = MockSettings(ttft_s=0.05, ttft_jitter_s=0.02, seed=3)
    drawn = [Fates(settings).draw(number).ttft_s for number in range(1, 200)]
    assert drawn == [Fates(settings).draw(number).ttft_s for number in range(1, 200)]
    assert drawn != [Fates(MockSettings(ttft_s=0.05, ttft_jitter_s=0.02, seed=4)).draw(n).ttft_s for n in range(1, 200)]
    assert 0.03 <= min(drawn) < 0.035
    assert 0.065 < max(drawn) <= 0.07
    async with MockServer(MockSettings(ttft_s=0, itl_s=0.004, itl_jitter_s=0.004)) as mock:
        times = await stream(mock.port, 50)
    assert statistics.stdev(b - a for a, b in pairwise(times)) > 0.001


def test_a_distribution_is_exact_to_ten_microseconds() -> None:
    distribution = Durations()
    for value in range(1, 1001):
        distribution.add(value / 1000)
    summary = distribution.summary_ms()
    assert summary["n"] == 1000
    assert summary["mean"] == pytest.approx(500.5)
    assert summary["p50"] == pytest.approx(500.5, abs=0.011)
    assert summary["p99"] == pytest.approx(990.01, abs=0.011)
    assert summary["max"] == 1000
    assert Durations().summary_ms() == {"n": 0, "mean": 0, "p50": 0, "p99": 0, "max": 0}


@pytest.mark.skipif(sys.platform != "linux", reason="the kernel's stamps are Linux")
async def test_a_request_arrives_when_the_kernel_has_it_and_not_when_the_mock_reads_it() -> None:
    """Its own delay must not be missing from what it calls true."""
    async with MockServer(MockSettings(ttft_s=0.1, itl_s=0)) as mock:
        with socket.create_connection(("127.0.0.1", mock.port)) as client:
            await asyncio.sleep(0.05)  # accepted
            body = b'{"messages": [{"role": "user", "content": "x"}], "stream": true, "max_tokens": 1}'
            client.sendall(b"POST /v1/chat/completions HTTP/1.1\r\nContent-Length: %d\r\n\r\n%s" % (len(body), body))
            time.sleep(0.3)  # noqa: ASYNC251  # the mock's loop stands still
            while not mock.stats.ttft.count:  # noqa: ASYNC110  # nothing else tells
                await asyncio.sleep(0.01)
        assert mock.stats.ttft.max >= 0.29, "the client waited as long"
        assert mock.stats.lateness.max >= 0.19


async def test_who_finds_all_slots_taken_waits_for_one() -> None:
    """Two slots, six requests of 20 + 18 * 10 ms at once: three pairs, one after the other."""
    with MockProcess(MockSettings(ttft_s=0.02, itl_s=0.01, slots=2)) as mock:
        streams = await asyncio.gather(*(stream(mock.port, 19) for _ in range(6)))
        stats = mock.stats()
    for number, first_s in enumerate(sorted(times[0] for times in streams)):
        due_s = 0.02 + number // 2 * 0.2
        assert due_s - 0.09 <= first_s < due_s + 0.11  # each counts from its own start
    assert (stats["done"], stats["waiting"], stats["in_flight"]) == (6, 0, 0)


async def test_a_batch_slows_all_that_are_in_it() -> None:
    with MockProcess(MockSettings(ttft_s=0.01, itl_s=0.01, slots=4, batch_slowdown=0.5)) as mock:
        (alone,) = await asyncio.gather(stream(mock.port, 11))
        together = await asyncio.gather(*(stream(mock.port, 11) for _ in range(3)))
    assert 0.11 <= alone[-1] < 0.16
    for times in together:  # twice as slow with three of them
        assert 0.20 <= times[-1] < 0.29


async def test_prompts_take_their_time() -> None:
    with MockProcess(MockSettings(ttft_s=0.0, itl_s=0.001, prefill_speed=100)) as mock:
        times = await stream(mock.port, 2)
        prompt_tokens = mock.stats()["prompt_tokens"]
    assert times[0] >= prompt_tokens / 100 > 0


async def test_a_client_that_leaves_gives_its_slot_and_its_place_in_the_queue_back() -> None:
    body = b'{"messages": [{"role": "user", "content": "x"}]}'
    request = b"POST /v1/chat/completions HTTP/1.1\r\nContent-Length: %d\r\n\r\n%s" % (len(body), body)
    async with MockServer(MockSettings(ttft_s=1.0, itl_s=0, slots=1, output_tokens=1)) as mock:
        clients = [socket.create_connection(("127.0.0.1", mock.port)) for _ in range(3)]
        for client in clients:
            client.sendall(request)
        while mock.stats.in_flight < 3:  # noqa: ASYNC110  # nothing else tells
            await asyncio.sleep(0.005)
        for client in clients:
            client.close()
        times = await stream(mock.port, 1)
        assert 1.0 <= times[0] < 1.9, "it waited for somebody who had left"
        assert (mock.stats.done, mock.stats.aborted, mock.stats.in_flight) == (1, 3, 0)
