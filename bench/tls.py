#!/usr/bin/env python3
"""What TLS costs the measuring transport, and whether its stamps stay true.

    .venv/bin/python bench/tls.py                    # C = 16, 64 and 256, three rounds: about 2 minutes
    .venv/bin/python bench/tls.py --rounds 1 -c 64

Streams of 64 tokens (TTFT 50 ms, ITL 10 ms) from a server on the first core, which keeps the gaps between its writes, to
`HttpTransport` alone on the second, with and without TLS, and with TLS and the program's clock. Shards, storing and the
control process are left out: see compare.py. Medians of the rounds. Needs Linux, two cores and openssl; an idle machine.
"""

import argparse
import asyncio
import multiprocessing
import os
import ssl
import statistics
import subprocess
import time
from collections.abc import Iterable
from contextlib import suppress
from multiprocessing.connection import Connection
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import NamedTuple

from perfbench_runner.event_loop import run_loop
from perfbench_runner.shard.destination import destination
from perfbench_runner.shard.transport import HttpTransport, Limits, tls_context
from perfbench_runner.stamps import Stamps

CORES = sorted(os.sched_getaffinity(0))
TTFT_S, ITL_S, TOKENS = 0.05, 0.01, 64
REQUESTS = 5
"""A stream's, after one that opens its connection."""
HEAD = b"HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\nTransfer-Encoding: chunked\r\n\r\n"
EVENT = b'data: {"object":"chat.completion.chunk","choices":[{"index":0,"delta":{"content":"word "},"finish_reason":null}]}\n\n'
CHUNK = b"%x\r\n%s\r\n" % (len(EVENT), EVENT)


class Case(NamedTuple):
    """What is measured."""

    name: str
    is_tls: bool
    stamps: Stamps


CASES = (Case("plain", False, "kernel"), Case("TLS", True, "kernel"), Case("TLS, program's clock", True, "program"))


def p99(values: Iterable[float]) -> float:
    """The 99 % quantile."""
    return statistics.quantiles(values, n=100)[98]


def make_certificate(folder: Path) -> Path:
    """A certificate and its key in one file."""
    path = folder / "server.pem"
    argv = [
        "openssl",
        "req",
        "-x509",
        "-newkey",
        "ec",
        "-pkeyopt",
        "ec_paramgen_curve:prime256v1",
        "-nodes",
        "-days",
        "2",
    ]
    subprocess.run(
        [*argv, "-subj", "/CN=localhost", "-keyout", folder / "key.pem", "-out", path], check=True, capture_output=True
    )
    path.write_text(path.read_text() + (folder / "key.pem").read_text())
    return path


def serve(pipe: Connection, certificate: Path | None) -> None:
    """Stream until the other side says that it is enough; tells the port, and then the gaps between writes, seconds."""
    os.sched_setaffinity(0, CORES[:1])
    gaps_s: list[float] = []

    async def handle(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        with suppress(asyncio.IncompleteReadError, ConnectionError):
            while await reader.readuntil(b"\r\n\r\n{}"):
                due_s, wrote_s = time.perf_counter() + TTFT_S, 0.0
                writer.write(HEAD)
                for _ in range(TOKENS):
                    await asyncio.sleep(due_s - time.perf_counter())
                    now_s = time.perf_counter()
                    writer.write(CHUNK)
                    if wrote_s:
                        gaps_s.append(now_s - wrote_s)
                    wrote_s, due_s = now_s, due_s + ITL_S
                writer.write(b"0\r\n\r\n")
        writer.close()

    async def main() -> None:
        context = None
        if certificate:
            context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
            context.load_cert_chain(certificate)
        server = await asyncio.start_server(handle, "127.0.0.1", 0, ssl=context, backlog=1000)
        pipe.send(server.sockets[0].getsockname()[1])
        await asyncio.to_thread(pipe.recv)
        pipe.send(gaps_s)

    run_loop(main())


async def ask(url: str, streams: int, stamps: Stamps) -> tuple[float, list[float]]:
    """CPU milliseconds a request, and the gaps between tokens as the client saw them, seconds."""
    transport = HttpTransport(Limits(), lambda: tls_context(insecure=True), stamps=stamps)
    to = destination(url, {})

    async def stream(requests: int) -> list[float]:
        gaps_s: list[float] = []
        for _ in range(requests):
            exchange = await transport.exchange(to, b"{}")
            if exchange.failure or exchange.stamps_by != stamps:
                raise SystemExit(f"bench/tls.py: {exchange.failure or exchange.stamps_by}: {exchange.error}")
            gaps_s += [after - before for before, after in zip(exchange.stamps, exchange.stamps[1:], strict=False)]
        return gaps_s

    await asyncio.gather(*(stream(1) for _ in range(streams)))
    began_s = time.process_time()
    found = await asyncio.gather(*(stream(REQUESTS) for _ in range(streams)))
    cpu_s = time.process_time() - began_s
    await transport.close()
    return 1e3 * cpu_s / (streams * REQUESTS), [gap_s for gaps_s in found for gap_s in gaps_s]


def measure(case: Case, streams: int, certificate: Path) -> tuple[float, float]:
    """CPU milliseconds a request, and how much too high the p99 of gaps is, milliseconds."""
    ours, theirs = multiprocessing.Pipe()
    server = multiprocessing.Process(target=serve, args=(theirs, certificate if case.is_tls else None))
    server.start()
    try:
        url = f"{'https' if case.is_tls else 'http'}://127.0.0.1:{ours.recv()}/"
        os.sched_setaffinity(0, CORES[1:2])
        cpu_ms, gaps_s = run_loop(ask(url, streams, case.stamps))
        ours.send("enough")
        truth_s = ours.recv()
    finally:
        os.sched_setaffinity(0, CORES)
        server.terminate()
        server.join()
    return cpu_ms, 1e3 * (p99(gaps_s) - p99(truth_s))


def main() -> None:
    """Measure, and print a table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("-c", type=int, nargs="+", default=[16, 64, 256], metavar="C", help="streams")
    parser.add_argument("--rounds", type=int, default=3, help="how often to measure each, taking turns")
    options = parser.parse_args()
    if len(CORES) < 2:
        parser.error("needs two cores: one for the server, one for the client")
    print("| C | | CPU ms/request | ITL p99 too high, ms |\n| --- | --- | --- | --- |")
    with TemporaryDirectory() as folder:
        certificate = make_certificate(Path(folder))
        for streams in options.c:
            rounds = [[measure(case, streams, certificate) for case in CASES] for _ in range(options.rounds)]
            for case, found in zip(CASES, zip(*rounds, strict=True), strict=True):
                cpu_ms, error_ms = (statistics.median(values) for values in zip(*found, strict=True))
                print(f"| {streams} | {case.name} | {cpu_ms:.2f} | {error_ms:.3f} |", flush=True)


if __name__ == "__main__":
    main()
