"""Tokens of an answer whose server does not count them."""

from pathlib import Path
from typing import Any

import pytest

from perfbench_plugins.counting import AnswerCounter
from perfbench_plugins.tokens import Tokenizer, load_tokenizer


@pytest.fixture(scope="module")
def tokenizer(tokenizer_folder: Path) -> Tokenizer:
    return load_tokenizer(str(tokenizer_folder))


@pytest.fixture(scope="module")
def of_words() -> Tokenizer:
    """One like those of Llama 2: a text's start is taken for the start of a word."""
    from tokenizers import Tokenizer as Inner
    from tokenizers import models, pre_tokenizers

    vocabulary = {"[UNK]": 0, "▁": 1, "▁he": 2, "llo": 3, "▁hello": 4, "\n": 5}
    inner = Inner(models.BPE({**vocabulary, "l": 6, "o": 7, "h": 8, "e": 9, "lo": 10, "he": 11},
                             [("l", "o"), ("h", "e"), ("▁", "he"), ("l", "lo"), ("▁he", "llo")], unk_token="[UNK]"))  # fmt: skip
    inner.pre_tokenizer = pre_tokenizers.Metaspace()
    return Tokenizer(inner)


@pytest.mark.parametrize(
    ("chunks", "count"),
    [
        ([], 0),
        ([""], 0),
        (["\ufffd"], 1),
        (["\ufffd\ufffd"], 2),
        (["Why", "\ufffd", " not"], 3),
        (["W", "h", "y"], 3),  # as one text it is a single token
        (["Why ", "not ", "now"], 3),  # a server that puts the space behind the word
        (["Why", " ", "not"], 3),
        (["Why", " "], 2),
    ],
)
def test_each_chunk_counts_by_itself_and_a_broken_character_once(
    tokenizer: Tokenizer, chunks: list[str], count: int
) -> None:
    assert AnswerCounter(tokenizer).count(chunks) == count


@pytest.mark.parametrize("size", [1, 3, 5, 16])
def test_chunks_of_several_tokens_have_as_many_as_their_tokens(tokenizer: Tokenizer, size: int) -> None:
    ids = tokenizer.encode("How does a bicycle stay upright while it is moving? What causes the seasons?")
    chunks = [tokenizer.decode(ids[begin : begin + size]) for begin in range(0, len(ids), size)]
    counter = AnswerCounter(tokenizer)
    assert counter.count(chunks) == counter.count(chunks) == len(ids)


def test_a_chunk_may_begin_within_a_word(of_words: Tokenizer) -> None:
    assert of_words.count("llo") > 1, "the tokenizer puts a word's start before it"
    assert AnswerCounter(of_words).count(["llo"]) == 1


def test_an_answer_without_usage_is_counted_as_it_was_streamed(tokenizer_folder: Path) -> None:
    from perfbench_plugins.api.openai_api import OpenaiPlugin
    from perfbench_plugins.arguments import Arguments

    plugin = OpenaiPlugin(
        Arguments(url="http://x/v1/chat/completions", model="m", tokenizer_path=str(tokenizer_folder))
    )
    messages: list[Any] = [{"choices": [{"index": 0, "delta": {"content": text}}]} for text in ("W", "h", "\ufffd")]
    tokens: Any = plugin.parse_responses(messages, request='{"messages": []}')
    assert (tokens.completion, tokens.source) == (3, "tokenizer")
