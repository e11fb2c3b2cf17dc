"""Datasets of images, embeddings, reranking, any file; and the hubs."""

import json
import struct
import sys
import tarfile
import types
import zlib
from io import BytesIO
from itertools import islice
from pathlib import Path
from typing import Any

import pytest

from perfbench_plugins.arguments import Arguments
from perfbench_plugins.datasets.base import DatasetError, DatasetPluginBase, Item, Turn
from perfbench_plugins.datasets.hub import DatasetSource

JPEG = b"\xff\xd8\xff\xe0picture"
JPEG_URL = "data:image/jpeg;base64,/9j/4HBpY3R1cmU="


def lines(file: Path, *values: Any) -> Path:
    file.write_text("".join(json.dumps(value) + "\n" for value in values))
    return file


@pytest.mark.parametrize(("pixels", "size"), [("RGB", 3), ("RGBA", 4), ("L", 1)])
def test_random_images_are_whole_pngs_of_the_wanted_size(dataset: Any, pixels: str, size: int) -> None:
    import base64

    plugin = dataset(
        "random_vl", args={"input_length": 3}, image_width=8, image_height=4, image_num=2, image_format=pixels
    )
    (message,) = next(iter(plugin))
    text, *images = message["content"]
    assert len(text["text"].split()) == 3
    urls = [image["image_url"]["url"] for image in images]
    assert len(set(urls)) == 2
    data = base64.b64decode(urls[0].removeprefix("data:image/png;base64,"))
    assert data[:8] == b"\x89PNG\r\n\x1a\n"
    assert struct.unpack(">II", data[16:24]) == (8, 4)
    length = struct.unpack(">I", data[33:37])[0]
    assert len(zlib.decompress(data[41 : 41 + length])) == 4 * (1 + 8 * size)


def test_an_unknown_pixel_format_is_told(dataset: Any) -> None:
    with pytest.raises(DatasetError, match="imageFormat: 'CMYK' is none of L, RGB, RGBA"):
        next(iter(dataset("random_vl", image_format="CMYK")))


def test_embeddings_are_texts_and_batches(dataset: Any, tmp_path: Path) -> None:
    file = tmp_path / "a.txt"
    file.write_text("a\nb\n\nc\n")
    assert list(dataset("embed", file)) == ["a", "b", "c"]
    assert list(dataset("embedding_batch", file, {"batch_size": 2})) == [["a", "b"], ["c"]]
    assert list(dataset("embed_batch", file, extra_args={"batch_size": 3})) == [["a", "b", "c"]]
    rows = tmp_path / "a.json"
    rows.write_text(json.dumps(["a", {"sentence": "b"}]))
    assert list(dataset("embedding", rows)) == ["a", "b"]
    batch = next(iter(dataset("random_embedding_batch", args={"batch_size": 5, "input_length": 2})))
    assert [len(text.split()) for text in batch] == [2] * 5
    with pytest.raises(DatasetError, match="row 1: has no text field text or input"):
        list(dataset("embedding", lines(tmp_path / "b.jsonl", {"title": "x"})))


def test_rerank_bodies(dataset: Any, tmp_path: Path) -> None:
    body = {"query": "q", "documents": ["d"]}
    for file in (tmp_path / "a.jsonl", tmp_path / "a.txt"):
        assert list(dataset("rerank", lines(file, body, {"query": "q", "passages": ["d"]}))) == [body, body]
    with pytest.raises(DatasetError, match="row 1: needs `query` and a list `documents`"):
        list(dataset("rerank", lines(tmp_path / "b.jsonl", {"query": "q"})))
    args = {"input_length": 2, "num_documents": 3, "document_length_ratio": 2.5}
    made = next(iter(dataset("random_rerank", args=args)))
    assert [len(text.split()) for text in (made["query"], *made["documents"])] == [2, 5, 5, 5]
    assert len(next(iter(dataset("random_rerank", max_prompt_length=3)))["documents"]) == 10


def test_the_speed_benchmark_is_one_character_repeated(dataset: Any) -> None:
    prompts = list(dataset("speed_benchmark", apply_chat_template=False))
    assert [len(prompt) for prompt in prompts] == [1, 1, 6144, 6144, 14336, 14336, 30720, 30720]
    assert len(list(dataset("speed_benchmark_long"))) == 4


