"""What each API's messages mean, by the examples of its documentation, and how many tokens they report."""

from typing import Any

import orjson
import pytest

from perfbench_plugins.api.default_api import DefaultApiPlugin
from perfbench_plugins.arguments import Arguments
from perfbench_plugins.benchmark_data import BenchmarkData
from perfbench_plugins.exchange import Exchange, FailureKind
from perfbench_plugins.reading import Piece
from perfbench_plugins.registry import ApiRegistry


def plugin(api: str, **values: Any) -> DefaultApiPlugin:
    made: DefaultApiPlugin = ApiRegistry.get_class(api)(Arguments(url="http://x", model="m", api=api, **values))
    return made


def whole(api: str, answer: Any, **values: Any) -> BenchmarkData:
    """The result of an answer that is not streamed."""
    exchange = Exchange(sent_s=1, end_s=2, status=200, content_type="application/json", body=orjson.dumps(answer))
    return plugin(api, stream=False, **values).read(exchange, "{}")


def streamed(api: str, messages: list[Any], **values: Any) -> BenchmarkData:
    """The result of a stream of these events."""
    body = b"".join(b"event: x\ndata: " + orjson.dumps(message) + b"\n\n" for message in messages)
    exchange = Exchange(sent_s=1, end_s=2, status=200, content_type="text/event-stream", body=body)
    exchange.stamps.append(1.5)
    exchange.ends.append(len(body))
    return plugin(api, **values).read(exchange, "{}")


