"""What to send, in order: entries of the dataset become ready-made bodies, shortly before they are due.

Runs in the control process, ahead of the load: neither a dataset's work nor a plugin's `build_request` ever delays a
stamp. One seeded sequence of numbered entries serves all shards, so any number of workers sends what one would.
"""

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import replace
from hashlib import blake2b
from math import inf
from pathlib import Path
from random import Random
from typing import Any

import orjson

from perfbench_api.resource import SpecError
from perfbench_plugins.api.base import ApiPluginBase
from perfbench_plugins.arguments import Arguments
from perfbench_plugins.blame import blame, is_signal
from perfbench_plugins.datasets.base import DatasetError, DatasetPluginBase, Item, Message, Turn, item_of
from perfbench_plugins.logger import get_logger
from perfbench_plugins.registry import BUILTIN, PluginError
from perfbench_plugins.tokens import TokenizerError
from perfbench_runner.load.heads import NoTextError, own_prompt, with_head
from perfbench_runner.load.mix import Mix, Order
from perfbench_runner.load.requests import Kind
from perfbench_runner.shard.request import NothingBuiltError, PreparedConversation, PreparedRequest, prepare_request

REFUSALS = (SpecError, DatasetError, PluginError, TokenizerError)
"""What datasets and plugins raise to say, in one line, what is wrong; anything else that they raise is a bug of theirs."""
MOST_LEFT_OUT = 10_000
"""So many entries in a row of which an API plugin builds nothing: it builds none at all."""
OF_THE_LOAD = ("url", "headers", "api", "number", "parallel", "rate", "open_loop", "duration", "warmup_num")
"""Arguments that are settled before a dataset is made."""


