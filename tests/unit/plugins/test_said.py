"""What an answer says of itself: the model, tokens so far, errors; and how far that makes it a success."""

from pathlib import Path
from typing import Any

import orjson
import pytest

from perfbench_plugins.api.anthropic_api import AnthropicPlugin
from perfbench_plugins.api.openai_api import OpenaiPlugin
from perfbench_plugins.api.said import http_error, model_of, words_of
from perfbench_plugins.arguments import Arguments
from perfbench_plugins.exchange import Exchange
from perfbench_plugins.lines import lines_in_steps
from perfbench_plugins.registry import ApiRegistry


def plugin(**values: Any) -> OpenaiPlugin:
    return OpenaiPlugin(Arguments(url="http://x/v1/chat/completions", model="m", **values))


def streamed(*events: Any, done: bool = True) -> Exchange:
    """An exchange in which each event came 10 ms after the one before."""
    made = Exchange(sent_s=1.0, status=200, content_type="text/event-stream")
    parts = [f"data: {orjson.dumps(event).decode()}\n\n".encode() for event in events]
    parts += [b"data: [DONE]\n\n"] if done else []
    length = 0
    for number, part in enumerate(parts):
        length += len(part)
        made.stamps.append(1.0 + 0.01 * (number + 1))
        made.ends.append(length)
    made.body, made.end_s = b"".join(parts), 1.0 + 0.01 * len(parts)
    return made


def chunk(text: str | None = None, finish: str | None = None, index: int = 0, **more: Any) -> dict[str, Any]:
    delta = {} if text is None else {"content": text}
    return {"model": "tiny", "choices": [{"index": index, "delta": delta, "finish_reason": finish}], **more}


def usage(completion: int, prompt: int = 16, cached: int | None = None, **more: Any) -> dict[str, Any]:
    details = {} if cached is None else {"prompt_tokens_details": {"cached_tokens": cached}}
    return {"choices": [], "usage": {"prompt_tokens": prompt, "completion_tokens": completion, **details}, **more}


@pytest.mark.parametrize(
    ("events", "failure", "tokens"),
    [
        ([chunk(), chunk(finish="length"), usage(1)], "", 1),
        ([chunk(), chunk(finish="stop"), usage(4)], "", 4),
        ([chunk(), chunk(finish="stop"), usage(0)], "empty", None),
        ([chunk(), chunk(finish="stop")], "empty", None),  # nobody says that there were any
        ([chunk(), usage(1)], "empty", None),  # it did not finish
    ],
)
def test_hidden_tokens_are_a_success_without_content(events: list[Any], failure: str, tokens: int | None) -> None:
    data = plugin().read(streamed(*events), "{}")
    assert (data.failure, data.success, data.no_content) == (failure, not failure, not failure)
    assert data.completion_tokens == tokens
    assert (data.first_chunk_latency, data.inter_chunk_latency) == (None, [])


def test_a_whole_answer_of_hidden_tokens_is_a_success_too() -> None:
    body = {"choices": [{"index": 0, "message": {"content": ""}, "finish_reason": "length"}], **usage(1)}
    body["choices"] = [{"index": 0, "message": {"content": ""}, "finish_reason": "length"}]
    data = plugin(stream=False).read(Exchange(status=200, body=orjson.dumps(body)), "{}")
    assert (data.success, data.no_content, data.completion_tokens) == (True, True, 1)


@pytest.mark.parametrize(
    ("events", "expected"),
    [
        ([usage(90, cached=0)], (16, 90, 0)),  # vLLM: all choices at once
        ([usage(30, cached=15), usage(20, cached=0), usage(25, cached=15)], (16, 75, 0)),  # llama.cpp: one each
    ],
)
def test_the_tokens_of_several_choices_are_all_counted(events: list[Any], expected: tuple[int, int, int]) -> None:
    chunks = [chunk("a", index=index) for index in (2, 0, 1)] + [
        chunk(finish="stop", index=index) for index in range(3)
    ]
    data = plugin(n_choices=3).read(streamed(*chunks, *events), "{}")
    assert (data.prompt_tokens, data.completion_tokens, data.real_cached_tokens) == expected


@pytest.mark.parametrize(("ends", "expected"), [(["length"] * 3, 9), (["length", "stop", "length"], None)])
def test_llama_cpp_s_usage_of_a_whole_answer_is_of_one_choice(ends: list[str], expected: int | None) -> None:
    choices = [{"index": i, "message": {"content": "a"}, "finish_reason": end} for i, end in enumerate(ends)]
    body = usage(3, timings={"predicted_n": 3}) | {"choices": choices}
    data = plugin(n_choices=3, stream=False).read(Exchange(status=200, body=orjson.dumps(body)), "{}")
    assert data.completion_tokens == expected


