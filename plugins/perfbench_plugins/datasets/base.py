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

from pydantic import ValidationError

from perfbench_api.resource import problems
from perfbench_plugins.arguments import Arguments
from perfbench_plugins.body_meta import ARRIVAL_OFFSET, HEADERS, IS_WARMUP, PREFIX, REQUEST_ID, is_of_request
from perfbench_plugins.content import message_text
from perfbench_plugins.datasets import hub
from perfbench_plugins.datasets.dataset_args import BaseDatasetArgs as BaseDatasetArgs
from perfbench_plugins.datasets.dataset_args import TextLengthArgs
from perfbench_plugins.datasets.errors import DatasetError as DatasetError  # plugins import it from here
from perfbench_plugins.datasets.errors import not_utf8
from perfbench_plugins.datasets.fitting import TextFit
from perfbench_plugins.datasets.rows import rows_at
from perfbench_plugins.tokens import Tokenizer, as_tokenizer, load_tokenizer
from perfbench_plugins.urls import is_for_chat

Message = dict[str, Any]
Messages = list[Message]


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
    rid: str | None = None
    """On a first turn: name of the conversation, sent as `rid` with the number of each turn."""


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
    is_warmup: bool = False
    """Whether it is sent in its place but not counted."""
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
    """Yields what to send: implement `build_messages`. It runs ahead of the load, in a process that does not measure.

    As long as EvalScope's contract is: its plugins call all of these methods of themselves.
    """

    args_schema: ClassVar[type[BaseDatasetArgs]] = BaseDatasetArgs
    """Model of the plugin's own options."""
    provides_arrival_schedule: bool = False
    """Whether it yields Items that say when to send them. Such a dataset is played once: it is not begun again."""
    requires_model: bool = True
    """Whether the manifest must name a model; false where bodies come whole."""

    dataset_source: ClassVar[Any] = None
    """Where the dataset is on the hubs (a DatasetSource), for `download_hub_file` and `load_hub_dataset` without a name."""

    def __init__(self, query_parameters: Arguments) -> None:
        self.query_parameters = query_parameters
        self.dataset_args = self._read_args(query_parameters.dataset_args or {})
        self.random = Random(query_parameters.random_seed or 0)
        """Seeded by the run: take all random choices from it, so that a seed gives the same prompts again."""

    def _read_args(self, options: Mapping[str, Any]) -> Any:
        try:
            return self.args_schema.model_validate(options)
        except ValidationError as error:
            lines = [line.removeprefix("manifest: ") for line in problems(error, self.args_schema)]
            raise DatasetError("\n".join(f"dataset.args.{line}" for line in lines)) from None

    @cached_property
    def tokenizer(self) -> Tokenizer | None:
        """The run's tokenizer, if it has one; loaded when first used. A plugin may put another one here."""
        parameters = self.query_parameters
        if not parameters.tokenizer_path:
            return None
        return load_tokenizer(parameters.tokenizer_path, parameters.data_source)

    @property
    def sends_chat(self) -> bool:
        """Whether prompts are sent as chat messages: as the manifest says, else if the URL is for them."""
        parameters = self.query_parameters
        given = parameters.apply_chat_template
        return is_for_chat(parameters.url or "", parameters.api) if given is None else given

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
            raise DatasetError(f"dataset.path: {dataset!r} is no UTF-8 text: {not_utf8(error)}") from None

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
        if image_urls is None:
            return {"role": role, "content": text}
        urls = [image_urls] if isinstance(image_urls, str) else image_urls
        images = [{"type": "image_url", "image_url": {"url": url}} for url in urls]
        return {"role": role, "content": [{"type": "text", "text": text}, *images]}

    def check_prompt_length(self, prompt: str) -> tuple[bool, int]:
        """Whether a prompt is within the run's limits, and its length: tokens as the model gets them, else characters."""
        if self.tokenizer is None:
            length = len(prompt)
        elif self.sends_chat:
            length = as_tokenizer(self.tokenizer).count_messages([self.create_message(prompt)])
        else:
            length = len(self.tokenizer.encode(prompt))
        return self._is_within_limits(length), length

    def _is_within_limits(self, length: int) -> bool:
        return self.query_parameters.min_prompt_length <= length <= self.query_parameters.max_prompt_length

    @cached_property
    def _fit(self) -> TextFit:
        args = self.dataset_args if isinstance(self.dataset_args, TextLengthArgs) else TextLengthArgs()
        return TextFit(args, None if self.tokenizer is None else as_tokenizer(self.tokenizer))

    def _room(self, length: int) -> int | None:
        """What a text of this length leaves for the prefix; None where no length is asked for."""
        target = self._fit.args.target_input_len
        return None if target is None else target - length

    def prepare_prompt(self, prompt: str) -> str | None:
        """The prompt, cut to target_input_len if there is one; None if it is out of limits or too short for `drop`."""
        target = self._fit.args.target_input_len
        if target is not None:
            return self._fit.prompt(prompt, target)
        return prompt if self.check_prompt_length(prompt)[0] else None

    def prepare_messages(self, prompt: str) -> Any:
        """What to yield for a prompt: chat messages or the text itself, with the shared prefix; None if it is left out."""
        text = self.prepare_prompt(prompt)
        if text is None:
            return None
        if self.sends_chat:
            return self.apply_prefix_to_messages([self.create_message(text)])
        return self._fit.before(text, self._room(self.content_token_len(text)))

    def prepare_conversation(self, messages: Messages) -> Messages | None:
        """Messages with the shared prefix; None where they are longer than target_input_len or out of limits."""
        length, target = self.measure_messages_len(messages), self._fit.args.target_input_len
        is_kept = self._is_within_limits(length) if target is None else length <= target
        return self.apply_prefix_to_messages(messages) if is_kept else None

    def content_token_len(self, content: str) -> int:
        """Length of a text: tokens with a tokenizer, else characters."""
        return self._fit.length(content)

    def measure_messages_len(self, messages: Messages) -> int:
        """Length of the text in all messages together."""
        return sum(self.content_token_len(text) for text in map(message_text, messages))

    def apply_prefix_to_messages(self, messages: Messages) -> Messages:
        """Messages with the shared prefix before them, as prefix_role says; unchanged where there is none."""
        fit, room = self._fit, self._room(self.measure_messages_len(messages))
        if not fit.args.prefix_file:
            return messages
        if fit.args.prefix_role == "system" and self.sends_chat:
            prefix = fit.prefix(room)
            return [self.create_message(prefix, role="system"), *messages] if prefix else messages
        first, *rest = messages
        return [{**first, "content": fit.before(message_text(first), room)}, *rest]

    def get_sampled_multi_turn_params(self) -> dict[str, Any]:
        """Lengths drawn for one conversation, where the dataset's options have them, under EvalScope's names."""
        sample = getattr(self.dataset_args, "sample_params", None)
        return dict(sample(self.random)) if sample else {}

    def turn_count(self) -> int:
        """Number of turns of the next conversation, drawn between min_turns and max_turns."""
        low = self.query_parameters.min_turns
        return self.random.randint(low, max(low, self.query_parameters.max_turns or low))

    def supports_parallel_message_generation(self, total_count: int | None = None) -> bool:
        """Kept for EvalScope's plugins; perfbench generates while it sends."""
        return False

    def build_messages_parallel(self, total_count: int, workers: int) -> list[Any]:
        """Kept for EvalScope's plugins; perfbench generates while it sends."""
        return [item for _, item in zip(range(total_count), self.build_messages(), strict=False)]

    def download_hub_file(self, dataset_id: str | None = None, file_name: str | None = None) -> str:
        """Path of a file: dataset.path, or the file in it if it is a folder; else of the hub's dataset, downloaded once."""
        if not file_name:
            raise DatasetError("download_hub_file needs a file_name")
        parameters = self.query_parameters
        if parameters.dataset_path:
            return str(hub.local_file(parameters.dataset_path, file_name))
        source = hub.source_of(self, dataset_id)
        inside = source.resolve_file_path(parameters.data_source, file_name)
        return str(
            hub.download(parameters.data_source, source.resolve_dataset_id(parameters.data_source), [inside]) / inside
        )

    def load_hub_dataset(self, dataset_id: str | None = None, split: str = "train", subset: str = "default") -> Any:
        """Rows (dicts) of dataset.path if it is given, else of a split of a dataset on the hub that `dataset.source`
        names (ModelScope if none)."""
        parameters = self.query_parameters
        if parameters.dataset_path:
            path = parameters.dataset_path
            return hub.Rows(lambda: rows_at(path, split))
        source = hub.source_of(self, dataset_id)
        name = source.resolve_dataset_id(parameters.data_source)
        return hub.Rows(lambda: hub.rows(parameters.data_source, name, split, subset))


def item_of(messages: Any) -> Item:
    """The Item that a dataset yielded, or made of what it yielded: keys of EvalScope's in a body become its fields."""
    if isinstance(messages, Item):
        return messages
    if not isinstance(messages, dict) or not any(name.startswith(PREFIX) for name in messages):
        return Item(messages)
    body = {name: value for name, value in messages.items() if not name.startswith(PREFIX)}
    headers = {name: value for name, value in (messages.get(HEADERS) or {}).items() if is_of_request(name)}
    request_id, at_s = messages.get(REQUEST_ID), messages.get(ARRIVAL_OFFSET)
    return Item(
        body,
        None if at_s is None else float(at_s),
        headers=headers or None,
        request_id=None if request_id is None else str(request_id),
        is_warmup=bool(messages.get(IS_WARMUP)),
    )