class Feed:
    """The sequence of a run's requests: endless, unless the dataset brings its own schedule.

    `make_dataset` makes the dataset plugin: again when an earlier entry is asked for, with the same seed and so with
    the same entries. Belongs to the control process.
    """

    def __init__(
        self,
        arguments: Arguments,
        make_dataset: Callable[[Arguments], DatasetPluginBase],
        api: ApiPluginBase,
        workload: str | None = None,
        target: str | None = None,
    ) -> None:
        """`workload`, `target`: their names, where the run has several."""
        self.all_arguments, self.api = arguments, api
        self.kinds: Sequence[Kind] = [Kind(api, workload, target)]
        self._is_ours = type(api).__module__.startswith(BUILTIN)
        self.arguments = arguments.for_stage(0)
        """What plugins see of the stage under way."""
        self._as_given = self.arguments.model_copy()
        """The same, before the dataset's own changes."""
        self.together = 1
        self._warned_of: set[str] = set()
        self._make_dataset = make_dataset
        self.dataset = make_dataset(self.arguments)
        self.has_schedule = bool(getattr(self.dataset, "provides_arrival_schedule", False))
        self.dataset_entries: int | None = None
        """How many entries the dataset has; None as long as its end was not seen."""
        self._items = self._all_items()
        self._position = 0
        """Number of the entry that `_items` yields next."""
        self._ahead: tuple[int, Item] | None = None
        """An entry that was drawn and is still the next one."""
        self._last: tuple[int, Item] | None = None
        """The entry of the request that was made last."""

    @property
    def offset(self) -> int:
        """Entries that are left out at the start."""
        return self.arguments.dataset_offset

    def first(self) -> PreparedRequest:
        """The first request, which stays the first: a wrong dataset or plugin shows here, before any load."""
        prepared = self._first()
        self.has_schedule = self.has_schedule or prepared.at_s is not None
        self._body_of(prepared)  # of a conversation it is built here for the first time
        return prepared

    def first_bodies(self) -> list[bytes]:
        """The body of the first request, of a conversation's first turn."""
        return [self._body_of(self._first())]

    def _first(self) -> PreparedRequest:
        """The first request that the API plugin builds."""
        self._peek_first()
        try:
            prepared = next(self)
        except StopIteration:  # a schedule of which nothing is built
            raise PluginError(f"API plugin {type(self.api).__name__}: build_request builds nothing") from None
        self.put_back(prepared)
        return prepared

    def _body_of(self, prepared: PreparedRequest) -> bytes:
        body = prepared.body
        if isinstance(body, bytes):
            return body
        first_turn = prepare_request(self.api, copied(body.turns[0].messages), body.parameters).body
        return first_turn if isinstance(first_turn, bytes) else b"{}"

    def test_requests(self) -> list[PreparedRequest]:
        """A request like the first one, with the shortest answer, to test the connection with.

        Its prompt is its own: a server that caches prefixes would answer the first measured request too soon.
        """
        self._first()
        _, item = self._ahead or (0, Item(""))
        messages = own_prompt(item.messages, Random(f"{self.arguments.random_seed}/test"))
        parameters = item.parameters(self.arguments)
        extra = {name: value for name, value in (parameters.extra_args or {}).items() if name != "min_tokens"}
        short = parameters.model_copy(update={"max_tokens": 1, "min_tokens": None, "extra_args": extra})
        return [prepare_request(self.api, messages, short, item)]

    def start_at(self, number: int, stage: int | None = None, turn: int | None = None) -> None:
        """Go on with this entry of the dataset, and with the arguments of this stage; raises REFUSALS.

        Entries in between are drawn and left out; for an earlier entry the dataset is begun again.
        """
        if stage is not None:
            self._keep_changes()
            self.arguments = self.dataset.query_parameters = self.all_arguments.for_stage(stage)
            self._as_given = self.arguments.model_copy()
        if number < self._next_number:
            self.dataset = self._make_dataset(self.arguments)
            self._items, self._position, self._ahead = self._all_items(), 0, None
        while self._next_number < number:
            if self.dataset_entries and number - self._position > self.dataset_entries:
                self._position += (number - self._position) // self.dataset_entries * self.dataset_entries
                continue
            self._draw()

    def _keep_changes(self) -> None:
        """What the dataset changed in its arguments holds for the run, as in EvalScope, where they are everybody's own."""
        names = type(self.arguments).model_fields
        changes = {
            name: now for name in names if (now := getattr(self.arguments, name)) != getattr(self._as_given, name)
        }
        for name in changes.keys() & set(OF_THE_LOAD):
            self._warn_once(f"dataset {self.arguments.dataset} sets {name}: without effect, give it as a flag")
            del changes[name]
        if changes:
            self.all_arguments = self.all_arguments.model_copy(update=changes)

    def _warn_once(self, text: str) -> None:
        if text not in self._warned_of:
            self._warned_of.add(text)
            get_logger().warning("%s", text)

    def __next__(self) -> PreparedRequest:
        """The next request; raises StopIteration where a schedule ends, and REFUSALS.

        Entries of which the API plugin builds nothing are left out, as EvalScope does.
        """
        left_out = 0
        while True:
            number, drawn = self._draw()
            item = self._with_head(number, drawn)
            try:
                prepared = self._prepare(number, item)
            except NothingBuiltError as error:
                left_out += 1
                if left_out >= (self.dataset_entries or MOST_LEFT_OUT):
                    raise
                self._warn_once(f"{str(error).partition(' for ')[0]} for some entries: they are left out")
                continue
            self._last = number, drawn
            return prepared._replace(entry=number, prompt_id=prompt_id(item.messages))

    def skip(self, count: int) -> float | None:
        """Leave out so many requests, which other runners send; raises as `next` does.

        Returns when the first of them is due, where the dataset says so. A user's own plugin may leave entries out, and
        nobody knows which before it was asked.
        """
        first_s = None
        for number in range(count):
            at_s = self._draw()[1].at_s if self._is_ours else next(self).at_s
            first_s = first_s if number else at_s
        return first_s

    def by_kind(self) -> "Sequence[Feed]":
        """The requests of each kind by themselves: there is one."""
        return [self]

    def orders(self, runner: int, runners: int) -> Sequence[Order]:
        """Whose turn it is: always the only one's."""
        return [Order(Mix([1], ""))]

    def pass_over(self, skipped: int) -> int:
        """The kind of a request that is never drawn: there is one."""
        return 0

    def skim(self, builds: bool) -> None:
        """Look at the next entry, and build its request if `builds`; raises as `next` does."""
        number, drawn = self._draw()
        if builds:
            with suppress(NothingBuiltError):  # left out, as in a run
                self._prepare(number, self._with_head(number, drawn))

    def put_back(self, prepared: PreparedRequest) -> None:
        """Give back the request that was drawn last: it is the next one again."""
        self._ahead = self._last

    @property
    def _next_number(self) -> int:
        return self._position if self._ahead is None else self._ahead[0]

    def _draw(self) -> tuple[int, Item]:
        if self._ahead is not None:
            drawn, self._ahead = self._ahead, None
            return drawn
        item = next(self._items)
        self._position += 1
        return self._position - 1, item

    def _peek_first(self) -> tuple[int, Item]:
        """The first entry that is sent; it stays the next one."""
        offset = self.arguments.dataset_offset
        try:
            self.start_at(offset)
            self._ahead = self._draw()
        except StopIteration:  # a schedule that is shorter than the offset
            raise DatasetError(self._nothing(self.dataset_entries or 0)) from None
        if self.dataset_entries is not None and offset >= self.dataset_entries:
            raise DatasetError(self._nothing(self.dataset_entries))
        return self._ahead

    def _prepare(self, number: int, item: Item) -> PreparedRequest:
        """The request for an entry that has its head; raises PluginError."""
        parameters = item.parameters(self.arguments)
        if isinstance(parameters.max_tokens, list):
            # By number and not in sequence, so that an entry has its length wherever the sequence begins.
            random = Random(f"{self.arguments.random_seed}/lengths/{number}")
            parameters = parameters.model_copy(update={"max_tokens": random.randint(*parameters.max_tokens)})
        if is_conversation(item.messages):
            headers = dict(item.headers) if item.headers else None
            conversation = PreparedConversation(item.messages[: self.arguments.max_turns], parameters)
            return PreparedRequest(conversation, headers, item.request_id, item.at_s)
        return prepare_request(self.api, copied(item.messages), parameters, item, item.max_tokens)

    def _with_head(self, number: int, item: Item) -> Item:
        """The item, with a random head before its prompt if the manifest asks for it; raises DatasetError."""
        if not self.arguments.unique:
            return item
        try:
            # By number and not in sequence, so that an entry has its head wherever the sequence begins.
            messages = with_head(item.messages, Random(f"{self.arguments.random_seed}/heads/{number}"))
        except NoTextError as error:
            raise DatasetError(f"dataset.unique: entry {number} cannot be made unique: {error}") from None
        return replace(item, messages=messages)

    def _all_items(self) -> Iterator[Item]:
        """The dataset's items, from its start again when it ends, unless it brings a schedule."""
        if self.arguments.prompt is not None:
            yield from map(Item, self._fixed(self.arguments.prompt))
        while True:
            seen = 0
            for messages in self._messages():
                if messages == [] and self.arguments.multi_turn:
                    continue  # a conversation without turns
                seen += 1
                yield self._item(messages)
            self.dataset_entries = seen
            if not seen:
                raise DatasetError(self._nothing(seen))
            if self.has_schedule:
                return

    def _item(self, messages: Any) -> Item:
        """The item that the dataset has yielded; raises PluginError when it is none."""
        try:
            return checked(item_of(messages))
        except (TypeError, ValueError, AttributeError) as error:
            who = f"dataset plugin {type(self.dataset).__name__}"
            raise PluginError(f"{who}: yielded {str(messages)[:200]!r}: {error}") from error

    def _messages(self) -> Iterator[Any]:
        try:
            yield from self.dataset.build_messages()
        except REFUSALS:
            raise
        except (Exception, SystemExit) as error:  # a plugin's own code: whatever it raised, we name the plugin
            if is_signal(error):
                raise
            who = f"dataset plugin {type(self.dataset).__name__}: build_messages"
            raise PluginError(f"{who}: {blame(self.dataset, error)}") from error

    def _nothing(self, seen: int) -> str:
        name = self.arguments.dataset
        if seen:
            offset = self.arguments.dataset_offset
            return f"dataset.offset: {offset} leaves nothing of dataset {name!r}, which has {seen} entries"
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