RESPONSES: list[tuple[Any, Piece]] = [
    ({"type": "response.created", "response": {"error": None}}, Piece()),
    ({"type": "response.output_text.delta", "delta": "In", "sequence_number": 4}, Piece("In")),
    ({"type": "response.refusal.delta", "delta": "No"}, Piece("No")),
    ({"type": "response.function_call_arguments.delta", "delta": '{"a'}, Piece('{"a')),
    ({"type": "response.reasoning_text.delta", "delta": "hm"}, Piece(reasoning="hm")),
    ({"type": "response.reasoning_summary_text.delta", "delta": "hm"}, Piece(reasoning="hm")),
    ({"type": "response.output_item.added", "item": {"type": "function_call", "name": "say"}}, Piece("say")),
    ({"type": "response.output_item.added", "item": {"type": "message", "content": []}}, Piece()),
    ({"type": "response.output_text.done", "text": "In all"}, Piece()),
    ({"type": "response.completed", "response": {"output": [{"content": [{"text": "x"}]}]}}, Piece(is_last=True)),
    ({"type": "response.incomplete", "response": {}}, Piece(is_last=True)),
    ({"type": "response.failed", "response": {"error": {"code": "e", "message": "bad"}}}, Piece(error="bad")),
    ({"type": "error", "code": "e", "message": "worse", "param": None}, Piece(error="worse")),
    ({"error": {"message": "gone"}}, Piece(error="gone")),
    ({"hello": 1}, Piece(is_known=False)),
    ([1], Piece(is_known=False)),
]
ANTHROPIC: list[tuple[Any, Piece]] = [
    ({"type": "message_start", "message": {"usage": {"input_tokens": 25, "output_tokens": 1}}}, Piece()),
    ({"type": "content_block_start", "index": 0, "content_block": {"type": "text", "text": ""}}, Piece()),
    ({"type": "content_block_start", "content_block": {"type": "tool_use", "name": "say", "input": {}}}, Piece("say")),
    ({"type": "ping"}, Piece()),
    ({"type": "content_block_delta", "index": 0, "delta": {"type": "text_delta", "text": "Hello"}}, Piece("Hello")),
    ({"type": "content_block_delta", "delta": {"type": "input_json_delta", "partial_json": '{"a'}}, Piece('{"a')),
    ({"type": "content_block_delta", "delta": {"type": "thinking_delta", "thinking": "hm"}}, Piece(reasoning="hm")),
    ({"type": "content_block_delta", "delta": {"type": "signature_delta", "signature": "EqQ"}}, Piece()),
    ({"type": "content_block_stop", "index": 0}, Piece()),
    (
        {"type": "message_delta", "delta": {"stop_reason": "end_turn"}, "usage": {"output_tokens": 15}},
        Piece(is_last=True),
    ),
    ({"type": "message_delta", "delta": {"stop_reason": None}}, Piece()),
    ({"type": "message_stop"}, Piece(is_last=True)),
    ({"type": "error", "error": {"type": "overloaded_error", "message": "Overloaded"}}, Piece(error="Overloaded")),
    ({"type": "vendor_event"}, Piece(is_known=False)),
]
DASHSCOPE: list[tuple[Any, Piece]] = [
    (
        {"output": {"choices": [{"message": {"content": "I", "role": "assistant"}, "finish_reason": "null"}]}},
        Piece("I"),
    ),
    (
        {"output": {"choices": [{"message": {"content": "", "reasoning_content": "hm"}, "finish_reason": "null"}]}},
        Piece(reasoning="hm"),
    ),
    ({"output": {"choices": [{"message": {"content": [{"text": "I"}]}, "finish_reason": "null"}]}}, Piece("I")),
    ({"output": {"choices": [{"message": {"content": ""}, "finish_reason": "stop"}]}}, Piece(is_last=True)),
    ({"output": {"text": "I am", "finish_reason": "null"}}, Piece("I am")),
    ({"output": {"text": "I am", "finish_reason": "stop"}}, Piece("I am", is_last=True)),
    ({"code": "InvalidParameter", "message": "url error", "request_id": "1"}, Piece(error="url error")),
    ({"request_id": "1"}, Piece(is_known=False)),
]
TGI: list[tuple[Any, Piece]] = [
    ({"index": 1, "token": {"id": 3, "text": " a", "special": False}, "generated_text": None, "details": None}, Piece(" a")),
    ({"index": 2, "token": {"id": 2, "text": "</s>", "special": True}, "generated_text": " a"}, Piece(is_last=True)),
    ({"index": 2, "token": {"id": 4, "text": " b", "special": False}, "generated_text": " a b"}, Piece(" b", is_last=True)),
    ({"generated_text": "a b"}, Piece("a b", is_last=True)),
    ([{"generated_text": "a b"}], Piece("a b", is_last=True)),
    ({"error": "Request failed during generation", "error_type": "generation"}, Piece(error="Request failed during generation")),
]  # fmt: skip
SCORES = "an answer without results or data"
RERANK: list[tuple[Any, Piece]] = [
    ({"results": [{"index": 0, "relevance_score": 0.9}]}, Piece()),
    ([{"index": 0, "score": 0.9}], Piece()),
    ({"message": "invalid api token"}, Piece(error="invalid api token")),
    ({"detail": "no such model"}, Piece(error="no such model")),
    ({"error": "Batch size", "error_type": "Validation"}, Piece(error="Batch size")),
    ({"results": []}, Piece(error=SCORES)),
    ({}, Piece(error=SCORES)),
    ([], Piece(error=SCORES)),
]
OLLAMA: list[tuple[Any, Piece]] = [
    ({"model": "m", "message": {"role": "assistant", "content": "Hi"}, "done": False}, Piece("Hi")),
    ({"message": {"content": "", "thinking": "Hm"}, "done": False}, Piece("", "Hm")),
    ({"message": {"content": "", "tool_calls": [{"function": {"name": "f", "arguments": {"a": 1}}}]}, "done": False},
     Piece('f{"a":1}')),
    ({"message": {"content": ""}, "done": True, "done_reason": "stop", "eval_count": 2}, Piece("", "", "", True)),
    ({"response": "Hi", "done": False}, Piece("Hi")),
    ({"error": "model 'x' not found"}, Piece(error="model 'x' not found")),
    ({"status": "loading"}, Piece(is_known=False)),
]  # fmt: skip
CASES: dict[str, list[tuple[Any, Piece]]] = {
    "ollama": OLLAMA,
    "openai_responses": RESPONSES,
    "anthropic": ANTHROPIC,
    "dashscope": DASHSCOPE,
    "tgi": TGI,
    "rerank": RERANK,
}


@pytest.mark.parametrize(("api", "message", "piece"), [(api, *case) for api, cases in CASES.items() for case in cases])
def test_a_message_means_what_its_api_says(api: str, message: Any, piece: Piece) -> None:
    assert plugin(api).read_message(message) == piece


