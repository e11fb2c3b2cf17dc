"""The transport against real servers that behave in every way a server can, and in some that it should not."""

import asyncio
import socket
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from typing import Any

import pytest

from perfbench_plugins.exchange import Exchange
from perfbench_runner.shard.destination import Proxy
from perfbench_runner.shard.transport import HttpTransport, Limits, destination

OK = b"HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nContent-Length: 2\r\n\r\n{}"
LIMITS = Limits(connect_s=2, read_s=5, total_s=10)
Handler = Callable[[asyncio.StreamReader, asyncio.StreamWriter], Awaitable[None]]


class Server:
    """Counts connections and requests; `handle` is what it does with each request."""

    def __init__(self, handle: Handler) -> None:
        self.handle, self.connections, self.requests = handle, 0, list[bytes]()
        self.url = ""

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.connections += 1
        try:
            while request := await read_request(reader):
                self.requests.append(request)
                await self.handle(reader, writer)
                if writer.is_closing():
                    break
        except (ConnectionError, asyncio.IncompleteReadError):
            pass
        finally:
            writer.close()


async def read_request(reader: asyncio.StreamReader) -> bytes:
    try:
        head = await reader.readuntil(b"\r\n\r\n")
    except asyncio.IncompleteReadError:
        return b""
    length = next(
        int(line.split(b":")[1]) for line in head.split(b"\r\n") if line.lower().startswith(b"content-length")
    )
    return head + await reader.readexactly(length)


def replying(*parts: bytes, close: bool = False, pause_s: float = 0.01, reset: bool = False) -> Handler:
    async def handle(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        for number, part in enumerate(parts):
            if number:
                await asyncio.sleep(pause_s)
            writer.write(part)
            await writer.drain()
        if reset:
            writer.get_extra_info("socket").setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, b"\1\0\0\0\0\0\0\0")
            await asyncio.sleep(pause_s)
            writer.transport.abort()
        elif close:
            writer.close()

    return handle


@asynccontextmanager
async def serving(handle: Handler, host: str = "127.0.0.1", **settings: Any) -> AsyncIterator[Server]:
    server = Server(handle)
    listener = await asyncio.start_server(server.serve, host, 0, **settings)
    port = listener.sockets[0].getsockname()[1]
    server.url = f"http://127.0.0.1:{port}/v1/x?y=z"
    try:
        yield server
    finally:
        listener.close()


@asynccontextmanager
async def client(limits: Limits = LIMITS, **settings: Any) -> AsyncIterator[HttpTransport]:
    transport = HttpTransport(limits, **settings)
    try:
        yield transport
    finally:
        await transport.close()


async def ask(server: Server, limits: Limits = LIMITS, times: int = 1) -> list[Exchange]:
    async with client(limits) as transport:
        return [await asyncio.wait_for(transport.post(server.url, {}, b'{"a": 1}'), 8) for _ in range(times)]


async def test_the_request_is_what_was_asked_for() -> None:
    async with serving(replying(OK)) as server, client() as transport:
        await transport.post(server.url, {"X-A": "b", "content-type": "text/x"}, b"body")
    head, _, body = server.requests[0].partition(b"\r\n\r\n")
    lines = head.decode().split("\r\n")
    assert lines[0] == "POST /v1/x?y=z HTTP/1.1"
    assert {"X-A: b", "content-type: text/x", "Content-Length: 4"} <= set(lines)
    assert [line for line in lines if line.lower().startswith("content-type")] == ["content-type: text/x"]
    assert any(line.startswith("Host: 127.0.0.1:") for line in lines)
    assert body == b"body"


@pytest.mark.parametrize(
    "url",
    [
        "x:80",
        "ftp://x/",
        "http://",
        "http:///x",
        "http://x:99999/",
        "http://[::1/",
        "//x",
        "http://a b/",
        "http://u:p@x/",
    ],
)
def test_what_is_no_url_is_refused(url: str) -> None:
    with pytest.raises(ValueError, match=r"."):
        destination(url, {})


@pytest.mark.parametrize("headers", [{"A": "x\r\nB: y"}, {"A\n": "x"}, {"A": "\u20ac"}])
def test_a_header_that_would_break_the_request_is_refused(headers: dict[str, str]) -> None:
    with pytest.raises(ValueError, match=r"header"):
        destination("http://x", headers)


def test_spaces_and_umlauts_in_a_path_are_escaped() -> None:
    assert destination("http://x/ä b%20c", {}).head.startswith(b"POST /%C3%A4%20b%20c HTTP/1.1\r\n")


CHUNKED = b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\nContent-Type: text/event-stream; charset=utf-8\r\n\r\n"


