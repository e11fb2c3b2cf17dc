"""Tokenizers, only where they are asked for: counts that the server does not report, prompts of an exact length.

The `tokenizers` library is an optional extra and imported when a tokenizer is loaded.
"""

from pathlib import Path
from typing import Any


class TokenizerError(ValueError):
    """A tokenizer that cannot be loaded: says what is missing and how to get it."""


class Tokenizer:
    """Counts and makes tokens."""

    def __init__(self, inner: Any) -> None:
        self._inner = inner

    def encode(self, text: str, add_special_tokens: bool = False) -> list[int]:
        """Token ids of a text."""
        ids: list[int] = self._inner.encode(text, add_special_tokens=add_special_tokens).ids
        return ids

    def decode(self, ids: list[int]) -> str:
        """Text of token ids; special tokens are left out."""
        text: str = self._inner.decode(ids, skip_special_tokens=True)
        return text

    def count(self, text: str) -> int:
        """Number of tokens of a text."""
        return len(self.encode(text))

    def count_messages(self, messages: Any) -> int:
        """Number of tokens of a text, or of the text in chat messages; the chat template's own tokens are not in it."""
        if isinstance(messages, str):
            return self.count(messages)
        return sum(self.count(_text(message)) for message in messages)

    @property
    def size(self) -> int:
        """Number of entries of the vocabulary."""
        size: int = self._inner.get_vocab_size()
        return size


def _text(message: Any) -> str:
    content = message.get("content") if isinstance(message, dict) else message
    if isinstance(content, list):
        return "".join(part.get("text") or "" for part in content if isinstance(part, dict))
    return content or ""


def load_tokenizer(path: str) -> Tokenizer:
    """The tokenizer in a tokenizer.json, in a folder that has one, or of a hub name; raises TokenizerError."""
    try:
        from tokenizers import Tokenizer as Inner
    except ImportError:
        raise TokenizerError(
            f"tokenizer {path!r} needs the extra `tokenizers`; run pip install 'perfbench-operator[tokenizers]'"
        ) from None
    file = Path(path) / "tokenizer.json" if Path(path).is_dir() else Path(path)
    try:
        return Tokenizer(Inner.from_file(str(file)) if file.exists() else Inner.from_pretrained(path))
    except Exception as error:  # noqa: BLE001  # the library raises bare Exceptions
        raise TokenizerError(f"tokenizer {path!r} cannot be loaded: {error}") from None
