"""Datasets of real text: openqa, line_by_line, custom, and the contract that they share."""

import json
from itertools import islice
from pathlib import Path
from random import Random
from typing import Any

import pytest

from perfbench_plugins.arguments import Arguments
from perfbench_plugins.datasets import questions
from perfbench_plugins.datasets.base import DatasetError, Item


def test_openqa_makes_questions_up_without_a_file(dataset: Any) -> None:
    texts = [item[0]["content"] for item in islice(dataset("openqa", random_seed=1), 3000)]
    assert len({*texts}) == len(texts), "no two alike"
    lengths = sorted(map(len, texts))
    assert (30 <= lengths[len(texts) // 2] <= 120, lengths[-1] > 600, lengths[0] >= 10) == (True, True, True)
    assert any("为什么" in text for text in texts)
    assert sum(text[0].isupper() for text in texts if text.isascii()) == sum(text.isascii() for text in texts)


@pytest.mark.parametrize("seed", [0, 1, 16])
def test_a_seed_gives_the_same_questions_again_and_another_one_others(dataset: Any, seed: int) -> None:
    first, again, other = (list(islice(dataset("openqa", random_seed=each), 200)) for each in (seed, seed, seed + 1))
    assert first == again
    assert not {item[0]["content"] for item in first} & {item[0]["content"] for item in other}


def test_every_question_comes_once_before_any_comes_again() -> None:
    small = questions.Language(["{topic} {setting}?"] * 3, ["a", "b"], ["c", "d", "e", "f"], [])
    for seed in range(5):
        step = questions._step(small.size, Random(seed))
        assert len({number * step % small.size for number in range(small.size)}) == small.size


def test_openqa_reads_the_field_question(dataset: Any, tmp_path: Path) -> None:
    file = tmp_path / "open_qa.jsonl"
    file.write_text('{"question": "Why?", "human_answers": []}\n\n{"question": " How? "}\n')
    for path in (file, tmp_path):
        assert list(dataset("openqa", path, apply_chat_template=False)) == ["Why?", "How?"]


def test_a_line_without_question_is_named(dataset: Any, tmp_path: Path) -> None:
    file = tmp_path / "a.jsonl"
    file.write_text('{"question": "Why?"}\n{"query": "?"}\n')
    with pytest.raises(DatasetError, match=r"a.jsonl', line 2: has no text field `question`"):
        list(dataset("openqa", file))


def test_no_json_is_named_with_its_line(dataset: Any, tmp_path: Path) -> None:
    file = tmp_path / "a.jsonl"
    file.write_text('{"question": "Why?"}\nnonsense\n')
    with pytest.raises(DatasetError, match=r"line 2: no JSON"):
        list(dataset("openqa", file))


def test_the_hub_without_its_extra_says_which_one_to_install(dataset: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(__import__("sys").modules, "modelscope.hub.snapshot_download", None)
    with pytest.raises(DatasetError, match=r"pip install 'perfbench-operator\[modelscope\]'"):
        list(dataset("openqa", data_source="modelscope"))


def test_prompts_out_of_limits_are_left_out(dataset: Any, tmp_path: Path) -> None:
    file = tmp_path / "a.txt"
    file.write_text("ab\nabcd\n\nabcdef\n")
    assert list(dataset("custom", file, min_prompt_length=3, max_prompt_length=5, apply_chat_template=False)) == [
        "abcd"
    ]


def test_custom_sends_chat_messages_where_the_url_is_for_chat(dataset: Any, tmp_path: Path) -> None:
    file = tmp_path / "a.txt"
    file.write_text("hello\n")
    assert list(dataset("custom", file)) == [[{"role": "user", "content": "hello"}]]
    assert list(dataset("custom", file, url="http://h/v1/completions")) == ["hello"]
    assert list(dataset("custom", file, url="http://h/v1/completions", apply_chat_template=True)) == [
        [{"role": "user", "content": "hello"}]
    ]


def test_line_by_line_tells_text_messages_and_bodies_apart(dataset: Any, tmp_path: Path) -> None:
    messages = [{"role": "system", "content": "be brief"}, {"role": "user", "content": "hi"}]
    body = {"messages": messages, "max_tokens": 3}
    file = tmp_path / "a.txt"
    file.write_text(f"[note] text\n{json.dumps(messages)}\n{json.dumps(body)}\n")
    assert list(dataset("line_by_line", file)) == [[{"role": "user", "content": "[note] text"}], messages, body]


@pytest.mark.parametrize(
    ("line", "problem"),
    [('{"messages": [', "begins as JSON and is none"), ("[1, 2]", "must hold chat messages"), ("[]", "chat messages")],
)
def test_a_broken_line_is_named(dataset: Any, tmp_path: Path, line: str, problem: str) -> None:
    file = tmp_path / "a.txt"
    file.write_text(f"fine\n{line}\n")
    with pytest.raises(DatasetError, match=f"line 2: .*{problem}"):
        list(dataset("line_by_line", file))


@pytest.mark.parametrize("name", ["custom", "line_by_line"])
def test_a_missing_file_says_so(dataset: Any, name: str, tmp_path: Path) -> None:
    with pytest.raises(DatasetError, match=r"dataset.path: missing"):
        list(dataset(name))
    with pytest.raises(DatasetError, match=r"dataset.path: cannot read .*: No such file"):
        list(dataset(name, tmp_path / "none.txt"))
    (tmp_path / "bytes.txt").write_bytes(b"\xff\xfe")
    with pytest.raises(DatasetError, match="no UTF-8 text"):
        list(dataset(name, tmp_path / "bytes.txt"))


def test_an_unknown_option_is_one_line_with_a_suggestion(dataset: Any) -> None:
    with pytest.raises(
        DatasetError, match=r"^dataset.args.target_input: unknown field; did you mean 'target_input_len'"
    ):
        dataset("openqa", args={"target_input": 5})


def test_long_prompts_are_cut_to_a_target_and_short_ones_may_be_dropped(dataset: Any, tmp_path: Path) -> None:
    file = tmp_path / "a.txt"
    file.write_text("abcdefgh\nabc\n")
    plain = {"apply_chat_template": False}
    assert list(dataset("line_by_line", file, {"target_input_len": 4}, **plain)) == ["abcd", "abc"]
    drop = {"target_input_len": 4, "input_len_mode": "drop"}
    assert list(dataset("line_by_line", file, drop, **plain)) == ["abcd"]


def test_a_prefix_comes_before_every_prompt_and_fills_it_up_to_the_target(dataset: Any, tmp_path: Path) -> None:
    file, prefix = tmp_path / "a.txt", tmp_path / "prefix.txt"
    file.write_text("abc\n")
    prefix.write_text("0123456789")
    make = {"prefix_file": str(prefix)}
    assert list(dataset("line_by_line", file, make)) == [
        [{"role": "system", "content": "0123456789"}, {"role": "user", "content": "abc"}]
    ]
    filled = {**make, "target_input_len": 8, "prefix_role": "user"}
    assert list(dataset("line_by_line", file, filled)) == [[{"role": "user", "content": "01234abc"}]]


def test_an_item_changes_only_its_own_request() -> None:
    arguments = Arguments(model="m", max_tokens=5, extra_args={"user": "me"})
    assert Item("hi").parameters(arguments) is arguments
    own = Item("hi", max_tokens=9, extra={"ignore_eos": True, "user": "you"}).parameters(arguments)
    assert (own.max_tokens, own.extra_args) == (9, {"ignore_eos": True, "user": "me"})
    assert (arguments.max_tokens, arguments.extra_args) == (5, {"user": "me"})
