"""The sequence of requests: the same entries under the same numbers, wherever it begins."""

from collections.abc import Iterator
from typing import Any

import orjson
import pytest

from perfbench_plugins.api.openai_api import OpenaiPlugin
from perfbench_plugins.arguments import Arguments
from perfbench_plugins.datasets.base import DatasetError, DatasetPluginBase, Item
from perfbench_runner.load.feed import Feed, prompt_id
from perfbench_runner.shard.request import PreparedRequest


class Numbers(DatasetPluginBase):
    """As many entries as `entries`, each with a random word that only the seed fixes."""

    entries = 5

    def build_messages(self) -> Iterator[Any]:
        for number in range(self.entries):
            yield [{"role": "user", "content": f"{number} {self.random.random()}"}]


class AsManyAsAsked(DatasetPluginBase):
    """As EvalScope's plugins do it: `param.number` is the number of the stage under way."""

    def build_messages(self) -> Iterator[Any]:
        for number in range(self.query_parameters.number):  # type: ignore[arg-type]  # a stage's own number
            yield [{"role": "user", "content": str(number)}]


class Recorded(DatasetPluginBase):
    provides_arrival_schedule = True

    def build_messages(self) -> Iterator[Any]:
        for number in range(3):
            yield Item([{"role": "user", "content": str(number)}], at_s=number / 10)


def feed(dataset: type[DatasetPluginBase] = Numbers, **values: Any) -> Feed:
    arguments = Arguments(url="http://x/v1/chat/completions", model="m", apply_chat_template=True, **values)
    return Feed(arguments, dataset, OpenaiPlugin(arguments))


def drawn(made: Feed, count: int) -> list[PreparedRequest]:
    return [next(made) for _ in range(count)]


def test_entries_are_numbered_on_where_the_dataset_begins_again() -> None:
    made = feed()
    assert [request.entry for request in drawn(made, 12)] == list(range(12))
    assert made.dataset_entries == 5


@pytest.mark.parametrize("numbers", [[0], [3], [4, 2], [7, 0, 7], [12, 11], [1, 1, 1], [500, 3]])
def test_an_entry_is_the_same_wherever_the_sequence_begins(numbers: list[int]) -> None:
    whole = {request.entry: request.body for request in drawn(feed(), 20)}
    made = feed()
    for number in numbers:
        made.start_at(number)
        request = next(made)
        assert request.entry == number
        if number < 5:  # a second pass draws other words: it is another prompt
            assert request.body == whole[number]


def test_an_entry_keeps_its_drawn_length_wherever_the_sequence_begins() -> None:
    lengths = {request.entry: request.body for request in drawn(feed(max_tokens=[1, 1000]), 5)}
    made = feed(max_tokens=[1, 1000])
    made.start_at(3)
    assert next(made).body == lengths[3]
    assert len({*lengths.values()}) == 5


def test_going_on_is_not_beginning_again() -> None:
    made = feed()
    before = made.dataset
    drawn(made, 2)
    made.start_at(2)
    made.start_at(4)
    assert made.dataset is before
    made.start_at(1)
    assert made.dataset is not before


def test_what_is_put_back_comes_again() -> None:
    made = feed()
    first, second = drawn(made, 2)
    made.put_back(second)
    assert next(made).entry == second.entry == first.entry + 1  # type: ignore[operator]  # both have a number


def test_the_first_request_can_be_asked_for_as_often_as_one_likes() -> None:
    made = feed(dataset_offset=2)
    assert made.first().entry == made.first().entry == 2
    made.test_requests()
    assert [request.entry for request in drawn(made, 2)] == [2, 3]


@pytest.mark.parametrize("offset", [5, 6, 99])
def test_an_offset_that_leaves_nothing_is_told(offset: int) -> None:
    with pytest.raises(DatasetError, match=f"offset: {offset} leaves nothing of dataset .*, which has 5 entries"):
        feed(dataset_offset=offset).first()


@pytest.mark.parametrize("offset", [3, 9])
def test_an_offset_that_leaves_nothing_of_a_schedule_is_told(offset: int) -> None:
    with pytest.raises(DatasetError, match="leaves nothing"):
        feed(Recorded, dataset_offset=offset).first()


def test_a_schedule_is_played_once() -> None:
    made = feed(Recorded)
    assert [request.at_s for request in drawn(made, 3)] == [0.0, 0.1, 0.2]
    with pytest.raises(StopIteration):
        next(made)
    made.start_at(0)
    assert next(made).at_s == 0.0


def test_a_plugin_sees_the_numbers_of_the_stage_under_way() -> None:
    made = feed(AsManyAsAsked, number=[2, 3], parallel=[1, 4])
    assert [request.entry for request in drawn(made, 2)] == [0, 1]
    made.start_at(2, stage=1)
    assert made.arguments.parallel == 4
    bodies = [request.body for request in drawn(made, 3)]
    assert len({*bodies}) == 3


def test_prompts_are_told_apart_by_their_messages_alone() -> None:
    hello = [{"role": "user", "content": "Hello"}]
    assert prompt_id(hello) == prompt_id([{"role": "user", "content": "Hello"}])
    assert prompt_id(hello) != prompt_id("Hello")
    assert -(2**63) <= prompt_id(object()) < 2**63
    first, second = drawn(feed(AsManyAsAsked, number=1), 2)
    assert first.prompt_id == second.prompt_id


def text_of(request: PreparedRequest) -> str:
    return str(orjson.loads(request.body)["messages"][-1]["content"])  # type: ignore[arg-type]  # no conversation


def test_the_connection_test_has_a_prompt_of_its_own() -> None:
    made = feed()
    (test,), first = made.test_requests(), next(made)
    assert text_of(test) != text_of(first)
    assert orjson.loads(test.body)["max_tokens"] == 1  # type: ignore[arg-type]


@pytest.mark.parametrize("count", [1, 3, 16])
def test_unique_prompts_differ_also_where_the_dataset_repeats_them(count: int) -> None:
    made = drawn(feed(prompt="Why?", unique=True, random_seed=1), count)
    assert len({request.prompt_id for request in made}) == len({text_of(request) for request in made}) == count
    assert all(text_of(request).endswith(" Why?") for request in made)
    other = drawn(feed(prompt="Why?", unique=True, random_seed=2), count)
    assert not {text_of(request) for request in made} & {text_of(request) for request in other}


def test_a_unique_entry_keeps_its_head_wherever_the_sequence_begins_and_when_it_is_put_back() -> None:
    made = feed(unique=True)
    first, second = drawn(made, 2)
    made.put_back(second)
    assert text_of(next(made)) == text_of(second)
    made.start_at(0)
    assert text_of(next(made)) == text_of(first)


def test_an_entry_that_cannot_be_unique_is_refused() -> None:
    class Odd(DatasetPluginBase):
        def build_messages(self) -> Iterator[Any]:
            yield [{"role": "user", "content": None}]

    with pytest.raises(DatasetError, match=r"dataset\.unique: entry 0 cannot be made unique: there is no text"):
        feed(Odd, unique=True).first()
