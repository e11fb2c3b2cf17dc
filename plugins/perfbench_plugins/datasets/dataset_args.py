"""Options that several datasets share, under EvalScope's names. No dataset itself."""

from typing import Literal, Self

from pydantic import Field, model_validator

from perfbench_plugins.datasets.base import BaseDatasetArgs


class TextLengthArgs(BaseDatasetArgs):
    """Length and shared prefix of prompts that are real text."""

    target_input_len: int | None = Field(None, ge=1)
    """Longest prompt, in tokens with a tokenizer and else in characters: longer ones are cut instead of left out."""
    input_len_mode: Literal["cap", "drop"] = "cap"
    """What becomes of prompts shorter than target_input_len: sent as they are (cap), or left out (drop)."""
    prefix_file: str | None = None
    """Text file that is put before every prompt; with target_input_len only as much of it as the prompt leaves room for."""
    prefix_role: Literal["system", "user"] = "system"
    """Send the prefix as a system message, or at the start of the user's."""

    @model_validator(mode="after")
    def _drop_needs_a_target(self) -> Self:
        if self.input_len_mode == "drop" and self.target_input_len is None:
            raise ValueError("input_len_mode drop needs target_input_len")
        return self


class TextDatasetArgs(TextLengthArgs):
    """Options of datasets whose prompts are real text."""
