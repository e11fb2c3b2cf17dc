"""Real text of a wanted length, with a prefix that fills up what is left."""

import json
from pathlib import Path
from typing import Any

import pytest
from pydantic import ValidationError

from perfbench_plugins.datasets.base import DatasetError
from perfbench_plugins.datasets.dataset_args import TextLengthArgs
from perfbench_plugins.datasets.fitting import TextFit
from perfbench_plugins.tokens import load_tokenizer

LONG = "the river runs past the old mill and on to the sea where the ships lie " * 5


@pytest.fixture
def prefix(tmp_path: Path) -> str:
    file = tmp_path / "prefix.txt"
    file.write_text("once upon a time ")
    return str(file)


@pytest.mark.parametrize("target", [8, 20, 100])
@pytest.mark.parametrize("text", ["", "short", " and then", "über"])
def test_prefix_and_prompt_have_the_target_together(
    tokenizer_folder: Path, prefix: str, target: int, text: str
) -> None:
    """A short prefix is repeated; where the two meet, tokens may merge, and that counts."""
    tokenizer = load_tokenizer(str(tokenizer_folder))
    fit = TextFit(TextLengthArgs(target_input_len=target, prefix_file=prefix), tokenizer)
    whole = fit.before(text, target - tokenizer.count(text))
    assert whole.endswith(text)
    assert whole.startswith("once upon a time")
    assert abs(tokenizer.count(whole) - target) <= 2


def test_a_prompt_that_leaves_no_room_has_no_prefix(prefix: str) -> None:
    assert TextFit(TextLengthArgs(target_input_len=3, prefix_file=prefix), None).before("abc", 0) == "abc"


def test_without_a_tokenizer_characters_are_counted(prefix: str) -> None:
    fit = TextFit(TextLengthArgs(target_input_len=40, prefix_file=prefix), None)
    assert fit.before("abc", 37) == "once upon a time once upon a time once uabc"[:37] + "abc"


def test_prefix_and_drop_exclude_each_other(prefix: str) -> None:
    with pytest.raises(ValidationError, match="leaves prefix_file no room"):
        TextLengthArgs(target_input_len=3, prefix_file=prefix, input_len_mode="drop")


def test_an_empty_prefix_is_an_error(tmp_path: Path) -> None:
    (tmp_path / "a.txt").write_text(" \n")
    fit = TextFit(TextLengthArgs(target_input_len=9, prefix_file=str(tmp_path / "a.txt")), None)
    with pytest.raises(DatasetError, match="is empty"):
        fit.prefix(3)


@pytest.mark.parametrize(
    ("args", "last"),
    [
        ({}, ["why so long", "b"]),
        ({"target_input_len": 3}, ["why", "b"]),
        ({"target_input_len": 3, "input_len_mode": "drop"}, ["why"]),
    ],
)
def test_share_gpt_fits_its_last_message(dataset: Any, tmp_path: Path, args: dict[str, Any], last: list[str]) -> None:
    talks = [[{"human": "a", "assistant": LONG}, {"human": text}] for text in ("why so long", "b")]
    (tmp_path / "talks.jsonl").write_text("".join(json.dumps({"conversation": talk}) + "\n" for talk in talks))
    found = list(dataset("share_gpt_en", tmp_path / "talks.jsonl", args))
    assert [messages[-1]["content"] for messages in found] == last
    assert all(messages[1]["content"] == LONG.strip() for messages in found)


def test_share_gpt_with_a_prefix_measures_whole_conversations(dataset: Any, tmp_path: Path, prefix: str) -> None:
    talks = [[{"human": "a", "assistant": "b"}, {"human": text}] for text in ("c" * 30, "c")]
    (tmp_path / "talks.jsonl").write_text("".join(json.dumps({"conversation": talk}) + "\n" for talk in talks))
    args = {"target_input_len": 20, "prefix_file": prefix}
    (messages,) = dataset("share_gpt_en", tmp_path / "talks.jsonl", args)
    assert messages[0] == {"role": "system", "content": "once upon a time once up"[:17]}


@pytest.mark.parametrize(("target", "kept"), [(None, 3), (20, 2), (4, 1)])
def test_json_lines_obey_the_target_too(dataset: Any, tmp_path: Path, target: int | None, kept: int) -> None:
    chat = [{"role": "user", "content": "fifteen letters"}]
    lines = ["text", json.dumps(chat), json.dumps({"messages": [*chat, *chat]})]
    (tmp_path / "a.jsonl").write_text("\n".join(lines))
    args = {"target_input_len": target} if target else None
    assert len(list(dataset("line_by_line", tmp_path / "a.jsonl", args))) == kept
