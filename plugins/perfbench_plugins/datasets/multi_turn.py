"""Datasets `random_multi_turn` and `custom_multi_turn`: conversations, made or your own."""

import json
from collections.abc import Iterator
from functools import cached_property
from typing import Any

from perfbench_plugins.datasets.base import Conversation, Turn
from perfbench_plugins.datasets.conversations import ConversationDataset, turns_of
from perfbench_plugins.datasets.dataset_args import MultiTurnDatasetArgs
from perfbench_plugins.datasets.errors import DatasetError
from perfbench_plugins.datasets.lengths import NumberDistribution
from perfbench_plugins.datasets.random_text import RandomArgs, SharedPrefixDataset
from perfbench_plugins.registry import register_dataset


class RandomMultiTurnArgs(RandomArgs, MultiTurnDatasetArgs):
    """Options of random_multi_turn."""

    count_template: bool = False
    """Whether lengths include what the chat template adds to a turn; else it comes on top, as in EvalScope."""


@register_dataset("random_multi_turn")
class RandomMultiTurnDatasetPlugin(ConversationDataset, SharedPrefixDataset):
    """Conversations of random text, minTurns to maxTurns long; shared parts stand in the first turn."""

    args_schema = RandomMultiTurnArgs

    def build_messages(self) -> Iterator[Any]:
        """Conversations without end."""
        parameters = self.query_parameters
        if parameters.max_turns is None:
            raise DatasetError("dataset.maxTurns: missing; random_multi_turn must know how long conversations get")
        if parameters.max_turns < parameters.min_turns:
            raise DatasetError(
                f"dataset.minTurns: {parameters.min_turns} is more than maxTurns, {parameters.max_turns}"
            )
        while True:
            yield self.play(self._conversation(self.turn_count()))

    def _conversation(self, turns: int) -> Conversation:
        args = self.dataset_args
        length, output = self._lengths(args.first_turn_length, self._first_overhead)
        system = [self.create_message(self.system_prompt, role="system")] if self.system_prompt else []
        conversation = [Turn([*system, self.create_message(self.prefixed_text(length))], output)]
        for _ in range(turns - 1):
            length, output = self._lengths(args.subsequent_turn_length, self._later_overhead)
            conversation.append(Turn([self.create_message(self.text(length))], output))
        return conversation

    def _lengths(self, given: NumberDistribution | None, overhead: int) -> tuple[int, int | None]:
        length, output = (given.length(self.random), None) if given else self.prompt_lengths()
        return max(1, length - overhead), output

    @cached_property
    def _first_overhead(self) -> int:
        """Tokens that the chat template adds to the first turn, where lengths include them."""
        return self.tokenizer.chat_overhead if self.tokenizer and self.dataset_args.count_template else 0

    @cached_property
    def _later_overhead(self) -> int:
        """Tokens that it adds to an answer and the turn after it."""
        tokenizer = self.tokenizer
        if tokenizer is None or not self.dataset_args.count_template:
            return 0
        said = [{"role": role, "content": "a"} for role in ("user", "assistant", "user")]
        return tokenizer.count_messages(said) - tokenizer.count_messages(said[:1]) - 2 * tokenizer.count("a")


@register_dataset("custom_multi_turn")
class CustomMultiTurnDatasetPlugin(ConversationDataset):
    """Each line of a file is a JSON array of chat messages; the model's real answers replace the recorded ones."""

    def build_messages(self) -> Iterator[Any]:
        """One conversation for each line, at most maxTurns long."""
        path = self.query_parameters.dataset_path
        for number, line in enumerate(self.dataset_line_by_line(path), 1):
            if line.strip():
                conversation = turns_of(_messages(line, f"dataset.path: {path!r}, line {number}"), self._most)
                if conversation and self._is_within_limits(self.measure_messages_len(conversation[0].messages)):
                    yield self.play(conversation)

    @property
    def _most(self) -> int | None:
        return self.query_parameters.max_turns


def _messages(line: str, where: str) -> list[dict[str, Any]]:
    try:
        value = json.loads(line)
    except ValueError as error:
        raise DatasetError(f"{where}: no JSON: {error}") from None
    if isinstance(value, dict):
        value = value.get("messages")
    if not isinstance(value, list) or not all(isinstance(message, dict) for message in value):
        raise DatasetError(f"{where}: no JSON array of chat messages, each an object with role and content")
    return value