def webdataset(file: Path) -> Path:
    with tarfile.open(file, "w") as archive:
        for name, data in (("s0.jpg", JPEG), ("s0.txt", b"a dog"), ("s1.jpg", JPEG), ("s1.txt", b"a cat")):
            member = tarfile.TarInfo(name)
            member.size = len(data)
            archive.addfile(member, BytesIO(data))
    return file


def test_flickr8k_in_the_hubs_format(dataset: Any, tmp_path: Path) -> None:
    (tmp_path / "test").mkdir()
    webdataset(tmp_path / "test" / "0.tar")
    items = list(dataset("flickr8k", tmp_path, {"prompt": "What is it?"}))
    assert len(items) == 2
    assert items[0] == [
        {
            "role": "user",
            "content": [{"type": "text", "text": "What is it?"}, {"type": "image_url", "image_url": {"url": JPEG_URL}}],
        }
    ]


def test_kontext_bench_in_the_hubs_format(dataset: Any, tmp_path: Path) -> None:
    (tmp_path / "test" / "images").mkdir(parents=True)
    (tmp_path / "test" / "images" / "0.jpg").write_bytes(JPEG)
    lines(tmp_path / "test" / "metadata.jsonl", {"file_name": "images/0.jpg", "instruction": "make it blue"})
    ((message,),) = dataset("kontext_bench", tmp_path)
    assert message["content"][0]["text"] == "make it blue"
    assert message["content"][1]["image_url"]["url"] == JPEG_URL


def test_parquet_as_the_hubs_store_it(dataset: Any, tmp_path: Path) -> None:
    pa = pytest.importorskip("pyarrow")
    parquet = pytest.importorskip("pyarrow.parquet")
    (tmp_path / "data").mkdir()
    rows = [{"instruction": f"{n}", "image": {"bytes": JPEG, "path": None}} for n in range(3)]
    parquet.write_table(pa.Table.from_pylist(rows), tmp_path / "data" / "train-00000-of-00001.parquet")
    assert [item[0]["content"] for item in dataset("longalpaca", tmp_path)] == ["0", "1", "2"]
    args = {"prompt": "instruction", "images": "image"}
    item = next(iter(dataset("file", tmp_path, args)))
    assert item[0]["content"][1]["image_url"]["url"] == JPEG_URL
    with (
        pa.OSFile(str(tmp_path / "a.arrow"), "wb") as sink,
        pa.ipc.new_stream(sink, pa.schema([("text", pa.string())])) as out,
    ):
        out.write_batch(pa.record_batch({"text": ["x", "y"]}))
    assert list(dataset("embedding", tmp_path / "a.arrow")) == ["x", "y"]
    (tmp_path / "b.parquet").write_bytes(b"PAR1 no parquet")
    with pytest.raises(DatasetError, match=r"b\.parquet' cannot be read"):
        list(dataset("file", tmp_path / "b.parquet"))


def test_parquet_without_its_extra_says_which_one_to_install(
    dataset: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "pyarrow.parquet", None)
    (tmp_path / "a.parquet").write_bytes(b"")
    with pytest.raises(DatasetError, match=r"pip install 'perfbench-operator\[parquet\]'"):
        list(dataset("file", tmp_path / "a.parquet"))


def test_a_file_with_its_columns_mapped(dataset: Any, tmp_path: Path) -> None:
    file = tmp_path / "a.csv"
    file.write_text('q,sys,n,t,id,h\nhello,brief,5,1000,r1,"{""X-A"": ""1""}"\nbye,brief,6,1500,r2,{}\n')
    args = {"prompt": "q", "system": "sys", "max_tokens": "n", "timestamp": "t", "timestamp_unit": "ms"}
    plugin = dataset("file", file, {**args, "request_id": "id", "headers": "h", "speed": 0.5})
    assert plugin.provides_arrival_schedule
    first, second = plugin
    assert first == Item(
        [{"role": "system", "content": "brief"}, {"role": "user", "content": "hello"}], 0.0, 5, {"X-A": "1"}, "r1"
    )
    assert (second.at_s, second.max_tokens) == (1.0, 6)


