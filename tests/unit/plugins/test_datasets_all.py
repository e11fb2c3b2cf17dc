"""What holds for every dataset: seeded, fresh again, plain data, documented."""

import json
import re
import sqlite3
from base64 import b64encode
from collections.abc import Callable
from dataclasses import asdict
from itertools import islice
from pathlib import Path
from pickle import dumps
from typing import Any

import pytest

from perfbench_api.described import described
from perfbench_plugins.datasets.base import Item, Turn
from perfbench_plugins.registry import DatasetRegistry

DOCS = Path(__file__).parents[3] / "docs" / "datasets.md"
CHAT = [
    {"role": "user", "content": "a"},
    {"role": "assistant", "content": "b"},
    {"role": "user", "content": "c"},
]
SHARE_GPT = {"conversation": [{"human": "a", "assistant": "b"}, {"human": "c", "assistant": "d"}]}
TRIE = {
    "input_prompt_length": 5,
    "num_turns": 1,
    "assistant_response_length": [3],
    "tool_call_output_length": [4],
    "tool_call_latency": [0.5],
    "final_assistant_response_length": 6,
}
MOONCAKE = {"timestamp": 0, "input_length": 700, "output_length": 5, "hash_ids": [1, 2]}
LINES: dict[str, tuple[str, list[Any]]] = {
    "custom": ("txt", ["hello"]),
    "custom_multi_turn": ("jsonl", [CHAT]),
    "embedding": ("jsonl", [{"text": "a"}, {"input": "b"}]),
    "file": ("jsonl", [{"prompt": "a"}]),
    "line_by_line": ("jsonl", [CHAT]),
    "longalpaca": ("jsonl", [{"instruction": "a"}]),
    "mooncake": ("jsonl", [MOONCAKE, {**MOONCAKE, "timestamp": 500}]),
    "rerank": ("jsonl", [{"query": "a", "documents": ["b"]}]),
    "share_gpt": ("jsonl", [SHARE_GPT]),
    "swe_smith": ("jsonl", [{"messages": json.dumps([*CHAT, {"role": "tool", "content": "d"}])}]),
    "trie": ("jsonl", [TRIE]),
    "workload_trace": ("jsonl", [{"body": {"model": "x", "prompt": "a"}, "timestamp": 1.5}]),
}
OPTIONS: dict[str, dict[str, Any]] = {
    "random": {"args": {"input_length": {"distribution": "lognormal", "mean": 30, "std": 9}, "output_length": [2, 9]}},
    "random_vl": {"args": {"input_length": [3, 9]}, "image_width": 8, "image_height": 4},
    "random_multi_turn": {"args": {"input_length": [3, 9], "think_time": [0.1, 2.5]}, "max_turns": 4},
    "random_embedding": {"max_prompt_length": 9},
    "random_embedding_batch": {"max_prompt_length": 9},
    "random_rerank": {"max_prompt_length": 9},
    "swe_smith": {"args": {"first_turn_length": 1, "subsequent_turn_length": [1, 2]}, "max_turns": 2},
}
ALL = sorted(DatasetRegistry.all_classes())


def local_data(name: str, folder: Path) -> Path | None:
    """Small local data of a dataset, in the format of its source; None where it needs none."""
    if name == "replay":
        return results_file(folder / "results.sqlite")
    if name == "flickr8k":
        return images(folder, {"jpg": "file"})
    if name == "kontext_bench":
        return images(folder, {"image": "file", "instruction": "make it blue"})
    if name == "mmmu_multi_image":
        return images(folder, {"question": "what is on <image 1>", "image_1": "file", "image_2": "file"})
    key = name if name in LINES else next((key for key in LINES if name.startswith(key + "_")), None)
    if name in ("embed", "embed_batch"):
        key = "embedding"
    if key is None:
        return None
    ending, lines = LINES[key]
    file = folder / f"data.{ending}"
    file.write_text("".join(f"{line if isinstance(line, str) else json.dumps(line)}\n" for line in lines))
    return file


def images(folder: Path, row: dict[str, str]) -> Path:
    (folder / "a.jpg").write_bytes(b"\xff\xd8\xff\xe0")
    file = folder / "data.jsonl"
    file.write_text(json.dumps({name: "a.jpg" if value == "file" else value for name, value in row.items()}) + "\n")
    return file


