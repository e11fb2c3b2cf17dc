"""Datasets of conversations."""

import json
from itertools import islice, pairwise
from pathlib import Path
from typing import Any

import pytest

from perfbench_plugins.datasets.base import DatasetError, Item, Turn

CHAT = [
    {"role": "system", "content": "s"},
    {"role": "user", "content": "a"},
    {"role": "assistant", "content": None, "tool_calls": []},
    {"role": "tool", "content": "t", "tool_call_id": "1"},
    {"role": "assistant", "content": "b"},
    {"role": "user", "content": "c"},
    {"role": "assistant", "content": "d"},
]


def texts(conversation: Any) -> list[list[str]]:
    return [[message["content"] for message in turn.messages] for turn in conversation]


def lines(file: Path, *values: Any) -> Path:
    file.write_text("".join(json.dumps(value) + "\n" for value in values))
    return file


def test_recorded_answers_end_turns_and_are_left_out(dataset: Any, tmp_path: Path) -> None:
    file = lines(tmp_path / "a.jsonl", CHAT)
    (conversation,) = dataset("custom_multi_turn", file)
    assert texts(conversation) == [["s", "a"], ["t"], ["c"]]
    assert [turn.is_final for turn in conversation] == [False, False, True]
    assert conversation[1].messages == [{"role": "user", "content": "t"}]
    (short,) = dataset("custom_multi_turn", file, max_turns=2)
    assert texts(short) == [["s", "a"], ["t"]]


def test_turns_get_think_times_and_lengths(dataset: Any, tmp_path: Path) -> None:
    args = {"think_time": 1.5, "output_length": 7, "ignore_eos": True}
    (item,) = dataset("custom_multi_turn", lines(tmp_path / "a.jsonl", CHAT), args)
    assert isinstance(item, Item)
    assert item.extra == {"ignore_eos": True}
    assert [turn.tool_call_latency for turn in item.messages] == [None, 1.5, 1.5]
    assert {turn.max_tokens for turn in item.messages} == {7}


def test_a_line_without_messages_is_named(dataset: Any, tmp_path: Path) -> None:
    with pytest.raises(DatasetError, match=r"line 2: no JSON array of chat messages"):
        list(dataset("custom_multi_turn", lines(tmp_path / "a.jsonl", CHAT, "text")))


@pytest.mark.parametrize(
    "row",
    [
        {"conversation": [{"human": "a ", "assistant": "b"}, {"human": "c", "assistant": "d"}]},
        {
            "conversations": [
                {"from": role, "value": text} for role, text in zip(("human", "gpt") * 2, "abcd", strict=True)
            ]
        },
    ],
)
def test_share_gpt_is_read_in_both_its_layouts(dataset: Any, tmp_path: Path, row: Any) -> None:
    file = lines(tmp_path / "common_en_70k.jsonl", row)
    (messages,) = dataset("share_gpt_en", file)
    assert [(message["role"], message["content"]) for message in messages] == [
        ("user", "a"),
        ("assistant", "b"),
        ("user", "c"),
    ]
    (conversation,) = dataset("share_gpt_en_multi_turn", tmp_path)
    assert texts(conversation) == [["a"], ["c"]]


def test_random_conversations_have_turns_and_lengths_as_told(dataset: Any) -> None:
    args = {"first_turn_length": 9, "subsequent_turn_length": [2, 3], "system_prompt_length": 4, "prefix_count": 2}
    plugin = dataset("random_multi_turn", args=args, min_turns=2, max_turns=4, prefix_length=5)
    conversations = list(islice(plugin, 40))
    assert {len(conversation) for conversation in conversations} == {2, 3, 4}
    assert {len(texts(conversation)[0][1].split()) for conversation in conversations} == {14}
    assert {len(text.split()) for conversation in conversations for (text,) in texts(conversation)[1:]} == {2, 3}
    assert len({texts(conversation)[0][0] for conversation in conversations}) == 1


def test_pairs_of_lengths_hold_for_each_turn(dataset: Any, tmp_path: Path) -> None:
    pairs = lines(tmp_path / "pairs.jsonl", {"input_length": 2, "output_length": 20})
    conversation = next(iter(dataset("random_multi_turn", args={"length_pairs": str(pairs)}, max_turns=2)))
    assert {(len(turn.messages[0]["content"].split()), turn.max_tokens) for turn in conversation} == {(2, 20)}


