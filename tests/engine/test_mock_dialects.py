"""What the mock answers beside OpenAI's chats: shapes that the vendors' own clients read (bench/third_party.py)."""

import asyncio
import http.client
import json
from typing import Any

import pytest

from perfbench_runner.mock.server import MockServer
from perfbench_runner.mock.settings import MockSettings

RESPONSES, MESSAGES, GENERATE, STREAM = "/v1/responses", "/v1/messages", "/generate", "/generate_stream"
DASHSCOPE = "/api/v1/services/aigc/text-generation/generation"
HELLO = [{"role": "user", "content": "well hello there"}]
VERSION = {"anthropic-version": "2023-06-01"}


async def ask(path: str, body: Any, headers: dict[str, str] | None = None, **settings: Any) -> tuple[int, bytes]:
    def exchange(port: int) -> tuple[int, bytes]:
        connection = http.client.HTTPConnection("127.0.0.1", port, timeout=10)
        connection.request("POST", path, json.dumps(body), headers or {})
        response = connection.getresponse()
        answer = response.status, response.read()
        connection.close()
        return answer

    async with MockServer(MockSettings(**{"ttft_s": 0, "itl_s": 0} | settings)) as mock:
        return await asyncio.to_thread(exchange, mock.port)


async def events(path: str, body: Any, headers: dict[str, str] | None = None, **settings: Any) -> list[Any]:
    status, answer = await ask(path, body, headers, **settings)
    assert status == 200, answer
    return [json.loads(line[5:]) for line in answer.decode().splitlines() if line.startswith("data:")]


@pytest.mark.parametrize("reasoning", [0, 2, 5])
async def test_events_of_a_response_are_numbered_in_order(reasoning: int) -> None:
    body = {"input": HELLO, "stream": True, "max_output_tokens": 5}
    found = await events(RESPONSES, body, reasoning_tokens=reasoning)
    assert [event["sequence_number"] for event in found] == list(range(len(found)))
    kinds = [event["type"] for event in found]
    assert kinds.count("response.reasoning_text.delta") == reasoning
    assert kinds.count("response.output_text.delta") == 5 - reasoning
    assert kinds.count("response.output_item.added") == kinds.count("response.output_item.done")
    last = found[-1]["response"]
    assert (kinds[-1], last["status"], last["usage"]["output_tokens"]) == ("response.incomplete", "incomplete", 5)
    said = "".join(event["delta"] for event in found if event["type"] == "response.output_text.delta")
    assert said == "".join(
        part["text"] for item in last["output"] if item["type"] == "message" for part in item["content"]
    )


@pytest.mark.parametrize("reasoning", [0, 2, 5])
async def test_blocks_of_a_message_are_opened_and_closed(reasoning: int) -> None:
    body = {"messages": HELLO, "stream": True, "max_tokens": 5}
    found = await events(MESSAGES, body, VERSION, reasoning_tokens=reasoning)
    kinds = [event["type"] for event in found]
    blocks = 2 if reasoning == 2 else 1
    assert kinds.count("content_block_start") == kinds.count("content_block_stop") == blocks
    assert kinds[0] == "message_start"
    assert kinds[-2:] == ["message_delta", "message_stop"]
    deltas = [event["delta"] for event in found if event["type"] == "content_block_delta"]
    assert sum("thinking" in delta for delta in deltas) == reasoning
    assert sum("text" in delta for delta in deltas) == 5 - reasoning


async def test_dashscope_answers_in_the_format_that_is_asked_for() -> None:
    sse, body = {"X-DashScope-SSE": "enable"}, {"input": {"messages": HELLO}, "model": "m"}
    cumulative = await events(DASHSCOPE, {**body, "parameters": {"max_tokens": 3}}, sse)
    assert [event["output"]["text"] for event in cumulative] == ["a", "a model", "a model reads", "a model reads"]
    parameters = {"max_tokens": 3, "result_format": "message", "incremental_output": True}
    found = [
        event["output"]["choices"][0] for event in await events(DASHSCOPE, {**body, "parameters": parameters}, sse)
    ]
    assert [choice["message"]["content"] for choice in found] == ["a", " model", " reads", ""]
    assert [choice["finish_reason"] for choice in found] == ["null", "null", "null", "length"]
    status, plain = await ask(DASHSCOPE, {**body, "parameters": parameters})
    assert (status, json.loads(plain)["usage"]["output_tokens"]) == (200, 3)


async def test_tgi_ends_with_the_whole_text_and_its_counts() -> None:
    found = await events(STREAM, {"inputs": "one two", "parameters": {"max_new_tokens": 3}})
    assert [event["token"]["text"] for event in found] == ["a", " model", " reads", "</s>"]
    assert found[-1]["generated_text"] == "a model reads"
    assert (found[-1]["details"]["input_length"], found[-1]["details"]["generated_tokens"]) == (2, 3)


async def test_rerankers_rank_the_best_first() -> None:
    for path, name, key in (("/v1/rerank", "documents", "results"), ("/rerank", "texts", None)):
        status, answer = await ask(path, {"query": "q", name: ["a", "b", "c"], "top_n": 2})
        ranked = json.loads(answer)[key] if key else json.loads(answer)
        assert (status, [item["index"] for item in ranked]) == (200, [2, 1])


@pytest.mark.parametrize(
    ("path", "body", "words"),
    [
        (RESPONSES, {"input": []}, "input must be"),
        (MESSAGES, {"messages": HELLO}, "max_tokens: Field required"),
        (MESSAGES, {"messages": [], "max_tokens": 1}, "at least one message"),
        (MESSAGES, {"messages": [{"role": "system", "content": "x"}], "max_tokens": 1}, "give system at the top"),
        (DASHSCOPE, {"messages": HELLO}, "input must be an object"),
        (GENERATE, {"inputs": ""}, "`inputs` must be a string"),
        (GENERATE, {"inputs": "a", "parameters": {"temperature": 0}}, "strictly positive"),
        (GENERATE, {"inputs": "a", "parameters": {"top_p": 1}}, "`top_p` must be"),
        ("/v1/rerank", {"query": "q", "documents": []}, "documents must be"),
        ("/rerank", {"query": "", "texts": ["a"]}, "query must be"),
    ],
)
async def test_a_bad_request_is_told_what_is_wrong(path: str, body: Any, words: str) -> None:
    status, answer = await ask(path, body, VERSION)
    assert status == 400
    assert words in answer.decode()


async def test_anthropic_wants_its_version() -> None:
    status, answer = await ask(MESSAGES, {"messages": HELLO, "max_tokens": 1})
    assert (status, json.loads(answer)["error"]["type"]) == (400, "invalid_request_error")
