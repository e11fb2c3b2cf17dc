"""What each API sends: bodies, headers and paths; which options it has; and that all of it is documented."""

import logging
from base64 import b64encode
from pathlib import Path
from typing import Any

import pytest

from perfbench_api.resource import SpecError
from perfbench_plugins.api.base import ApiPluginBase
from perfbench_plugins.api.chat import with_images
from perfbench_plugins.arguments import Arguments
from perfbench_plugins.images import servable_url
from perfbench_plugins.registry import ApiRegistry, PluginError

CHAT = [{"role": "system", "content": "be good"}, {"role": "user", "content": "hi there"}]
RERANK = {"query": "q", "documents": ["a", "b"]}
EVALSCOPE = (
    "openai local local_vllm openai_responses openai_response responses openai_embedding embedding openai_rerank rerank"
    " dashscope custom"
).split()
PNG = b"\x89PNG\r\n\x1a\n" + bytes(20)
DOCS = Path(__file__).parents[3] / "docs" / "apis.md"


def arguments(api: str, **values: Any) -> Arguments:
    return Arguments(**{"url": "http://x", "model": "m", "api": api, "max_tokens": 7} | values)


def plugin(api: str, **values: Any) -> Any:
    return ApiRegistry.get_class(api)(arguments(api, **values))


def test_all_names_of_evalscope_are_there_and_each_class_can_be_made() -> None:
    classes = ApiRegistry.all_classes()
    assert set(EVALSCOPE) <= set(classes)
    args = {"template": {"body": "{}", "content": "x"}}
    ours = [name for name, found in classes.items() if found.__module__.startswith("perfbench_plugins.api.")]
    for name in set(ours) - {"local", "local_vllm"}:
        assert isinstance(plugin(name, api_args=args.get(name)), ApiPluginBase)


@pytest.mark.parametrize("name", ["local", "local_vllm"])
def test_a_model_of_our_own_is_refused_with_the_way_out(name: str) -> None:
    with pytest.raises(
        PluginError, match=r"vllm serve m --port 8877.*--url http://127\.0\.0\.1:8877/v1/chat/completions"
    ):
        plugin(name)


def test_each_api_has_a_section_in_the_docs_and_each_option_is_in_it() -> None:
    parts = DOCS.read_text(encoding="utf-8").split("\n## ")
    sections = {part.split("\n")[0].strip("`# "): part for part in parts}
    for name, found in ApiRegistry.all_classes().items():
        if not found.__module__.startswith("perfbench_plugins.api."):
            continue
        section = next((text for text in sections.values() if f"`{name}`" in text.split("\n\n")[1]), None)
        assert section, f"docs/apis.md has no section that names {name}"
        for option in found.args_schema.model_fields:
            assert f"`{option}`" in section, f"docs/apis.md: {name} has no {option}"


