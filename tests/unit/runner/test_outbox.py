"""Results on their way to the control process: bounded frames, nothing lost, back-pressure that counts everything."""

import asyncio
import socket
from array import array
from typing import Any

import numpy as np
import pytest

from perfbench_plugins.benchmark_data import BenchmarkData
from perfbench_plugins.exchange import Exchange
from perfbench_runner.shard.ipc import Channel
from perfbench_runner.shard.messages import Measurement
from perfbench_runner.shard.outbox import FRAME_BYTES, FULL_BYTES, Outbox, size_of


def measured(seq: int, size: int = 1000) -> Measurement:
    exchange = Exchange(body=b"x" * size, stamps=array("d", [1.0] * 10))
    return Measurement(seq, 0.0, exchange)


class Pair:
    """A shard's channel and outbox, and what the control process at the other end got."""

    frames: list[tuple[list[Measurement], int]]

    async def open(self) -> None:
        ours, theirs = socket.socketpair()
        for end in (ours, theirs):
            end.setblocking(False)
        self.frames = []
        loop = asyncio.get_running_loop()
        self.channel = Channel(lambda message, size: None, lambda: None)
        self.other = Channel(lambda message, size: self.frames.append((message[1], size)), lambda: None)
        await loop.create_connection(lambda: self.channel, sock=ours)
        await loop.create_connection(lambda: self.other, sock=theirs)
        self.outbox = Outbox(self.channel)

    @property
    def numbers(self) -> list[int]:
        return [measurement.seq for frame, _ in self.frames for measurement in frame]

    async def until(self, count: int) -> None:
        async with asyncio.timeout(10):
            while len(self.numbers) < count:  # noqa: ASYNC110  # frames have no event
                await asyncio.sleep(0.001)

    def close(self) -> None:
        self.channel.close()
        self.other.close()


@pytest.fixture
async def pair() -> Any:
    made = Pair()
    await made.open()
    yield made
    made.close()
    await asyncio.sleep(0)


@pytest.mark.parametrize(("count", "size"), [(1, 10), (300, 5_000), (20, 400_000), (3, 9_000_000)])
async def test_a_frame_is_bounded_and_nothing_is_lost(pair: Pair, count: int, size: int) -> None:
    for seq in range(count):
        pair.outbox.add(measured(seq, size))
    await asyncio.gather(pair.outbox.drain(), pair.until(count))
    assert pair.numbers == list(range(count))
    assert pair.outbox.backlog_bytes == 0
    assert all(length <= FRAME_BYTES * 1.1 or len(frame) == 1 for frame, length in pair.frames)


async def test_what_nobody_takes_is_full_and_flows_again(pair: Pair) -> None:
    pair.other.transport.pause_reading()
    seq = 0
    while not pair.outbox.is_full:
        pair.outbox.add(measured(seq, 2**20))
        pair.outbox.flush()
        seq += 1
        await asyncio.sleep(0)
        assert seq < 2 * FULL_BYTES // 2**20
    pair.other.transport.resume_reading()
    await asyncio.gather(pair.outbox.drain(), pair.until(seq))
    assert pair.numbers == list(range(seq))
    assert not pair.outbox.is_full


async def test_a_control_process_that_is_gone_holds_nobody_up(pair: Pair) -> None:
    pair.other.transport.abort()
    for seq in range(10):
        pair.outbox.add(measured(seq, 2**20))
    async with asyncio.timeout(5):
        await pair.outbox.drain()


@pytest.mark.parametrize(
    ("what", "at_least"),
    [
        (None, 1),
        (Exchange(body=b"x" * 5000), 5000),
        (BenchmarkData(), 1000),
        (BenchmarkData(generated_text="x" * 7000, response_messages=[{}] * 30), 16_000),
        (BenchmarkData(inter_chunk_latency=np.array([0.1] * 1000)), 9000),  # type: ignore[arg-type]  # as plugins do
        (BenchmarkData(response_messages=7, generated_text=None), 1000),  # type: ignore[arg-type]  # as plugins do
    ],
)
def test_everything_has_a_size(what: Any, at_least: int) -> None:
    assert size_of(Measurement(0, 0.0, what)) >= at_least


async def test_what_a_plugin_leaves_in_its_result_and_cannot_be_handed_over_is_left_out(pair: Pair) -> None:
    class Mine(BenchmarkData):
        pass

    odd = Mine(success=True, response_messages=["a", lambda: 1], generated_text="b")
    odd.connection = socket  # type: ignore[attr-defined]  # as plugins do
    for seq, what in enumerate([BenchmarkData(success=True), odd]):
        pair.outbox.add(Measurement(seq, 0.0, what))
    await asyncio.gather(pair.outbox.drain(), pair.until(2))
    (frame, _) = pair.frames[0]
    got = frame[1].exchange
    assert isinstance(got, BenchmarkData)
    assert (got.success, got.generated_text, got.response_messages[0], len(got.response_messages)) == (
        True,
        "b",
        "a",
        2,
    )
