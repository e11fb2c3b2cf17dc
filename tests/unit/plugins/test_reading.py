"""What an exchange says: the same messages and the right times, however the network cut the bytes."""

import codecs
import gc
from array import array
from random import Random
from time import thread_time
from typing import Any

import orjson
import pytest

from perfbench_plugins.api.default_api import DefaultApiPlugin
from perfbench_plugins.api.openai_api import OpenaiPlugin
from perfbench_plugins.arguments import Arguments
from perfbench_plugins.benchmark_data import BenchmarkData
from perfbench_plugins.exchange import Exchange
from perfbench_plugins.messages import Messages, Piece, look_at_all, look_at_each
from perfbench_plugins.reading import read as read_exchange
from perfbench_plugins.reading import read_in_steps, split_events
from perfbench_plugins.sse import Events, _split_lines

API = OpenaiPlugin(Arguments(url="http://x", model="m"))


def exchange(
    body: bytes, cuts: list[int] | None = None, content_type: str = "text/event-stream", **more: Any
) -> Exchange:
    """A response that came in pieces ending at `cuts`, one a second from second 1 on; sent at second 0.5."""
    ends = sorted({*(cuts or []), len(body)} - {0})
    stamps = array("d", [float(number + 1) for number in range(len(ends))])
    return Exchange(
        sent_s=0.5,
        end_s=stamps[-1] if stamps else 1.0,
        status=200,
        content_type=content_type,
        stamps=stamps,
        ends=array("Q", ends),
        body=body,
        **more,
    )


def chunk(text: str | None = None, finish: str | None = None, index: int = 0, **delta: Any) -> dict[str, Any]:
    if text is not None:
        delta["content"] = text
    return {"id": "c", "choices": [{"index": index, "delta": delta, "finish_reason": finish}]}


def sse(*messages: Any, done: bool = True, end: bytes = b"\n\n") -> bytes:
    texts = [message if isinstance(message, bytes) else orjson.dumps(message) for message in messages]
    return b"".join(b"data: " + text + end for text in [*texts, *([b"[DONE]"] if done else [])])


def read(body: bytes, *cuts: int, **more: Any) -> BenchmarkData:
    return API.read(exchange(body, list(cuts), **more), "{}")


HELLO = sse(chunk(role="assistant"), chunk("Hel"), chunk("lo"), chunk(finish="stop"))


@pytest.mark.parametrize(
    ("body", "events"),
    [
        (b"data: a\n\ndata: b\n\n", [b"a", b"b"]),
        (b"data: a\r\n\r\ndata: b\r\n\r\n", [b"a", b"b"]),
        (b"data: a\r\rdata: b\r\r", [b"a", b"b"]),
        (b"data:a\n\ndata:  b\n\n", [b"a", b" b"]),
        (b"data: a\ndata: b\n\n", [b"a\nb"]),
        (b": ping\n\ndata: a\n\n: ping\n\n", [b"a"]),
        (b":\n\ndata: a\n:\ndata: b\n\n", [b"a\nb"]),
        (b"event: x\ndata: a\nid: 1\n\n", [b"a"]),
        (b"retry: 5\n\ndata: a\n\n", [b"a"]),
        (b"data: a\n\n\n\ndata: b\n\n", [b"a", b"b"]),
        (b"data: a\n\ndata: b", [b"a", b"b"]),
        (b"data: a\n\ndata: b\n", [b"a", b"b"]),
        (b"data: a\n\ndat", [b"a"]),
        (b"datax: a\n\ndata\n\ndata: b\n\n", [b"", b"b"]),
        (b"data: \xc3\xa4\n\n", ["ä".encode()]),
        (b"data: a\xe2\x80\xa8b\x0bc\x85d\n\n", [b"a\xe2\x80\xa8b\x0bc\x85d"]),
        (b"", []),
        (b"\n\n", []),
    ],
)
def test_events_are_split_as_the_standard_says(body: bytes, events: list[bytes]) -> None:
    found = split_events(body)
    assert found.data == events
    assert len(found.ends) == len(events)
    assert list(found.ends) == sorted(found.ends)


