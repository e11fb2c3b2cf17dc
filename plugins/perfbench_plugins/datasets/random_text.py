"""Random text of a wanted length, and what the datasets made of it share. No dataset itself.

With a tokenizer lengths are tokens, without one they are words. Nothing here is an endless list in memory: each prompt
is made when it is asked for.
"""

from collections.abc import Iterator
from functools import cache, cached_property
from itertools import accumulate
from pathlib import Path
from random import Random
from typing import Any, ClassVar

from pydantic import Field

from perfbench_plugins.datasets.base import BaseDatasetArgs, DatasetPluginBase, Item
from perfbench_plugins.datasets.dataset_args import OutputArgs
from perfbench_plugins.datasets.errors import DatasetError
from perfbench_plugins.datasets.lengths import Drawn, NumberDistribution
from perfbench_plugins.datasets.rows import file_rows

NO_LIMIT = 131072
"""EvalScope's default of max_prompt_length: taken for "not given", since nobody wants prompts of that length by default."""
USUAL_LENGTH = 512
"""Length of random prompts where nothing says another."""
WORDS = Path(__file__).parent / "samples" / "words.txt"
"""Frequent English words: with most tokenizers each is one token after a space."""


class InputArgs(BaseDatasetArgs):
    """Length of synthetic prompts."""

    input_length: Drawn | None = None
    """Length of each prompt, drawn; between minPromptLength and maxPromptLength if not given."""


class LengthArgs(InputArgs, OutputArgs):
    """Lengths of synthetic prompts and their answers."""

    length_pairs: str | None = None
    """File (JSONL, CSV, Parquet) with columns input_length and output_length, drawn together: their correlation is kept."""


class RandomArgs(LengthArgs):
    """Options of the random datasets: lengths, and prefixes that prompts share."""

    system_prompt_length: int = Field(0, ge=0)
    """Length of a system message that all prompts share."""
    prefix_count: int = Field(1, ge=1)
    """Number of different prefixes of prefixLength; each prompt takes one of them."""
    prefix_skew: float = Field(0.0, ge=0)
    """How unequally the prefixes are taken: Zipf's exponent; 0 for equally often."""


class RandomTextDataset(DatasetPluginBase):
    """A dataset made of random text; `text` makes some, `input_length` says how long it is to be."""

    args_schema: ClassVar[type[BaseDatasetArgs]] = InputArgs

    def text(self, length: int, random: Random | None = None) -> str:
        """Random text of so many tokens (words without a tokenizer)."""
        random = random or self.random
        if self.tokenizer is not None:
            return self.tokenizer.random_text(length, random)
        return " ".join(random.choices(words(), k=max(0, length)))

    def input_length(self) -> int:
        """Length of the next prompt."""
        return self._input_length.length(self.random)

    @cached_property
    def _input_length(self) -> NumberDistribution:
        given: NumberDistribution | None = self.dataset_args.input_length
        return given or usual_lengths(self.query_parameters.min_prompt_length, self.query_parameters.max_prompt_length)


@cache
def words() -> list[str]:
    """The words that random text is made of where there is no tokenizer."""
    return WORDS.read_text(encoding="utf-8").split()


def usual_lengths(low: int, high: int) -> NumberDistribution:
    """Lengths between the run's limits; USUAL_LENGTH where neither is given. Raises DatasetError."""
    if low > high:
        raise DatasetError(f"dataset.minPromptLength: {low} is more than maxPromptLength, {high}")
    if high == NO_LIMIT:
        high = max(low, USUAL_LENGTH)
        low = low or high
    return NumberDistribution(distribution="uniform", min=max(1, low), max=max(1, high))


class Prefixes:
    """Prefixes that prompts share, taken with Zipf's frequencies. They depend on the seed alone."""

    def __init__(self, texts: list[str], skew: float) -> None:
        self.texts = texts
        self._cumulated = list(accumulate(1 / rank**skew for rank in range(1, len(texts) + 1)))

    def draw(self, random: Random) -> str:
        """The next prompt's prefix."""
        if len(self.texts) == 1:
            return self.texts[0]
        return random.choices(self.texts, cum_weights=self._cumulated)[0]


class SharedPrefixDataset(RandomTextDataset):
    """Random text behind a system message and a prefix that prompts share, and answers of drawn lengths."""

    args_schema = RandomArgs

    def prompt_lengths(self) -> tuple[int, int | None]:
        """Lengths of the next prompt and its answer; None where the run's maxTokens holds."""
        args = self.dataset_args
        if self._pairs:
            return self.random.choice(self._pairs)
        output = args.output_length.length(self.random) if args.output_length else None
        return self.input_length(), output

    def item(self, messages: Any, output_length: int | None) -> Any:
        """What to yield: the messages themselves, or an Item around them where the answer's length is drawn."""
        extra = self.dataset_args.extra
        return messages if output_length is None and not extra else Item(messages, None, output_length, extra=extra)

    @cached_property
    def _pairs(self) -> list[tuple[int, int | None]]:
        path = self.dataset_args.length_pairs
        if not path:
            return []
        try:
            pairs = [(int(row["input_length"]), int(row["output_length"])) for row in file_rows(Path(path))]
        except DatasetError as error:
            raise DatasetError(str(error).replace("dataset.path", "dataset.args.length_pairs", 1)) from None
        except (KeyError, TypeError, ValueError) as error:
            reason = f"a row has no {error}" if isinstance(error, KeyError) else str(error)
            raise DatasetError(
                f"dataset.args.length_pairs: {path!r}: {reason}; it needs columns input_length and output_length"
            ) from None
        if not pairs or min(map(min, pairs)) < 1:
            raise DatasetError(f"dataset.args.length_pairs: {path!r} holds no lengths, or some below 1")
        return list(pairs)

    @cached_property
    def _shared(self) -> tuple[str, Prefixes]:
        random = Random(f"{self.query_parameters.random_seed}/prefixes")
        args, length = self.dataset_args, self.query_parameters.prefix_length
        system = self.text(args.system_prompt_length, random)
        texts = [self.text(length, random) for _ in range(args.prefix_count if length else 1)]
        return system, Prefixes(texts, args.prefix_skew)

    @property
    def system_prompt(self) -> str:
        """The system message that all prompts share; empty if there is none."""
        return self._shared[0]

    def prefixed_text(self, length: int) -> str:
        """Random text of so many tokens behind one of the shared prefixes, which comes on top."""
        prefix = self._shared[1].draw(self.random)
        text = self.text(length)
        return f"{prefix} {text}" if prefix else text

    def build_messages(self) -> Iterator[Any]:
        """Prompts without end."""
        while True:
            length, output = self.prompt_lengths()
            yield self.item(self.prompt(length), output)

    def prompt(self, length: int) -> Any:
        """One prompt of so many tokens, shared parts on top."""
        raise NotImplementedError
