"""A small tokenizer made here, and a way to make dataset plugins as the engine does."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from perfbench_plugins.arguments import Arguments
from perfbench_plugins.datasets import random_text
from perfbench_plugins.datasets.base import DatasetPluginBase
from perfbench_plugins.registry import DatasetRegistry

QUESTIONS = Path(__file__).parents[2] / "data" / "openqa.jsonl"
CHAT_TEMPLATE = """
{%- for message in messages %}
    {{- '<|im_start|>' + message.role + '\\n' + message.content + '<|im_end|>' + '\\n' }}
{%- endfor %}
{%- if add_generation_prompt %}
    {{- '<|im_start|>assistant\\n' }}
{%- endif %}
"""


@pytest.fixture(scope="session")
def tokenizer_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A byte-level BPE tokenizer with a chat template, in the files of a model on a hub."""
    from tokenizers import Tokenizer, decoders, models, pre_tokenizers, trainers

    tokenizer = Tokenizer(models.BPE())
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.decoder = decoders.ByteLevel()
    trainer = trainers.BpeTrainer(
        vocab_size=3000,
        special_tokens=["<|endoftext|>", "<|im_start|>", "<|im_end|>"],
        initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
        show_progress=False,
    )
    corpus = [
        " ".join(random_text.words()),
        *random_text.words(),
        *QUESTIONS.read_text(encoding="utf-8").splitlines(keepends=True)[:64],
    ]
    tokenizer.train_from_iterator(corpus, trainer)
    folder = tmp_path_factory.mktemp("tokenizer")
    tokenizer.save(str(folder / "tokenizer.json"))
    config = {"chat_template": CHAT_TEMPLATE, "bos_token": {"content": "<|endoftext|>"}, "eos_token": "<|im_end|>"}
    (folder / "tokenizer_config.json").write_text(json.dumps(config))
    return folder


@pytest.fixture
def dataset() -> Callable[..., Any]:
    """Make a dataset plugin by its name, from fields of Arguments; `args` are its own options."""

    def make(name: str, path: Path | str | None = None, args: dict[str, Any] | None = None, **fields: Any) -> Any:
        fields = {"url": "http://127.0.0.1:9/v1/chat/completions", "model": "m", **fields}
        arguments = Arguments(dataset=name, dataset_path=str(path) if path else None, dataset_args=args, **fields)
        plugin: DatasetPluginBase = DatasetRegistry.get_class(name)(arguments)
        return plugin

    return make
