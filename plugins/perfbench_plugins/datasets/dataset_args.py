"""Options that several datasets share, under EvalScope's names. No dataset itself."""

from random import Random
from typing import Any, Literal, Self

from pydantic import ConfigDict, Field, model_validator

from perfbench_api.described import Described
from perfbench_plugins.datasets.lengths import Drawn, NumberDistribution

FIRST_TURN_LENGTH, SUBSEQUENT_TURN_LENGTH = 65000, 500
"""EvalScope's defaults, in tokens."""


class BaseDatasetArgs(Described):
    """Options of a dataset plugin (`dataset.args`); a plugin with its own inherits this. Unknown ones are errors."""

    model_config = ConfigDict(extra="forbid", defer_build=True)


class TextLengthArgs(BaseDatasetArgs):
    """Length and shared prefix of prompts that are real text."""

    target_input_len: int | None = Field(None, ge=1)
    """Longest prompt, in tokens with a tokenizer and else in characters: longer ones are cut instead of left out."""
    input_len_mode: Literal["cap", "drop"] = "cap"
    """What becomes of prompts shorter than target_input_len: sent as they are (cap), or left out (drop)."""
    prefix_file: str | None = None
    """Text file that is put before every prompt; with target_input_len as much of it as the prompt leaves room for, from
    its start again where it is shorter."""
    prefix_role: Literal["system", "user"] = "system"
    """Send the prefix as a system message, or at the start of the user's."""

    @model_validator(mode="after")
    def _drop_needs_a_target(self) -> Self:
        if self.input_len_mode == "drop" and self.target_input_len is None:
            raise ValueError("input_len_mode drop needs target_input_len")
        if self.input_len_mode == "drop" and self.prefix_file:
            raise ValueError("input_len_mode drop leaves prefix_file no room: all prompts fill target_input_len")
        return self


class TextDatasetArgs(TextLengthArgs):
    """Options of datasets whose prompts are real text."""


class EndArgs(BaseDatasetArgs):
    """What ends answers."""

    ignore_eos: bool = False
    """Send ignore_eos, so that answers get as long as they may; vLLM and SGLang know it, others may refuse it."""

    @property
    def extra(self) -> dict[str, Any]:
        """Further fields of the body that this asks for."""
        return {"ignore_eos": True} if self.ignore_eos else {}


class OutputArgs(EndArgs):
    """How long answers are to be."""

    output_length: Drawn | None = None
    """Longest answer of each request (tokens), drawn; the run's maxTokens if not given."""


class ConversationArgs(OutputArgs):
    """Options of datasets that yield conversations; min_turns and max_turns are the run's."""

    think_time: Drawn | None = None
    """Seconds between an answer and the next turn, drawn for each turn after the first."""


class MultiTurnDatasetArgs(ConversationArgs):
    """Options of datasets that make conversations."""

    first_turn_length: Drawn | None = None
    """Length of a conversation's first turn, drawn (tokens; without a tokenizer words, or estimated by characters)."""
    subsequent_turn_length: Drawn | None = None
    """Length of every later turn, drawn."""
    chars_per_token: float = Field(3.0, gt=0)
    """Characters taken for one token where there is no tokenizer."""
    num_workers: int | None = None
    """Kept for EvalScope's scripts, without effect: conversations are made while others are played."""

    def drawn(self) -> tuple[NumberDistribution, NumberDistribution]:
        """Lengths of the first and of later turns, EvalScope's where none are given."""
        usual = (FIRST_TURN_LENGTH, SUBSEQUENT_TURN_LENGTH)
        given = (self.first_turn_length, self.subsequent_turn_length)
        first, later = (
            one or NumberDistribution(distribution="fixed", value=length)
            for one, length in zip(given, usual, strict=True)
        )
        return first, later

    def sample_params(self, random: Random | None = None) -> dict[str, Any]:
        """Lengths drawn for one conversation, and the other options, as EvalScope's plugins ask for them."""
        first, later = (length.length(random or Random()) for length in self.drawn())
        return {
            "first_turn_length": first,
            "subsequent_turn_length": later,
            "chars_per_token": self.chars_per_token,
            "num_workers": self.num_workers or 0,
        }


class TraceArgs(BaseDatasetArgs):
    """Options of datasets that say when to send each request."""

    speed: float = Field(1.0, gt=0)
    """How many times faster than recorded: 2 halves all gaps."""


class BodyArgs(TraceArgs):
    """Options of datasets that replay whole bodies."""

    model_override: str | None = None
    """Model put into every body, unless model_mapping has another; bodies keep their own if not given."""
    model_mapping: dict[str, str] | None = None
    """Recorded model: model to send instead."""

    def send_to(self, model: str | None) -> str | None:
        """The model that a body recorded for `model` is sent to; None where it has none."""
        mapped = (self.model_mapping or {}).get(model or "")
        return mapped or self.model_override or model
