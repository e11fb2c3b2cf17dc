"""The contract of a dataset plugin, as EvalScope's perf plugins know it."""

import json
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from random import Random
from typing import Any, ClassVar

from pydantic import BaseModel, ConfigDict

from perfbench_plugins.arguments import Arguments
from perfbench_plugins.tokens import Tokenizer, load_tokenizer

Message = dict[str, Any]
Messages = list[Message]


class DatasetError(ValueError):
    """A dataset that cannot be read: says which file or field, and the way out."""


class BaseDatasetArgs(BaseModel):
    """Options of a dataset plugin (`dataset.args`); a plugin with its own inherits this. Unknown ones are errors."""

    model_config = ConfigDict(extra="forbid", use_attribute_docstrings=True)


@dataclass
class Turn:
    """One turn of a conversation."""

    messages: Messages
    """What this turn adds to the history before the request is sent."""
    max_tokens: int | None = None
    """Longest answer of this turn, instead of the run's."""
    tool_call_latency: float | None = None
    """Seconds to wait before this turn is sent: a tool's work, or a user's thinking."""
    is_final: bool = False


Conversation = list[Turn]


class DatasetPluginBase:
    """Yields what to send: implement `build_messages`. It runs ahead of the load, in a process that does not measure."""

    args_schema: ClassVar[type[BaseDatasetArgs]] = BaseDatasetArgs
    """Model of the plugin's own options."""
    provides_arrival_schedule: bool = False
    """Whether what it yields says when to send it."""
    requires_model: bool = True
    """Whether the manifest must name a model; false where bodies come whole."""

    def __init__(self, query_parameters: Arguments) -> None:
        self.query_parameters = query_parameters
        self.dataset_args = self.args_schema.model_validate(query_parameters.dataset_args or {})
        self.random = Random(query_parameters.random_seed)
        """Seeded by the run: take all random choices from it, so that a seed gives the same prompts again."""

    @cached_property
    def tokenizer(self) -> Tokenizer | None:
        """The run's tokenizer, if it has one; loaded when first used."""
        path = self.query_parameters.tokenizer_path
        return load_tokenizer(path) if path else None

    def build_messages(self) -> Iterator[Any]:
        """Yield chat messages, a text, token ids, a whole body (dict) or a Conversation; one item a request."""
        raise NotImplementedError(f"{type(self).__name__} must implement build_messages")

    def __iter__(self) -> Iterator[Any]:
        return self.build_messages()

    def __next__(self) -> Any:
        for item in self.build_messages():
            return item
        raise StopIteration

    def dataset_line_by_line(self, dataset: str | None) -> Iterator[str]:
        """The lines of a text file, each with its end of line; raises DatasetError when it cannot be read."""
        if not dataset:
            raise DatasetError("dataset.path: missing; this dataset is read from a file of your own")
        try:
            with Path(dataset).open(encoding="utf-8") as file:
                yield from file
        except OSError as error:
            raise DatasetError(f"dataset.path: cannot read {dataset!r}: {error.strerror or error}") from None
        except UnicodeDecodeError as error:
            raise DatasetError(f"dataset.path: {dataset!r} is no UTF-8 text: {error}") from None

    def dataset_json_list(self, dataset: str | None) -> Iterator[Any]:
        """The items of a file that holds one JSON list; raises DatasetError when it cannot be read."""
        text = "".join(self.dataset_line_by_line(dataset))
        try:
            items = json.loads(text)
        except ValueError as error:
            raise DatasetError(f"dataset.path: {dataset!r} is no JSON: {error}") from None
        if not isinstance(items, list):
            raise DatasetError(f"dataset.path: {dataset!r} holds a JSON {type(items).__name__}, not a list")
        yield from items

    def create_message(self, text: str, image_urls: list[str] | str | None = None, role: str = "user") -> Message:
        """One chat message, with images if there are any."""
        if not image_urls:
            return {"role": role, "content": text}
        urls = [image_urls] if isinstance(image_urls, str) else image_urls
        images = [{"type": "image_url", "image_url": {"url": url}} for url in urls]
        return {"role": role, "content": [{"type": "text", "text": text}, *images]}

    def check_prompt_length(self, prompt: str) -> tuple[bool, int]:
        """Whether a prompt is within the run's limits, and its length: tokens with a tokenizer, else characters."""
        length = self.content_token_len(prompt)
        parameters = self.query_parameters
        return parameters.min_prompt_length <= length <= parameters.max_prompt_length, length

    def prepare_prompt(self, prompt: str) -> str | None:
        """The prompt if it is within the run's limits, else None."""
        return prompt if self.check_prompt_length(prompt)[0] else None

    def prepare_messages(self, prompt: str) -> Any:
        """What to yield for a prompt: chat messages or the text itself, as the run sends them; None if out of limits."""
        text = self.prepare_prompt(prompt)
        if text is None:
            return None
        return [self.create_message(text)] if self.query_parameters.apply_chat_template else text

    def prepare_conversation(self, messages: Messages) -> Messages | None:
        """The messages if they are together within the run's limits, else None."""
        parameters = self.query_parameters
        length = self.measure_messages_len(messages)
        return messages if parameters.min_prompt_length <= length <= parameters.max_prompt_length else None

    def content_token_len(self, content: str) -> int:
        """Length of a text: tokens with a tokenizer, else characters."""
        return self.tokenizer.count(content) if self.tokenizer else len(content)

    def measure_messages_len(self, messages: Messages) -> int:
        """Length of the text in all messages together."""
        return sum(self.content_token_len(text) for text in map(message_text, messages))

    def apply_prefix_to_messages(self, messages: Messages) -> Messages:
        """Messages with the run's shared prefix, where a dataset has one; unchanged here."""
        return messages

    def get_sampled_multi_turn_params(self) -> dict[str, Any]:
        """Number of turns of the next conversation, drawn between min_turns and max_turns."""
        low = self.query_parameters.min_turns
        return {"turns": self.random.randint(low, max(low, self.query_parameters.max_turns or low))}

    def supports_parallel_message_generation(self, total_count: int | None = None) -> bool:
        """Kept for EvalScope's plugins; perfbench generates while it sends."""
        return False

    def build_messages_parallel(self, total_count: int, workers: int) -> list[Any]:
        """Kept for EvalScope's plugins; perfbench generates while it sends."""
        return [item for _, item in zip(range(total_count), self.build_messages(), strict=False)]


def message_text(message: Message) -> str:
    """The text of a chat message whose content is text or a list of parts."""
    content = message.get("content") or ""
    if isinstance(content, str):
        return content
    return "".join(part.get("text") or "" for part in content if isinstance(part, dict))
