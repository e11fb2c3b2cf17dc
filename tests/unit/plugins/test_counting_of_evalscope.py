"""`parse_responses` of plugins written for EvalScope, which asks it only where the server reports no usage."""

from typing import Any

import orjson
import pytest

from perfbench_plugins.api.custom_api import CustomPlugin
from perfbench_plugins.api.dashscope_api import DashScopeApiPlugin
from perfbench_plugins.api.default_api import DefaultApiPlugin
from perfbench_plugins.api.openai_api import OpenaiPlugin
from perfbench_plugins.arguments import Arguments
from perfbench_plugins.benchmark_data import BenchmarkData
from perfbench_plugins.datasets.base import DatasetPluginBase
from perfbench_plugins.evalscope.chat_delta import _parse_chat_delta
from perfbench_plugins.exchange import Exchange
from perfbench_plugins.reading import Messages

USAGE = {"usage": {"prompt_tokens": 7, "completion_tokens": 3}}


class Counting(OpenaiPlugin):
    """Counts what a test says; a function is called with the messages."""

    counts: Any = None

    def parse_responses(self, responses: list[Any], request: str | None = None, **kwargs: Any) -> Any:
        return self.counts(responses) if callable(self.counts) else self.counts


def read(counts: Any, extra: dict[str, Any]) -> BenchmarkData:
    plugin = Counting(Arguments(url="http://x", model="m"))
    plugin.counts = counts
    answer = {"choices": [{"message": {"content": "a b c"}, "finish_reason": "stop"}], **extra}
    exchange = Exchange(sent_s=1, end_s=2, status=200, content_type="application/json", body=orjson.dumps(answer))
    return plugin.read(exchange, "{}")


@pytest.mark.parametrize(
    ("counts", "extra", "expected"),
    [
        ((5, 6), USAGE, (5, 6)),
        ([5, 6.0], {}, (5, 6)),
        ((True, 3.75), {}, (1, 3)),
        ((0, 0), USAGE, (7, 3)),
        ((None, None), USAGE, (7, 3)),
        ((0, 0), {}, (0, 0)),
        (lambda responses: responses[9], USAGE, (7, 3)),
        (lambda responses: (isinstance(responses, list), len([*responses, 1])), {}, (1, 2)),
    ],
)
def test_what_is_counted(counts: Any, extra: dict[str, Any], expected: tuple[int, int]) -> None:
    data = read(counts, extra)
    assert (data.success, data.prompt_tokens, data.completion_tokens) == (True, *expected)


@pytest.mark.parametrize("counts", [("a", 2), (float("nan"), 1), (1, -2), 5])
def test_what_is_no_number_of_tokens_is_the_plugins_failure(counts: Any) -> None:
    assert read(counts, {}).failure == "plugin"


def test_no_images_are_a_list_of_parts_as_in_evalscope() -> None:
    dataset = DatasetPluginBase(Arguments(url="http://x", model="m"))
    assert dataset.create_message("a", [])["content"] == [{"type": "text", "text": "a"}]
    assert dataset.create_message("a")["content"] == "a"


@pytest.mark.parametrize(
    ("api", "usage"),
    [
        (CustomPlugin, {"prompt_tokens": 7, "completion_tokens": 3}),
        (OpenaiPlugin, {"prompt_tokens": 7, "completion_tokens": 3}),
        (DashScopeApiPlugin, {"input_tokens": 7, "output_tokens": 3}),
    ],
)
@pytest.mark.parametrize("write", [orjson.dumps, lambda message: orjson.dumps(message).decode(), dict])
def test_a_plugin_that_sends_by_itself_may_keep_texts(api: type[DefaultApiPlugin], usage: Any, write: Any) -> None:
    data = BenchmarkData(success=True, request="{}", response_messages=["no JSON", write({"usage": usage})])
    data.finalize(api(Arguments(url="http://x", model="m")))
    assert (data.prompt_tokens, data.completion_tokens, data.token_source) == (7, 3, "usage")


def test_a_plain_text_is_read_by_the_plugin() -> None:
    plugin = Counting(Arguments(url="http://x", model="m"))
    plugin.counts = lambda responses: (1, len(responses[0].split()))
    exchange = Exchange(sent_s=1, end_s=2, status=200, content_type="text/plain; charset=utf-8", body=b"hello text")
    data = plugin.read(exchange, "{}")
    assert (data.success, data.completion_tokens, data.generated_text) == (True, 2, "hello text")


@pytest.mark.parametrize(
    ("delta", "expected"),
    [
        ({"content": "a", "reasoning": "b"}, ("ab", True)),
        ({"tool_calls": [{"function": {"arguments": "{"}}]}, ("", True)),
        ({"reasoning_details": [{"type": "x"}, {"text": "y"}]}, ("", True)),
        ({"content": None, "tool_calls": None}, ("", False)),
        (None, ("", False)),
    ],
)
def test_a_delta_is_read_as_evalscopes_helper_reads_it(delta: Any, expected: tuple[str, bool]) -> None:
    assert _parse_chat_delta(delta) == expected


def test_whoever_wraps_process_request_may_append_a_message() -> None:
    messages = Messages([b'{"a": 1}'])
    messages.append({"mine": 2})
    assert messages == [{"a": 1}, {"mine": 2}]
    assert messages.raw[1] == b'{"mine":2}'
