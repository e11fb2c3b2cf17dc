"""Fit real text to a length, and put a prefix before it that all prompts share. No dataset itself.

Lengths are tokens with a tokenizer, else characters.
"""

from functools import cached_property
from pathlib import Path

from perfbench_plugins.datasets.dataset_args import TextLengthArgs
from perfbench_plugins.datasets.errors import DatasetError
from perfbench_plugins.tokens import Tokenizer

ROUNDS = 4
"""Corrections of a prefix's length where prefix and prompt together have more or fewer tokens than apart."""


class TextFit:
    """Does what TextLengthArgs say."""

    def __init__(self, args: TextLengthArgs, tokenizer: Tokenizer | None) -> None:
        self.args, self.tokenizer = args, tokenizer

    def length(self, text: str) -> int:
        """Length of a text."""
        return self.tokenizer.count(text) if self.tokenizer else len(text)

    def start(self, text: str, length: int) -> str:
        """The start of a text, of such a length."""
        return self.tokenizer.start(text, length) if self.tokenizer else text[:length]

    def prompt(self, text: str, target: int) -> str | None:
        """The text, cut to the target; None for one that is shorter, where those are dropped."""
        if self.args.input_len_mode == "drop" and self.length(text) < target:
            return None
        return self.start(text, target)

    def prefix(self, room: int | None) -> str:
        """The shared prefix: as much of it as there is room for, from its start again where it is shorter."""
        if room is None or not self._file:
            return self._file.strip()
        if room <= 0:
            return ""
        return self.start(self._file * (room // max(1, self.length(self._file)) + 2), room)

    def before(self, text: str, room: int | None) -> str:
        """The text with the prefix before it, `room` being what is left for the prefix; None for the whole prefix."""
        prefix = self.prefix(room)
        if room is None or not prefix:
            return f"{prefix}\n\n{text}" if prefix else text
        target, tried = room + self.length(text), []
        for _ in range(ROUNDS):
            surplus = self.length(prefix + text) - target
            tried.append((abs(surplus), prefix))
            if not surplus:
                break
            room -= surplus
            prefix = self.prefix(room)
        return min(tried)[1] + text

    @cached_property
    def _file(self) -> str:
        path = self.args.prefix_file
        if not path:
            return ""
        try:
            text = Path(path).read_text(encoding="utf-8")
        except OSError as error:
            raise DatasetError(f"dataset.args.prefix_file: cannot read {path!r}: {error.strerror}") from None
        if not text.strip():
            raise DatasetError(f"dataset.args.prefix_file: {path!r} is empty")
        return text