@pytest.mark.parametrize("end", [b"\n\n", b"\r\n\r\n", b"\r\r", b"\n\n: ping\n\n", b"\nid: 5\n\n"])
def test_any_cutting_gives_the_same_messages_and_the_right_times(end: bytes) -> None:
    """An event came with the piece that brought the last byte of its data."""
    random = Random(end)
    texts = ["H", 'q"', "\\", "ä€😀", "\n", "x" * 50, " "]
    messages = [chunk(role="assistant"), *(chunk(text) for text in texts), chunk(finish="stop")]
    body = sse(*messages, end=end)
    raws = [orjson.dumps(message) for message in messages]
    data_ends, at = [], 0
    for raw in raws:
        at = body.index(raw, at) + len(raw)
        data_ends.append(at)
    for _ in range(300):
        cuts = sorted(random.sample(range(1, len(body)), random.randint(0, 40)))
        found = read(body, *cuts)
        assert (found.success, found.generated_text) == (True, "".join(texts))
        assert found.response_messages.raw == raws  # type: ignore[attr-defined]
        expected = [1.0 + sum(cut < data_end for cut in cuts) for data_end in data_ends[1:-1]]
        assert found.chunk_times == expected


def test_times_of_events_that_came_together_are_equal() -> None:
    found = read(HELLO)
    assert (found.chunk_times, found.first_chunk_latency, found.inter_chunk_latency) == ([1.0, 1.0], 0.5, [0.0])


def test_ttft_is_to_the_first_content_not_to_the_role() -> None:
    cuts = [HELLO.index(b"data", 5), HELLO.index(b"lo") - 5]
    found = read(HELLO, *cuts)
    assert found.first_chunk_latency == 2.0 - 0.5
    assert found.inter_chunk_latency == [1.0]
    assert found.query_latency == 2.5


@pytest.mark.parametrize(
    ("messages", "text", "reasoning", "chunks"),
    [
        ([chunk("a"), chunk(""), chunk("b"), chunk(finish="stop")], "ab", "", 2),
        ([chunk(reasoning_content="hm"), chunk("a"), chunk(finish="stop")], "a", "hm", 2),
        ([chunk(reasoning="hm"), chunk("a", "stop")], "a", "hm", 2),
        ([chunk(None, content=None, reasoning_content="x"), chunk("a", "stop")], "a", "x", 2),
        ([chunk("a"), chunk("B", index=1), chunk("c", index=0), chunk("D", "stop", index=1)], "ac", "", 2),
        ([chunk(refusal="no"), chunk(finish="stop")], "no", "", 1),
        ([chunk("a", "stop"), {"choices": [], "usage": {"prompt_tokens": 1, "completion_tokens": 2}}], "a", "", 1),
        ([{"choices": [{"index": 0, "text": "a", "finish_reason": "length"}]}], "a", "", 1),
        ([chunk(tool_calls=[{"function": {"name": "f", "arguments": ""}}]), chunk("", "tool_calls")], "f", "", 1),
        (
            [
                chunk(tool_calls=[{"function": {"name": "f", "arguments": '{"a"'}}]),
                chunk(tool_calls=[{"function": {"arguments": ":1}"}}]),
                chunk(finish="tool_calls"),
            ],
            'f{"a":1}',
            "",
            2,
        ),
        ([chunk(content=[{"type": "text", "text": "a"}]), chunk(finish="stop")], "a", "", 1),
    ],
)
def test_content_of_every_kind_is_found(messages: list[Any], text: str, reasoning: str, chunks: int) -> None:
    found = read(sse(*messages))
    assert (found.error, found.generated_text, found.reasoning_text) == (None, text, reasoning)
    assert len(found.chunk_times) == chunks


