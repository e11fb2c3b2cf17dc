"""Servers that answer oddly: what is no answer is no success, and what is one is understood."""

import asyncio
import gzip
import re
from collections.abc import Callable
from typing import Any

import pytest

Start = Callable[..., Any]
TOKENS = b"".join(b'data: {"choices": [{"index": 0, "delta": {"content": "t%d"}}]}\n\n' % number for number in range(5))
USAGE = b'data: {"choices": [], "usage": {"prompt_tokens": 3, "completion_tokens": 5}}\n\n'
DONE = b"data: [DONE]\n\n"


@pytest.fixture
def answering(served: Start) -> Callable[..., str]:
    """A server that gives one whole response to every request; its URL."""

    def start(body: bytes, *headers: str, status: str = "200 OK") -> str:
        lines = [f"HTTP/1.1 {status}", *headers, f"Content-Length: {len(body)}", "", ""]

        async def handle(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            try:
                while head := await reader.readuntil(b"\r\n\r\n"):
                    found = re.search(rb"content-length: *(\d+)", head.lower())
                    await reader.readexactly(int(found[1]) if found else 0)
                    writer.write("\r\n".join(lines).encode() + body)
            except (asyncio.IncompleteReadError, ConnectionError):
                writer.close()

        return f"{served(handle)}/v1"

    return start


@pytest.mark.parametrize(
    ("body", "kind", "failure", "told"),
    [
        (b'{"detail": "Not Found"}', "application/json", "protocol", 'no answer of this API: {"detail": "Not Found"}'),
        (b'data: {"x": 1}\n\n' + DONE, "text/event-stream", "protocol", 'no answer of this API: {"x": 1}'),
        (b'event: error\ndata: {"code": 500, "message": "m"}\n\n', "text/event-stream", "in_stream", "m"),
        (TOKENS + b'event: error\ndata: {"code": 500}\n\n' + DONE, "text/event-stream", "in_stream", "500"),
        (
            TOKENS + USAGE.replace(b": 5", b': "5"') + DONE,
            "text/event-stream",
            "protocol",
            "reports '5' completion tokens",
        ),
        (TOKENS + USAGE.replace(b": 5", b": -5") + DONE, "text/event-stream", "protocol", "'-5' completion tokens"),
    ],
)
def test_what_is_no_answer_is_no_success(
    answering: Start, perfbench: Start, spec_for: Start, body: bytes, kind: str, failure: str, told: str
) -> None:
    spec = spec_for(answering(body, f"Content-Type: {kind}"), {"concurrency": 2, "requests": 8})
    spec["target"]["connectionTest"] = False
    run = perfbench(spec)
    assert run.wait() == 1
    assert run.stage["requests"]["succeeded"] == 0
    assert run.stage["errors"] == {failure: 8}
    assert told in run.rows("error")[0][0]
    assert f"; the first, {failure}: " in run.stderr
    assert told[:30] in run.stderr


def test_the_connection_test_tells_it_before_any_load(answering: Start, perfbench: Start, spec_for: Start) -> None:
    run = perfbench(spec_for(answering(b'{"detail": "Not Found"}', "Content-Type: application/json")))
    assert run.wait() == 1
    assert 'no answer of this API: {"detail": "Not Found"}' in run.stderr
    assert "target.api" in run.stderr
    assert run.count() == 0


@pytest.mark.parametrize("coding", ["gzip", "x-unheard-of"])
def test_a_server_that_compresses_unasked(answering: Start, perfbench: Start, spec_for: Start, coding: str) -> None:
    body = gzip.compress(TOKENS + USAGE + DONE)
    url = answering(body, "Content-Type: text/event-stream", f"Content-Encoding: {coding}")
    run = perfbench(spec_for(url, {"concurrency": 2, "requests": 8}))
    if coding == "gzip":
        assert run.wait() == 0, run.stderr
        assert run.rows("success, completion_tokens, response_bytes") == [(1, 5, len(body))] * 8
    else:
        assert run.wait() == 1
        assert "Content-Encoding is 'x-unheard-of'" in run.stderr


def test_a_server_that_counts_no_tokens_of_a_text_is_not_believed(
    answering: Start, perfbench: Start, spec_for: Start
) -> None:
    usage = USAGE.replace(b": 5", b": 0").replace(b": 3", b": 0")
    run = perfbench(spec_for(answering(TOKENS + usage + DONE, "Content-Type: text/event-stream")))
    assert run.wait() == 0
    assert run.stage["token_sources"] == {"chunks": 40}
    assert run.rows("DISTINCT completion_tokens") == [(5,)]
    assert any("output tokens are counted here" in note for note in run.stage["notes"])