@pytest.mark.parametrize(
    ("parts", "close", "body"),
    [
        ((OK,), False, b"{}"),
        ((OK[:20], OK[20:]), False, b"{}"),
        ((CHUNKED + b"3\r\nabc\r\n", b"2\r\nde\r\n0\r\n\r\n"), False, b"abcde"),
        ((CHUNKED + b"3\r\nab", b"c\r\n0\r\nTrailer: x\r\n\r\n"), False, b"abc"),
        ((b"HTTP/1.1 200 OK\r\n\r\n", b"until ", b"close"), True, b"until close"),
        ((b"HTTP/1.0 200 OK\r\nContent-Length: 2\r\n\r\n{}",), True, b"{}"),
        ((b"HTTP/1.1 200 OK\r\nConnection: close\r\nContent-Length: 2\r\n\r\n{}",), True, b"{}"),
        ((b"HTTP/1.1 100 Continue\r\n\r\n", b"HTTP/1.1 103 Hints\r\nX: y\r\n\r\n", OK), False, b"{}"),
        ((b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n",), False, b""),
        ((b"HTTP/1.1 204 No Content\r\n\r\n",), False, b""),
        ((b"HTTP/1.1 200 OK\r\nUpgrade: h2c\r\nConnection: upgrade\r\nContent-Length: 2\r\n\r\n{}",), False, b"{}"),
    ],
)
async def test_every_framing_is_undone(parts: tuple[bytes, ...], close: bool, body: bytes) -> None:
    async with serving(replying(*parts, close=close)) as server:
        for exchange in await ask(server, times=2):
            assert (exchange.failure, exchange.error, exchange.body) == ("", "", body)
            assert list(exchange.ends)[-1:] == ([len(body)] if body else [])
            assert len(exchange.stamps) == len(exchange.ends)
            assert list(exchange.stamps) == sorted(exchange.stamps)
            assert exchange.sent_s <= exchange.first_byte_s <= exchange.end_s


async def test_pieces_are_stamped_when_they_come() -> None:
    parts = (CHUNKED, b"1\r\na\r\n", b"1\r\nb\r\n", b"0\r\n\r\n")
    async with serving(replying(*parts, pause_s=0.05)) as server:
        (exchange,) = await ask(server)
    assert exchange.is_stream
    assert list(exchange.ends) == [1, 2]
    gaps = [exchange.stamps[0] - exchange.first_byte_s, exchange.stamps[1] - exchange.stamps[0]]
    assert all(gap == pytest.approx(0.05, abs=0.04) for gap in gaps), gaps
    assert exchange.end_s > exchange.stamps[1]


async def test_a_connection_is_used_again() -> None:
    async with serving(replying(OK)) as server:
        exchanges = await ask(server, times=5)
    assert (server.connections, len(server.requests)) == (1, 5)
    assert exchanges[0].connect_s > 0
    assert [exchange.connect_s for exchange in exchanges[1:]] == [0.0] * 4


async def test_as_many_connections_as_requests_under_way() -> None:
    async with serving(replying(b"", OK, pause_s=0.1)) as server, client() as transport:
        for _ in range(2):
            exchanges = await asyncio.gather(*(transport.post(server.url, {}, b"{}") for _ in range(8)))
            assert all(not exchange.failure for exchange in exchanges)
        assert transport.open_connections == 8
    assert server.connections == 8


@pytest.mark.parametrize(
    ("parts", "ending", "kind", "words"),
    [
        ((), {"close": True}, "disconnected", "before the response"),
        ((b"HTTP/1.1 200 OK\r\nContent-",), {"close": True}, "disconnected", "within the response"),
        ((OK[:-1],), {"close": True}, "disconnected", "within the response"),
        ((CHUNKED + b"3\r\nabc\r\n",), {"close": True}, "disconnected", "within the response"),
        ((CHUNKED + b"3\r\nabc\r\n",), {"reset": True}, "disconnected", "within the response"),
        ((b"HTTP/1.1 200 OK\r\n\r\nabc",), {"reset": True}, "disconnected", "within the response"),
        ((b"HTTP/1.1 100 Continue\r\n\r\n",), {"close": True}, "disconnected", "the response"),
        ((b"SSH-2.0-OpenSSH_9\r\n",), {"close": True}, "protocol", "no valid HTTP"),
        ((CHUNKED + b"zz\r\n",), {}, "protocol", "no valid HTTP"),
        ((b"\x16\x03\x01\x02",), {}, "protocol", "is it https instead of http?"),
        ((b"HTTP/1.1 101 Switching Protocols\r\nUpgrade: x\r\nConnection: upgrade\r\n\r\nabc",), {}, "protocol", ""),
        ((b"HTTP/1.1 200 OK\r\nX: " + b"a" * 70_000 + b"\r\n\r\n",), {}, "protocol", "head is larger than 65536"),
        ((b"HTTP/1.1 200 OK\r\n" + b"X: yyyyyyy\r\n" * 20_000 + b"\r\n",), {}, "protocol", "head is larger"),
        ((b"HTTP/1.1 200 OK\r\nX: ", *[b"a" * 30_000] * 6), {}, "protocol", "head is larger"),
    ],
)
async def test_a_bad_response_is_a_failure_with_a_name(
    parts: tuple[bytes, ...], ending: dict[str, Any], kind: str, words: str
) -> None:
    async with serving(replying(*parts, **ending)) as server:
        (exchange,) = await ask(server)
    assert exchange.failure == kind
    assert words in exchange.error
    assert exchange.end_s >= exchange.sent_s > 0


async def test_the_next_request_after_a_bad_response_gets_a_new_connection() -> None:
    answers = iter([b"garbage", OK])

    async def handle(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(next(answers))

    async with serving(handle) as server:
        bad, good = await ask(server, times=2)
    assert (bad.failure, good.failure, server.connections) == ("protocol", "", 2)


async def test_a_body_that_is_too_large_is_cut_off() -> None:
    head = b"HTTP/1.1 200 OK\r\n\r\n"
    async with serving(replying(head, *[b"x" * 1000] * 100, close=True, pause_s=0)) as server:
        (exchange,) = await ask(server, Limits(response_bytes=5000))
    assert exchange.failure == "protocol"
    assert "larger than 5000 bytes" in exchange.error


@pytest.mark.parametrize("limit", [5000, 2**16, 2**17 + 1])
@pytest.mark.parametrize("beyond", [0, 1])
async def test_a_body_may_be_as_large_as_the_limit_and_no_larger(limit: int, beyond: int) -> None:
    """However many reads it takes, one included."""
    size = limit + beyond
    head = b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n" % size
    async with serving(replying(head + b"x" * size)) as server:
        (exchange,) = await ask(server, Limits(response_bytes=limit))
    assert exchange.failure == ("protocol" if beyond else "")


@pytest.mark.parametrize("status", [301, 400, 401, 404, 429, 500, 503])
async def test_a_status_is_a_failure_of_its_own_and_its_text_is_kept(status: int) -> None:
    head = f"HTTP/1.1 {status} X\r\nContent-Length: 8\r\nLocation: /y\r\n\r\ngo away!".encode()
    async with serving(replying(head)) as server:
        (exchange,) = await ask(server)
    assert (exchange.failure, exchange.status) == (f"http_{status}", status)
    assert exchange.error == "go away!"


@pytest.mark.parametrize("peer", ["server", "proxy"])
async def test_connection_refused_says_by_whom(peer: str) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
    async with client(proxy=Proxy("127.0.0.1", port) if peer == "proxy" else None) as transport:
        exchange = await transport.post(f"http://127.0.0.1:{port}/", {}, b"{}")
    assert exchange.failure == "connect"
    assert f"connection refused; does the {peer} run" in exchange.error
    assert exchange.end_s >= exchange.sent_s > 0


@pytest.mark.parametrize("host", ["nothing.invalid", "a..b", "x" * 70 + ".invalid"])
async def test_an_unknown_host_says_so(host: str) -> None:
    async with client() as transport:
        exchange = await transport.post(f"http://{host}:80/", {}, b"{}")
    assert exchange.failure == "connect"
    assert "host" in exchange.error


async def test_a_failed_look_up_is_not_remembered(monkeypatch: pytest.MonkeyPatch) -> None:
    answers: list[Any] = [socket.gaierror(-3, "Temporary failure in name resolution")]

    async def getaddrinfo(host: str, port: int, **more: Any) -> Any:
        if answers:
            raise answers.pop()
        return [(socket.AF_INET, socket.SOCK_STREAM, 6, "", ("127.0.0.1", port))]

    monkeypatch.setattr(asyncio.get_running_loop(), "getaddrinfo", getaddrinfo)
    async with serving(replying(OK)) as server, client() as transport:
        url = server.url.replace("127.0.0.1", "flaky.test")
        first = await transport.post(url, {}, b"{}")
        second = await transport.post(url, {}, b"{}")
    assert (first.failure, second.failure) == ("connect", "")


@pytest.mark.parametrize(("first", "count"), [(0, 9), (0, 1), (1, 1), (2, 4), (16, 2)])
async def test_all_addresses_of_a_host_get_their_share(monkeypatch: pytest.MonkeyPatch, first: int, count: int) -> None:
    """Of each process too: those that send little begin with another address each."""

    async def getaddrinfo(host: str, port: int, **more: Any) -> Any:
        if host != "many.test":
            return [(socket.AF_INET, socket.SOCK_STREAM, 6, "", (host, port))]
        found = [(socket.AF_INET, socket.SOCK_STREAM, 6, "", (f"127.0.0.{last}", port)) for last in (1, 2, 3)]
        return [(socket.AF_INET6, socket.SOCK_STREAM, 6, "", ("::1", port, 0, 0)), *found]

    seen = []

    async def handle(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        seen.append(writer.get_extra_info("sockname")[0])
        await asyncio.sleep(0.1)
        writer.write(OK)

    async with serving(handle, host="0.0.0.0") as server, client(first_address=first) as transport:
        monkeypatch.setattr(asyncio.get_running_loop(), "getaddrinfo", getaddrinfo)
        url = server.url.replace("127.0.0.1", "many.test")
        await asyncio.gather(*(transport.post(url, {}, b"{}") for _ in range(count)))
    assert sorted(seen) == sorted(f"127.0.0.{1 + (first + number) % 3}" for number in range(count))


async def test_connecting_takes_no_longer_than_allowed() -> None:
    with socket.socket() as deaf:  # a full backlog answers nothing
        deaf.bind(("127.0.0.1", 0))
        deaf.listen(0)
        fillers = [socket.socket() for _ in range(4)]
        for filler in fillers:
            filler.setblocking(False)
            filler.connect_ex(deaf.getsockname())
        async with client(Limits(connect_s=0.2)) as transport:
            exchange = await transport.post(f"http://127.0.0.1:{deaf.getsockname()[1]}/", {}, b"{}")
        for filler in fillers:
            filler.close()
    assert exchange.failure == "timeout"
    assert "within 0.2 s" in exchange.error
    assert exchange.end_s - exchange.sent_s < 2


@pytest.mark.parametrize(
    ("limits", "parts", "words"),
    [
        (Limits(read_s=0.2), (), "silent for 0.2 s (readTimeout)"),
        (Limits(read_s=0.2), (OK[:-1],), "silent for 0.2 s"),
        (
            Limits(read_s=0.5, total_s=0.4),
            (CHUNKED, *[b"1\r\na\r\n"] * 100),
            "not complete within 0.4 s (totalTimeout)",
        ),
    ],
)
async def test_a_response_takes_no_longer_than_allowed(limits: Limits, parts: tuple[bytes, ...], words: str) -> None:
    async def handle(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await replying(*parts, pause_s=0.02)(reader, writer)
        await asyncio.sleep(5)

    async with serving(handle) as server, client(limits) as transport:
        exchange = await asyncio.wait_for(transport.post(server.url, {}, b"{}"), 4)
        assert exchange.failure == "timeout"
        assert words in exchange.error
        assert transport.open_connections == 0
    assert 0.2 <= exchange.end_s - exchange.sent_s < 2


async def test_without_limits_a_slow_response_is_waited_for() -> None:
    limits = Limits(None, None, None)
    async with serving(replying(OK[:5], OK[5:], pause_s=0.3)) as server:
        assert [exchange.failure for exchange in await ask(server, limits)] == [""]


async def test_a_cancelled_request_is_a_result_and_closes_its_connection() -> None:
    async with serving(replying(CHUNKED + b"1\r\na\r\n", OK, pause_s=5)) as server, client() as transport:
        task = asyncio.create_task(transport.post(server.url, {}, b"{}"))
        await asyncio.sleep(0.2)
        task.cancel()
        exchange = await task
        assert (exchange.failure, exchange.body) == ("unfinished", b"a")
        assert transport.open_connections == 0


async def test_large_bodies_are_sent_whole() -> None:
    body = b"x" * 20_000_000
    async with serving(replying(OK), limit=2**26) as server, client() as transport:
        exchange = await transport.post(server.url, {}, body)
        assert exchange.failure == ""
        assert len(server.requests[0].partition(b"\r\n\r\n")[2]) == len(body)


async def test_headers_that_cannot_be_sent_fail_that_request_only() -> None:
    async with serving(replying(OK)) as server, client() as transport:
        bad = await transport.post(server.url, {"X-A": "a\nb"}, b"{}")
        good = await transport.post(server.url, {"X-A": "a"}, b"{}")
    assert (bad.failure, good.failure, len(server.requests)) == ("plugin", "", 1)
    assert "line break" in bad.error