@pytest.mark.parametrize(
    ("body", "failure"),
    [
        (HELLO, ""),
        (sse(chunk("a", "stop"), done=False), ""),
        (sse(chunk("a")), ""),
        (sse(chunk("a"), done=False), "truncated"),
        (sse(chunk("a"), done=False) + b'data: {"choices": [{"del', "truncated"),
        (b"", "empty"),
        (sse(), "empty"),
        (sse(chunk(role="assistant"), chunk(finish="stop")), "empty"),
        (sse({"choices": [], "usage": {"prompt_tokens": 1}}), "empty"),
        (sse(chunk("a"), {"error": {"message": "out of memory"}}), "in_stream"),
        (sse(chunk("a"), {"error": "out of memory"}, done=False), "in_stream"),
        (sse({"error": {"code": 5}}), "in_stream"),
        (sse({"object": "error", "message": "out of memory", "code": 400}), "in_stream"),
        (sse(chunk("a"), b"{no json", chunk("b")), "protocol"),
        (sse(chunk("a", "stop")) + sse({"choices": [], "usage": {}}, done=False) + b": bye\n\n", ""),
        (sse(chunk("a", "stop")) + sse(chunk(""), chunk(""), chunk(""), done=False), ""),
        (sse({"choices": [None]}), "protocol"),
        (sse({"choices": "abc"}), "protocol"),
        (sse({"choices": {"a": 1}}), "protocol"),
        (sse({"choices": [{"index": 0, "delta": "text"}]}), "protocol"),
        (sse(chunk(tool_calls=5)), "protocol"),
        (sse(chunk(refusal={"a": 1})), "protocol"),
        (sse([1, 2], "text", None, 5), "protocol"),
        (sse({"x": 1}), "protocol"),
        (sse({"detail": "Not Found"}), "protocol"),
        (sse({"x": 1}, chunk("a", "stop")), ""),
        (sse({"code": 500, "message": "out of memory"}), "in_stream"),
        (sse(chunk("a"), {"code": 500, "message": "out of memory"}), "in_stream"),
        (sse(chunk("a", "stop"), {"type": "error", "message": "out of memory"}), "in_stream"),
        (b"event: error\n" + sse({"code": 500, "message": "boom"}), "in_stream"),
        (b"event: error\n" + sse({"anything": "else"}, done=False), "in_stream"),
        (b"event: error\n" + sse(b"Internal Server Error"), "in_stream"),
        (sse(chunk("a"), done=False) + b"event: error\r\ndata: boom\r\n\r\n", "in_stream"),
        (sse(chunk("a"), done=False) + b"event:error\ndata:\n\n" + sse(chunk("b", "stop")), "in_stream"),
        (b"event: message\n" + sse(chunk("a", "stop")), ""),
        (sse(chunk(content=5)), "protocol"),
        (sse({"choices": [{"index": 0, "text": 5}]}), "protocol"),
        (sse({"choices": None}), "protocol"),
    ],
)
def test_a_stream_is_whole_or_says_why_not(body: bytes, failure: str) -> None:
    found = read(body)
    assert (found.failure, found.success) == (failure, not failure)
    assert bool(found.error) == bool(failure)


def test_a_failure_of_the_transport_is_the_first_cause() -> None:
    found = read(sse(chunk("a"), done=False), failure="disconnected", error="the connection ended")
    assert (found.failure, found.error, found.generated_text) == ("disconnected", "the connection ended", "a")


def test_what_came_before_a_cut_is_kept() -> None:
    body = sse(chunk("a"), done=False) + b'data: {"choices": [{"del'
    found = read(body, failure="disconnected", error="the connection ended")
    assert (found.failure, found.generated_text, len(found.chunk_times)) == ("disconnected", "a", 1)


