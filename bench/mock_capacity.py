#!/usr/bin/env python3
"""How many streams one core of the mock carries, and how late its tokens are then.

    python bench/mock_capacity.py                          # 16, 64 and 256 streams at 10 ms between tokens
    python bench/mock_capacity.py --streams 256 512 --itl 0.02 --seconds 10

The mock gets the first core and a client that only looks for the end of each reply the second. One JSON line a level:
`cpu` is the mock's share of its core and `lateness_ms` its own account: when each token was written against when it
was due. The client starts its streams spread over one reply's length, since a herd of first tokens is a different question.
Run it on an idle machine: whatever else wants the first core is in the lateness.
"""

import argparse
import asyncio
import json
import os
import time
from typing import Any

import uvloop

from perfbench_runner.mock.process import MockProcess
from perfbench_runner.mock.settings import MockSettings

TTFT_S = 0.05
END = b"\r\n0\r\n\r\n"


def request(tokens: int) -> bytes:
    body = {"messages": [{"role": "user", "content": "word " * 128}], "stream": True, "max_tokens": tokens}
    data = json.dumps(body).encode()
    return b"POST /v1/chat/completions HTTP/1.1\r\nHost: mock\r\nContent-Length: %d\r\n\r\n%b" % (len(data), data)


class Stream(asyncio.Protocol):
    """Asks again as soon as it is answered, until told to stop."""

    transport: asyncio.Transport

    def __init__(self, request: bytes, until_s: float) -> None:
        self._request, self._until_s = request, until_s
        self.ended: asyncio.Future[None] = asyncio.get_running_loop().create_future()

    def connection_made(self, transport: Any) -> None:
        self.transport = transport
        transport.write(self._request)

    def data_received(self, data: bytes) -> None:
        if data.endswith(END):
            if time.monotonic() < self._until_s:
                self.transport.write(self._request)
            else:
                self.transport.close()

    def connection_lost(self, exc: Exception | None) -> None:
        self.ended.set_result(None)


async def load(mock: MockProcess, streams: int, tokens: int, reply_s: float, seconds: float) -> dict[str, Any]:
    """The mock's statistics of `seconds` under full load, and how long that really was."""
    until_s, data = time.monotonic() + 2 * reply_s + seconds, request(tokens)

    async def one(number: int) -> None:
        await asyncio.sleep(reply_s * number / streams)
        loop = asyncio.get_running_loop()
        _, stream = await loop.create_connection(lambda: Stream(data, until_s), "127.0.0.1", mock.port)
        await stream.ended

    under_way = asyncio.gather(*(one(number) for number in range(streams)))
    await asyncio.sleep(2 * reply_s)
    await asyncio.to_thread(mock.reset)
    start_s = time.monotonic()
    await asyncio.sleep(seconds)
    stats = await asyncio.to_thread(mock.stats)
    window_s = time.monotonic() - start_s
    await under_way
    return stats | {"window_s": window_s}


def measure(streams: int, itl_s: float, tokens: int, seconds: float, cores: list[int]) -> dict[str, Any]:
    with MockProcess(MockSettings(ttft_s=TTFT_S, itl_s=itl_s)) as mock:
        if len(cores) > 1:
            os.sched_setaffinity(mock.pid, cores[:1])
            os.sched_setaffinity(0, cores[1:2])
        stats = uvloop.run(load(mock, streams, tokens, TTFT_S + tokens * itl_s, seconds))
    return {
        "streams": streams,
        "itl_ms": itl_s * 1e3,
        "tokens_per_s": round(stats["output_tokens"] / stats["window_s"]),
        "cpu": round(stats["cpu_s"] / stats["window_s"], 3),
        "cpu_us_per_token": round(stats["cpu_s"] / stats["output_tokens"] * 1e6, 1),
        "lateness_ms": stats["lateness_ms"],
        "load_average": round(os.getloadavg()[0], 1),
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--streams", type=int, nargs="+", default=[16, 64, 256], help="levels (%(default)s)")
    parser.add_argument("--itl", type=float, default=0.01, help="seconds between tokens (%(default)s)")
    parser.add_argument("--tokens", type=int, default=64, help="of a reply (%(default)s)")
    parser.add_argument("--seconds", type=float, default=5.0, help="of each level (%(default)s)")
    options = parser.parse_args()
    cores = sorted(os.sched_getaffinity(0))
    for streams in options.streams:
        os.sched_setaffinity(0, cores)
        print(json.dumps(measure(streams, options.itl, options.tokens, options.seconds, cores)), flush=True)


if __name__ == "__main__":
    main()
