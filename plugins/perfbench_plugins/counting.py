"""Tokens of an answer whose server does not count them, by a tokenizer: chunk by chunk, as they were generated."""

from collections.abc import Iterable, Iterator

from perfbench_plugins.tokens import Tokenizer

REPLACEMENT = "\ufffd"
"""What a server writes for bytes that make no character. A tokenizer takes it for three; it was one token."""
ANCHOR = "\n"
"""Put before a chunk: some tokenizers take the start of a text for the start of a word, and a chunk may begin within one."""
MOST_KNOWN, LONGEST_KNOWN = 20_000, 64
"""So many chunks' counts are remembered, of so many characters: a model's tokens repeat."""


class AnswerCounter:
    """Counts the tokens of answers.

    A model's tokens are not those that a tokenizer makes of its text: it may well say `a`, `b` where `ab` is a token.
    A chunk is a token or several, never a part of one, so chunks are counted one by one, each as one at least.
    """

    def __init__(self, tokenizer: Tokenizer) -> None:
        self._tokenizer = tokenizer
        self._anchor = tokenizer.count(ANCHOR)
        self._known: dict[str, int] = {}

    def count(self, chunks: Iterable[str]) -> int:
        """Tokens of an answer, given the text of each of its chunks."""
        return sum(map(self._tokens, _with_spaces_before(chunks)))

    def _tokens(self, chunk: str) -> int:
        known = self._known.get(chunk)
        if known is not None:
            return known
        count = self._counted(chunk)
        if len(chunk) <= LONGEST_KNOWN:
            if len(self._known) >= MOST_KNOWN:
                self._known.clear()
            self._known[chunk] = count
        return count

    def _counted(self, chunk: str) -> int:
        if not chunk:
            return 0
        parts = chunk.split(REPLACEMENT)
        return max(1, sum(map(self._plain, filter(None, parts))) + len(parts) - 1)

    def _plain(self, text: str) -> int:
        return max(1, self._tokenizer.count(ANCHOR + text) - self._anchor)


def _with_spaces_before(chunks: Iterable[str]) -> Iterator[str]:
    """The chunks with each space at the end of one at the start of the next: tokenizers take it for the next word's."""
    spaces = ""
    for chunk in chunks:
        text = chunk.rstrip(" ")
        if text:
            yield spaces + text
            spaces = chunk[len(text) :]
        elif chunk:  # tokens of their own
            yield spaces + chunk
            spaces = ""
    if spaces:
        yield spaces
