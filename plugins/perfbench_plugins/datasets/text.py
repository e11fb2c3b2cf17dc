"""What datasets of real text share: fit a prompt to a length, put a shared prefix before it. No dataset itself."""

from functools import cached_property
from pathlib import Path
from typing import Any

from perfbench_plugins.datasets.base import DatasetPluginBase, Messages
from perfbench_plugins.datasets.dataset_args import TextDatasetArgs
from perfbench_plugins.datasets.errors import DatasetError


class TextDataset(DatasetPluginBase):
    """A dataset whose prompts are real text; its `prepare_messages` does what TextDatasetArgs say."""

    args_schema = TextDatasetArgs

    def prepare_prompt(self, prompt: str) -> str | None:
        """The prompt, cut to target_input_len if there is one; None if it is out of limits or too short for `drop`."""
        target = self.dataset_args.target_input_len
        if target is None:
            return super().prepare_prompt(prompt)
        length = self.content_token_len(prompt)
        if length < target:
            return None if self.dataset_args.input_len_mode == "drop" else prompt
        return self.cut(prompt, target)

    def prepare_messages(self, prompt: str) -> Any:
        """What to yield for a prompt, with the shared prefix; None if it is left out."""
        text = self.prepare_prompt(prompt)
        if text is None:
            return None
        if self.sends_chat:
            return self.apply_prefix_to_messages([self.create_message(text)])
        return _joined(self._prefix_for(self.content_token_len(text)), text)

    def prepare_conversation(self, messages: Messages) -> Messages | None:
        """Messages with the shared prefix; None where they are longer than target_input_len or out of limits."""
        target = self.dataset_args.target_input_len
        if target is None:
            kept = super().prepare_conversation(messages)
        else:
            kept = messages if self.measure_messages_len(messages) <= target else None
        return None if kept is None else self.apply_prefix_to_messages(kept)

    def apply_prefix_to_messages(self, messages: Messages) -> Messages:
        """Messages with the shared prefix before them, as prefix_role says."""
        prefix = self._prefix_for(self.measure_messages_len(messages))
        if not prefix:
            return messages
        if self.dataset_args.prefix_role == "system":
            return [self.create_message(prefix, role="system"), *messages]
        first, *rest = messages
        return [{**first, "content": _joined(prefix, first["content"])}, *rest]

    def cut(self, text: str, length: int) -> str:
        """The start of a text: so many tokens with a tokenizer, else characters."""
        if self.tokenizer is None:
            return text[:length]
        return self.tokenizer.decode(self.tokenizer.encode(text)[:length])

    @cached_property
    def _prefix(self) -> str:
        path = self.dataset_args.prefix_file
        if not path:
            return ""
        try:
            return Path(path).read_text(encoding="utf-8").strip()
        except OSError as error:
            raise DatasetError(f"dataset.args.prefix_file: cannot read {path!r}: {error.strerror}") from None

    def _prefix_for(self, length: int) -> str:
        target = self.dataset_args.target_input_len
        return self._prefix if target is None else self.cut(self._prefix, max(0, target - length))


def _joined(prefix: str, text: str) -> str:
    return f"{prefix}\n\n{text}" if prefix else text