WHOLE = [
    (
        "openai_responses",
        {
            "object": "response",
            "status": "completed",
            "error": None,
            "output": [
                {"type": "reasoning", "summary": [{"type": "summary_text", "text": "hm"}]},
                {"type": "message", "content": [{"type": "output_text", "text": "In a "}, {"text": "peaceful"}]},
                {"type": "function_call", "name": "say", "arguments": "{}"},
            ],
            "usage": {"input_tokens": 36, "input_tokens_details": {"cached_tokens": 4}, "output_tokens": 87},
        },
        ("In a peacefulsay{}", "hm", 36, 87, 4),
    ),
    (
        "anthropic",
        {
            "type": "message",
            "content": [
                {"type": "thinking", "thinking": "hm", "signature": "x"},
                {"type": "text", "text": "Hi"},
                {"type": "tool_use", "name": "say", "input": {}},
            ],
            "stop_reason": "end_turn",
            "usage": {
                "input_tokens": 10,
                "cache_read_input_tokens": 5,
                "cache_creation_input_tokens": 2,
                "output_tokens": 3,
            },
        },
        ("Hisay{}", "hm", 17, 3, 5),
    ),
    (
        "dashscope",
        {
            "output": {"choices": [{"finish_reason": "stop", "message": {"role": "assistant", "content": "Hi"}}]},
            "usage": {"input_tokens": 22, "output_tokens": 17, "prompt_tokens_details": {"cached_tokens": 8}},
        },
        ("Hi", "", 22, 17, 8),
    ),
    ("dashscope", {"output": {"text": "Hi", "finish_reason": "stop"}, "usage": {"input_tokens": 1, "output_tokens": 2}},
     ("Hi", "", 1, 2, None)),
    ("tgi", {"generated_text": "Hi", "details": {"generated_tokens": 2, "prefill": [{"id": 1}, {"id": 2}]}},
     ("Hi", "", 2, 2, None)),
    ("tgi", {"generated_text": "Hi", "details": {"generated_tokens": 2, "prefill": []}}, ("Hi", "", None, 2, None)),
    ("embedding", {"data": [{"embedding": [0.1]}], "usage": {"prompt_tokens": 8, "total_tokens": 8}}, ("", "", 8, 0, None)),
    ("embedding", {"data": [{"embedding": [0.1]}], "usage": {"total_tokens": 8}}, ("", "", 8, 0, None)),
    ("rerank", {"results": [{"index": 0}], "usage": {"total_tokens": 56}}, ("", "", 56, 0, None)),
    ("rerank", {"results": [{"index": 0}], "meta": {"tokens": {"input_tokens": 9}}}, ("", "", 9, 0, None)),
]  # fmt: skip


@pytest.mark.parametrize(("api", "answer", "expected"), WHOLE)
def test_a_whole_answer(api: str, answer: Any, expected: tuple[Any, ...]) -> None:
    data = whole(api, answer)
    found = data.generated_text, data.reasoning_text, data.prompt_tokens, data.completion_tokens, data.cached_tokens
    assert (data.success, data.token_source, found) == (True, "usage", expected)


def test_what_nobody_counted_is_unknown_not_zero() -> None:
    for api, answer in (
        ("embedding", {"data": [{"embedding": [0.1]}]}),
        ("rerank", {"results": [{"index": 0}], "meta": {"billed_units": {"search_units": 1}}}),
    ):
        data = whole(api, answer)
        assert (data.success, data.token_source, data.prompt_tokens, data.completion_tokens) == (True, "none", None, 0)
    data = whole("tgi", {"generated_text": "a b c"})
    assert (data.success, data.token_source, data.completion_tokens) == (True, "none", None)


@pytest.mark.parametrize(
    ("api", "answer", "kind"),
    [
        ("openai_responses", {"status": "failed", "output": [], "error": {"message": "bad"}}, FailureKind.STREAM),
        ("openai_responses", {"status": "completed", "output": [], "error": None}, FailureKind.EMPTY),
        ("anthropic", {"type": "error", "error": {"message": "bad"}}, FailureKind.STREAM),
        ("anthropic", {"type": "message", "content": []}, FailureKind.EMPTY),
        ("dashscope", {"code": "Throttling", "message": "bad"}, FailureKind.STREAM),
        ("tgi", {"error": "bad", "error_type": "overloaded"}, FailureKind.STREAM),
        ("embedding", {"error": {"message": "bad"}}, FailureKind.STREAM),
        ("rerank", {"results": []}, FailureKind.STREAM),
    ],
)
def test_an_answer_that_is_none_is_a_failure(api: str, answer: Any, kind: str) -> None:
    data = whole(api, answer)
    assert (data.success, data.failure) == (False, kind)


