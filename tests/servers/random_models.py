"""Random models for llama-server: GGUF, and tokenizer and chat template as on a hub. Made in seconds, not downloaded.

What such a model writes is noise, invalid UTF-8 included: good for tests of clients. `tiny` answers at once; `mid` is slow
enough to see prefill, prefix caches and queues.
"""

import json
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import gguf
import numpy as np
from tokenizers import Tokenizer, decoders, models, pre_tokenizers, trainers

VOCABULARY = 2048
CONTEXT = 4096
SPECIAL = ["<|endoftext|>", "<|im_start|>", "<|im_end|>"]
TEMPLATE = (
    "{% for m in messages %}<|im_start|>{{ m['role'] }}\n{{ m['content'] }}<|im_end|>\n{% endfor %}"
    "{% if add_generation_prompt %}<|im_start|>assistant\n{% endif %}"
)


@dataclass(frozen=True)
class Shape:
    """Of a Llama model."""

    width: int
    layers: int
    heads: int
    inner_width: int


SHAPES = {"tiny": Shape(64, 2, 2, 128), "mid": Shape(256, 6, 4, 1024)}
"""0.3 and 7 million parameters; 1 and 15 MB."""


def make(folder: Path, text: str) -> None:
    """Write NAME.gguf for each shape, and the tokenizer they share; `text` is what it is trained on."""
    folder.mkdir(parents=True, exist_ok=True)
    tokenizer = _train(text)
    (folder / "tokenizer").mkdir(exist_ok=True)
    tokenizer.save(str(folder / "tokenizer" / "tokenizer.json"))
    config = {"chat_template": TEMPLATE, "bos_token": SPECIAL[0], "eos_token": SPECIAL[2], "model_max_length": CONTEXT}
    (folder / "tokenizer" / "tokenizer_config.json").write_text(json.dumps(config))
    for name, shape in SHAPES.items():
        _write(folder / f"{name}.gguf", tokenizer, shape)


def _train(text: str) -> Tokenizer:
    tokenizer = Tokenizer(models.BPE())
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.decoder = decoders.ByteLevel()
    trainer = trainers.BpeTrainer(
        vocab_size=VOCABULARY,
        special_tokens=SPECIAL,
        initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
        show_progress=False,
    )
    tokenizer.train_from_iterator([text], trainer)
    return tokenizer


def _tensors(vocabulary: int, shape: Shape) -> Iterator[tuple[str, "np.ndarray"]]:  # type: ignore[type-arg]
    random = np.random.default_rng(1)

    def matrix(rows: int, columns: int, scale: float | None = None) -> "np.ndarray":  # type: ignore[type-arg]
        values = random.standard_normal((rows, columns), dtype=np.float32)
        return (values * (scale or columns**-0.5)).astype(np.float16)

    width, ones = shape.width, np.ones(shape.width, np.float32)
    yield "token_embd.weight", matrix(vocabulary, width, 1.0)
    yield "output_norm.weight", ones
    yield "output.weight", matrix(vocabulary, width)
    for layer in range(shape.layers):
        block = f"blk.{layer}"
        yield f"{block}.attn_norm.weight", ones
        yield f"{block}.ffn_norm.weight", ones
        for name in ("attn_q", "attn_k", "attn_v", "attn_output"):
            yield f"{block}.{name}.weight", matrix(width, width)
        yield f"{block}.ffn_gate.weight", matrix(shape.inner_width, width)
        yield f"{block}.ffn_up.weight", matrix(shape.inner_width, width)
        yield f"{block}.ffn_down.weight", matrix(width, shape.inner_width)


def _write(path: Path, tokenizer: Tokenizer, shape: Shape) -> None:
    vocabulary = tokenizer.get_vocab()
    tokens = sorted(vocabulary, key=lambda token: vocabulary[token])
    merges = [
        merge if isinstance(merge, str) else " ".join(merge)
        for merge in json.loads(tokenizer.to_str())["model"]["merges"]
    ]
    writer = gguf.GGUFWriter(str(path), "llama")
    writer.add_name(path.stem)
    writer.add_context_length(CONTEXT)
    writer.add_embedding_length(shape.width)
    writer.add_block_count(shape.layers)
    writer.add_feed_forward_length(shape.inner_width)
    writer.add_head_count(shape.heads)
    writer.add_head_count_kv(shape.heads)
    writer.add_layer_norm_rms_eps(1e-5)
    writer.add_rope_dimension_count(shape.width // shape.heads)
    writer.add_rope_freq_base(10000.0)
    writer.add_vocab_size(len(tokens))
    writer.add_file_type(gguf.LlamaFileType.MOSTLY_F16)
    writer.add_tokenizer_model("gpt2")
    writer.add_tokenizer_pre("gpt-2")
    writer.add_token_list(tokens)
    writer.add_token_merges(merges)
    writer.add_token_types([gguf.TokenType.CONTROL if each in SPECIAL else gguf.TokenType.NORMAL for each in tokens])
    writer.add_bos_token_id(vocabulary[SPECIAL[0]])
    writer.add_eos_token_id(vocabulary[SPECIAL[2]])
    writer.add_add_bos_token(False)
    writer.add_chat_template(TEMPLATE)
    for name, values in _tensors(len(tokens), shape):
        writer.add_tensor(name, values)
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()
