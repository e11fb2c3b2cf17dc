"""Tokenizers: from files, with the model's own chat template."""

import json
import shutil
from pathlib import Path
from random import Random

import pytest

from perfbench_plugins.chat_template import ChatTemplate
from perfbench_plugins.datasets.random_text import words
from perfbench_plugins.tokens import Tokenizer, TokenizerError, load_tokenizer

CHAT = [{"role": "user", "content": "which way is the river"}]


@pytest.fixture
def tokenizer(tokenizer_folder: Path) -> Tokenizer:
    return load_tokenizer(str(tokenizer_folder))


def test_a_file_and_its_folder_are_the_same_tokenizer(tokenizer_folder: Path, tokenizer: Tokenizer) -> None:
    by_file = load_tokenizer(str(tokenizer_folder / "tokenizer.json"))
    assert by_file.encode("a house") == tokenizer.encode("a house")
    assert by_file.template == tokenizer.template
    assert tokenizer.decode(tokenizer.encode("a house near the sea")) == "a house near the sea"


def test_the_models_chat_template_counts(tokenizer: Tokenizer) -> None:
    text = "<|im_start|>user\nwhich way is the river<|im_end|>\n<|im_start|>assistant\n"
    assert tokenizer.apply_chat_template(CHAT, tokenize=False, add_generation_prompt=True) == text
    assert tokenizer.count_messages(CHAT) == tokenizer.count(text)
    assert tokenizer.count_messages(CHAT) == tokenizer.count(CHAT[0]["content"]) + tokenizer.chat_overhead
    parts = [{"role": "user", "content": [{"type": "text", "text": CHAT[0]["content"]}]}]
    assert tokenizer.count_messages(parts) == tokenizer.count_messages(CHAT)


def test_a_template_file_beside_the_tokenizer_wins(tokenizer_folder: Path, tmp_path: Path) -> None:
    folder = shutil.copytree(tokenizer_folder, tmp_path / "t")
    (folder / "chat_template.jinja").write_text("{{ bos_token }}{{ messages[0].content }}")
    tokenizer = load_tokenizer(str(folder))
    assert tokenizer.apply_chat_template(CHAT, tokenize=False) == "<|endoftext|>which way is the river"


def test_a_template_that_refuses_leaves_the_text_to_be_counted(tokenizer_folder: Path, tmp_path: Path) -> None:
    folder = shutil.copytree(tokenizer_folder, tmp_path / "t")
    (folder / "chat_template.jinja").write_text("{{ raise_exception('no system role') }}")
    tokenizer = load_tokenizer(str(folder))
    assert tokenizer.count_messages(CHAT) == tokenizer.count(CHAT[0]["content"])
    assert tokenizer.chat_overhead == 0


def test_a_template_cannot_reach_out_of_its_sandbox(tokenizer_folder: Path, tmp_path: Path) -> None:
    folder = shutil.copytree(tokenizer_folder, tmp_path / "t")
    (folder / "chat_template.jinja").write_text("{{ messages.__class__.__mro__[1].__subclasses__() }}")
    with pytest.raises(TokenizerError, match="unsafe"):
        load_tokenizer(str(folder)).apply_chat_template(CHAT)


def test_without_a_template_text_is_counted(tokenizer_folder: Path, tmp_path: Path) -> None:
    shutil.copy(tokenizer_folder / "tokenizer.json", tmp_path)
    tokenizer = load_tokenizer(str(tmp_path))
    assert tokenizer.count_messages(CHAT) == tokenizer.count(CHAT[0]["content"])
    with pytest.raises(TokenizerError, match="no chat template"):
        tokenizer.apply_chat_template(CHAT)


def test_counts_are_not_cut_to_a_models_limit(tokenizer_folder: Path, tmp_path: Path) -> None:
    data = json.loads((tokenizer_folder / "tokenizer.json").read_text())
    data["truncation"] = {"direction": "Right", "max_length": 4, "strategy": "LongestFirst", "stride": 0}
    (tmp_path / "tokenizer.json").write_text(json.dumps(data))
    assert load_tokenizer(str(tmp_path)).count("water " * 50) >= 50


