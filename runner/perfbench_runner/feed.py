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

from perfbench_plugins.api.base import ApiPluginBase
from perfbench_plugins.arguments import Arguments
from perfbench_plugins.datasets.base import DatasetError, DatasetPluginBase, Message
from perfbench_plugins.registry import PluginError


@dataclass(frozen=True, slots=True)
class Prepared:
    """A request ready to be sent."""

    body: bytes
    headers: dict[str, str] | None = None
    request_id: str | None = None


class Feed:
    """The endless sequence of a run's requests."""

    def __init__(self, arguments: Arguments, dataset: DatasetPluginBase, api: ApiPluginBase) -> None:
        self.arguments, self.dataset, self.api = arguments, dataset, api
        self.random = Random(f"{arguments.random_seed}/lengths")
        self._bodies = self._prepare_all()
        self._first: list[Prepared] = []
        self.offset = arguments.dataset_offset

    def first(self) -> Prepared:
        """The first request, which stays the first: a wrong dataset or plugin shows here, before any load."""
        if not self._first:
            self._first.append(next(self._bodies))
        return self._first[0]

    def __next__(self) -> Prepared:
        return self._first.pop() if self._first else next(self._bodies)

    def test_request(self) -> Prepared:
        """The first request with the shortest answer, to test the connection with."""
        return prepare(self.api, orjson.loads(self.first().body), self.arguments.model_copy(update={"max_tokens": 1}))

    def _prepare_all(self) -> Iterator[Prepared]:
        for messages in self._messages():
            yield prepare(self.api, messages, self._parameters())

    def _parameters(self) -> Arguments:
        length = self.arguments.max_tokens
        if not isinstance(length, list):
            return self.arguments
        return self.arguments.model_copy(update={"max_tokens": self.random.randint(*length)})

    def _messages(self) -> Iterator[Any]:
        """The dataset's items, from its start again when it ends."""
        if self.arguments.prompt is not None:
            yield from self._fixed(self.arguments.prompt)
        skip = self.offset
        while True:
            seen = 0
            for messages in self.dataset.build_messages():
                seen += 1
                if seen > skip:
                    yield messages
            if seen <= skip:
                raise DatasetError(self._nothing(seen))
            skip = 0

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


def prepare(api: ApiPluginBase, messages: Any, parameters: Arguments) -> Prepared:
    """The body for a dataset's item; raises PluginError when the plugin cannot build it."""
    name = type(api).__name__
    try:
        body = api.build_request(messages, parameters)
        if not body:
            raise PluginError(f"API plugin {name}: build_request returned nothing for {str(messages)[:200]!r}")
        headers, request_id = api.extract_body_meta(body, {})
        return Prepared(orjson.dumps(body), headers or None, request_id)
    except PluginError:
        raise
    except Exception as error:  # a plugin's own code: whatever it raised, we name the plugin
        raise PluginError(f"API plugin {name}: build_request: {type(error).__name__}: {error}") from error