@pytest.mark.parametrize(
    ("api", "given", "values", "expected"),
    [
        ("openai", "http://h", {}, "http://h/v1/chat/completions"),
        ("openai", "http://h/v1/", {}, "http://h/v1/chat/completions"),
        ("openai", "http://h/mine", {}, "http://h/mine/chat/completions"),
        ("openai", "http://h/api/v3/?a=b", {}, "http://h/api/v3/chat/completions?a=b"),
        ("openai", "http://h/mine/completions", {}, "http://h/mine/completions"),
        ("custom", "http://h/mine", {}, "http://h/mine"),
        ("anthropic", "http://h/mine", {}, "http://h/mine"),
        ("openai", "http://h/v1?key=1", {}, "http://h/v1/chat/completions?key=1"),
        ("openai_responses", "http://h/v1", {}, "http://h/v1/responses"),
        ("openai_responses", "http://h/v1/chat/completions", {}, "http://h/v1/responses"),
        ("embedding", "http://h", {}, "http://h/v1/embeddings"),
        ("rerank", "http://h", {}, "http://h/v1/rerank"),
        ("rerank", "http://h", {"api_args": {"dialect": "tei"}}, "http://h/rerank"),
        ("rerank", "http://h", {"api_args": {"dialect": "cohere"}}, "http://h/v2/rerank"),
        ("anthropic", "http://h", {}, "http://h/v1/messages"),
        ("tgi", "http://h", {}, "http://h/generate_stream"),
        ("tgi", "http://h", {"stream": False}, "http://h/generate"),
        ("tgi", "http://h/a/generate", {}, "http://h/a/generate_stream"),
        ("tgi", "http://h/generate_stream", {"stream": False}, "http://h/generate"),
        ("dashscope", "https://h", {}, "https://h/api/v1/services/aigc/text-generation/generation"),
        ("dashscope", "https://h/api/v1/", {}, "https://h/api/v1/services/aigc/text-generation/generation"),
        (
            "dashscope",
            "https://h",
            {"api_args": {"service": "multimodal"}},
            "https://h/api/v1/services/aigc/multimodal-generation/generation",
        ),
        ("template", "http://h", {"api_args": {"body": "{}", "content": "a", "path": "api/go"}}, "http://h/api/go"),
        ("template", "http://h", {"api_args": {"body": "{}", "content": "a"}}, "http://h"),
    ],
)
def test_a_url_gets_the_path_of_its_api(api: str, given: str, values: dict[str, Any], expected: str) -> None:
    assert ApiRegistry.get_class(api).complete_url(given, arguments(api, **values)) == expected


@pytest.mark.parametrize(
    ("api", "values", "expected"),
    [
        ("openai", {}, {"Authorization": "Bearer k"}),
        ("anthropic", {}, {"x-api-key": "k", "anthropic-version": "2023-06-01"}),
        (
            "anthropic",
            {"api_args": {"auth": "bearer", "version": "v", "beta": ["a", "b"]}},
            {"Authorization": "Bearer k", "anthropic-version": "v", "anthropic-beta": "a,b"},
        ),
        ("dashscope", {"stream": False}, {"Authorization": "Bearer k"}),
        (
            "dashscope",
            {},
            {"Authorization": "Bearer k", "X-DashScope-SSE": "enable", "Accept": "text/event-stream"},
        ),
        (
            "template",
            {"api_args": {"body": "{}", "content": "a", "headers": {"Key": "Token {{ api_key }}"}}},
            {"Key": "Token k"},
        ),
    ],
)
def test_headers_are_those_of_the_api(api: str, values: dict[str, Any], expected: dict[str, str]) -> None:
    assert plugin(api, **values).headers("k") == expected
    assert all(value != "Bearer None" for value in plugin(api, **values).headers(None).values())


COMMON = {"model": "m", "temperature": 0.0, "stream": True}