def test_random_text_and_ids_have_the_wanted_length(tokenizer: Tokenizer) -> None:
    random = Random(3)
    assert tokenizer.words
    assert tokenizer.random_text(0, random) == ""
    assert all(tokenizer.count(tokenizer.random_text(length, random)) == length for length in (1, 2, 17, 500))
    assert not set(tokenizer.random_ids(300, random)) & set(tokenizer.all_special_ids)
    assert tokenizer.vocab_size > len(tokenizer.plain_ids)


@pytest.mark.parametrize("kind", ["unigram", "wordpiece", "metaspace bpe"])
def test_random_text_is_exact_with_the_kinds_of_tokenizers_in_use(kind: str, tmp_path: Path) -> None:
    """Within one token on at least 95 % of the texts; as T5, BERT and Llama 2 have them (byte-level BPE: see above)."""
    from tokenizers import Tokenizer as Inner
    from tokenizers import decoders, models, normalizers, pre_tokenizers, trainers

    inner, trainer = {
        "unigram": (Inner(models.Unigram()), trainers.UnigramTrainer(vocab_size=800, show_progress=False)),
        "wordpiece": (Inner(models.WordPiece(unk_token="[UNK]")), trainers.WordPieceTrainer(vocab_size=2000)),
        "metaspace bpe": (Inner(models.BPE()), trainers.BpeTrainer(vocab_size=2000, show_progress=False)),
    }[kind]
    if kind == "wordpiece":
        inner.normalizer, inner.pre_tokenizer = normalizers.Lowercase(), pre_tokenizers.BertPreTokenizer()
        inner.decoder = decoders.WordPiece()
    else:
        inner.pre_tokenizer, inner.decoder = pre_tokenizers.Metaspace(), decoders.Metaspace()
    inner.train_from_iterator([" ".join(words()), *words()], trainer)
    inner.save(str(tmp_path / "tokenizer.json"))
    tokenizer, random = load_tokenizer(str(tmp_path)), Random(5)
    lengths = [random.randint(1, 300) for _ in range(100)]
    off = [abs(tokenizer.count(tokenizer.random_text(length, random)) - length) for length in lengths]
    assert sum(error <= 1 for error in off) >= 95


def test_a_tokenizer_without_words_still_makes_text_of_about_the_length(tmp_path: Path) -> None:
    from tokenizers import Tokenizer as Inner
    from tokenizers import decoders, models, pre_tokenizers

    letters = {letter: number for number, letter in enumerate("abcdefghijklmnopqrstuvwxyz")}
    inner = Inner(models.BPE(vocab=letters, merges=[]))
    inner.pre_tokenizer, inner.decoder = pre_tokenizers.Whitespace(), decoders.Fuse()
    inner.save(str(tmp_path / "tokenizer.json"))
    tokenizer = load_tokenizer(str(tmp_path))
    assert tokenizer.count(tokenizer.random_text(40, Random(1))) == 40


def test_what_is_wrong_is_told_in_a_line(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(TokenizerError, match=r"has no tokenizer\.json"):
        load_tokenizer(str(tmp_path))
    with pytest.raises(TokenizerError, match="no such file or folder"):
        load_tokenizer(str(tmp_path / "none"))
    (tmp_path / "tokenizer.json").write_text("{}")
    with pytest.raises(TokenizerError, match="cannot be loaded"):
        load_tokenizer(str(tmp_path))
    monkeypatch.setitem(__import__("sys").modules, "tokenizers", None)
    with pytest.raises(TokenizerError, match=r"pip install 'perfbench-operator\[tokenizers\]'"):
        load_tokenizer(str(tmp_path))


@pytest.mark.parametrize(
    ("source", "words"),
    [
        ("{{ messages }}\n{{ nothing.at_all }}", r"cannot render these messages: .* \(its line 2\)"),
        ("a\n\n{{ raise_exception('no system role') }}", r"no system role \(its line 3\)"),
        ("{{ messages[0].content + 1 }}", r"\(its line 1\)"),
        ("a\n{% if %}", r"is no Jinja template: .* \(its line 2\)"),
    ],
)
def test_a_chat_template_that_fails_is_told_with_its_own_line(source: str, words: str) -> None:
    with pytest.raises(TokenizerError, match=words) as caught:
        ChatTemplate(source).render([{"role": "user", "content": "hi"}])
    assert ".py" not in str(caught.value)
