"""Times of arrival: the kernel's, whatever this process does meanwhile. The server is a thread with a socket and a clock."""

import asyncio
import socket
import ssl
import struct
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from functools import partial
from pathlib import Path
from typing import Any

import pytest

from perfbench_plugins.exchange import Exchange
from perfbench_runner import stamps, wire
from perfbench_runner.shard.connection import READS_AT_ONCE
from perfbench_runner.shard.tcp_info import tcp_info
from perfbench_runner.shard.transport import HttpTransport, Limits, tls_context
from perfbench_runner.stamps import KernelClock

HEAD = b"HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\nTransfer-Encoding: chunked\r\n\r\n"
CHUNK, END = b"4\r\nabcd\r\n", b"0\r\n\r\n"
LIMITS = Limits(5, 20, 40)
linux = pytest.mark.skipif(sys.platform != "linux", reason="the kernel's stamps are Linux")
Talk = Callable[[socket.socket], None]


class Server(threading.Thread):
    """Serves one connection after the other; `talk` gets each connection."""

    def __init__(self, talk: Talk) -> None:
        super().__init__(daemon=True)
        self._talk, self._listener = talk, socket.create_server(("127.0.0.1", 0), backlog=600)
        self.url = f"http://127.0.0.1:{self._listener.getsockname()[1]}/"
        self.sent: list[float] = []
        """When each part was handed to the kernel, by time.perf_counter()."""

    def run(self) -> None:
        with suppress(OSError):
            while True:
                sock, _ = self._listener.accept()
                sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
                with sock, suppress(OSError):
                    self._talk(sock)

    def send(self, sock: Any, data: bytes) -> None:
        self.sent.append(time.perf_counter())
        sock.sendall(data)

    def stop(self) -> None:
        with suppress(OSError):
            self._listener.shutdown(socket.SHUT_RDWR)
        self._listener.close()
        self.join(5)


@contextmanager
def serving(talk: Callable[["Server", socket.socket], None]) -> Iterator[Server]:
    server = Server(lambda sock: talk(server, sock))
    server.start()
    try:
        yield server
    finally:
        server.stop()


def streaming(count: int, gap_s: float) -> Callable[[Server, Any], None]:
    """The head, then so many chunks, so far apart."""

    def talk(server: Server, sock: Any) -> None:
        while sock.recv(65536):
            sock.sendall(HEAD)
            for _ in range(count):
                time.sleep(gap_s)
                server.send(sock, CHUNK)
            time.sleep(gap_s)
            sock.sendall(END)

    return talk


async def ask(url: str, meanwhile: Callable[[], object] = lambda: None, **settings: Any) -> Exchange:
    transport = HttpTransport(LIMITS, **settings)
    try:
        task = asyncio.create_task(transport.post(url, {}, b"{}"))
        while not task.done():
            meanwhile()
            await asyncio.sleep(0.001)
        return await task
    finally:
        await transport.close()


def errors(exchange: Exchange, server: Server) -> list[float]:
    """How much later each part was stamped than the server sent it."""
    return [at_s - sent_s for at_s, sent_s in zip(exchange.stamps, server.sent, strict=True)]


@linux
async def test_the_kernels_stamps_are_used_where_they_can_be_had() -> None:
    with serving(streaming(3, 0.01)) as server:
        exchange = await ask(server.url)
    assert (exchange.failure, exchange.stamps_by) == ("", "kernel")
    assert list(exchange.stamps) == sorted(exchange.stamps)
    assert exchange.sent_s < exchange.first_byte_s < exchange.stamps[0] < exchange.end_s


@linux
async def test_a_late_event_loop_does_not_make_the_kernels_stamps_late() -> None:
    with serving(streaming(10, 0.05)) as server:
        kernel = await ask(server.url, lambda: time.sleep(0.03))
        late = errors(kernel, server)
        server.sent.clear()
        program = await ask(server.url, lambda: time.sleep(0.03), stamps="program")
    assert (kernel.stamps_by, program.stamps_by) == ("kernel", "program")
    assert sorted(late)[5] < 0.002, late
    assert max(errors(program, server)) > 0.005, "the same delay without them"