def test_anthropic_usage_is_put_together_from_the_first_and_the_last_event() -> None:
    first = {"input_tokens": 25, "cache_read_input_tokens": 5, "output_tokens": 1}
    data = streamed(
        "anthropic",
        [
            {"type": "message_start", "message": {"usage": first}},
            {"type": "content_block_delta", "delta": {"type": "thinking_delta", "thinking": "hm"}},
            {"type": "content_block_delta", "delta": {"type": "text_delta", "text": "Hi"}},
            {
                "type": "message_delta",
                "delta": {"stop_reason": "end_turn"},
                "usage": {"output_tokens": 15, "input_tokens": 0},
            },
            {"type": "message_stop"},
        ],
    )
    assert (data.success, data.generated_text, data.reasoning_text) == (True, "Hi", "hm")
    assert (data.prompt_tokens, data.completion_tokens, data.cached_tokens) == (30, 15, 5)
    assert len(data.chunk_times) == 2


def test_a_stream_without_its_end_is_truncated() -> None:
    cut = {
        "openai_responses": {"type": "response.output_text.delta", "delta": "a"},
        "anthropic": {"type": "content_block_delta", "delta": {"text": "a"}},
        "dashscope": {"output": {"text": "a", "finish_reason": "null"}},
        "tgi": {"token": {"text": "a", "special": False}, "generated_text": None},
    }
    assert {api: streamed(api, [message]).failure for api, message in cut.items()} == dict.fromkeys(cut, "truncated")


def test_without_usage_a_tokenizer_counts_prompt_and_answer(tokenizer_folder: Any) -> None:
    hello = [{"role": "user", "content": "hello there"}]
    answers: dict[str, Any] = {
        "openai_responses": {"output": [{"type": "message", "content": [{"text": "well hello"}]}]},
        "anthropic": {"type": "message", "content": [{"text": "well hello"}]},
        "dashscope": {"output": {"text": "well hello", "finish_reason": "stop"}},
        "tgi": {"generated_text": "well hello"},
        "custom": {"choices": [{"message": {"content": "well hello"}}]},
        "embedding": {"data": [{"embedding": [1]}]},
    }
    for api, answer in answers.items():
        made = plugin(api, stream=False, tokenizer_path=str(tokenizer_folder))
        body = orjson.dumps(made.build_request(hello)).decode()
        exchange = Exchange(end_s=1, status=200, content_type="application/json", body=orjson.dumps(answer))
        data = made.read(exchange, body)
        assert made.tokenizer is not None
        expected = 0 if api == "embedding" else made.tokenizer.count("well hello")
        assert (data.token_source, data.completion_tokens) == ("tokenizer", expected), api
        least = made.tokenizer.count("hello there")
        assert data.prompt_tokens is not None
        assert least <= data.prompt_tokens <= least + 30, api


def test_a_reranker_reads_the_query_with_each_document(tokenizer_folder: Any) -> None:
    made = plugin("rerank", tokenizer_path=str(tokenizer_folder))
    body = orjson.dumps(made.build_request({"query": "hello", "documents": ["well", {"text": "there"}]})).decode()
    exchange = Exchange(end_s=1, status=200, content_type="application/json", body=b'{"results": [{"index": 0}]}')
    data = made.read(exchange, body)
    assert made.tokenizer is not None
    count = made.tokenizer.count
    assert (data.prompt_tokens, data.token_source) == (2 * count("hello") + count("well") + count("there"), "tokenizer")


STRANGE: list[Any] = [{"detail": "Not Found"}, {"x": 1}, {}, [], [1], "Not Found", 5, None, True]


@pytest.mark.parametrize("is_stream", [True, False])
@pytest.mark.parametrize("message", STRANGE)
@pytest.mark.parametrize(
    "api",
    ["openai", "openai_responses", "anthropic", "dashscope", "tgi", "openai_embedding", "rerank", "custom", "template"],
)
def test_an_answer_that_is_none_is_a_failure_for_every_api(api: str, message: Any, is_stream: bool) -> None:
    """HTTP 200 with something else in it was a success, and a very quick one."""
    raw = orjson.dumps(message)
    if api == "openai_embedding" and message == [1]:
        pytest.skip("a vector")
    body = b"data: %s\n\ndata: [DONE]\n\n" % raw if is_stream else raw
    kind = "text/event-stream" if is_stream else "application/json"
    exchange = Exchange(sent_s=1.0, end_s=2.0, status=200, content_type=kind, body=body)
    exchange.ends.append(len(body))
    exchange.stamps.append(1.5)
    options = {"body": "{}", "content": "text"} if api == "template" else None
    data = plugin(api, api_args=options).read(exchange, "{}")
    assert not data.success
    assert data.failure in ("protocol", "in_stream", "empty")
    assert data.error
    assert not data.chunk_times
