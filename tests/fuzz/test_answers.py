"""Whatever a server answers, the request has a result: a success is an answer, and how bytes came changes only times."""

import asyncio
import gzip
import json
import socket
import zlib
from array import array
from typing import Any

import orjson
from hypothesis import example, given
from hypothesis import strategies as st
from odd_values import JUNK, tries

from perfbench_api.redaction import Redactor
from perfbench_plugins.api.default_api import DefaultApiPlugin
from perfbench_plugins.arguments import Arguments
from perfbench_plugins.benchmark_data import BenchmarkData
from perfbench_plugins.exchange import Exchange
from perfbench_plugins.registry import ApiRegistry
from perfbench_runner.engine.redacting import legible, redact
from perfbench_runner.results.encoding import decode, encode_messages
from perfbench_runner.shard.transport import HttpTransport, Limits

KEY = "planted-7Fq2ZtR9xW4mK8vB3nL6"
REDACTOR = Redactor()
REDACTOR.add(KEY)
USAGE = {"prompt_tokens": 3, "completion_tokens": 2, "input_tokens": 3, "output_tokens": 2}
SEEDS: dict[str, list[Any]] = {
    "openai": [
        {"choices": [{"index": 0, "delta": {"content": "hi"}, "finish_reason": None}]},
        {"choices": [{"index": 0, "delta": {"reasoning_content": "hm", "tool_calls": [{"function": {"name": "f"}}]}}]},
        {"choices": [{"index": 0, "delta": {}, "finish_reason": "stop"}], "usage": USAGE},
        {"choices": [{"index": 0, "message": {"content": "hi"}}], "usage": USAGE},
        {"choices": [{"index": 0, "text": KEY}]},
    ],
    "openai_responses": [
        {"type": "response.output_text.delta", "delta": "hi"},
        {"type": "response.completed", "response": {"usage": USAGE}},
        {"output": [{"type": "message", "content": [{"text": "hi"}]}], "usage": USAGE},
    ],
    "anthropic": [
        {"type": "message_start", "message": {"usage": USAGE}},
        {"type": "content_block_delta", "delta": {"text": "hi", "thinking": "hm"}},
        {"type": "message_delta", "delta": {"stop_reason": "end_turn"}, "usage": USAGE},
        {"type": "message", "content": [{"type": "text", "text": "hi"}], "usage": USAGE},
    ],
    "dashscope": [
        {"output": {"choices": [{"message": {"content": "hi"}, "finish_reason": "stop"}]}, "usage": USAGE},
        {"output": {"text": "hi", "finish_reason": "null"}},
    ],
    "tgi": [
        {"token": {"text": "hi", "special": False}, "generated_text": None, "details": None},
        [{"generated_text": "hi", "details": {"generated_tokens": 2, "prefill": [1], "input_length": 3}}],
    ],
    "openai_embedding": [{"data": [{"embedding": [0.5]}], "usage": USAGE}, [[0.5]]],
    "rerank": [{"results": [{"index": 0}], "usage": USAGE, "meta": {"tokens": {"input_tokens": 1}}}, [{"score": 1}]],
    "template": [{"text": "hi", "n": 2}],
}
OPTIONS = {"template": {"body": "{}", "content": "text", "completion_tokens": "n", "end": "done"}}
ERRORS = [{"error": {"message": "no"}}, {"detail": "Not Found"}, {"code": 500, "message": "m"}, {"error": KEY}]


def plugin(api: str) -> DefaultApiPlugin:
    arguments = Arguments(url="http://x", model="m", api=api, api_args=OPTIONS.get(api))
    made: DefaultApiPlugin = ApiRegistry.get_class(api)(arguments)
    return made


PLUGINS = {api: plugin(api) for api in SEEDS}


@st.composite
def changed(draw: Any, value: Any) -> Any:
    """A message with one of its values replaced by anything, or left out."""
    if not isinstance(value, (dict, list)) or not value or draw(st.integers(0, 3)) == 0:
        return draw(JUNK)
    if isinstance(value, list):
        at = draw(st.integers(0, len(value) - 1))
        return [*value[:at], draw(changed(value[at])), *value[at + 1 :]]
    name = draw(st.sampled_from(sorted(value)))
    if draw(st.integers(0, 6)) == 0:
        return {key: inner for key, inner in value.items() if key != name}
    return {**value, name: draw(changed(value[name]))}


def dumped(message: Any) -> bytes:
    try:
        return orjson.dumps(message)
    except TypeError:
        return json.dumps(message, default=str).encode(errors="replace")


@st.composite
def messages(draw: Any, api: str) -> list[bytes]:
    seeds = st.sampled_from([*SEEDS[api], *SEEDS[api], *ERRORS])
    one = st.one_of(seeds, seeds, seeds, seeds.flatmap(changed), JUNK)
    return [dumped(message) for message in draw(st.lists(one, max_size=6))]


