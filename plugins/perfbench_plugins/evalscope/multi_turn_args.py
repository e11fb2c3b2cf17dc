"""`evalscope.perf.multi_turn_args`: its older options of conversations, which are options of the dataset now."""

import random
from typing import Any

from pydantic import field_validator

from perfbench_api.described import Described

IntOrRange = int | list[int]


def _sample_int_or_range(value: IntOrRange) -> int:  # plugins import it by this name
    """A number itself, or one drawn between the two of a range."""
    return random.randint(*value) if isinstance(value, list) else value


class MultiTurnArgs(Described):
    """Lengths of conversations that are made up, in tokens."""

    first_turn_length: IntOrRange = 65000
    """Length of a conversation's first turn, or [min, max]."""
    subsequent_turn_length: IntOrRange = 500
    """Length of every later turn, or [min, max]."""
    chars_per_token: float = 3.0
    """Characters taken for one token where there is no tokenizer."""
    num_workers: int = 4
    """Without effect: conversations are made while others are played."""

    @field_validator("first_turn_length", "subsequent_turn_length")
    @classmethod
    def _range_is_a_range(cls, value: IntOrRange) -> IntOrRange:
        if isinstance(value, list) and (len(value) != 2 or not 0 <= value[0] <= value[1]):
            raise ValueError(f"{value} is no range; write [min, max]")
        return value

    def sample_params(self) -> dict[str, Any]:
        """The options, a number drawn for each range."""
        return {
            "first_turn_length": _sample_int_or_range(self.first_turn_length),
            "subsequent_turn_length": _sample_int_or_range(self.subsequent_turn_length),
            "chars_per_token": self.chars_per_token,
            "num_workers": self.num_workers,
        }