def test_columns_are_guessed_and_may_be_nested(dataset: Any, tmp_path: Path) -> None:
    file = lines(tmp_path / "a.jsonl", {"id": 1, "question": "why", "meta": {"n": 7}})
    assert list(dataset("file", file)) == [[{"role": "user", "content": "why"}]]
    assert next(iter(dataset("file", file, {"max_tokens": "meta.n"}))).max_tokens == 7
    with pytest.raises(DatasetError, match=r"row 1: no column is known to hold a prompt; .*there are id, meta"):
        list(dataset("file", lines(tmp_path / "b.jsonl", {"id": 1, "meta": {}})))
    with pytest.raises(DatasetError, match="row 1: has no column 'qestion'"):
        list(dataset("file", file, {"prompt": "qestion"}))
    with pytest.raises(DatasetError, match="prompt and body exclude each other"):
        dataset("file", file, {"prompt": "a", "body": "b"})


def test_a_column_of_messages_is_one_request_or_a_conversation(dataset: Any, tmp_path: Path) -> None:
    chat = [{"role": role, "content": text} for role, text in zip(("user", "assistant", "user"), "abc", strict=True)]
    file = lines(tmp_path / "a.jsonl", {"messages": chat}, {"messages": json.dumps(chat)})
    assert list(dataset("file", file, {"messages": "messages"})) == [chat, chat]
    (conversation, _) = dataset("file", file, {"messages": "messages"}, multi_turn=True)
    assert conversation == [Turn([chat[0]]), Turn([chat[2]], is_final=True)]


def test_a_column_of_bodies_needs_no_model(dataset: Any, tmp_path: Path) -> None:
    plugin = dataset("file", lines(tmp_path / "a.jsonl", {"b": {"prompt": "x"}}), {"body": "b"}, model=None)
    assert list(plugin) == [{"prompt": "x"}]
    assert not plugin.requires_model


def test_rows_out_of_the_order_of_time_are_told(dataset: Any, tmp_path: Path) -> None:
    file = lines(tmp_path / "a.jsonl", {"prompt": "a", "t": 2}, {"prompt": "b", "t": 1})
    with pytest.raises(DatasetError, match="row 2: comes before the row above it; sort the file"):
        list(dataset("file", file, {"timestamp": "t"}))


def test_a_file_of_no_known_kind_is_told(dataset: Any, tmp_path: Path) -> None:
    (tmp_path / "a.xlsx").write_text("")
    with pytest.raises(DatasetError, match=r"is of no known kind; there are \.jsonl, \.json"):
        list(dataset("file", tmp_path / "a.xlsx"))
    (tmp_path / "a.json").write_text("{}")
    with pytest.raises(DatasetError, match="holds a JSON dict, not a list"):
        list(dataset("file", tmp_path / "a.json"))
    with pytest.raises(DatasetError, match="has no data file of split 'train'"):
        list(dataset("file", tmp_path))