ENDINGS = st.sampled_from([b"\n\n", b"\r\n\r\n", b"\r\r", b"\n\n: ping\n\n", b"\nid: 5\n\n", b"\n"])
KINDS = st.sampled_from([b"", b"", b"", b"event: x\n", b"event: error\n", b":\n", b"retry: 1\n"])


@st.composite
def bodies(draw: Any) -> tuple[str, str, bytes]:
    """An API, a content type, and a body."""
    api = draw(st.sampled_from(sorted(SEEDS)))
    raws = draw(messages(api))
    if draw(st.booleans()):
        return api, "application/json", raws[0] if raws else b""
    body = b"".join(draw(KINDS) + b"data: " + raw + draw(ENDINGS) for raw in raws)
    body += draw(st.sampled_from([b"data: [DONE]\n\n", b"", b"data: [DONE]", b"data: {"]))
    if draw(st.integers(0, 4)) == 0:
        body = body[: draw(st.integers(0, len(body)))]
    if draw(st.integers(0, 6)) == 0 and body:
        at = draw(st.integers(0, len(body) - 1))
        body = body[:at] + draw(st.binary(max_size=3)) + body[at + 1 :]
    return api, "text/event-stream", body


def exchange(kind: str, body: bytes, cuts: list[int], encoding: str = "", failure: str = "") -> Exchange:
    ends = sorted({cut % (len(body) + 1) for cut in cuts} | {len(body)} - {0})
    ends = [end for end in ends if end]
    return Exchange(
        sent_s=0.5,
        end_s=len(ends) + 1.0,
        status=200,
        content_type=kind,
        content_encoding=encoding,
        stamps=array("d", [number + 1.0 for number in range(len(ends))]),
        ends=array("Q", ends),
        body=body,
        failure=failure,
        error=failure,
    )


def read(api: str, found: Exchange) -> BenchmarkData:
    """The result as the intake makes it."""
    made = PLUGINS[api]
    data = made.read(legible(found, REDACTOR), "{}")
    redact(data, made, REDACTOR)
    data.tidy()
    return data


def assert_sound(api: str, data: BenchmarkData, stamps: Any) -> None:
    assert data.success is (not data.failure)
    assert data.success or data.error
    for count in (data.prompt_tokens, data.completion_tokens, data.cached_tokens):
        assert count is None or (type(count) is int and count >= 0)
    assert data.chunk_times == sorted(data.chunk_times)
    assert set(data.chunk_times) <= set(stamps)
    if data.success and PLUGINS[api].generates:
        content = data.chunk_times if data.is_stream else data.generated_text or data.reasoning_text
        assert content or data.no_content
    if data.success:
        assert data.response_messages
    stored = decode(encode_messages(data.response_messages))
    assert KEY not in "".join(map(str, stored))
    assert KEY not in f"{data.error}{data.generated_text}{data.reasoning_text}"


CUTS = st.lists(st.integers(0, 10**6), max_size=8)


@tries(600)
@given(bodies(), CUTS, st.sampled_from(["", "", "", "disconnected"]))
@example(("openai", "text/event-stream", b'data: {"choices": [{"text": 5}]}\n\ndata: [DONE]\n\n'), [], "")
@example(("openai_embedding", "application/json", b""), [], "")
def test_any_answer_has_a_sound_result(found: tuple[str, str, bytes], cuts: list[int], failure: str) -> None:
    api, kind, body = found
    whole = exchange(kind, body, [], failure=failure)
    data = read(api, whole)
    assert_sound(api, data, whole.stamps)
    pieces = exchange(kind, body, cuts, failure=failure)
    again = read(api, pieces)
    assert_sound(api, again, pieces.stamps)
    same = ("success", "failure", "error", "generated_text", "reasoning_text", "completion_tokens")
    for name in same:
        assert getattr(again, name) == getattr(data, name), name
    assert encode_messages(again.response_messages) == encode_messages(data.response_messages)
    assert len(again.chunk_times) == len(data.chunk_times)


@tries(200)
@given(
    bodies(), CUTS, st.sampled_from(["gzip", "deflate", "deflate, gzip", "br", "zstd", "x"]), st.booleans(), st.data()
)
def test_any_compressed_answer_is_the_same_or_told_to_be_none(
    found: tuple[str, str, bytes], cuts: list[int], encoding: str, is_broken: bool, data: Any
) -> None:
    api, kind, body = found
    packed = body
    for coding in encoding.split(", "):
        packed = {"gzip": gzip.compress, "deflate": zlib.compress}.get(coding, bytes)(packed)
    if is_broken and packed:
        at = data.draw(st.integers(0, len(packed) - 1))
        packed = packed[:at] + data.draw(st.binary(max_size=2)) + packed[at + 1 :]
    result = read(api, exchange(kind, packed, cuts, encoding))
    assert result.success is (not result.failure)
    if not is_broken and encoding in ("gzip", "deflate", "deflate, gzip"):
        plain = read(api, exchange(kind, body, []))
        assert (result.failure, result.generated_text) == (plain.failure, plain.generated_text)