@linux
@pytest.mark.parametrize("by", ["kernel", "program"])
@pytest.mark.parametrize("count", [1, READS_AT_ONCE - 2, READS_AT_ONCE, 3 * READS_AT_ONCE + 1])
async def test_a_long_response_is_the_same_as_a_short_one(count: int, by: stamps.Stamps) -> None:
    """What comes of it is taken in bit by bit: none is lost, and each piece keeps its time."""
    with serving(streaming(count, 0.0002)) as server:
        exchange = await ask(server.url, stamps=by)
        late = errors(exchange, server)
    assert (exchange.failure, exchange.stamps_by, exchange.body) == ("", by, b"abcd" * count)
    assert list(exchange.ends) == [4 * number for number in range(1, count + 1)]
    assert list(exchange.stamps) == sorted(exchange.stamps)
    assert exchange.sent_s < exchange.first_byte_s <= exchange.stamps[0] <= exchange.stamps[-1] <= exchange.end_s
    assert min(late) > -0.0001
    assert sorted(late)[count // 2] < 0.02, late


@linux
@pytest.mark.alone
@pytest.mark.parametrize("by", ["kernel", "program"])
async def test_segments_that_are_read_together_are_counted(by: stamps.Stamps) -> None:
    """Only the last of them has its own time; the others get it, too."""
    with serving(streaming(5, 0.01)) as server:
        blocked = iter([0, 0, 0, 0, 0, 0.2, 0.2])
        exchange = await ask(server.url, lambda: time.sleep(next(blocked, 0)), stamps=by)
    assert exchange.body == b"abcd" * 5
    assert exchange.merged_segments is not None
    assert exchange.merged_segments >= 4
    assert exchange.read_delay_s > 0.05 or by == "program"
    assert len(set(exchange.stamps)) < 5


@linux
async def test_nothing_is_merged_by_a_loop_that_is_free() -> None:
    with serving(streaming(16, 0.02)) as server:
        exchange = await ask(server.url)
    assert exchange.merged_segments is not None
    assert exchange.merged_segments <= 4, "a busy machine may delay a few"


@linux
@pytest.mark.parametrize("step_s", [3600, -3600, 0.2, -0.2])
async def test_a_wall_clock_that_is_set_meanwhile_does_no_harm(monkeypatch: pytest.MonkeyPatch, step_s: float) -> None:
    """The kernel's stamps and the program's view of the wall clock both step, in mid-stream."""
    shift_ns = 0

    class ShiftedWire(wire.Wire):
        """What comes is stamped by a clock that is `shift_ns` ahead."""

        def __init__(self, *args: Any) -> None:
            super().__init__(*args)
            receive = self._receive

            def shifted(*args: int) -> Any:
                data, ((level, kind, mark),), flags, address = receive(*args)
                seconds, nanoseconds = divmod(int(struct.unpack_from("q", mark)[0]) * 10**9 + shift_ns, 10**9)
                nanoseconds += struct.unpack_from("q", mark, 8)[0]
                return data, [(level, kind, struct.pack("=qq32x", seconds, nanoseconds))], flags, address

            self._receive = shifted

    monkeypatch.setattr("perfbench_runner.shard.transport.Wire", ShiftedWire)
    transport = HttpTransport(LIMITS, stamps="kernel")
    transport.kernel_clock = KernelClock(time.perf_counter_ns, lambda: time.time_ns() + shift_ns)
    with serving(streaming(20, 0.02)) as server:
        task = asyncio.create_task(transport.post(server.url, {}, b"{}"))
        await asyncio.sleep(0.2)
        shift_ns = int(step_s * 1e9)
        exchange = await task
        await transport.close()
    assert (transport.kernel_clock.steps, transport.kernel_clock.misplaced, exchange.stamps_by) == (1, 0, "kernel")
    late = errors(exchange, server)
    assert all(-0.0001 < error < 0.15 for error in late), late


@linux
async def test_what_comes_unstamped_is_told(monkeypatch: pytest.MonkeyPatch) -> None:
    """As a socket may behave whose system stamps on loopback and not elsewhere."""
    monkeypatch.setattr("perfbench_runner.shard.transport.request_stamps", lambda sock: None)
    with serving(streaming(3, 0.01)) as server:
        exchange = await ask(server.url, stamps="kernel")
    assert (exchange.failure, exchange.stamps_by) == ("", "program")
    assert list(exchange.stamps) == sorted(exchange.stamps)


@pytest.mark.parametrize("count", [1, 64, 500])
async def test_as_many_streams_as_there_are(count: int) -> None:
    async def handle(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        with suppress(asyncio.IncompleteReadError, ConnectionError):
            while await reader.readuntil(b"\r\n\r\n{}"):
                writer.write(HEAD)
                for _ in range(5):
                    await asyncio.sleep(0.02)
                    writer.write(CHUNK)
                writer.write(END)
        writer.close()

    listener = await asyncio.start_server(handle, "127.0.0.1", 0, backlog=1000)
    transport = HttpTransport(LIMITS)
    url = f"http://127.0.0.1:{listener.sockets[0].getsockname()[1]}/"
    for _ in range(2):
        exchanges = await asyncio.gather(*(transport.post(url, {}, b"{}") for _ in range(count)))
        assert [exchange.failure for exchange in exchanges] == [""] * count
        assert all(exchange.body == b"abcd" * 5 and len(exchange.stamps) == 5 for exchange in exchanges)
        assert all(list(exchange.stamps) == sorted(exchange.stamps) for exchange in exchanges)
        assert transport.open_connections == count
    await transport.close()
    assert transport.open_connections == 0
    listener.close()


async def test_a_large_body_tells_when_it_began_and_when_it_was_taken() -> None:
    def talk(server: Server, sock: socket.socket) -> None:
        time.sleep(0.2)
        missing = 8_000_000
        while missing > 0:
            missing -= len(sock.recv(2**20))
        sock.sendall(b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\n{}")
        sock.recv(1)

    with serving(talk) as server:
        transport = HttpTransport(LIMITS)
        exchange = await transport.post(server.url, {}, b"x" * 8_000_000)
        await transport.close()
    assert exchange.failure == ""
    assert exchange.body_sent_s - exchange.sent_s > 0.15
    assert exchange.body_sent_s < exchange.end_s


async def test_an_answer_to_half_a_request_is_read_and_its_connection_not_used_again() -> None:
    def talk(server: Server, sock: socket.socket) -> None:
        sock.recv(65536)
        sock.sendall(b"HTTP/1.1 413 Content Too Large\r\nContent-Length: 3\r\n\r\nno!")
        time.sleep(0.1)

    with serving(talk) as server:
        transport = HttpTransport(LIMITS)
        for _ in range(2):
            exchange = await transport.post(server.url, {}, b"x" * 30_000_000)
            assert (exchange.failure, exchange.error) == ("http_413", "no!")
            assert transport.open_connections == 0
        await transport.close()


@pytest.mark.parametrize(
    "rest", [b"HTTP/1.1 200 OK\r\n", b"garbage", b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\n{}"]
)
async def test_a_connection_with_more_than_the_answer_is_not_used_again(rest: bytes) -> None:
    def talk(server: Server, sock: socket.socket) -> None:
        sock.recv(65536)
        sock.sendall(b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\n{}" + rest)
        sock.recv(1)

    with serving(talk) as server:
        transport = HttpTransport(LIMITS)
        for _ in range(2):
            exchange = await transport.post(server.url, {}, b"{}")
            assert (exchange.failure, exchange.body) == ("", b"{}")
            assert transport.open_connections == 0
        await transport.close()


@pytest.mark.parametrize(
    "parts",
    [
        [CHUNK + END],
        [CHUNK, END],
        [CHUNK, b"0", b"\r\n\r\n"],
        [CHUNK, b"0\r\n", b"\r\n"],
        [CHUNK, b"0\r\n\r", b"\n"],
        [CHUNK + b"0\r", b"\n", b"\r", b"\n"],
        [CHUNK[:5], CHUNK[5:] + b"000", b"\r\n\r\n"],
        [CHUNK, b"0\r\nTrailer: a\r\n", b"Another: b\r\n\r\n"],
        [CHUNK, b"0;extension=1\r\n", b"\r\n"],
    ],
)
async def test_the_end_of_a_chunked_answer_is_noticed_however_it_is_cut(parts: list[bytes]) -> None:
    def talk(server: Server, sock: socket.socket) -> None:
        while sock.recv(65536):
            sock.sendall(HEAD)
            for part in parts:
                time.sleep(0.005)
                server.send(sock, part)

    with serving(talk) as server:
        transport = HttpTransport(Limits(5, 2, 2))
        for _ in range(2):
            server.sent.clear()
            exchange = await transport.post(server.url, {}, b"{}")
            assert (exchange.failure, exchange.error, exchange.body) == ("", "", b"abcd")
            assert -0.0001 < exchange.end_s - server.sent[-1] < 0.2
            assert transport.open_connections == 1
        await transport.close()


@pytest.mark.parametrize("rest", [b"garbage", b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\n{}"])
async def test_more_than_a_chunked_answer_is_none_of_it(rest: bytes) -> None:
    def talk(server: Server, sock: socket.socket) -> None:
        sock.recv(65536)
        sock.sendall(HEAD)
        time.sleep(0.005)
        sock.sendall(CHUNK + END + rest)
        sock.recv(1)

    with serving(talk) as server:
        transport = HttpTransport(LIMITS)
        exchange = await transport.post(server.url, {}, b"{}")
        assert (exchange.failure, exchange.body, transport.open_connections) == ("", b"abcd", 0)
        await transport.close()


@pytest.mark.parametrize(
    ("parts", "failure", "error"),
    [
        ([CHUNK, b"garbage\r\n"], "protocol", "no valid HTTP response"),
        ([CHUNK, CHUNK[:6]], "disconnected", "within the response"),
        ([CHUNK, CHUNK, b"0\r\n"], "disconnected", "within the response"),
    ],
)
async def test_what_came_before_a_failure_is_kept(parts: list[bytes], failure: str, error: str) -> None:
    def talk(server: Server, sock: socket.socket) -> None:
        sock.recv(65536)
        sock.sendall(HEAD)
        for part in parts:
            time.sleep(0.005)
            sock.sendall(part)

    with serving(talk) as server:
        transport = HttpTransport(LIMITS)
        exchange = await transport.post(server.url, {}, b"{}")
        await transport.close()
    assert (exchange.failure, error in exchange.error) == (failure, True)
    assert exchange.body.startswith(b"abcd")
    assert len(exchange.stamps) == len(exchange.ends) >= 1


@linux
def test_tcp_info_tells_round_trip_and_acknowledgement() -> None:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        near = socket.create_connection(listener.getsockname())
        far, _ = listener.accept()
    with near, far:
        before = tcp_info(near)
        near.send(b"abc")
        far.recv(3)
        far.send(b"defg")
        near.recv(4)
        after = tcp_info(near)
    assert before is not None
    assert after is not None
    assert (after.acknowledged - before.acknowledged, after.segments - before.segments) == (3, 1)
    assert 0 < after.rtt_s < 1


class SplitTls:
    """A server's side of TLS that lets one choose how the encrypted bytes are cut into segments."""

    def __init__(self, sock: socket.socket, folder: Path) -> None:
        context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
        context.load_cert_chain(folder / "server.pem", folder / "server.key")
        self._incoming, self._outgoing, self._sock = ssl.MemoryBIO(), ssl.MemoryBIO(), sock
        self._tls = context.wrap_bio(self._incoming, self._outgoing, server_side=True)
        self._retry(self._tls.do_handshake)

    def _retry(self, step: Callable[[], Any]) -> Any:
        while True:
            try:
                done = step()
            except ssl.SSLWantReadError:
                self.flush()
                received = self._sock.recv(65536)
                if not received:
                    raise ConnectionResetError("the client has gone") from None
                self._incoming.write(received)
            else:
                self.flush()
                return done

    def flush(self) -> None:
        if data := self._outgoing.read():
            self._sock.sendall(data)

    def recv(self) -> bytes:
        return bytes(self._retry(partial(self._tls.read, 65536)))

    def encrypted(self, data: bytes) -> bytes:
        self._tls.write(data)
        return self._outgoing.read()


@linux
async def test_a_tls_record_has_the_time_of_the_segment_that_completed_it(certificates: Path) -> None:
    def talk(server: Server, sock: socket.socket) -> None:
        tls = SplitTls(sock, certificates)
        while tls.recv():
            sock.sendall(tls.encrypted(HEAD))
            for _ in range(4):
                record = tls.encrypted(CHUNK)
                time.sleep(0.02)
                sock.sendall(record[:7])  # not even the record's head and a byte
                time.sleep(0.03)
                server.send(sock, record[7:])
            time.sleep(0.02)
            records = tls.encrypted(CHUNK) + tls.encrypted(CHUNK + END)  # two in one segment
            server.sent.append(time.perf_counter())
            server.send(sock, records)

    make = partial(tls_context, ca_file=str(certificates / "ours.pem"))
    with serving(talk) as server:
        exchange = await ask(server.url.replace("http", "https"), lambda: time.sleep(0.004), tls=make)
        assert (exchange.failure, exchange.error, exchange.stamps_by) == ("", "", "kernel")
        assert exchange.body == b"abcd" * 6
        assert all(-0.0001 < error < 0.2 for error in errors(exchange, server)), errors(exchange, server)
        assert sorted(errors(exchange, server))[3] < 0.002


@linux
async def test_tls_tickets_that_came_before_the_request_and_are_read_after_it_spoil_no_stamps(
    certificates: Path,
) -> None:
    """The loop is held up between the handshake, which the server answers with tickets, and the request."""

    def talk(server: Server, sock: socket.socket) -> None:
        tls = SplitTls(sock, certificates)
        while tls.recv():
            time.sleep(0.01)
            server.send(sock, tls.encrypted(HEAD + CHUNK + END))

    make = partial(tls_context, ca_file=str(certificates / "ours.pem"))
    for held_s in (0.002, 0.005, 0.02, 0.05):
        with serving(talk) as server:
            exchange = await ask(server.url.replace("http", "https"), partial(time.sleep, held_s), tls=make)
            assert (exchange.failure, exchange.stamps_by) == ("", "kernel")
            assert -0.0001 < errors(exchange, server)[0] < 0.2


async def test_large_bodies_and_answers_pass_tls(certificates: Path) -> None:
    def talk(server: Server, sock: socket.socket) -> None:
        tls = SplitTls(sock, certificates)
        got = b""
        while not got.endswith(b"!"):
            got += tls.recv()
        answer = got.partition(b"\r\n\r\n")[2]
        sock.sendall(tls.encrypted(b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n%s" % (len(answer), answer)))
        sock.recv(1)

    body = bytes(range(1, 33)) * 100_000 + b"!"
    make = partial(tls_context, ca_file=str(certificates / "ours.pem"))
    with serving(talk) as server:
        transport = HttpTransport(LIMITS, make)
        exchange = await transport.post(server.url.replace("http", "https"), {}, body)
        await transport.close()
    assert (exchange.failure, exchange.error, exchange.body == body) == ("", "", True)
    assert exchange.sent_s <= exchange.body_sent_s < exchange.end_s