@pytest.fixture
def modelscope(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A stand-in for ModelScope's client, which is no part of the test environment: it finds files already there."""
    folder = tmp_path / "modelscope"
    folder.mkdir()
    asked: list[Any] = []

    def dataset_snapshot_download(dataset_id: str, allow_patterns: list[str]) -> str:
        asked.append((dataset_id, allow_patterns))
        return str(folder)

    module = types.ModuleType("modelscope.hub.snapshot_download")
    vars(module).update(dataset_snapshot_download=dataset_snapshot_download, asked=asked)
    for name in ("modelscope", "modelscope.hub"):
        monkeypatch.setitem(sys.modules, name, types.ModuleType(name))
    monkeypatch.setitem(sys.modules, module.__name__, module)
    return folder


def test_modelscopes_files_are_asked_for_by_name(dataset: Any, modelscope: Path) -> None:
    lines(modelscope / "open_qa.jsonl", {"question": "why"})
    lines(modelscope / "common_zh_70k.jsonl", {"conversation": [{"human": "a", "assistant": "b"}]})
    assert list(dataset("openqa", data_source="modelscope")) == [[{"role": "user", "content": "why"}]]
    assert len(list(dataset("share_gpt_zh"))) == 1
    asked = sys.modules["modelscope.hub.snapshot_download"].asked
    assert asked == [("AI-ModelScope/HC3-Chinese", ["open_qa.jsonl"]), ("swift/sharegpt", ["common_zh_70k.jsonl"])]


def test_a_hubs_dataset_lacking_the_file_is_told(dataset: Any, modelscope: Path) -> None:
    with pytest.raises(
        DatasetError, match=r"'AI-ModelScope/LongAlpaca-12k' on modelscope has no file LongAlpaca-12k\.json"
    ):
        list(dataset("longalpaca"))
    with pytest.raises(DatasetError, match=r"'evalscope/trie-workloads' is not on huggingface; use modelscope"):
        list(dataset("trie_code_qa", data_source="huggingface"))
    with pytest.raises(DatasetError, match=r"dataset\.path: missing; with source `local` give the path of"):
        list(dataset("longalpaca", data_source="local"))


def test_any_dataset_of_a_hub_is_read_by_split(dataset: Any, modelscope: Path) -> None:
    (modelscope / "data").mkdir()
    lines(modelscope / "data" / "train-0.jsonl", {"text": "a"})
    lines(modelscope / "data" / "test-0.jsonl", {"text": "b"})
    plugin = dataset("file", args={"hub": "me/mine", "split": "test"}, apply_chat_template=False)
    assert list(islice(plugin, 5)) == ["b"]


class OfAHub(DatasetPluginBase):
    """As a plugin of the user's own has it."""

    dataset_source = DatasetSource("me/mine", hf_dataset_id="me/theirs", hf_file_paths={"a.jsonl": "data/a.jsonl"})

    def build_messages(self) -> Any:
        yield from self.load_hub_dataset()


def of_a_hub(**fields: Any) -> OfAHub:
    return OfAHub(Arguments(model="m", url="http://h", **fields))


def test_a_hubs_file_is_the_one_at_the_path_where_one_is_given(tmp_path: Path) -> None:
    file = tmp_path / "a.jsonl"
    lines(file, {"text": "a"}, {"text": "b"})
    for path in (file, tmp_path):
        assert of_a_hub(dataset_path=str(path)).download_hub_file(file_name="a.jsonl") == str(file)
    rows = of_a_hub(dataset_path=str(file)).load_hub_dataset("any/other")
    assert [row["text"] for row in rows] == [row["text"] for row in rows] == rows["text"] == ["a", "b"]
    assert (len(rows), rows[1], next(iter(rows)), next(rows)) == (2, {"text": "b"}, {"text": "a"}, {"text": "a"})


@pytest.mark.parametrize(
    ("fields", "call", "words"),
    [
        ({"dataset_path": "/nowhere"}, {"file_name": "a"}, "cannot read '/nowhere': there is no such file"),
        ({}, {}, "needs a file_name"),
        ({"data_source": "local"}, {"file_name": "a"}, "give the path of me/mine's file"),
    ],
)
def test_a_hubs_file_that_is_not_there_is_told(fields: dict[str, Any], call: dict[str, Any], words: str) -> None:
    with pytest.raises(DatasetError, match=words):
        of_a_hub(**fields).download_hub_file(**call)


def test_a_dataset_of_no_hub_says_how_to_name_one(dataset: Any, tmp_path: Path) -> None:
    with pytest.raises(DatasetError, match="declare dataset_source or pass dataset_id"):
        dataset("custom", None).load_hub_dataset()


@pytest.mark.parametrize(
    ("hub", "name", "path"), [("huggingface", "me/theirs", "data/a.jsonl"), (None, "me/mine", "a.jsonl")]
)
def test_a_source_has_its_name_on_each_hub(hub: str | None, name: str, path: str) -> None:
    source = OfAHub.dataset_source
    assert (source.resolve_dataset_id(hub), source.resolve_file_path(hub, "a.jsonl")) == (name, path)
    assert (source.resolve_revision(hub), source.is_local) == (None, False)
