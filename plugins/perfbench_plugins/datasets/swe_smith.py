"""Dataset `swe_smith`: conversations of a coding agent with its tools."""

import json
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

from perfbench_plugins.content import message_text
from perfbench_plugins.datasets.base import Conversation, Messages, Turn
from perfbench_plugins.datasets.conversations import ConversationDataset
from perfbench_plugins.datasets.dataset_args import MultiTurnDatasetArgs
from perfbench_plugins.datasets.errors import DatasetError
from perfbench_plugins.datasets.rows import readable, rows_at
from perfbench_plugins.registry import register_dataset

HUB_ID = "SWE-bench/SWE-smith-trajectories"
SPLIT = "tool"


class SweSmithArgs(MultiTurnDatasetArgs):
    """Options of swe_smith."""


@register_dataset("swe_smith")
class SweSmithDatasetPlugin(ConversationDataset):
    """Conversations prebuilt by EvalScope's script (a .json with `conversations`), or built of trajectories.

    Trajectories are rows with `messages`. What the user and the tools said there is packed into turns of
    first_turn_length and subsequent_turn_length; trajectories too short for their number of turns are left out.
    """

    args_schema = SweSmithArgs

    def build_messages(self) -> Iterator[Any]:
        """One conversation for each that is long enough."""
        prebuilt = self._prebuilt()
        conversations = map(_turns, prebuilt) if prebuilt is not None else self._built()
        for conversation in conversations:
            if conversation:
                yield self.play(conversation)

    def _prebuilt(self) -> Iterable[Any] | None:
        path = self.query_parameters.dataset_path
        if not path or not path.endswith(".json") or Path(path).is_dir():
            return None
        with readable(Path(path)):
            data = json.loads(Path(path).read_text(encoding="utf-8"))
        conversations = data.get("conversations") if isinstance(data, dict) else None
        if not isinstance(conversations, list):
            raise DatasetError(f"dataset.path: {path!r} has no list `conversations`; is it an agentic_dataset.json?")
        return conversations

    def _built(self) -> Iterator[Conversation | None]:
        path = self.query_parameters.dataset_path
        rows = rows_at(path, SPLIT) if path else self.load_hub_dataset(HUB_ID, split=SPLIT)
        first, later = self.dataset_args.drawn()
        for number, row in enumerate(rows, 1):
            spoken = _spoken(row.get("messages"), f"dataset.path: row {number}")
            count = self.turn_count()
            lengths = [first.length(self.random), *(later.length(self.random) for _ in range(count - 1))]
            yield self._pack(spoken, lengths)

    def _pack(self, spoken: Messages, lengths: list[int]) -> Conversation | None:
        """One turn for each length, filled with messages up to it, the last one cut; None if there are too few."""
        turns, rest = [], iter(spoken)
        for length in lengths:
            messages, room = [], length
            while room > 0 and (message := next(rest, None)):
                text, size = self._start(message["content"], room)
                messages.append({**message, "content": text})
                room -= size
            if not messages:
                return None
            turns.append(Turn(messages))
        return turns

    def _start(self, text: str, room: int) -> tuple[str, int]:
        """The start of a text that fits into so many tokens, and its length in tokens."""
        if self.tokenizer:
            return self.tokenizer.start(text, room), min(room, self.tokenizer.count(text))
        per_token = self.dataset_args.chars_per_token
        kept = text[: max(1, int(room * per_token))]
        return kept, max(1, round(len(kept) / per_token))


def _turns(recorded: Any) -> Conversation:
    return [Turn(turn["messages"]) for turn in recorded if turn.get("messages")]


def _spoken(messages: Any, where: str) -> Messages:
    """What the user and the tools said; a tool's words are sent as the user's."""
    if isinstance(messages, str):
        try:
            messages = json.loads(messages)
        except ValueError as error:
            raise DatasetError(f"{where}: field `messages` is no JSON: {error}") from None
    if not isinstance(messages, list):
        raise DatasetError(f"{where}: has no field `messages` with a list of chat messages")
    said = (message for message in messages if message.get("role") in ("user", "tool"))
    return [{"role": "user", "content": text} for message in said if (text := message_text(message))]
