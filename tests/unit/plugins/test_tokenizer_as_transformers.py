"""`self.tokenizer` answers as transformers' tokenizers do, and one of transformers' kind can take its place."""

import json
from pathlib import Path
from typing import Any

import pytest

from perfbench_plugins.api.openai_api import OpenaiPlugin
from perfbench_plugins.arguments import Arguments
from perfbench_plugins.tokens import Tokenizer, as_tokenizer, load_tokenizer

TEXT = "which way is the river"
CHAT = [{"role": "user", "content": TEXT}]


@pytest.fixture(scope="module")
def tokenizer(tokenizer_folder: Path) -> Tokenizer:
    return load_tokenizer(str(tokenizer_folder))


class Foreign:
    """What a plugin may bring: the methods of transformers' tokenizers, and nothing of ours."""

    chat_template = "some"
    name_or_path = "foreign"

    def __init__(self, inner: Tokenizer) -> None:
        self.inner = inner

    def encode(self, text: str, add_special_tokens: bool = True) -> list[int]:
        return [1] * add_special_tokens + self.inner.encode(text, add_special_tokens=False)

    def apply_chat_template(self, messages: Any, tokenize: bool = True, **values: Any) -> Any:
        return self.inner.apply_chat_template(messages, tokenize, **values)


def test_it_has_a_length_a_vocabulary_and_ids(tokenizer: Tokenizer) -> None:
    assert len(tokenizer) == len(tokenizer.get_vocab()) >= tokenizer.vocab_size
    assert tokenizer
    assert tokenizer.eos_token == "<|im_end|>"
    assert tokenizer.eos_token_id == tokenizer.convert_tokens_to_ids("<|im_end|>") == 2
    assert (tokenizer.bos_token_id, tokenizer.pad_token, tokenizer.pad_token_id) == (0, None, None)
    with pytest.raises(AttributeError, match="no attribute 'nothing'"):
        tokenizer.nothing  # noqa: B018


def test_texts_become_ids_and_back(tokenizer: Tokenizer) -> None:
    ids = tokenizer.encode(TEXT)
    assert tokenizer(TEXT) == {"input_ids": ids, "attention_mask": [1] * len(ids)}
    assert tokenizer([TEXT, "a"])["input_ids"] == [ids, tokenizer.encode("a")]
    assert tokenizer.decode(ids) == TEXT
    assert tokenizer.batch_decode([ids, ids]) == [TEXT, TEXT]
    assert tokenizer.decode([2, *ids]) == f"<|im_end|>{TEXT}"
    assert tokenizer.decode([2, *ids], skip_special_tokens=True) == TEXT
    assert tokenizer.convert_tokens_to_ids(tokenizer.tokenize(TEXT)) == ids
    assert tokenizer.convert_ids_to_tokens(ids) == tokenizer.tokenize(TEXT)
    assert tokenizer.start(TEXT, 2) == tokenizer.decode(ids[:2])


def test_arguments_of_transformers_are_no_variables_of_the_template(tokenizer: Tokenizer) -> None:
    given = {"add_generation_prompt": True, "return_tensors": None, "padding": False}
    ids = tokenizer.apply_chat_template(CHAT, **given)
    assert tokenizer.apply_chat_template(CHAT, return_dict=True, **given) == {"input_ids": ids}
    assert tokenizer.decode(ids) == tokenizer.apply_chat_template(CHAT, tokenize=False, **given)


def test_one_of_transformers_kind_counts_as_ours(tokenizer: Tokenizer) -> None:
    foreign = as_tokenizer(Foreign(tokenizer))
    assert as_tokenizer(tokenizer) is tokenizer
    assert foreign.count(TEXT) == tokenizer.count(TEXT)
    assert foreign.count_messages(CHAT) == tokenizer.count_messages(CHAT)
    assert foreign.name_or_path == "foreign"


def test_a_plugin_that_brings_one_counts_without_usage(tokenizer: Tokenizer) -> None:
    class Mine(OpenaiPlugin):
        def __init__(self, param: Arguments) -> None:
            super().__init__(param)
            self.tokenizer = Foreign(tokenizer)

    plugin = Mine(Arguments(model="m", url="http://h"))
    answer = {"choices": [{"delta": {"content": "the river"}}]}
    found = plugin.parse_responses([answer], request=json.dumps({"messages": CHAT}))
    assert tuple(found) == (tokenizer.count_messages(CHAT), tokenizer.count("the river"))