def test_of_an_http_error_the_status_is_kept() -> None:
    found = API.read(
        Exchange(
            sent_s=1, end_s=2, status=429, content_type="application/json", body=b'{"error": "x"}', failure="http_429"
        ),
        "{}",
    )
    assert (found.success, found.failure, found.status_code, found.query_latency) == (False, "http_429", 429, 1)


@pytest.mark.parametrize(
    ("body", "failure", "text"),
    [
        ({"choices": [{"index": 0, "message": {"content": "a"}, "finish_reason": "stop"}]}, "", "a"),
        ({"choices": [{"index": 0, "text": "a", "finish_reason": "stop"}]}, "", "a"),
        ({"choices": [{"index": 0, "message": {"content": None, "reasoning_content": "r"}}]}, "", ""),
        ({"choices": [{"index": 0, "message": {"content": ""}}]}, "empty", ""),
        ({"error": {"message": "no"}}, "in_stream", ""),
        (b"", "empty", ""),
        (b"<html>", "protocol", ""),
        (b'{"choices": [{"message"', "protocol", ""),
        ({"choices": [None]}, "protocol", ""),
        ({"something": "else"}, "protocol", ""),
        ({"detail": "Not Found"}, "protocol", ""),
        ({"choices": None, "usage": None}, "protocol", ""),
        ({"code": 404, "message": "no such model"}, "in_stream", ""),
        ({"choices": [{"index": 0, "text": 5}]}, "protocol", ""),
        ({}, "protocol", ""),
        ([], "protocol", ""),
        ("Not Found", "protocol", ""),
        (5, "protocol", ""),
    ],
)
def test_a_body_is_whole_or_says_why_not(body: Any, failure: str, text: str) -> None:
    raw = body if isinstance(body, bytes) else orjson.dumps(body)
    found = read(raw, content_type="application/json")
    assert (found.failure, found.generated_text) == (failure, text)
    assert (found.first_chunk_latency, found.inter_chunk_latency) == (None, [])


class _Each(DefaultApiPlugin):
    """Says nothing of its own, so that each message is content."""

    def read_message(self, message: Any) -> Any:
        return super().read_message({"unknown": message})

    def parse_responses(self, responses: list[Any], request: str | None = None, **kwargs: Any) -> tuple[int, int]:
        return 1, len(responses)


def test_messages_that_nobody_knows_are_content_where_the_plugin_counts_them_itself() -> None:
    found = _Each(API.param).read(exchange(b"data: 1\n\ndata: 2\n\n", [9]), "{}")
    assert (found.success, found.chunk_times, found.completion_tokens) == (True, [1.0, 2.0], 2)


def test_what_an_error_event_says_is_told_and_what_came_before_it_is_kept() -> None:
    body = sse(chunk("a"), done=False) + b'event: error\ndata: {"error": {"message": "boom"}}\n\n' + sse(chunk("b"))
    found = read(body)
    assert (found.failure, found.error, found.generated_text) == ("in_stream", "boom", "a")
    assert len(found.response_messages) == 3


@pytest.mark.parametrize("number", [1, 300, 5_000])
def test_an_error_event_is_found_however_late_it_comes(number: int) -> None:
    body = b"event: x\n" + sse(*[chunk("a")] * number, done=False) + b"event: error\ndata: boom\n\n"
    found = read(body)
    assert (found.failure, found.error, found.generated_text) == ("in_stream", "boom", "a" * number)


class _Returns(OpenaiPlugin):
    value: Any = None

    def read_message(self, message: Any) -> Any:
        return self.value


@pytest.mark.parametrize("value", [None, 5, "text", ("a", "", "", True, True), {}])
@pytest.mark.parametrize("content_type", ["text/event-stream", "application/json"])
def test_a_plugin_that_returns_no_piece_is_told_so(value: Any, content_type: str) -> None:
    plugin = _Returns(API.param)
    plugin.value = value
    found = plugin.read(exchange(HELLO if "event" in content_type else b"{}", content_type=content_type), "{}")
    assert found.failure == "plugin"
    assert "read_message returned" in str(found.error)