@pytest.mark.parametrize(
    ("api", "messages", "values", "expected"),
    [
        ("responses", "hi", {}, {"input": "hi", "max_output_tokens": 7, **COMMON}),
        ("responses", CHAT, {"extra_args": {"x": 1}}, {"input": CHAT, "max_output_tokens": 7, "x": 1, **COMMON}),
        (
            "responses",
            {"input": "own", "temperature": 1},
            {},
            {**COMMON, "max_output_tokens": 7, "input": "own", "temperature": 1},
        ),
        ("anthropic", CHAT, {}, {"system": "be good", "messages": CHAT[1:], "max_tokens": 7, **COMMON}),
        (
            "anthropic",
            "hi",
            {"stop": ["x"]},
            {"messages": [{"role": "user", "content": "hi"}], "stop_sequences": ["x"], "max_tokens": 7, **COMMON},
        ),
        ("embedding", "hi", {}, {"input": "hi", "model": "m"}),
        (
            "embedding",
            ["a", "b"],
            {"extra_args": {"batch_size": 2, "dimensions": 8}},
            {"input": ["a", "b"], "model": "m", "dimensions": 8},
        ),
        ("embedding", [1, 2], {}, {"input": [1, 2], "model": "m"}),
        ("embedding", CHAT, {}, {"input": "be good\nhi there", "model": "m"}),
        ("rerank", RERANK, {"extra_args": {"top_n": 1, "num_documents": 9}}, {**RERANK, "model": "m", "top_n": 1}),
        ("rerank", RERANK, {"api_args": {"dialect": "tei"}}, {"query": "q", "texts": ["a", "b"]}),
        ("custom", "hi", {"stream": False}, {**COMMON, "input_text": "hi", "max_tokens": 7, "stream": False}),
        ("custom", CHAT, {}, {**COMMON, "messages": CHAT, "max_tokens": 7, "stream_options": {"include_usage": True}}),
        ("tgi", "hi", {}, {"inputs": "hi", "parameters": {"max_new_tokens": 7, "details": True}}),
        (
            "tgi",
            CHAT,
            {"temperature": 0.5, "top_p": 1.0, "extra_args": {"watermark": True}},
            {
                "inputs": "be good\nhi there",
                "parameters": {
                    "max_new_tokens": 7,
                    "temperature": 0.5,
                    "do_sample": True,
                    "details": True,
                    "watermark": True,
                },
            },
        ),
        (
            "tgi",
            "hi",
            {"stream": False, "api_args": {"decoder_input_details": True}},
            {"inputs": "hi", "parameters": {"max_new_tokens": 7, "details": True, "decoder_input_details": True}},
        ),
        (
            "dashscope",
            CHAT,
            {"extra_args": {"enable_thinking": True}},
            {
                "model": "m",
                "input": {"messages": CHAT},
                "parameters": {
                    "max_tokens": 7,
                    "temperature": 0.0,
                    "result_format": "message",
                    "incremental_output": True,
                    "enable_thinking": True,
                },
            },
        ),
        (
            "dashscope",
            "hi",
            {"stream": False, "api_args": {"service": "multimodal"}},
            {
                "model": "m",
                "input": {"messages": [{"role": "user", "content": [{"text": "hi"}]}]},
                "parameters": {"max_tokens": 7, "temperature": 0.0, "result_format": "message"},
            },
        ),
    ],
)
def test_the_body_of_an_api(api: str, messages: Any, values: dict[str, Any], expected: dict[str, Any]) -> None:
    assert plugin(api, **values).build_request(messages) == expected


def test_tools_and_their_results_become_what_the_api_has_for_them() -> None:
    call = {"id": "c1", "type": "function", "function": {"name": "say", "arguments": '{"a": 1}'}}
    chat = [
        {"role": "assistant", "content": None, "tool_calls": [call]},
        {"role": "tool", "tool_call_id": "c1", "content": "42"},
    ]
    assert plugin("responses").build_request(chat)["input"] == [
        {"type": "function_call", "call_id": "c1", "name": "say", "arguments": '{"a": 1}'},
        {"type": "function_call_output", "call_id": "c1", "output": "42"},
    ]
    assert plugin("anthropic").build_request(chat)["messages"] == [
        {"role": "assistant", "content": [{"type": "tool_use", "id": "c1", "name": "say", "input": {"a": 1}}]},
        {"role": "user", "content": [{"type": "tool_result", "tool_use_id": "c1", "content": "42"}]},
    ]


@pytest.mark.parametrize(
    ("api", "messages", "values", "words"),
    [
        ("anthropic", [1, 2], {}, "takes no token ids"),
        ("responses", [1, 2], {}, "takes no token ids"),
        ("tgi", [1, 2], {}, "takes no token ids"),
        ("anthropic", "hi", {"max_tokens": None}, "request.maxTokens"),
        ("rerank", "hi", {}, "use the dataset rerank or random_rerank"),
        (
            "dashscope",
            [{"role": "user", "content": [{"type": "image_url", "image_url": {"url": "http://a"}}]}],
            {},
            "multimodal",
        ),
    ],
)
def test_what_an_api_cannot_send_is_told(api: str, messages: Any, values: dict[str, Any], words: str) -> None:
    with pytest.raises(ValueError, match=words):
        plugin(api, **values).build_request(messages)


