"""Turns out of chat messages, and what datasets of conversations share. No dataset itself."""

from collections.abc import Iterable, Iterator
from dataclasses import replace
from typing import Any

from perfbench_plugins.datasets.base import Conversation, DatasetPluginBase, Item, Messages, Turn
from perfbench_plugins.datasets.dataset_args import ConversationArgs, EndArgs


def turns_of(messages: Messages, most: int | None = None) -> Conversation:
    """Turns of recorded messages: assistant messages end a turn and are left out, since real answers take their place.

    A tool's message becomes the user's: it answers a tool call that the real model has not made.
    """
    found: list[Messages] = [[]]
    for message in messages:
        if message.get("role") == "assistant":
            found.append([])
        elif message.get("content"):
            role = "user" if message.get("role") == "tool" else message.get("role", "user")
            found[-1].append({"role": role, "content": message["content"]})
    return ended(Turn(turn) for turn in [turn for turn in found if turn][:most])


def ended(turns: Iterable[Turn]) -> Conversation:
    """A conversation of these turns, the last of them marked as final."""
    conversation = list(turns)
    last = len(conversation) - 1
    return [replace(turn, is_final=index == last) for index, turn in enumerate(conversation)]


def conversation_item(conversation: Conversation, args: EndArgs) -> Any:
    """What to yield for a conversation: itself, or an Item around it where answers must not end early."""
    return Item(conversation, extra=args.extra) if args.extra else conversation


class ConversationDataset(DatasetPluginBase):
    """A dataset that yields conversations; `play` gives turns their think time and the length of their answers."""

    args_schema = ConversationArgs

    def play(self, conversation: Conversation) -> Any:
        """What to yield for a conversation: itself, or an Item around it where answers must not end early."""
        return conversation_item(ended(self._with_times_and_lengths(conversation)), self.dataset_args)

    def _with_times_and_lengths(self, conversation: Conversation) -> Iterator[Turn]:
        args = self.dataset_args
        for index, turn in enumerate(conversation):
            length, pause = turn.max_tokens, turn.tool_call_latency
            if length is None and args.output_length:
                length = args.output_length.length(self.random)
            if pause is None and args.think_time and index:
                pause = args.think_time.draw(self.random)
            yield replace(turn, max_tokens=length, tool_call_latency=pause)