def results_file(file: Path) -> Path:
    body = b64encode(dumps({"model": "m", "messages": CHAT})).decode()
    file.unlink(missing_ok=True)
    with sqlite3.connect(file) as db:
        db.execute("CREATE TABLE result (request TEXT, start_time REAL, request_id TEXT, scheduled_time REAL)")
        db.execute("INSERT INTO result VALUES (?, 5.0, NULL, 4.5)", [body])
    db.close()
    return file


@pytest.fixture
def make(dataset: Callable[..., Any], tmp_path: Path) -> Callable[..., Any]:
    def make_one(name: str, **fields: Any) -> Any:
        return dataset(name, local_data(name, tmp_path), **OPTIONS.get(name, {}), **fields)

    return make_one


def plain(item: Any) -> Any:
    """An item as data; fails on what no dataset may yield."""
    if isinstance(item, Item):
        return {"item": plain(item.messages), "at_s": item.at_s, "max_tokens": item.max_tokens}
    if isinstance(item, list) and item and isinstance(item[0], Turn):
        return [asdict(turn) for turn in item]
    return json.loads(json.dumps(item))


@pytest.mark.parametrize("name", ALL)
def test_a_seed_gives_the_same_sequence(make: Callable[..., Any], name: str) -> None:
    first, again = ([plain(item) for item in islice(make(name, random_seed=7), 5)] for _ in range(2))
    assert first
    assert first == again


@pytest.mark.parametrize("name", [name for name in ALL if name.startswith("random")])
def test_another_seed_gives_another(make: Callable[..., Any], name: str) -> None:
    first, other = ([plain(item) for item in islice(make(name, random_seed=seed), 5)] for seed in (7, 8))
    assert first != other


@pytest.mark.parametrize("name", ALL)
def test_it_can_be_begun_again(make: Callable[..., Any], name: str) -> None:
    """The engine calls build_messages again when it ends before enough requests were made."""
    plugin = make(name)
    for _ in range(2):
        assert next(plugin.build_messages()) is not None


@pytest.mark.parametrize("name", ALL)
def test_arrivals_are_given_by_those_that_say_so(make: Callable[..., Any], name: str) -> None:
    plugin = make(name)
    arrivals: list[Any] = [item.at_s if isinstance(item, Item) else None for item in islice(plugin, 5)]
    if plugin.provides_arrival_schedule:
        assert arrivals[0] == 0
        assert arrivals == sorted(arrivals)
    else:
        assert set(arrivals) == {None}


@pytest.mark.parametrize("name", ALL)
def test_it_has_its_section_in_the_docs_and_all_its_options(name: str) -> None:
    text = DOCS.read_text(encoding="utf-8")
    sections = re.split(r"^## ", text, flags=re.MULTILINE)
    section = next((part for part in sections if f"`{name}`" in part.partition("\n")[0]), None)
    assert section is not None, f"docs/datasets.md has no section for {name}"
    shared = next(part for part in sections if part.startswith("Options that several share"))
    for option in DatasetRegistry.get_class(name).args_schema.model_fields:
        assert f"`{option}`" in section + shared, f"{name}: option {option} is not documented"


@pytest.mark.parametrize("name", ALL)
def test_every_option_says_what_it_does(name: str) -> None:
    schema = DatasetRegistry.get_class(name).args_schema
    assert [option for option, field in described(schema).items() if not field.description] == []


EVALSCOPE = """openqa longalpaca line_by_line custom share_gpt_zh share_gpt_en share_gpt_zh_multi_turn share_gpt_en_multi_turn
random random_vl random_multi_turn random_embedding random_embedding_batch embedding embed embedding_batch rerank
random_rerank speed_benchmark speed_benchmark_long custom_multi_turn flickr8k kontext_bench swe_smith
trie_agentic_coding trie_code_qa trie_office_work workload_trace mmmu_multi_image""".split()


def test_evalscopes_names_are_all_there() -> None:
    assert set(EVALSCOPE) <= set(ALL)
    table = DOCS.read_text(encoding="utf-8").partition("## EvalScope's names")[2]
    assert [name for name in EVALSCOPE if f"| `{name}` |" not in table] == []