@pytest.mark.parametrize(
    ("api", "args", "words"),
    [
        ("anthropic", {"versoin": "x"}, "spec.target.apiArgs.versoin: unknown field; did you mean 'version'"),
        ("anthropic", {"auth": "basic"}, "spec.target.apiArgs.auth: "),
        ("openai", {"x": 1}, "spec.target.apiArgs.x: unknown field"),
        ("template", {"body": "{}"}, "spec.target.apiArgs: give content"),
        ("template", {"content": "x"}, "spec.target.apiArgs.body: missing"),
    ],
)
def test_a_wrong_option_is_told_by_its_place_in_the_manifest(api: str, args: dict[str, Any], words: str) -> None:
    with pytest.raises(SpecError) as error:
        plugin(api, api_args=args)
    assert str(error.value).startswith(words)
    assert "\n" not in str(error.value)


def test_parameters_that_an_api_does_not_know_are_told(caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.WARNING):
        plugin("anthropic", seed=3, n_choices=2, temperature=0.3)
        plugin("embedding", max_tokens=2048)
    assert [record.message for record in caplog.records] == ["API anthropic does not know n_choices, seed: not sent"]


def test_options_of_an_api_come_through_the_manifest() -> None:
    options = {"dialect": "tei", "someOther_thing": {"aB": 1}}
    benchmark = arguments("rerank", api_args=options).to_benchmark()
    assert benchmark.spec.target.api_args == options
    assert Arguments.from_benchmark(benchmark).api_args == options


# ------------------------------------------------------------ images


def picture(url: str) -> list[dict[str, Any]]:
    parts = [{"type": "text", "text": "see"}, {"type": "image_url", "image_url": {"url": url, "detail": "low"}}]
    return [{"role": "user", "content": parts}]


def test_images_in_files_become_data_urls_wherever_an_api_takes_images(tmp_path: Path) -> None:
    file = tmp_path / "a picture.png"
    file.write_bytes(PNG)
    encoded = b64encode(PNG).decode()
    inlined = f"data:image/png;base64,{encoded}"
    for url in (str(file), file.as_uri(), f"file:{file}", encoded):
        assert servable_url(url) == inlined
    chat = picture(str(file))
    sent = plugin("openai").build_request(chat)["messages"][0]["content"]
    assert sent == [
        {"type": "text", "text": "see"},
        {"type": "image_url", "image_url": {"url": inlined, "detail": "low"}},
    ]
    assert chat == picture(str(file))
    assert plugin("responses").build_request(chat)["input"][0]["content"] == [
        {"type": "input_text", "text": "see"},
        {"type": "input_image", "image_url": inlined},
    ]
    source = {"type": "base64", "media_type": "image/png", "data": encoded}
    assert plugin("anthropic").build_request(chat)["messages"][0]["content"][1] == {"type": "image", "source": source}
    assert plugin("tgi").build_request(chat)["inputs"] == f"see![]({inlined})"
    multimodal = plugin("dashscope", api_args={"service": "multimodal"}).build_request(chat)
    assert multimodal["input"]["messages"][0]["content"] == [{"text": "see"}, {"image": inlined}]


def test_urls_of_images_stay_as_they_are() -> None:
    for url in ("https://h/a.png", "http://h/a.png", "data:image/gif;base64,R0lG"):
        assert with_images(picture(url)) == picture(url)
    source = {"type": "url", "url": "https://h/a.png"}
    sent = plugin("anthropic").build_request(picture("https://h/a.png"))["messages"][0]["content"]
    assert sent[1] == {"type": "image", "source": source}


@pytest.mark.parametrize("url", ["/no/such/file.png", "file:///no/such.png", "not base64!", "aGVsbG8gd29ybGQ="])
def test_an_image_that_is_not_there_is_told(url: str) -> None:
    with pytest.raises(ValueError, match=r"^image '"):
        servable_url(url)


def test_a_file_that_is_no_image_is_told(tmp_path: Path) -> None:
    (tmp_path / "a.png").write_text("hello")
    with pytest.raises(ValueError, match="is no PNG"):
        servable_url(str(tmp_path / "a.png"))
