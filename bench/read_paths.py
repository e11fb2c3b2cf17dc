#!/usr/bin/env python3
"""What does a token cost the loop that reads it: by uvloop's own transport, by recv(), by recvmsg() with the kernel's stamp?

    .venv/bin/python bench/read_paths.py [--streams 64] [--rounds 6]

A process on one core sends each stream an event of 200 bytes every 10 ms, to all at once or spread over the 10 ms; another on
the other core reads them in an event loop and hands them to llhttp. Told is CPU time for each read, user and system, of
the round that took least: what else runs on the machine only adds. Spread is what a load of as many streams is like, where
each read is a wake-up of its own. Needs Linux and two cores.
"""

import argparse
import asyncio
import os
import resource
import socket
import sys
import time
from collections.abc import Callable
from multiprocessing import Process

import httptools
import uvloop

from perfbench_runner.shard.response import ResponseReader
from perfbench_runner.stamps import ANCILLARY_BYTES, KernelClock, request_stamps
from perfbench_runner.wire import Wire, buffer_of_thread

HEAD = b"HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\nTransfer-Encoding: chunked\r\n\r\n"
EVENT = b'data: {"id":"chatcmpl-1","object":"chat.completion.chunk","model":"mock","choices":[{"delta":{"content":" a"}}]}\n\n'
SEGMENT = b"%x\r\n%s\r\n" % (len(EVENT), EVENT)
PERIOD_S, PERIODS, SETTLE_S = 0.01, 200, 0.4


def send(listener: socket.socket, core: int, streams: int, is_spread: bool) -> None:
    """Accept so many streams, and send each of them PERIODS events."""
    os.sched_setaffinity(0, {core})
    socks = [listener.accept()[0] for _ in range(streams)]
    for sock in socks:
        sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        sock.send(HEAD)
    time.sleep(2 * SETTLE_S)
    begin_s = time.perf_counter()
    for period in range(PERIODS):
        for number, sock in enumerate(socks):
            at_s = begin_s + PERIOD_S * (period + is_spread * number / streams)
            time.sleep(max(0.0, at_s - time.perf_counter()))
            sock.send(SEGMENT)
    time.sleep(SETTLE_S)


class Nobody:
    """Who hears of a response's parts and does nothing."""

    def response_begun(self) -> None: ...
    def response_head(self, status: int) -> None: ...
    def response_complete(self) -> None: ...
    def head_too_large(self) -> None: ...


class Parser:
    """llhttp, which appends the pieces of a body to a list."""

    def __init__(self) -> None:
        self.on_body = list[bytes]().append
        self.feed = httptools.HttpResponseParser(self).feed_data


class Streamed(asyncio.Protocol):
    """By uvloop's transport, with the program's clock."""

    def __init__(self, over: Callable[[], None]) -> None:
        self._over, self._feed, self._stamps = over, Parser().feed, list[float]()

    def data_received(self, data: bytes) -> None:
        self._stamps.append(time.perf_counter())
        self._feed(data)

    def connection_lost(self, error: Exception | None) -> None:
        self._over()


def by_recv(sock: socket.socket, over: Callable[[], None]) -> None:
    """By recv_into() when the loop says that there is something, with the program's clock."""
    loop, feed, stamps, (_, view) = asyncio.get_running_loop(), Parser().feed, list[float](), buffer_of_thread()

    def readable() -> None:
        count = sock.recv_into(view)
        if not count:
            loop.remove_reader(sock)
            over()
            return
        stamps.append(time.perf_counter())
        feed(view[:count])

    loop.add_reader(sock, readable)


def by_recvmsg(sock: socket.socket, over: Callable[[], None]) -> None:
    """By recvmsg_into(), with the kernel's stamp, and nothing else."""
    loop, feed, stamps, (into, view) = asyncio.get_running_loop(), Parser().feed, list[bytes](), buffer_of_thread()
    request_stamps(sock)

    def readable() -> None:
        count, ancillary, _, _ = sock.recvmsg_into(into, ANCILLARY_BYTES)
        if not count:
            loop.remove_reader(sock)
            over()
            return
        stamps.append(ancillary[0][2])
        feed(view[:count])

    loop.add_reader(sock, readable)


def by_wire(sock: socket.socket, over: Callable[[], None]) -> Wire:
    """As perfbench does."""
    request_stamps(sock)
    wire, reader = Wire(asyncio.get_running_loop(), sock, KernelClock()), ResponseReader(Nobody(), 2**16)
    wire.on_data, wire.on_read, wire.on_end = reader.feed, reader.log.append, lambda _: over()
    wire.start()
    return wire


WAYS = {"uvloop's transport": None, "recv": by_recv, "recvmsg, stamped": by_recvmsg, "perfbench's wire": by_wire}


async def read(way: str, port: int, streams: int) -> tuple[float, float]:
    """User and system seconds that it takes to read all."""
    loop, left, done, kept = asyncio.get_running_loop(), streams, asyncio.Event(), []

    def over() -> None:
        nonlocal left
        left -= 1
        if not left:
            done.set()

    for _ in range(streams):
        sock = socket.create_connection(("127.0.0.1", port))
        sock.setblocking(False)
        begin = WAYS[way]
        kept.append(
            (sock, begin(sock, over) if begin else await loop.create_connection(lambda: Streamed(over), sock=sock))
        )
    await asyncio.sleep(SETTLE_S)
    before = resource.getrusage(resource.RUSAGE_SELF)
    await done.wait()
    after = resource.getrusage(resource.RUSAGE_SELF)
    return after.ru_utime - before.ru_utime, after.ru_stime - before.ru_stime


def measure(way: str, streams: int, is_spread: bool) -> tuple[float, float]:
    """Microseconds of user and of system time for each read."""
    cores = sorted(os.sched_getaffinity(0))
    with socket.create_server(("127.0.0.1", 0), backlog=streams) as listener:
        sender = Process(target=send, args=(listener, cores[0], streams, is_spread))
        sender.start()
        os.sched_setaffinity(0, {cores[1]})
        user_s, system_s = uvloop.run(read(way, listener.getsockname()[1], streams))
        os.sched_setaffinity(0, cores)
        sender.join()
    return 1e6 * user_s / streams / PERIODS, 1e6 * system_s / streams / PERIODS


def main() -> int:
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--streams", type=int, default=64)
    parser.add_argument("--rounds", type=int, default=6)
    asked = parser.parse_args()
    if len(os.sched_getaffinity(0)) < 2:
        sys.exit("needs two cores")
    print("| read by | events | user us | system us | all us |\n|" + " --- |" * 5)
    for is_spread in (False, True):
        found: dict[str, list[tuple[float, float]]] = {way: [] for way in WAYS}
        for _ in range(asked.rounds):
            for way in WAYS:
                found[way].append(measure(way, asked.streams, is_spread))
        for way, rows in found.items():
            user, system = min(rows, key=sum)
            when = "spread" if is_spread else "at once"
            print(f"| {way} | {when} | {user:.1f} | {system:.1f} | {user + system:.1f} |", flush=True)
    return 0


if __name__ == "__main__":
    sys.exit(main())
