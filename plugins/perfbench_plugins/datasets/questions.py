"""Questions that are made up: real words, real lengths, and no two alike. What `openqa` sends without a file.

A fixed sample would be sent again and again, and a server that caches prefixes would answer the second time at once. Here
a question is put together of a frame, a topic, a setting and now and then some sentences about who asks. Seeded.
"""

import json
from collections.abc import Iterator
from functools import cache
from math import gcd
from pathlib import Path
from random import Random
from typing import NamedTuple

FILE = Path(__file__).parent / "samples" / "questions.json"
ASIDES = (0, 0, 0, 0, 0, 1, 1, 2, 4, 9)
"""How many sentences follow a question: mostly none, so that most are short and some long."""


class Language(NamedTuple):
    """What questions in one language are made of."""

    frames: list[str]
    topics: list[str]
    settings: list[str]
    asides: list[str]

    @property
    def size(self) -> int:
        """How many questions there are."""
        return len(self.frames) * len(self.topics) * len(self.settings)

    def question(self, number: int) -> str:
        """The question of a number below `size`."""
        number, frame = divmod(number, len(self.frames))
        topic, setting = divmod(number, len(self.settings))
        text = self.frames[frame].format(topic=self.topics[topic], setting=self.settings[setting])
        return text[:1].upper() + text[1:]


@cache
def languages() -> tuple[Language, ...]:
    """All languages there are."""
    parts = json.loads(FILE.read_text(encoding="utf-8"))
    return tuple(Language(**parts[name]) for name in parts)


def questions(random: Random) -> Iterator[str]:
    """All questions in a random order, each once."""
    size = sum(language.size for language in languages())
    number, step = random.randrange(size), _step(size, random)
    for _ in range(size):
        number = (number + step) % size
        yield _question(number, random)


def _step(size: int, random: Random) -> int:
    """A step that meets every number below `size` before it meets one again."""
    while True:
        step = random.randrange(size // 3, size)
        if gcd(step, size) == 1:
            return step


def _question(number: int, random: Random) -> str:
    for language in languages():
        if number < language.size:
            asides = random.sample(language.asides, min(random.choice(ASIDES), len(language.asides)))
            space = " " if language.question(number).isascii() else ""
            return space.join([language.question(number), *asides])
        number -= language.size
    raise AssertionError("the numbers of all languages together are below their size")