# The wire: a real server, whose response is cut, reset and changed at every byte.

TOKENS = [b'data: {"choices": [{"index": 0, "delta": {"content": "t%d"}}]}\n\n' % number for number in range(3)]
STREAM = b"".join(TOKENS) + b"data: [DONE]\n\n"
HEAD = b"HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\n"


def chunked(parts: list[bytes]) -> bytes:
    return b"".join(b"%x\r\n%s\r\n" % (len(part), part) for part in parts) + b"0\r\n\r\n"


RESPONSES = {
    "length": HEAD + b"Content-Length: %d\r\n\r\n" % len(STREAM) + STREAM,
    "chunked": HEAD + b"Transfer-Encoding: chunked\r\n\r\n" + chunked([*TOKENS, b"data: [DONE]\n\n"]),
    "until close": HEAD + b"Connection: close\r\n\r\n" + STREAM,
    "gzip": HEAD
    + b"Content-Encoding: gzip\r\nTransfer-Encoding: chunked\r\n\r\n"
    + chunked([gzip.compress(STREAM)[:40], gzip.compress(STREAM)[40:]]),
}


class OneShot:
    """A server that sends what it is told to, to every connection once, and ends it."""

    def __init__(self) -> None:
        self.parts: list[bytes] = []
        self.is_reset = False

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            await reader.readuntil(b"\r\n\r\n")
            await reader.readexactly(2)
            for part in self.parts:
                writer.write(part)
                await writer.drain()
            if self.is_reset:
                writer.get_extra_info("socket").setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, b"\1\0\0\0\0\0\0\0")
                writer.transport.abort()
        except (ConnectionError, asyncio.IncompleteReadError):
            pass
        finally:
            writer.close()


async def ask_all(cases: list[tuple[list[bytes], bool]]) -> list[tuple[Exchange, BenchmarkData]]:
    """What the transport and the reading make of each case."""
    server, found = OneShot(), []
    listener = await asyncio.start_server(server.serve, "127.0.0.1", 0)
    url = f"http://127.0.0.1:{listener.sockets[0].getsockname()[1]}/v1"
    try:
        for parts, is_reset in cases:
            server.parts, server.is_reset = parts, is_reset
            transport = HttpTransport(Limits(connect_s=10, read_s=20, total_s=30))
            try:
                came = await asyncio.wait_for(transport.post(url, {}, b"{}"), 60)
            finally:
                await transport.close()
            found.append((came, PLUGINS["openai"].read(came, "{}")))
    finally:
        listener.close()
    return found


async def test_a_response_that_ends_at_any_byte_is_a_success_only_if_nothing_is_missing() -> None:
    for name, response in RESPONSES.items():
        cases = [([response[:end]] if end else [], False) for end in range(len(response) + 1)]
        for end, (came, data) in enumerate(await ask_all(cases)):
            assert data.success is (not data.failure)
            if data.success:
                assert data.generated_text == "t0t1t2", (name, end)
                # Without a length only [DONE] tells that nothing is missing.
                assert end == len(response) or (name == "until close" and b"[DONE]" in response[:end]), (name, end)
            assert data.success or came.failure or name == "until close", (name, end)
        assert data.success, name


async def test_a_response_that_is_reset_at_any_byte_is_never_a_longer_one() -> None:
    response = RESPONSES["chunked"]
    found = await ask_all([([response[:end]], True) for end in range(1, len(response), 3)])
    for came, data in found:
        assert not data.success
        assert came.failure in ("disconnected", "protocol")
        assert "t0t1t2".startswith(data.generated_text)


@st.composite
def mutated(draw: Any) -> list[bytes]:
    """A response with some of its bytes changed, in pieces."""
    response = draw(st.sampled_from(sorted(RESPONSES.values())))
    for _ in range(draw(st.integers(1, 3))):
        at = draw(st.integers(0, len(response) - 1))
        middle = draw(
            st.one_of(st.binary(max_size=3), st.sampled_from([b"\r\n", b"0\r\n\r\n", b"\n\n", response[:40]]))
        )
        response = response[:at] + middle + response[at + draw(st.integers(0, 4)) :]
    cut = draw(st.integers(0, len(response)))
    return [part for part in (response[:cut], response[cut:]) if part]


@tries(150)
@given(st.lists(mutated(), min_size=1, max_size=4))
def test_a_response_with_changed_bytes_has_a_sound_result(cases: list[list[bytes]]) -> None:
    for came, data in asyncio.run(ask_all([(parts, False) for parts in cases])):
        assert data.success is (not data.failure)
        assert data.success or data.error
        assert set(data.chunk_times) <= set(came.stamps)
