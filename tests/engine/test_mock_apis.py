"""What the mock answers, API by API, as an ordinary HTTP client sees it."""

import asyncio
import base64
import http.client
import json
import struct
from typing import Any

import pytest

from perfbench_runner.mock.server import MockServer
from perfbench_runner.mock.settings import MockSettings

CHAT, COMPLETIONS, EMBEDDINGS = "/v1/chat/completions", "/v1/completions", "/v1/embeddings"
HELLO = {"messages": [{"role": "user", "content": "well hello there"}]}


async def ask(
    mock: MockServer, path: str, body: Any = None, method: str = "", **headers: str
) -> tuple[int, dict[str, Any], bytes]:
    def exchange() -> tuple[int, dict[str, Any], bytes]:
        connection = http.client.HTTPConnection("127.0.0.1", mock.port, timeout=10)
        data = body if isinstance(body, bytes) or body is None else json.dumps(body)
        connection.request(method or ("GET" if body is None else "POST"), path, data, headers)
        response = connection.getresponse()
        found = {name.lower(): value for name, value in response.getheaders()}
        answer = response.status, found, response.read()
        connection.close()
        return answer

    return await asyncio.to_thread(exchange)


async def ask_json(path: str, body: Any = None, **settings: Any) -> Any:
    async with MockServer(MockSettings(ttft_s=0, itl_s=0, **settings)) as mock:
        status, _, answer = await ask(mock, path, body)
        assert status == 200, answer
        return json.loads(answer)


async def ask_stream(path: str, body: dict[str, Any], **settings: Any) -> list[Any]:
    """The events' data, parsed; "[DONE]" as it is."""
    async with MockServer(MockSettings(ttft_s=0, itl_s=0, **settings)) as mock:
        status, headers, answer = await ask(mock, path, body | {"stream": True})
    assert status == 200
    assert headers["content-type"].startswith("text/event-stream")
    events = answer.decode().split("\n\n")
    assert events.pop() == ""
    assert all(event.startswith("data: ") for event in events)
    return [event[6:] if event == "data: [DONE]" else json.loads(event[6:]) for event in events]


def choices(events: list[Any]) -> list[dict[str, Any]]:
    return [event["choices"][0] for event in events if event != "[DONE]" and event["choices"]]


async def test_chat_streams_role_then_one_word_a_token_then_reason_then_done() -> None:
    events = await ask_stream(CHAT, HELLO | {"max_tokens": 5, "model": 'odd "näme"'})
    deltas = [choice["delta"] for choice in choices(events)]
    assert deltas[0] == {"role": "assistant", "content": ""}
    assert [len(delta["content"].split()) for delta in deltas[1:6]] == [1] * 5
    assert deltas[6] == {}
    assert [choice["finish_reason"] for choice in choices(events)] == [None] * 6 + ["length"]
    assert events[-1] == "[DONE]"
    assert len(events) == 8
    assert len({event["id"] for event in events[:-1]}) == 1
    assert {event["model"] for event in events[:-1]} == {'odd "näme"'}


async def test_streamed_and_whole_replies_say_the_same() -> None:
    body = HELLO | {"max_tokens": 40}
    streamed = "".join(choice["delta"].get("content", "") for choice in choices(await ask_stream(CHAT, body)))
    whole = await ask_json(CHAT, body)
    assert whole["choices"][0]["message"]["content"] == streamed
    assert len(streamed.split()) == 40
    completion = {"prompt": "x", "max_tokens": 40}
    streamed = "".join(choice["text"] for choice in choices(await ask_stream(COMPLETIONS, completion)))
    assert (await ask_json(COMPLETIONS, completion))["choices"][0]["text"] == streamed


@pytest.mark.parametrize(
    ("setting", "asked", "expected"),
    [("request", True, True), ("request", False, False), ("always", False, True), ("never", True, False)],
)
@pytest.mark.parametrize(("path", "body"), [(CHAT, HELLO), (COMPLETIONS, {"prompt": "well hello there"})])
async def test_a_stream_counts_tokens_when_it_should(
    path: str, body: dict[str, Any], setting: str, asked: bool, expected: bool
) -> None:
    options = {"stream_options": {"include_usage": True}} if asked else {}
    events = await ask_stream(path, body | options | {"max_tokens": 3}, usage=setting)
    usages = [event["usage"] for event in events if event != "[DONE]" and "usage" in event]
    assert usages == ([{"prompt_tokens": 3, "completion_tokens": 3, "total_tokens": 6}] if expected else [])
    if expected:
        assert events[-2]["choices"] == []


