"""Dataset `mooncake`: traces of arrivals, lengths and shared prefixes, without texts."""

from collections.abc import Iterator
from random import Random
from typing import Any

from pydantic import AliasChoices, BaseModel, Field

from perfbench_plugins.datasets.base import Item
from perfbench_plugins.datasets.dataset_args import EndArgs, TraceArgs
from perfbench_plugins.datasets.random_text import RandomTextDataset
from perfbench_plugins.datasets.traces import Trace
from perfbench_plugins.registry import register_dataset


class MooncakeRecord(BaseModel):
    """One line of a trace; further fields are left alone."""

    timestamp: float = Field(validation_alias=AliasChoices("timestamp", "created_time"))
    """Milliseconds."""
    input_length: int = Field(ge=1, validation_alias=AliasChoices("input_length", "input_tokens"))
    output_length: int = Field(ge=0, validation_alias=AliasChoices("output_length", "output_tokens"))
    hash_ids: list[int | str] = []
    """Blocks of the prompt: two requests with the same first ids have the same beginning."""


class MooncakeArgs(EndArgs, TraceArgs):
    """Options of mooncake."""

    block_size: int = Field(512, ge=1)
    """Tokens that one of hash_ids stands for."""
    max_input_length: int | None = Field(None, ge=1)
    """Leave out requests with longer prompts (tokens)."""


@register_dataset("mooncake")
class MooncakeDatasetPlugin(RandomTextDataset):
    """JSONL with timestamp (ms), input_length, output_length and hash_ids, as Mooncake publishes its traces.

    The same hash id gives the same text, so a server's prefix cache finds what it would have found then.
    """

    args_schema = MooncakeArgs
    provides_arrival_schedule = True

    def build_messages(self) -> Iterator[Any]:
        """One Item for each line, in the order of time."""
        args = self.dataset_args
        trace = Trace(self.query_parameters.dataset_path, MooncakeRecord, lambda record: record.timestamp / 1e3)
        for at_s, record in trace.play(args.speed):
            if args.max_input_length is None or record.input_length <= args.max_input_length:
                text = self._prompt(record)
                messages = [self.create_message(text)] if self.sends_chat else text
                yield Item(messages, at_s, max_tokens=max(1, record.output_length), extra=args.extra)

    def _prompt(self, record: MooncakeRecord) -> str:
        overhead = self.tokenizer.chat_overhead if self.tokenizer and self.sends_chat else 0
        left, parts = max(1, record.input_length - overhead), []
        for block in record.hash_ids:
            length = min(left, self.dataset_args.block_size)
            if length > 0:
                parts.append(self._block(block, length))
            left -= length
        if left > 0:  # what no block stands for is this request's own
            parts.append(self.text(left))
        return " ".join(parts)

    def _block(self, block: int | str, length: int) -> str:
        """The text of a block; a shorter one is the same text's start."""
        whole = self.text(self.dataset_args.block_size, Random(f"{self.query_parameters.random_seed}/{block}"))
        return whole if length == self.dataset_args.block_size else self._cut(whole, length)

    def _cut(self, text: str, length: int) -> str:
        if self.tokenizer:
            return self.tokenizer.start(text, length)
        return " ".join(text.split()[:length])