class _Raises(OpenaiPlugin):
    def read_message(self, message: Any) -> Any:
        raise KeyError("oops")


def test_a_plugin_that_cannot_read_a_message_fails_that_request_only() -> None:
    found = _Raises(API.param).read(exchange(HELLO), "{}")
    assert found.success is False
    assert "KeyError" in (found.error or "")


def random_stream(random: Random) -> list[bytes]:
    """Events as servers write them, and some as they should not."""
    alphabet = ["a", "hello ", '"', "\\", "\n", "ä", "😀", "", "{", '"content":"', "\\u0041", "null", "\t", "'", "/"]
    ident = random.choice(["x", "content", ""])
    found = []
    for number in range(random.randint(1, 40)):
        text = "".join(random.choices(alphabet, k=random.randint(0, 3)))
        delta: dict[str, Any] = {"content": text}
        extra = random.random()
        if extra < 0.05:
            delta["role"] = "assistant"
        elif extra < 0.1:
            delta["reasoning_content"] = "r"
        elif extra < 0.13:
            delta["tool_calls"] = [{"function": {"arguments": text}}]
        choice: dict[str, Any] = {"index": int(random.random() < 0.1), "delta": delta, "logprobs": None}
        choice["finish_reason"] = "stop" if random.random() < 0.05 else None
        if random.random() < 0.05:
            choice["logprobs"] = {"content": [{"token": text}], "content2": text}
        message: dict[str, Any] = {"id": ident, "choices": [choice]}
        if random.random() < 0.05:
            message["usage"] = {"completion_tokens": number}
        dump: Any = orjson.dumps(message)
        if random.random() < 0.1:
            dump = dump.replace(b'":', b'": ')
        found.append(dump)
    return found


def test_decoding_few_events_finds_what_decoding_all_does() -> None:
    random = Random(5)
    for _ in range(2000):
        raw = random_stream(random)
        few, every = (look(Messages(list(raw)), API.read_message) for look in (look_at_all, look_at_each))
        assert few == every, raw


def test_messages_are_decoded_when_they_are_looked_at() -> None:
    messages = Messages([b'{"a": 1}', b"no json", b"null"])
    assert messages[0] == {"a": 1}
    assert messages[-1] is None
    assert messages[0:1] == [{"a": 1}]
    assert len(messages) == 3
    with pytest.raises(ValueError, match="expected"):
        list(messages)
    with pytest.raises(IndexError):
        messages[3]
    assert list(reversed(Messages([b"1", b"2"]))) == [2, 1]


@pytest.mark.parametrize(
    ("tokens", "ttft", "expected"), [(3, 0.5, 0.75), (2, 0.5, 1.5), (1, 0.5, None), (0, 0.5, None), (5, None, None)]
)
def test_tpot_is_undefined_below_two_tokens(tokens: int, ttft: float | None, expected: float | None) -> None:
    body = sse(chunk("a", "stop"), {"choices": [], "usage": {"prompt_tokens": 1, "completion_tokens": tokens}})
    if ttft is None:
        raw = orjson.dumps(
            {"choices": [{"message": {"content": "a"}}], "usage": {"prompt_tokens": 1, "completion_tokens": tokens}}
        )
        assert read(raw, content_type="application/json").time_per_output_token is None
        return
    cut = body.index(b'"usage"')
    found = read(body, cut, cut + 5)  # content at 1, end at 3, sent at 0.5
    assert found.first_chunk_latency == ttft
    found_tpot = found.time_per_output_token
    assert found_tpot == (None if expected is None else pytest.approx((2.5 - 0.5) / (tokens - 1)))


def test_latency_ends_with_the_last_byte() -> None:
    assert read(HELLO, 5, 10, 15).query_latency == 4 - 0.5


