"""API `openai`: the bodies it builds, and where its token counts come from."""

from pathlib import Path
from typing import Any

import orjson
import pytest

from perfbench_plugins.api.openai_api import OpenaiPlugin
from perfbench_plugins.arguments import Arguments
from perfbench_plugins.benchmark_data import BenchmarkData
from perfbench_plugins.exchange import Exchange

CHAT = [{"role": "user", "content": "hi there"}]


def plugin(**values: Any) -> OpenaiPlugin:
    return OpenaiPlugin(Arguments(**{"url": "http://x", "model": "m"} | values))


@pytest.mark.parametrize(
    ("messages", "expected"),
    [(CHAT, {"messages": CHAT}), ("hi", {"prompt": "hi"}), ([5, 6], {"prompt": [5, 6]}), ({"x": 1}, {"x": 1})],
)
def test_the_body_is_of_the_kind_that_the_dataset_yields(messages: Any, expected: dict[str, Any]) -> None:
    body = plugin(max_tokens=7).build_request(messages)
    common = {
        "model": "m",
        "max_tokens": 7,
        "temperature": 0.0,
        "stream": True,
        "stream_options": {"include_usage": True},
    }
    assert body == expected | common


def test_a_whole_body_is_completed_but_not_changed() -> None:
    whole = {"messages": CHAT, "max_tokens": 99, "model": "other"}
    body = plugin(max_tokens=7, top_p=0.5).build_request(whole)
    assert (body["max_tokens"], body["model"], body["top_p"]) == (99, "other", 0.5)
    assert "top_p" not in whole


def test_only_what_was_given_is_sent_and_extra_args_come_last() -> None:
    body = plugin(temperature=None, max_tokens=None, stream=False, extra_args={"stream": 1, "x": None}).build_request(
        "a"
    )
    assert body == {"prompt": "a", "model": "m", "stream": 1, "x": None}


def test_n_choices_is_n() -> None:
    body = plugin(n_choices=2, seed=0, stop=["a"], stop_token_ids=[1], logprobs=False).build_request("a")
    assert [body[name] for name in ("n", "seed", "stop", "stop_token_ids", "logprobs")] == [2, 0, ["a"], [1], False]


def answered(messages: list[Any], **values: Any) -> BenchmarkData:
    body = b"".join(b"data: " + orjson.dumps(message) + b"\n\n" for message in messages) + b"data: [DONE]\n\n"
    request = orjson.dumps({"messages": CHAT}).decode()
    exchange = Exchange(sent_s=1, end_s=2, status=200, content_type="text/event-stream", body=body)
    exchange.stamps.append(1.5)
    exchange.ends.append(len(body))
    return plugin(**values).read(exchange, request)


CONTENT = [{"choices": [{"index": 0, "delta": {"content": text}, "finish_reason": None}]} for text in ("one", " two")]


def test_usage_of_the_server_counts_wherever_it_stands() -> None:
    usage = {"prompt_tokens": 5, "completion_tokens": 7, "prompt_tokens_details": {"cached_tokens": 3}}
    for messages in (
        [*CONTENT, {"choices": [], "usage": usage}],
        [CONTENT[0], {**CONTENT[1], "usage": usage}, CONTENT[0]],
    ):
        data = answered(messages)
        assert (data.prompt_tokens, data.completion_tokens, data.token_source) == (5, 7, "usage")
        assert data.real_cached_tokens == 3


def test_without_usage_the_tokenizer_counts(tokenizer_folder: Path) -> None:
    data = answered(CONTENT, tokenizer_path=str(tokenizer_folder))
    assert data.token_source == "tokenizer"
    assert data.prompt_tokens
    assert data.completion_tokens


def test_without_a_tokenizer_chunks_are_counted() -> None:
    data = answered(CONTENT)
    assert (data.completion_tokens, data.token_source) == (2, "chunks")


@pytest.mark.parametrize(
    ("usage", "told"),
    [
        ([1], "unexpected shape"),
        ("many", "unexpected shape"),
        ({"prompt_tokens": "5", "completion_tokens": 7}, "reports '5' prompt tokens"),
        ({"prompt_tokens": 5, "completion_tokens": {}}, "completion tokens"),
        ({"prompt_tokens": 1.5}, "reports '1.5' prompt tokens"),
        ({"prompt_tokens": 5, "completion_tokens": -7}, "reports '-7' completion tokens"),
        ({"prompt_tokens": True, "completion_tokens": 7}, "reports 'True' prompt tokens"),
        ({"prompt_tokens": 5, "completion_tokens": 7, "prompt_tokens_details": {"cached_tokens": -1}}, "cached tokens"),
    ],
)
def test_usage_that_is_none_is_the_servers_mistake(usage: Any, told: str) -> None:
    """Text in a column of numbers would break the summary of the whole run."""
    data = answered([*CONTENT, {"choices": [], "usage": usage}])
    assert (data.failure, data.prompt_tokens, data.completion_tokens) == ("protocol", None, None)
    assert told in str(data.error)


def test_whole_numbers_that_json_writes_as_others_are_numbers_of_tokens() -> None:
    data = answered([*CONTENT, {"choices": [], "usage": {"prompt_tokens": 5.0, "completion_tokens": 7}}])
    assert (data.failure, data.prompt_tokens, data.completion_tokens) == ("", 5, 7)


@pytest.mark.parametrize("usage", [None, {}])
def test_empty_usage_is_no_usage(usage: Any) -> None:
    assert answered([*CONTENT, {"choices": [], "usage": usage}]).token_source == "chunks"
