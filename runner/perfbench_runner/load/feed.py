"""What to send, in order: items of the dataset become ready-made bodies, shortly before they are due.

Runs in the control process, ahead of the load: neither a dataset's work nor a plugin's `build_request` ever delays a
stamp. One seeded sequence serves all shards, so any number of workers sends what one would.
"""

from collections.abc import Iterator
from pathlib import Path
from random import Random
from typing import Any

from perfbench_api.resource import SpecError
from perfbench_plugins.api.base import ApiPluginBase
from perfbench_plugins.arguments import Arguments
from perfbench_plugins.blame import blame
from perfbench_plugins.datasets.base import DatasetError, DatasetPluginBase, Item, Message, Turn, item_of
from perfbench_plugins.registry import PluginError
from perfbench_plugins.tokens import TokenizerError
from perfbench_runner.shard.request import PreparedConversation, PreparedRequest, prepare_request

REFUSALS = (SpecError, DatasetError, PluginError, TokenizerError)
"""What datasets and plugins raise to say, in one line, what is wrong; anything else that they raise is a bug of theirs."""


class Feed:
    """The sequence of a run's requests: endless, unless the dataset brings its own schedule."""

    def __init__(self, arguments: Arguments, dataset: DatasetPluginBase, api: ApiPluginBase) -> None:
        self.arguments, self.dataset, self.api = arguments, dataset, api
        self.random = Random(f"{arguments.random_seed}/lengths")
        self.has_schedule = bool(getattr(dataset, "provides_arrival_schedule", False))
        self.offset = arguments.dataset_offset
        self._items = self._all_items()
        self._first: Item | None = None
        self._waiting: PreparedRequest | None = None

    def first(self) -> PreparedRequest:
        """The first request, which stays the first: a wrong dataset or plugin shows here, before any load."""
        if self._waiting is None:
            self._first = next(self._items)
            self._waiting = self._prepare(self._first)
            self.has_schedule = self.has_schedule or self._waiting.at_s is not None
            self.first_body()  # of a conversation it is built here for the first time
        return self._waiting

    def __next__(self) -> PreparedRequest:
        """The next request; raises StopIteration where a schedule ends, and REFUSALS."""
        if self._waiting is not None:
            waiting, self._waiting = self._waiting, None
            return waiting
        return self._prepare(next(self._items))

    def put_back(self, prepared: PreparedRequest) -> None:
        """Give back the request that was drawn last: it is the next one again."""
        self._waiting = prepared

    def first_body(self) -> bytes:
        """The body of the first request, of a conversation's first turn."""
        body = self.first().body
        if isinstance(body, bytes):
            return body
        first_turn = prepare_request(self.api, body.turns[0].messages, body.parameters).body
        return first_turn if isinstance(first_turn, bytes) else b"{}"

    def test_request(self) -> PreparedRequest:
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
        return prepare_request(self.api, messages, short, self._first)

    def _prepare(self, item: Item) -> PreparedRequest:
        parameters = item.parameters(self.arguments)
        if isinstance(parameters.max_tokens, list):
            length = self.random.randint(*parameters.max_tokens)
            parameters = parameters.model_copy(update={"max_tokens": length})
        if is_conversation(item.messages):
            headers = dict(item.headers) if item.headers else None
            return PreparedRequest(PreparedConversation(item.messages, parameters), headers, item.request_id, item.at_s)
        return prepare_request(self.api, item.messages, parameters, item)

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
                    yield item_of(messages)
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