@pytest.mark.parametrize("kind", ["usage", "timings"])
def test_tokens_by_chunk_are_kept_where_every_chunk_has_them(kind: str) -> None:
    def count(tokens: int) -> dict[str, Any]:
        return {"usage": {"completion_tokens": tokens}} if kind == "usage" else {"timings": {"predicted_n": tokens}}

    events = [chunk("a", **count(1)), chunk("", **count(2)), chunk("b", **count(4)), chunk("c", **count(5)), usage(5)]
    data = plugin().read(streamed(*events), "{}")
    assert data.gap_tokens == [3, 1], "the empty chunk's token came with the next one"
    assert len(data.inter_chunk_latency) == 2
    without = [chunk("a", **count(1)), chunk("b"), chunk("c", **count(5)), usage(5)]
    assert plugin().read(streamed(*without), "{}").gap_tokens == []
    assert plugin(n_choices=2).read(streamed(*events), "{}").gap_tokens == []


@pytest.mark.parametrize(
    ("messages", "name"),
    [
        ([{"model": "tiny"}], "tiny"),
        ([{"type": "ping"}, {"type": "message_start", "message": {"model": "claude"}}], "claude"),
        ([{"type": "response.created", "response": {"model": "gpt"}}], "gpt"),
        ([*({"type": "delta"} for _ in range(9)), {"type": "response.completed", "response": {"model": "gpt"}}], "gpt"),
        ([{"model": None}, {"choices": []}, "text", 3], None),
        ([], None),
    ],
)
def test_the_model_is_named_where_each_api_has_it(messages: list[Any], name: str | None) -> None:
    assert model_of(messages) == name


def test_the_model_of_an_answer_is_kept() -> None:
    assert plugin().read(streamed(chunk("a"), chunk(finish="stop"), usage(1)), "{}").model == "tiny"


@pytest.mark.parametrize(
    ("body", "text"),
    [
        (b'{"error": {"message": "too long", "code": 400}}', "too long"),
        (b'{"error": "no such model"}', "no such model"),
        (b'{"object": "error", "message": "bad"}', "bad"),
        (b'{"detail": [{"loc": ["body"]}]}', '[{"loc":["body"]}]'),
        (b'{"error": {"code": 7}}', '{"code":7}'),
        (b"<html>502</html>\n", "<html>502</html>"),
        (b"[1]", "[1]"),
        (b"", ""),
    ],
)
def test_an_http_error_is_told_in_its_own_words(body: bytes, text: str) -> None:
    assert http_error(body) == text


def test_a_long_http_error_is_cut_behind_its_json_and_says_so() -> None:
    long = "é" * 3000
    text = http_error(orjson.dumps({"error": {"message": long}}))
    assert text == "é" * 1000 + "… (cut, 3000 characters)"
    whole = orjson.dumps({"error": {"message": "x" * 800}})
    data = plugin().read(Exchange(status=400, failure="http_400", error=whole[:500].decode(), body=whole), "{}")
    assert data.error == "x" * 800


@pytest.mark.parametrize(
    ("body", "words"),
    [
        ({"messages": [{"content": "one two"}, {"content": [{"type": "text", "text": "three"}]}]}, 3),
        ({"prompt": "one  two\nthree"}, 3),
        ({"prompt": [5, 6, 7]}, 3),
        ({"input": "one"}, None),
    ],
)
def test_words_are_counted_where_prompts_are(body: dict[str, Any], words: int | None) -> None:
    assert words_of(body) == words


def test_what_is_asked_for_is_counted_of_bodies_that_are_understood(tokenizer_folder: Path) -> None:
    assert plugin().asked_tokens({"messages": [{"role": "user", "content": "one two"}]}) == 2
    assert plugin().asked_tokens({"input": "one"}) is None
    body = {"system": "be brief", "messages": [{"role": "user", "content": "one two"}]}
    arguments = {"url": "http://x", "model": "m", "api": "anthropic"}
    assert AnthropicPlugin(Arguments(**arguments)).asked_tokens(body) == 2, "of words there are at least so many"
    counting = AnthropicPlugin(Arguments(**arguments, tokenizer_path=str(tokenizer_folder)))
    assert counting.asked_tokens(body) is None, "a part of the prompt is elsewhere"
    assert counting.asked_tokens({"messages": body["messages"]}) > 2


def lines(*messages: Any) -> Exchange:
    """An exchange of lines of JSON, each 10 ms after the one before."""
    made = Exchange(sent_s=1.0, status=200, content_type="application/x-ndjson")
    length = 0
    for number, message in enumerate(messages, 1):
        made.body += orjson.dumps(message) + b"\n"
        made.stamps.append(1.0 + 0.01 * number)
        made.ends.append(len(made.body))
    made.end_s = 1.0 + 0.01 * len(messages) + length
    return made