@pytest.mark.parametrize(
    ("output_tokens", "body", "length", "reason"),
    [
        (None, {}, 64, "stop"),
        (None, {"max_tokens": 100}, 100, "length"),
        (None, {"max_tokens": 100, "max_completion_tokens": 7}, 7, "length"),
        (10, {}, 10, "stop"),
        (10, {"max_tokens": 100}, 10, "stop"),
        (10, {"max_tokens": 5}, 5, "length"),
        (10, {"max_tokens": 100, "ignore_eos": True}, 100, "length"),
    ],
)
async def test_the_length_of_a_reply(output_tokens: int | None, body: dict[str, Any], length: int, reason: str) -> None:
    answer = await ask_json(CHAT, HELLO | body, output_tokens=output_tokens)
    assert answer["usage"]["completion_tokens"] == length
    assert len(answer["choices"][0]["message"]["content"].split()) == length
    assert answer["choices"][0]["finish_reason"] == reason


async def test_prompt_tokens_are_words_of_all_messages_and_parts() -> None:
    parts = [{"type": "text", "text": "one two"}, {"type": "image_url", "image_url": {"url": "data:,"}}]
    messages = [{"role": "system", "content": "three"}, {"role": "user", "content": parts}]
    answer = await ask_json(CHAT, {"messages": messages, "max_tokens": 1})
    assert answer["usage"]["prompt_tokens"] == 3
    answer = await ask_json(COMPLETIONS, {"prompt": [[1, 2, 3], [4, 5]], "max_tokens": 1})
    assert answer["usage"]["prompt_tokens"] == 5


async def test_reasoning_comes_before_content_and_counts() -> None:
    body = HELLO | {"max_tokens": 5, "stream_options": {"include_usage": True}}
    events = await ask_stream(CHAT, body, reasoning_tokens=2)
    kinds = [next(iter(choice["delta"]), None) for choice in choices(events)[1:]]
    assert kinds == ["reasoning_content"] * 2 + ["content"] * 3 + [None]
    assert events[-2]["usage"]["completion_tokens_details"] == {"reasoning_tokens": 2}
    message = (await ask_json(CHAT, body, reasoning_tokens=2))["choices"][0]["message"]
    assert (len(message["reasoning_content"].split()), len(message["content"].split())) == (2, 3)


@pytest.mark.parametrize("tokens", [1, 2, 3, 12])
async def test_tool_calls_add_up_to_valid_arguments(tokens: int) -> None:
    events = await ask_stream(CHAT, HELLO, tool_call=True, output_tokens=tokens)
    calls = [call for choice in choices(events) for call in choice["delta"].get("tool_calls", [])]
    assert calls[0]["function"]["name"]
    assert calls[0]["id"]
    assert len(calls) == 1 + tokens
    arguments = "".join(call["function"]["arguments"] for call in calls)
    assert isinstance(json.loads(arguments), dict)
    assert choices(events)[-1]["finish_reason"] == "tool_calls"
    whole = (await ask_json(CHAT, HELLO, tool_call=True, output_tokens=tokens))["choices"][0]["message"]
    assert whole["tool_calls"][0]["function"]["arguments"] == arguments


@pytest.mark.parametrize(
    ("given", "vectors", "tokens"),
    [("a b c", 1, 3), (["a b", "c"], 2, 3), ([1, 2, 3, 4], 1, 4), ([[1, 2], [3]], 2, 3)],
)
async def test_embeddings(given: Any, vectors: int, tokens: int) -> None:
    answer = await ask_json(EMBEDDINGS, {"input": given, "dimensions": 16, "model": "e"})
    assert [item["index"] for item in answer["data"]] == list(range(vectors))
    assert {len(item["embedding"]) for item in answer["data"]} == {16}
    assert answer["usage"] == {"prompt_tokens": tokens, "total_tokens": tokens}
    packed = await ask_json(EMBEDDINGS, {"input": given, "dimensions": 16, "encoding_format": "base64"})
    data = base64.b64decode(packed["data"][0]["embedding"])
    assert list(struct.unpack("<16f", data)) == answer["data"][0]["embedding"]


