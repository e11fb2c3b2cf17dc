"""Bodies of OpenAI's APIs where flags of EvalScope's change them: streams, token ids, templates."""

import json
from pathlib import Path
from typing import Any

import pytest

from perfbench_plugins.api.anthropic_api import AnthropicPlugin
from perfbench_plugins.api.base import ApiPluginBase
from perfbench_plugins.api.openai_api import OpenaiPlugin
from perfbench_plugins.api.openai_embedding_api import OpenaiEmbeddingPlugin
from perfbench_plugins.arguments import Arguments
from perfbench_plugins.registry import ApiRegistry, PluginError
from perfbench_plugins.tokens import load_tokenizer

CHAT = [{"role": "user", "content": "which way is the river"}]
USAGE = {"include_usage": True}
OWN = {"include_usage": False}


def plugin(api: str = "openai", **values: Any) -> Any:
    return ApiRegistry.get_class(api)(Arguments(**{"model": "m", "url": "http://h", "api": api} | values))


@pytest.mark.parametrize(
    ("messages", "values", "options"),
    [
        (CHAT, {}, USAGE),
        (CHAT, {"stream": False}, None),
        (CHAT, {"stream": None}, None),
        (CHAT, {"stream": False, "extra_args": {"stream": True}}, USAGE),
        (CHAT, {"extra_args": {"stream": False}}, None),
        (CHAT, {"extra_args": {"stream_options": OWN}}, OWN),
        (CHAT, {"stream": False, "extra_args": {"stream_options": OWN}}, None),
        ({"messages": CHAT, "stream": False}, {}, None),
        ({"messages": CHAT, "stream": True}, {"stream": False}, USAGE),
        ({"messages": CHAT, "stream_options": OWN}, {}, OWN),
        ({"messages": CHAT}, {"stream": False}, None),
    ],
)
@pytest.mark.parametrize("api", ["openai", "custom"])
def test_usage_is_asked_for_where_the_body_that_is_sent_asks_for_a_stream(
    api: str, messages: Any, values: dict[str, Any], options: Any
) -> None:
    body = plugin(api, **values).build_request(messages)
    assert body.get("stream_options") == options


def test_a_whole_body_keeps_its_order_and_gets_what_it_lacks() -> None:
    given = {"stream": True, "messages": CHAT, "temperature": 0.5}
    body = plugin(max_tokens=7).build_request(given)
    assert list(body) == ["stream", "messages", "temperature", "model", "max_tokens", "stream_options"]
    assert (body["temperature"], body["max_tokens"]) == (0.5, 7)
    assert len(given) == 3


@pytest.mark.parametrize("messages", [CHAT, "which way", [5, 6, 7], {"messages": CHAT, "top_k": 1}])
def test_any_prompt_becomes_token_ids_and_goes_to_completions(tokenizer_folder: Path, messages: Any) -> None:
    tokenizer = load_tokenizer(str(tokenizer_folder))
    made = plugin(tokenizer_path=str(tokenizer_folder), tokenize_prompt=True)
    body = made.build_request(messages)
    assert "messages" not in body
    if messages == "which way":
        assert body["prompt"] == tokenizer.encode("which way", add_special_tokens=False)
    elif messages == [5, 6, 7]:
        assert body["prompt"] == [5, 6, 7]
    else:
        assert body["prompt"] == tokenizer.apply_chat_template(CHAT, add_generation_prompt=True)
    param = made.param
    url = OpenaiPlugin.complete_url("http://h/v1", param)
    assert OpenaiPlugin.takes_chat(url)
    assert OpenaiPlugin.redirect(url, param) == "http://h/v1/completions"


def test_texts_to_embed_become_token_ids_too(tokenizer_folder: Path) -> None:
    made = OpenaiEmbeddingPlugin(
        Arguments(model="m", api="embedding", tokenizer_path=str(tokenizer_folder), tokenize_prompt=True)
    )
    ids = load_tokenizer(str(tokenizer_folder)).encode("the river", add_special_tokens=False)
    assert made.build_request("the river")["input"] == ids
    assert made.build_request(["the river", "the river"])["input"] == [ids, ids]


def test_token_ids_need_a_tokenizer_and_an_api_that_takes_them(tokenizer_folder: Path) -> None:
    with pytest.raises(PluginError, match=r"needs a tokenizer; give dataset\.tokenizerPath"):
        plugin(tokenize_prompt=True).build_request(CHAT)
    for api in ("openai_responses", "anthropic", "tgi", "dashscope", "custom", "rerank"):
        with pytest.raises(PluginError, match=f"API {api} takes no token ids"):
            plugin(api, tokenize_prompt=True, tokenizer_path=str(tokenizer_folder))


def test_messages_and_parameters_are_put_into_a_template(tmp_path: Path) -> None:
    template = {"model": "%m", "messages": [], "top_k": 3, "user": "me", "max_tokens": 99, "stream_options": OWN}
    (tmp_path / "template.json").write_text(json.dumps(template))
    for given in (json.dumps(template), f"@{tmp_path / 'template.json'}"):
        made = plugin(query_template=given, max_tokens=5)
        body = made.build_request(CHAT)
        assert (body["model"], body["messages"], body["max_tokens"]) == ("m", CHAT, 5)
        assert (body["top_k"], body["user"], body["stream_options"]) == (3, "me", USAGE)
        assert made.build_request(CHAT) == body


@pytest.mark.parametrize(("template", "words"), [("{", "request.queryTemplate"), ("[]", "a JSON list, no object")])
def test_a_template_that_is_none_is_told(template: str, words: str) -> None:
    with pytest.raises(PluginError, match=words):
        plugin(query_template=template).build_request(CHAT)


def test_an_api_without_templates_refuses_one() -> None:
    with pytest.raises(PluginError, match="API anthropic takes none; the API `template` has one"):
        plugin("anthropic", query_template="{}")


@pytest.mark.parametrize(
    ("api", "url", "chat"),
    [
        (OpenaiPlugin, "http://h/v1/chat/completions", True),
        (OpenaiPlugin, "http://h/v1/completions", False),
        (OpenaiPlugin, "http://h/v1/chat/completions?key=1", True),
        (AnthropicPlugin, "http://h/v1/messages", True),
        (ApiPluginBase, "http://h/mine", False),
    ],
)
def test_the_url_or_the_api_says_whether_datasets_make_chat_messages(api: Any, url: str, chat: bool) -> None:
    assert api.takes_chat(url) is chat