def checked(item: Item) -> Item:
    """The item, if its fields are what they should be; raises TypeError or ValueError."""
    is_time = item.at_s is None or (isinstance(item.at_s, (int, float)) and 0 <= item.at_s < inf)
    if not is_time or item.at_s is True:
        raise ValueError(f"at_s is {item.at_s!r}, no time in seconds")
    lengths = item.max_tokens if isinstance(item.max_tokens, list) else [item.max_tokens]
    if item.max_tokens is not None and not all(type(length) is int and length > 0 for length in lengths):
        raise ValueError(f"max_tokens is {item.max_tokens!r}, no number of tokens")
    if isinstance(item.max_tokens, list) and (len(lengths) != 2 or lengths[0] > lengths[1]):
        raise ValueError(f"max_tokens is {item.max_tokens!r}, no range [min, max]")
    for name, mapping in (("headers", item.headers), ("extra", item.extra)):
        if mapping is not None and not (isinstance(mapping, Mapping) and all(isinstance(key, str) for key in mapping)):
            raise TypeError(f"{name} is {mapping!r}, no mapping of names")
    return item


def copied(messages: Any) -> Any:
    """Messages for `build_request` to change: an entry may be built more than once, and EvalScope's plugins put things in."""
    if isinstance(messages, list) and messages and isinstance(messages[0], dict):
        return [dict(message) if isinstance(message, dict) else message for message in messages]
    return dict(messages) if isinstance(messages, dict) else messages


def is_conversation(messages: Any) -> bool:
    """Whether a dataset's item is a Conversation: a list of Turns."""
    return isinstance(messages, list) and bool(messages) and isinstance(messages[0], Turn)


def prompt_id(messages: Any) -> int:
    """A signed 64-bit number that tells prompts apart: the same one is the same prompt."""
    if is_conversation(messages):
        messages = messages[0].messages
    try:
        content = orjson.dumps(messages)
    except TypeError:
        content = repr(messages).encode(errors="replace")
    return int.from_bytes(blake2b(content, digest_size=8).digest(), "big", signed=True)
