"""The mock's language: one token is one word, both in prompts and in replies."""

from collections.abc import Iterator
from itertools import cycle, islice
from typing import Any

_TEXT = """a model reads this prompt and writes one word after another as fast as it was told to
until the last token is out while the clock counts every pause between them"""

WORDS = tuple(_TEXT.split())

_FIRST = WORDS[0].encode()
_SPACED = [b" " + word.encode() for word in WORDS[1:] + WORDS[:1]]


def pieces(count: int) -> Iterator[bytes]:
    """The tokens of a reply: words, each but the first with the space before it. Need no escaping in JSON."""
    if count:
        yield _FIRST
        yield from islice(cycle(_SPACED), count - 1)


def text(count: int) -> str:
    """The same as one string."""
    return b"".join(pieces(count)).decode()


def count_tokens(value: Any) -> int:
    """Tokens of what a prompt field can hold: text, token ids, content parts, or lists of these."""
    if isinstance(value, str):
        return len(value.split())
    if isinstance(value, list):
        return sum(1 if isinstance(item, int) else count_tokens(item) for item in value)
    if isinstance(value, dict):
        return count_tokens(value.get("text") or value.get("content"))
    return 0
