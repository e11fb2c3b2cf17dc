"""The contract of a dataset plugin, as EvalScope's perf plugins know it.

A plugin yields, one at a time, what a request is made of: chat messages, a text, token ids, a whole body (dict), texts of
a batch (list of str), or a `Conversation`. Where one request needs more than that of its own (a time to be sent, a
longest answer, headers), the plugin wraps it in an `Item`; that is the only wrapper there is.
"""

import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from random import Random
from typing import Any, ClassVar

from pydantic import BaseModel, ConfigDict, ValidationError

from perfbench_api.resource import problems
from perfbench_plugins.arguments import Arguments
from perfbench_plugins.content import message_text
from perfbench_plugins.datasets import hub
from perfbench_plugins.datasets.errors import DatasetError as DatasetError  # plugins import it from here
from perfbench_plugins.tokens import Tokenizer, load_tokenizer

Message = dict[str, Any]
Messages = list[Message]


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


@dataclass(frozen=True, slots=True)
class Item:
    """What to send, and what only this one request needs; a dataset may yield it in place of bare messages.

    The engine takes `messages` out, gives the API plugin `item.parameters(arguments)` instead of the run's, and sends
    at `at_s` where the dataset's `provides_arrival_schedule` is true.
    """

    messages: Any
    """Chat messages, a text, token ids, a batch of texts, a whole body (dict) or a Conversation."""
    at_s: float | None = None
    """When to send it: seconds from the start of the stage, never less than the item before. None: as the load says."""
    max_tokens: int | None = None
    """Longest answer of this request, instead of the run's."""
    headers: Mapping[str, str] | None = None
    """HTTP headers of this request, beside the run's; the run's win."""
    request_id: str | None = None
    """Id under which the result is stored."""
    extra: Mapping[str, Any] = field(default_factory=dict)
    """Further fields of this body, such as ignore_eos; the run's `extraArgs` win."""

    def parameters(self, arguments: Arguments) -> Arguments:
        """The run's arguments with this request's own in their place; the same object where it has none."""
        changes: dict[str, Any] = {}
        if self.max_tokens is not None:
            changes["max_tokens"] = self.max_tokens
        if self.extra:
            changes["extra_args"] = {**self.extra, **(arguments.extra_args or {})}
        return arguments.model_copy(update=changes) if changes else arguments


class DatasetPluginBase:
    """Yields what to send: implement `build_messages`. It runs ahead of the load, in a process that does not measure."""

    args_schema: ClassVar[type[BaseDatasetArgs]] = BaseDatasetArgs
    """Model of the plugin's own options."""
    provides_arrival_schedule: bool = False
    """Whether it yields Items that say when to send them. Such a dataset is played once: it is not begun again."""
    requires_model: bool = True
    """Whether the manifest must name a model; false where bodies come whole."""

    def __init__(self, query_parameters: Arguments) -> None:
        self.query_parameters = query_parameters
        self.dataset_args = self._read_args(query_parameters.dataset_args or {})
        self.random = Random(query_parameters.random_seed)
        """Seeded by the run: take all random choices from it, so that a seed gives the same prompts again."""

    def _read_args(self, options: Mapping[str, Any]) -> Any:
        try:
            return self.args_schema.model_validate(options)
        except ValidationError as error:
            lines = [line.removeprefix("manifest: ") for line in problems(error, self.args_schema)]
            raise DatasetError("\n".join(f"dataset.args.{line}" for line in lines)) from None

    @cached_property
    def tokenizer(self) -> Tokenizer | None:
        """The run's tokenizer, if it has one; loaded when first used."""
        parameters = self.query_parameters
        if not parameters.tokenizer_path:
            return None
        return load_tokenizer(parameters.tokenizer_path, parameters.data_source)

    @property
    def sends_chat(self) -> bool:
        """Whether prompts are sent as chat messages: as the manifest says, else unless the URL is for plain text."""
        parameters = self.query_parameters
        if parameters.apply_chat_template is not None:
            return parameters.apply_chat_template
        path = (parameters.url or "").partition("?")[0].rstrip("/")
        return not path.endswith("/completions") or path.endswith("/chat/completions")

    def build_messages(self) -> Iterator[Any]:
        """Yield chat messages, a text, token ids, a whole body (dict), a Conversation, or an Item around one of them."""
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
            with Path(dataset).open(encoding="utf-8-sig") as file:
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

    def json_lines(self, dataset: str | None) -> Iterator[tuple[int, dict[str, Any]]]:
        """Number and object of each line of a JSONL file, blank lines left out; raises DatasetError that names the line."""
        for number, line in enumerate(self.dataset_line_by_line(dataset), 1):
            if not line.strip():
                continue
            try:
                value = json.loads(line)
            except ValueError as error:
                raise DatasetError(f"dataset.path: {dataset!r}, line {number}: no JSON: {error}") from None
            if not isinstance(value, dict):
                raise DatasetError(
                    f"dataset.path: {dataset!r}, line {number}: a JSON {type(value).__name__}, no object"
                )
            yield number, value

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
        return self._is_within_limits(length), length

    def _is_within_limits(self, length: int) -> bool:
        return self.query_parameters.min_prompt_length <= length <= self.query_parameters.max_prompt_length

    def prepare_prompt(self, prompt: str) -> str | None:
        """The prompt if it is within the run's limits, else None."""
        return prompt if self.check_prompt_length(prompt)[0] else None

    def prepare_messages(self, prompt: str) -> Any:
        """What to yield for a prompt: chat messages or the text itself, as the run sends them; None if out of limits."""
        text = self.prepare_prompt(prompt)
        if text is None:
            return None
        return [self.create_message(text)] if self.sends_chat else text

    def prepare_conversation(self, messages: Messages) -> Messages | None:
        """The messages if they are together within the run's limits, else None."""
        return messages if self._is_within_limits(self.measure_messages_len(messages)) else None

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

    def download_hub_file(self, dataset_id: str, file_name: str) -> str:
        """Path of a file of a dataset on the hub that `dataset.source` names (ModelScope if none), downloaded once."""
        return str(hub.download(self.query_parameters.data_source, dataset_id, [file_name]) / file_name)

    def load_hub_dataset(self, dataset_id: str, split: str = "train", subset: str = "default") -> Any:
        """Rows (dicts) of a split of a dataset on the hub that `dataset.source` names (ModelScope if none)."""
        return hub.rows(self.query_parameters.data_source, dataset_id, split, subset)
