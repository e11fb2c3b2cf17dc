"""Dataset `random`: text of a wanted length and no meaning."""

from typing import Any

from perfbench_plugins.datasets.errors import DatasetError
from perfbench_plugins.datasets.random_text import SharedPrefixDataset
from perfbench_plugins.registry import register_dataset


@register_dataset("random")
class RandomDatasetPlugin(SharedPrefixDataset):
    """Random prompts: exact to the token with a tokenizer, counted in words without one."""

    def prompt(self, length: int) -> Any:
        """Chat messages, a text, or token ids with tokenize_prompt."""
        if self.query_parameters.tokenize_prompt:
            return self._ids(length)
        if not self.sends_chat:
            text = self.prefixed_text(length)
            return f"{self.system_prompt} {text}" if self.system_prompt else text
        # As EvalScope counts: what the chat template adds is part of the length.
        overhead = self.tokenizer.chat_overhead if self.tokenizer else 0
        message = self.create_message(self.prefixed_text(max(1, length - overhead)))
        if not self.system_prompt:
            return [message]
        return [self.create_message(self.system_prompt, role="system"), message]

    def _ids(self, length: int) -> list[int]:
        tokenizer = self.tokenizer
        if tokenizer is None:
            raise DatasetError("dataset.tokenizePrompt: needs a tokenizer; give dataset.tokenizerPath")
        shared = f"{self.system_prompt} {self._shared[1].draw(self.random)}".strip()
        return tokenizer.encode(shared, add_special_tokens=False) + tokenizer.random_ids(length, self.random)
