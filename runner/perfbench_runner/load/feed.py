"""What to send, in order: items of the dataset become ready-made bodies, shortly before they are due.

Runs in the control process, ahead of the load: neither a dataset's work nor a plugin's `build_request` ever delays a
stamp. One seeded sequence serves all shards, so any number of workers sends what one would.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from random import Random
from typing import Any

import orjson

from perfbench_api.resource import SpecError
from perfbench_plugins.api.base import ApiPluginBase
from perfbench_plugins.arguments import Arguments
from perfbench_plugins.blame import blame
from perfbench_plugins.datasets.base import DatasetError, DatasetPluginBase, Item, Message, Turn
from perfbench_plugins.registry import PluginError
from perfbench_plugins.tokens import TokenizerError

REFUSALS = (SpecError, DatasetError, PluginError, TokenizerError)
"""What datasets and plugins raise to say, in one line, what is wrong; anything else that they raise is a bug of theirs."""


@dataclass(frozen=True, slots=True)
class Talk:
    """A conversation to be played: its turns are built one by one, since each needs the answer before it."""

    turns: list[Turn]
    parameters: Arguments


@dataclass(frozen=True, slots=True)
class Prepared:
    """A request ready to be sent, or a conversation."""

    body: bytes | Talk
    headers: dict[str, str] | None = None
    request_id: str | None = None
    at_s: float | None = None
    """When to send it, where the dataset says so: seconds from the start of its schedule."""


class Feed:
    """The sequence of a run's requests: endless, unless the dataset brings its own schedule."""

    def __init__(self, arguments: Arguments, dataset: DatasetPluginBase, api: ApiPluginBase) -> None:
        self.arguments, self.dataset, self.api = arguments, dataset, api
        self.random = Random(f"{arguments.random_seed}/lengths")
        self.has_schedule = bool(getattr(dataset, "provides_arrival_schedule", False))
        self.offset = arguments.dataset_offset
        self._items = self._all_items()
        self._first: Item | None = None
        self._waiting: Prepared | None = None

    def first(self) -> Prepared:
        """The first request, which stays the first: a wrong dataset or plugin shows here, before any load."""
        if self._waiting is None:
            self._first = next(self._items)
            self._waiting = self._prepare(self._first)
            self.first_body()  # of a conversation it is built here for the first time
        return self._waiting

    def __next__(self) -> Prepared:
        """The next request; raises StopIteration where a schedule ends, and REFUSALS."""
        if self._waiting is not None:
            waiting, self._waiting = self._waiting, None
            return waiting
        return self._prepare(next(self._items))

    def put_back(self, prepared: Prepared) -> None:
        """Give back the request that was drawn last: it is the next one again."""
        self._waiting = prepared

    def first_body(self) -> bytes:
        """The body of the first request, of a conversation's first turn."""
        body = self.first().body
        if isinstance(body, bytes):
            return body
        first_turn = prepare(self.api, body.turns[0].messages, body.parameters).body
        return first_turn if isinstance(first_turn, bytes) else b"{}"

    def test_request(self) -> Prepared:
        """The first request with the shortest answer, to test the connection with."""
        self.first()
        if self._first is None:
            raise AssertionError("first() sets it")
        messages = self._first.messages
        if is_conversation(messages):
            messages = messages[0].messages
        parameters = self._first.parameters(self.arguments)
        extra = {name: value for name, value in (parameters.extra_args or {}).items() if name != "min_tokens"}
        short = parameters.model_copy(update={"max_tokens": 1, "min_tokens": None, "extra_args": extra})
        return prepare(self.api, messages, short, self._first)

    def _prepare(self, item: Item) -> Prepared:
        parameters = item.parameters(self.arguments)
        if isinstance(parameters.max_tokens, list):
            length = self.random.randint(*parameters.max_tokens)
            parameters = parameters.model_copy(update={"max_tokens": length})
        if is_conversation(item.messages):
            headers = dict(item.headers) if item.headers else None
            return Prepared(Talk(item.messages, parameters), headers, item.request_id, item.at_s)
        return prepare(self.api, item.messages, parameters, item)

    def _all_items(self) -> Iterator[Item]:
        """The dataset's items, from its start again when it ends, unless it brings a schedule."""
        if self.arguments.prompt is not None:
            yield from map(Item, self._fixed(self.arguments.prompt))
        skip = self.offset
        while True:
            seen = 0
            for messages in self._messages():
                seen += 1
                if seen > skip:
                    yield messages if isinstance(messages, Item) else Item(messages)
            if seen <= skip:
                raise DatasetError(self._nothing(seen))
            if self.has_schedule:
                return
            skip = 0

    def _messages(self) -> Iterator[Any]:
        try:
            yield from self.dataset.build_messages()
        except REFUSALS:
            raise
        except Exception as error:  # a plugin's own code: whatever it raised, we name the plugin
            who = f"dataset plugin {type(self.dataset).__name__}: build_messages"
            raise PluginError(f"{who}: {blame(self.dataset, error)}") from error

    def _nothing(self, seen: int) -> str:
        name = self.arguments.dataset
        if seen:
            return f"dataset.offset: {self.offset} leaves nothing of dataset {name!r}, which has {seen} entries"
        return (
            f"dataset: {name!r} yields nothing; is its file empty, or do minPromptLength and maxPromptLength"
            " leave everything out?"
        )

    def _fixed(self, prompt: str) -> Iterator[Any]:
        if prompt.startswith("@"):
            try:
                prompt = Path(prompt[1:]).read_text(encoding="utf-8")
            except OSError as error:
                raise DatasetError(f"dataset.prompt: cannot read {prompt[1:]!r}: {error.strerror}") from None
        chat: list[Message] = [{"role": "user", "content": prompt}]
        while True:
            yield chat if self.arguments.apply_chat_template else prompt


def is_conversation(messages: Any) -> bool:
    """Whether a dataset's item is a Conversation: a list of Turns."""
    return isinstance(messages, list) and bool(messages) and isinstance(messages[0], Turn)


def prepare(api: ApiPluginBase, messages: Any, parameters: Arguments, item: Item | None = None) -> Prepared:
    """The body for a dataset's item; raises PluginError when the plugin cannot build it."""
    name = type(api).__name__
    try:
        body = api.build_request(messages, parameters)
        if not body:
            raise PluginError(f"API plugin {name}: build_request returned nothing for {str(messages)[:200]!r}")
        headers, request_id = api.extract_body_meta(body, {})
        content = orjson.dumps(body)
    except PluginError:
        raise
    except Exception as error:  # a plugin's own code: whatever it raised, we name the plugin
        raise PluginError(f"API plugin {name}: build_request: {blame(api, error)}") from error
    if item is None:
        return Prepared(content, headers or None, request_id)
    headers = {**headers, **(item.headers or {})}
    return Prepared(content, headers or None, item.request_id or request_id, item.at_s)