def long_stream(tokens: int, ending: bytes) -> Exchange:
    events = [b'data: {"choices": [{"delta": {"content": "t%d "}}]}' % number for number in range(tokens)]
    body = b"".join(event + ending for event in [*events, b"data: [DONE]"])
    exchange = Exchange(status=200, content_type="text/event-stream", sent_s=1.0, end_s=9.0, body=body)
    at, length = 0, len(body)
    while at < length:  # pieces of the size that a socket gives at once
        at = min(at + 1777, length)
        exchange.ends.append(at)
        exchange.stamps.append(1.0 + at / length)
    return exchange


def delta(message: Any) -> Piece:
    return Piece(message["choices"][0]["delta"].get("content") or "")


@pytest.mark.parametrize("ending", [b"\n\n", b"\r\n\r\n", b"\r\r"])
@pytest.mark.parametrize("tokens", [1, 3, 255, 256, 257, 5_000, 32_000])
def test_a_long_answer_is_read_in_short_steps_to_the_same_result(tokens: int, ending: bytes) -> None:
    exchange = long_stream(tokens, ending)
    steps = read_in_steps(exchange, "", delta)
    count, longest_s = 0, 0.0
    gc.disable()  # as calm as in a measuring process
    while True:
        began_s = thread_time()
        try:
            next(steps)
        except StopIteration as end:
            data = end.value
            break
        count += 1
        longest_s = max(longest_s, thread_time() - began_s)
    gc.enable()
    assert data == read_exchange(exchange, "", delta)
    assert data.success
    assert data.generated_text == "".join(f"t{number} " for number in range(tokens))
    assert len(data.inter_chunk_latency) == tokens - 1
    assert count >= tokens // 256 if tokens > 256 else count == 0
    assert longest_s < 0.1, "the whole takes more than that for 32k tokens, and every other stream would wait"


def test_an_event_that_is_longer_than_a_step_is_read_whole() -> None:
    text = "x" * 300_000
    body = b'data: {"choices": [{"delta": {"content": "%s"}}]}\n\ndata: [DONE]\n\n' % text.encode()
    exchange = Exchange(status=200, content_type="text/event-stream", body=body, sent_s=1.0, end_s=2.0)
    exchange.ends.append(len(body))
    exchange.stamps.append(1.5)
    assert read_exchange(exchange, "", delta).generated_text == text


def test_a_byte_order_mark_before_the_first_event_is_no_part_of_it() -> None:
    body = codecs.BOM_UTF8 + b"data: a\n\ndata: b\n\n"
    found = split_events(body)
    assert found.data == [b"a", b"b"]
    assert [body[:end].endswith(data) for end, data in zip(found.ends, found.data, strict=True)] == [True, True]


def test_the_short_way_splits_as_the_standard_s_does() -> None:
    """Of 5,000 bodies made of what events are made of; many are no events that a server should write."""
    random = Random(3)
    parts = [
        b"data: ",
        b"data:",
        b"a",
        b"{}",
        b"[DONE]",
        b"\n\n",
        b"\n\n",
        b"\n",
        b"\r\n",
        b": ping",
        b"event: error\n",
    ]
    for _ in range(5000):
        plain = b"data: x\n\n" * random.randint(0, 3)
        body = plain + b"".join(random.choices(parts, k=random.randint(0, 12)))
        assert split_events(body) == _split_lines(body), body


@pytest.mark.parametrize("at", [-1, 0, 1, 2, 5])
def test_done_is_left_out_wherever_it_is(at: int) -> None:
    data = [b"a", b"b", b"c", b"d", b"e"]
    events = Events(data, [3, 6, 9, 12, 15], [])
    if at >= 0:
        events = Events([*data[:at], b"[DONE]", *data[at:]], [*events.ends[:at], 99, *events.ends[at:]], [])
    assert events.without(b"[DONE]") == Events(data, [3, 6, 9, 12, 15], [])
