"""Datasets `share_gpt_zh`, `share_gpt_en` and their `_multi_turn`: conversations of people with a chatbot."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

from perfbench_plugins.datasets.base import DatasetPluginBase, Messages
from perfbench_plugins.datasets.conversations import ConversationDataset, turns_of
from perfbench_plugins.datasets.hub import DatasetSource
from perfbench_plugins.datasets.rows import file_rows
from perfbench_plugins.datasets.text import TextDataset
from perfbench_plugins.registry import register_dataset

FILES = ("common_zh_70k.jsonl", "common_en_70k.jsonl")
SOURCE = DatasetSource(
    "swift/sharegpt",
    hf_dataset_id="shareAI/ShareGPT-Chinese-English-90k",
    hf_file_paths={name: f"sharegpt_jsonl/{name}" for name in FILES},
)
ROLES = {"human": "user", "user": "user", "gpt": "assistant", "assistant": "assistant", "system": "system"}


class ShareGptFile(DatasetPluginBase):
    """Reads either layout of ShareGPT: `conversation` of {human, assistant}, or `conversations` of {from, value}."""

    FILE_NAME = ""
    dataset_source = SOURCE

    def conversations(self) -> Iterator[Messages]:
        """The recorded messages of each conversation that has any."""
        for row in file_rows(Path(self.download_hub_file(file_name=self.FILE_NAME))):
            messages = [*_of_pairs(row.get("conversation") or ()), *_of_values(row.get("conversations") or ())]
            if messages:
                yield messages


def _of_pairs(pairs: Any) -> Iterator[dict[str, Any]]:
    for pair in pairs:
        for name in ("human", "assistant"):
            if text := (pair.get(name) or "").strip():
                yield {"role": ROLES[name], "content": text}


def _of_values(values: Any) -> Iterator[dict[str, Any]]:
    for value in values:
        role, text = ROLES.get(value.get("from", "")), (value.get("value") or "").strip()
        if role and text:
            yield {"role": role, "content": text}


class ShareGPTDatasetPluginBase(TextDataset, ShareGptFile):
    """A conversation's messages up to the user's last, as one request.

    Limits and target_input_len hold for the last message; with a prefix_file for all together.
    """

    def build_messages(self) -> Iterator[Any]:
        """One request for each conversation within the run's limits."""
        for recorded in self.conversations():
            while recorded and recorded[-1]["role"] != "user":
                recorded = recorded[:-1]
            messages = self._fitted(recorded) if recorded else None
            if messages is not None:
                yield messages

    def _fitted(self, messages: Messages) -> Messages | None:
        if self.dataset_args.prefix_file:
            return self.prepare_conversation(messages)
        *before, last = messages
        content = self.prepare_prompt(last["content"])
        return None if content is None else [*before, {**last, "content": content}]


class ShareGPTMultiTurnBase(ConversationDataset, ShareGptFile):
    """A conversation turn by turn: the user's messages, with the model's real answers between them."""

    def build_messages(self) -> Iterator[Any]:
        """One conversation for each whose first message is within the run's limits; at most maxTurns long."""
        for recorded in self.conversations():
            conversation = turns_of(recorded, self.query_parameters.max_turns)
            if conversation and self._is_within_limits(self.measure_messages_len(conversation[0].messages)):
                yield self.play(conversation)


@register_dataset("share_gpt_zh")
class ShareGPTZhDatasetPlugin(ShareGPTDatasetPluginBase):
    """Chinese conversations."""

    FILE_NAME = "common_zh_70k.jsonl"


@register_dataset("share_gpt_en")
class ShareGPTEnDatasetPlugin(ShareGPTDatasetPluginBase):
    """English conversations."""

    FILE_NAME = "common_en_70k.jsonl"


@register_dataset("share_gpt_zh_multi_turn")
class ShareGPTZhMultiTurnPlugin(ShareGPTMultiTurnBase):
    """Chinese conversations, turn by turn."""

    FILE_NAME = "common_zh_70k.jsonl"


@register_dataset("share_gpt_en_multi_turn")
class ShareGPTEnMultiTurnPlugin(ShareGPTMultiTurnBase):
    """English conversations, turn by turn."""

    FILE_NAME = "common_en_70k.jsonl"