@pytest.mark.parametrize(
    ("turns", "problem"), [({}, "maxTurns: missing"), ({"min_turns": 3, "max_turns": 2}, "minTurns: 3 is more than")]
)
def test_turns_that_make_no_sense_are_an_error(dataset: Any, turns: dict[str, int], problem: str) -> None:
    with pytest.raises(DatasetError, match=problem):
        next(iter(dataset("random_multi_turn", **turns)))


def test_swe_smith_reads_what_evalscopes_script_built(dataset: Any, tmp_path: Path) -> None:
    turn = {"messages": [{"role": "user", "content": "a"}], "prompt_tokens": 1}
    file = tmp_path / "agentic_dataset.json"
    file.write_text(json.dumps({"conversations": [[turn, turn], []]}))
    (conversation,) = dataset("swe_smith", file)
    assert texts(conversation) == [["a"], ["a"]]
    file.write_text("[]")
    with pytest.raises(DatasetError, match="has no list `conversations`"):
        list(dataset("swe_smith", file))


def test_swe_smith_packs_trajectories_into_turns(dataset: Any, tmp_path: Path, tokenizer_folder: Path) -> None:
    said: list[Any] = [
        {"role": role, "content": text}
        for role, text in (("user", "one two"), ("assistant", "x"), ("tool", "three four five"))
    ]
    said.append({"role": "user", "content": [{"type": "text", "text": "six seven"}]})
    file = lines(tmp_path / "tool.jsonl", {"messages": json.dumps(said)}, {"messages": [said[0]]})
    args = {"first_turn_length": 4, "subsequent_turn_length": 2}
    (conversation,) = dataset(
        "swe_smith", file, args, min_turns=2, max_turns=2, tokenizer_path=str(tokenizer_folder)
    )  # the second trajectory is too short for two turns
    assert texts(conversation) == [["one two", "three four"], ["six seven"]]


def test_trie_makes_up_texts_of_the_recorded_lengths(dataset: Any, tmp_path: Path) -> None:
    trace = {
        "input_prompt_length": 5,
        "num_turns": 2,
        "assistant_response_length": [3, 4],
        "tool_call_output_length": [6, 0],
        "tool_call_latency": [0.5, 2.0],
        "final_assistant_response_length": 9,
    }
    file = lines(tmp_path / "a.jsonl", trace)
    (conversation,) = dataset("trie_code_qa", file, {"tool_time_scale": 0.5})
    assert [len(text.split()) for (text,) in texts(conversation)] == [5, 6, 1]
    assert [(turn.max_tokens, turn.tool_call_latency, turn.is_final) for turn in conversation] == [
        (3, None, False),
        (4, 0.25, False),
        (9, 1.0, True),
    ]
    with pytest.raises(DatasetError, match=r"line 1: .*tool_call_latency has 1 entries, but num_turns is 2"):
        list(dataset("trie_code_qa", lines(file, {**trace, "tool_call_latency": [1]})))


def test_a_turn_is_what_evalscope_has() -> None:
    assert Turn([]).__dict__ == {
        "messages": [],
        "max_tokens": None,
        "tool_call_latency": None,
        "is_final": False,
        "rid": None,
    }


@pytest.mark.parametrize("count_template", [True, False])
def test_lengths_of_turns_include_the_chat_template_where_they_are_to(
    dataset: Any, tokenizer_folder: Path, count_template: bool
) -> None:
    args = {"first_turn_length": 60, "subsequent_turn_length": 40, "count_template": count_template}
    plugin = dataset("random_multi_turn", args=args, min_turns=3, max_turns=3, tokenizer_path=str(tokenizer_folder))
    conversation = next(iter(plugin))
    tokenizer = plugin.tokenizer
    said: list[dict[str, str]] = []
    lengths = []
    for turn in conversation:
        said += turn.messages
        lengths.append(tokenizer.count_messages(said))
        said.append({"role": "assistant", "content": "a"})
    added = [
        lengths[0],
        *(later - earlier - tokenizer.count("a") for earlier, later in pairwise(lengths)),
    ]
    if count_template:
        assert added == [60, 40, 40]
    else:
        assert added[0] == 60 + tokenizer.chat_overhead
        assert min(added[1:]) > 40
