"""Datasets of random text: lengths, prefixes, exactness."""

from collections import Counter
from itertools import islice
from pathlib import Path
from typing import Any

import pytest

from perfbench_plugins.datasets.base import DatasetError, Item
from perfbench_plugins.tokens import load_tokenizer

PLAIN = {"apply_chat_template": False}


def take(plugin: Any, number: int) -> list[Any]:
    return list(islice(plugin.build_messages(), number))


def test_without_a_tokenizer_length_is_words_between_the_limits(dataset: Any) -> None:
    prompts = take(dataset("random", min_prompt_length=5, max_prompt_length=9, **PLAIN), 200)
    assert {len(prompt.split()) for prompt in prompts} == {5, 6, 7, 8, 9}


@pytest.mark.parametrize(
    ("limits", "lengths"),
    [({}, (512, 512)), ({"min_prompt_length": 600}, (600, 600)), ({"max_prompt_length": 3}, (1, 3))],
)
def test_without_limits_prompts_have_a_usual_length(
    dataset: Any, limits: dict[str, int], lengths: tuple[int, int]
) -> None:
    found = [len(prompt.split()) for prompt in take(dataset("random", **limits, **PLAIN), 50)]
    assert (min(found), max(found)) == lengths


def test_limits_that_cross_are_an_error(dataset: Any) -> None:
    with pytest.raises(DatasetError, match="minPromptLength: 9 is more than maxPromptLength, 5"):
        take(dataset("random", min_prompt_length=9, max_prompt_length=5), 1)


@pytest.mark.parametrize("chat", [True, False])
def test_with_a_tokenizer_prompts_are_exact(dataset: Any, tokenizer_folder: Path, chat: bool) -> None:
    """Within one token on at least 95 % of the prompts, what the chat template adds included."""
    plugin = dataset(
        "random",
        tokenizer_path=str(tokenizer_folder),
        args={"input_length": {"distribution": "uniform", "min": 12, "max": 400}},
        apply_chat_template=chat,
    )
    tokenizer = load_tokenizer(str(tokenizer_folder))
    prompts = take(plugin, 200)
    again = dataset(
        "random", tokenizer_path=str(tokenizer_folder), args={"input_length": [12, 400]}, apply_chat_template=chat
    )
    wanted = []
    for _ in prompts:  # the same draws in the same order: a length, then its text
        length, _output = again.prompt_lengths()
        again.prompt(length)
        wanted.append(length)
    off = [abs(tokenizer.count_messages(prompt) - length) for prompt, length in zip(prompts, wanted, strict=True)]
    assert sum(error <= 1 for error in off) >= 0.95 * len(off)
    assert max(off) <= 3


def test_token_ids_are_exactly_as_many(dataset: Any, tokenizer_folder: Path) -> None:
    plugin = dataset(
        "random", tokenizer_path=str(tokenizer_folder), tokenize_prompt=True, min_prompt_length=7, max_prompt_length=7
    )
    assert all(len(ids) == 7 and all(type(number) is int for number in ids) for ids in take(plugin, 20))
    with pytest.raises(DatasetError, match="tokenizePrompt: needs a tokenizer"):
        take(dataset("random", tokenize_prompt=True), 1)


def test_all_prompts_share_the_prefix_which_comes_on_top(dataset: Any) -> None:
    prompts = take(dataset("random", prefix_length=4, min_prompt_length=3, max_prompt_length=3, **PLAIN), 20)
    assert len({tuple(prompt.split()[:4]) for prompt in prompts}) == 1
    assert {len(prompt.split()) for prompt in prompts} == {7}


def test_prefixes_of_a_pool_are_taken_with_zipfs_frequencies(dataset: Any) -> None:
    args = {"input_length": 1, "prefix_count": 5, "prefix_skew": 1.5, "system_prompt_length": 2}
    prompts = take(dataset("random", args=args, prefix_length=3), 400)
    assert len({prompt[0]["content"] for prompt in prompts}) == 1
    assert prompts[0][0]["role"] == "system"
    counts = Counter(tuple(prompt[1]["content"].split()[:3]) for prompt in prompts)
    most = [count for _, count in counts.most_common()]
    assert len(most) == 5
    assert most[0] > 3 * most[-1]


def test_answers_get_drawn_lengths(dataset: Any) -> None:
    items = take(dataset("random", args={"input_length": 3, "output_length": [5, 6], "ignore_eos": True}), 30)
    assert all(isinstance(item, Item) for item in items)
    assert {item.max_tokens for item in items} == {5, 6}
    assert items[0].extra == {"ignore_eos": True}


def test_lengths_of_a_file_are_drawn_in_pairs(dataset: Any, tmp_path: Path) -> None:
    file = tmp_path / "pairs.csv"
    file.write_text("input_length,output_length\n2,20\n3,30\n")
    items = take(dataset("random", args={"length_pairs": str(file)}, **PLAIN), 30)
    assert {(len(item.messages.split()), item.max_tokens) for item in items} == {(2, 20), (3, 30)}
    file.write_text("input,output\n2,20\n")
    with pytest.raises(DatasetError, match=r"length_pairs: .*needs columns input_length and output_length"):
        take(dataset("random", args={"length_pairs": str(file)}), 1)