async def test_models_health_and_reset() -> None:
    assert [model["id"] for model in (await ask_json("/v1/models", model="m"))["data"]] == ["m"]
    assert await ask_json("/healthz") == {"ok": True}
    async with MockServer(MockSettings(ttft_s=0, itl_s=0)) as mock:
        await ask(mock, CHAT, HELLO)
        assert json.loads((await ask(mock, "/stats"))[2])["done"] == 1
        await ask(mock, "/reset", {})
        assert json.loads((await ask(mock, "/stats"))[2])["done"] == 0


async def test_metrics_look_like_vllm_and_agree_with_stats() -> None:
    async with MockServer(MockSettings(ttft_s=0.03, itl_s=0)) as mock:
        for _ in range(2):
            await ask(mock, CHAT, HELLO | {"stream": True, "max_tokens": 5})
        _, headers, text = await ask(mock, "/metrics")
    assert headers["content-type"].startswith("text/plain; version=0.0.4")
    samples = dict(line.rsplit(" ", 1) for line in text.decode().splitlines() if not line.startswith("#"))
    labels = '{model_name="mock",engine="0"}'
    assert samples[f"vllm:num_requests_running{labels}"] == "0"
    assert samples[f"vllm:num_requests_waiting{labels}"] == "0"
    assert samples[f"vllm:kv_cache_usage_perc{labels}"] == "0.0"
    assert samples[f"vllm:prompt_tokens_total{labels}"] == "6"
    assert samples[f"vllm:generation_tokens_total{labels}"] == "10"
    bucket = 'vllm:time_to_first_token_seconds_bucket{model_name="mock",engine="0",le="%s"}'
    assert (samples[bucket % "0.02"], samples[bucket % "+Inf"]) == ("0", "2")


@pytest.mark.parametrize(
    ("path", "body", "words"),
    [
        (CHAT, b"{nope", "not JSON"),
        (CHAT, [1], "must be a JSON object"),
        (CHAT, {}, "messages must be"),
        (CHAT, HELLO | {"max_tokens": 0}, "max_tokens must be at least 1"),
        (CHAT, HELLO | {"max_tokens": "9"}, "max_tokens must be at least 1"),
        (CHAT, HELLO | {"model": 7}, "model must be a string"),
        (COMPLETIONS, {"messages": []}, "prompt must be"),
        (EMBEDDINGS, {"input": []}, "input must be"),
        (EMBEDDINGS, {"input": "x", "dimensions": 1 << 20}, "dimensions must be at most"),
    ],
)
async def test_a_bad_request_is_told_what_is_wrong(path: str, body: Any, words: str) -> None:
    async with MockServer() as mock:
        status, headers, answer = await ask(mock, path, body)
    assert (status, headers["content-type"]) == (400, "application/json")
    assert words in json.loads(answer)["error"]["message"]


async def test_what_does_not_exist_names_what_does() -> None:
    async with MockServer() as mock:
        status, _, answer = await ask(mock, "/v2/chat", {})
        assert status == 404
        for path in (CHAT, COMPLETIONS, EMBEDDINGS, "/stats"):
            assert path in json.loads(answer)["error"]["message"]
        status, headers, _ = await ask(mock, CHAT)
        assert (status, headers["allow"]) == (405, "POST")
        status, headers, answer = await ask(mock, "/stats", {})
        assert (status, headers["allow"]) == (405, "GET")
        status, headers, answer = await ask(mock, "/stats", method="HEAD")
        assert (status, answer) == (405, b"")


async def test_an_api_key_is_checked_where_clients_put_it() -> None:
    async with MockServer(MockSettings(ttft_s=0, itl_s=0, api_key="secret")) as mock:
        good: list[dict[str, str]] = [
            {"Authorization": "Bearer secret"},
            {"x-api-key": "secret"},
            {"api-key": "secret"},
        ]
        bad: list[dict[str, str]] = [{}, {"Authorization": "Bearer other"}, {"Authorization": "Basic secret"}]
        assert [(await ask(mock, CHAT, HELLO, **headers))[0] for headers in good] == [200] * 3
        assert [(await ask(mock, CHAT, HELLO, **headers))[0] for headers in bad] == [401] * 3
        assert (await ask(mock, "/healthz"))[0] == 200