def ollama(**values: Any) -> Any:
    return ApiRegistry.get_class("ollama")(Arguments(url="http://x", model="m", api="ollama", **values))


def test_lines_of_json_are_a_stream_of_ollama_s() -> None:
    said = [{"model": "m", "message": {"content": text}, "done": False} for text in ("a", "", "b", "c")]
    end = {"model": "m", "message": {"content": ""}, "done": True, "prompt_eval_count": 7, "eval_count": 3}
    data = ollama().read(lines(*said, end), "{}")
    assert (data.success, data.generated_text, data.prompt_tokens, data.completion_tokens) == (True, "abc", 7, 3)
    assert (data.token_source, data.model, data.is_stream) == ("usage", "m", True)
    assert data.first_chunk_latency == pytest.approx(0.01)
    assert data.inter_chunk_latency == pytest.approx([0.02, 0.01])
    assert ollama().read(lines(*said), "{}").failure == "truncated"
    assert ollama().read(lines(*said[:1], {"error": "out of memory"}), "{}").failure == "in_stream"


@pytest.mark.parametrize("api", ["openai", "anthropic", "tgi"])
def test_an_api_that_reads_no_lines_says_which_one_does(api: str) -> None:
    made: Any = ApiRegistry.get_class(api)(Arguments(url="http://x", model="m", api=api))
    for messages in ([{"response": "a", "done": True}], [{"response": "a", "done": False}] * 3):
        data = made.read(lines(*messages), "{}")
        assert (data.success, data.failure) == (False, "protocol")
        assert data.error == f"API {api} reads no lines of JSON; Ollama's own API writes them: give target.api: ollama"


@pytest.mark.parametrize("count", [1, 3, 5000])
def test_long_bodies_of_lines_are_taken_apart_in_steps(count: int) -> None:
    body = b"".join(b'{"n":%d}\r\n\n' % number for number in range(count)) + b'{"n":-1}'
    steps, found = lines_in_steps(body), None
    turns = 0
    while found is None:
        try:
            next(steps)
            turns += 1
        except StopIteration as end:
            found = end.value
    assert [orjson.loads(line)["n"] for line in found[0]] == [*range(count), -1]
    assert all(body[:end].rstrip().endswith(line.rstrip()) for line, end in zip(found.data, found.ends, strict=True))
    assert (turns > 0) == (count > 2000)


def test_ollama_s_body_has_its_parameters_among_its_options() -> None:
    made = ollama(
        api_args={"num_ctx": 8192, "think": False},
        max_tokens=9,
        temperature=0.5,
        stop=["x"],
        extra_args={"mirostat": 1, "format": "json", "options": {"num_gpu": 0}},
    )
    chat = [{"role": "user", "content": "Why?"}]
    options = {"num_predict": 9, "temperature": 0.5, "stop": ["x"], "num_ctx": 8192, "mirostat": 1, "num_gpu": 0}
    common = {"model": "m", "stream": True, "think": False, "format": "json"}
    assert made.build_request(chat) == {**common, "options": options, "messages": chat}
    assert made.build_request("Why?") == {**common, "options": options, "prompt": "Why?"}
    whole = made.build_request({"prompt": "a", "options": {"num_predict": 1}, "model": "other"})
    assert (whole["model"], whole["options"]["num_predict"], whole["options"]["num_ctx"]) == ("other", 1, 8192)


def test_ollama_takes_images_as_data_and_no_token_ids() -> None:
    image = "data:image/png;base64,aGk="
    parts = [{"type": "text", "text": "see"}, {"type": "image_url", "image_url": {"url": image}}]
    (message,) = ollama().build_request([{"role": "user", "content": parts}])["messages"]
    assert message == {"role": "user", "content": "see", "images": ["aGk="]}
    parts[1]["image_url"] = {"url": "https://h/a.png"}
    with pytest.raises(ValueError, match="takes no image by its URL"):
        ollama().build_request([{"role": "user", "content": parts}])
    with pytest.raises(ValueError, match="takes no token ids"):
        ollama().build_request([1, 2])


@pytest.mark.parametrize(
    ("url", "complete", "is_chat"),
    [
        ("http://h", "http://h/api/chat", True),
        ("http://h/api/chat", "http://h/api/chat", True),
        ("http://h/api/generate", "http://h/api/generate", False),
    ],
)
def test_ollama_s_paths_say_whether_they_take_chat(url: str, complete: str, is_chat: bool) -> None:
    made = ollama()
    found = type(made).complete_url(url, made.param)
    assert (found, type(made).takes_chat(found)) == (complete, is_chat)
