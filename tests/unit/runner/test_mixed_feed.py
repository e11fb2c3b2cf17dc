"""Requests of several workloads: one order for all runners, each workload through its own dataset."""

from collections.abc import Iterator
from typing import Any

import orjson
import pytest

from perfbench_api.resource import SpecError
from perfbench_plugins.api.openai_api import OpenaiPlugin
from perfbench_plugins.arguments import Arguments
from perfbench_plugins.datasets.base import DatasetError, DatasetPluginBase, Item
from perfbench_runner.load.feed import Feed
from perfbench_runner.load.mix import Mix
from perfbench_runner.load.mixed_feed import MixedFeed

WEIGHTS = [3, 1, 2]


class Numbers(DatasetPluginBase):
    def build_messages(self) -> Iterator[Any]:
        for number in range(7):
            yield [{"role": "user", "content": f"{number} {self.random.random()}"}]


class Broken(DatasetPluginBase):
    def build_messages(self) -> Iterator[Any]:
        yield [{"role": "user", "content": "fine"}]
        raise DatasetError("line 2 is broken")


class Recorded(DatasetPluginBase):
    provides_arrival_schedule = True

    def build_messages(self) -> Iterator[Any]:
        yield Item([{"role": "user", "content": "a"}], at_s=0.1)


def feed_of(name: str, dataset: type[DatasetPluginBase] = Numbers, **values: Any) -> Feed:
    arguments = Arguments(
        url="http://x/v1/chat/completions", model=f"model-{name}", apply_chat_template=True, random_seed=5, **values
    )
    return Feed(arguments, dataset, OpenaiPlugin(arguments), name)


def mixed(*names: str, **values: Any) -> MixedFeed:
    names = names or ("a", "b", "c")
    return MixedFeed([feed_of(name, **values) for name in names], Mix(WEIGHTS[: len(names)], "5/mix"))


def drawn(feed: MixedFeed, count: int) -> list[tuple[int, int | None, bytes]]:
    found = [next(feed) for _ in range(count)]
    return [(each.kind, each.entry, each.body) for each in found]  # type: ignore[misc]  # no conversations


def test_each_workload_goes_through_its_own_dataset_with_its_own_parameters() -> None:
    feed = MixedFeed([feed_of("a", max_tokens=3), feed_of("b", max_tokens=[5, 9])], Mix([3, 1], "5/mix"))
    found = drawn(feed, 40)
    for kind, model, lengths in ((0, "model-a", {3}), (1, "model-b", {5, 6, 7, 8, 9})):
        own = [(entry, orjson.loads(body)) for number, entry, body in found if number == kind]
        assert [entry for entry, _ in own] == list(range(30 if kind == 0 else 10))
        assert {body["model"] for _, body in own} == {model}
        assert {body["max_tokens"] for _, body in own} <= lengths


@pytest.mark.parametrize("runners", [1, 2, 3, 5, 16])
def test_requests_of_all_runners_are_those_of_one(runners: int) -> None:
    whole, parts = drawn(mixed(), 96), list[Any]([None] * 96)
    for runner in range(runners):
        feed = mixed()
        feed.skip(runner)
        for position in range(runner, 96, runners):
            parts[position] = drawn(feed, 1)[0]
            feed.skip(runners - 1)
    assert parts == whole


@pytest.mark.parametrize("positions", [[0], [7], [30, 5], [12, 12], [50, 0, 31]])
def test_a_request_is_the_same_wherever_a_stage_begins(positions: list[int]) -> None:
    whole, feed = drawn(mixed(), 60), mixed()
    for position in positions:
        feed.start_at(position)
        kind, entry, body = drawn(feed, 1)[0]
        assert (kind, entry) == whole[position][:2]
        if (entry or 0) < 7:  # a second pass draws other words: it is another prompt
            assert body == whole[position][2]


def test_what_is_put_back_comes_again_and_what_is_passed_over_has_its_kind() -> None:
    whole, feed = drawn(mixed(), 10), mixed()
    first = next(feed)
    feed.put_back(first)
    assert drawn(feed, 3) == whole[:3]
    assert [feed.pass_over(skipped) for skipped in (0, 2, 1)] == [whole[place][0] for place in (3, 6, 8)]


def test_a_workloads_offset_is_its_own() -> None:
    feed = MixedFeed([feed_of("a", dataset_offset=2), feed_of("b")], Mix([1, 1], "5/mix"))
    feed.start_at(0)
    assert sorted((kind, entry) for kind, entry, _ in drawn(feed, 2)) == [(0, 2), (1, 0)]


def test_each_workload_tests_the_connection() -> None:
    feed = mixed()
    feed.first()
    found = feed.test_requests()
    assert [each.kind for each in found] == [0, 1, 2]
    bodies = [orjson.loads(each.body) for each in found]  # type: ignore[arg-type]  # no conversations
    assert [body["model"] for body in bodies] == ["model-a", "model-b", "model-c"]


def test_what_a_dataset_refuses_names_its_workload() -> None:
    feed = MixedFeed([feed_of("a"), feed_of("b", Broken)], Mix([1, 1], "5/mix"))
    feed.first()
    with pytest.raises(DatasetError, match="workload b: line 2 is broken"):
        drawn(feed, 10)


def test_recorded_times_cannot_be_mixed() -> None:
    feed = MixedFeed([feed_of("a"), feed_of("b", Recorded)], Mix([1, 1], "5/mix"))
    with pytest.raises(SpecError, match=r"workload b: dataset .* has recorded times, which cannot be mixed"):
        feed.first()


def entries_of(feed: MixedFeed, count: int) -> dict[int, list[int | None]]:
    found: dict[int, list[int | None]] = {0: [], 1: [], 2: []}
    for kind, entry, _ in drawn(feed, count):
        found[kind].append(entry)
    return found


@pytest.mark.parametrize("sent", [[10, 10, 10], [4, 7, 1], [0, 0, 9], [10, 3, 10]])
def test_the_order_goes_on_where_a_stage_stopped_and_the_prompts_where_no_stage_before_can_have_come(
    sent: list[int],
) -> None:
    """Each of these stages has ten set aside."""
    whole, feed = [kind for kind, _, _ in drawn(mixed(), 30)], mixed()
    turn, ends = 0, [0, 0, 0]
    for number, count in enumerate(sent):
        feed.start_at(10 * number, number, turn)
        found = drawn(feed, count)
        assert [kind for kind, _, _ in found] == whole[turn : turn + count]
        for kind in range(3):
            own = [entry for each, entry, _ in found if each == kind]
            assert own == list(range(min(own, default=0), min(own, default=0) + len(own)))
            assert all(entry >= ends[kind] for entry in own if entry is not None)
            ends[kind] = max([ends[kind], *(entry + 1 for entry in own if entry is not None)])
        turn += count
    if sent == [10, 10, 10]:
        assert sum(ends) == 30, "none is left out where every stage sends what was set aside"


def test_prompts_of_a_stage_do_not_depend_on_how_many_a_closed_loop_by_time_has_sent() -> None:
    begins = []
    for sent in (3, 8, 10, 11):
        feed = mixed()
        feed.start_at(0, 0, 0)
        feed.by_kind()
        feed.start_at(10, 1, sent)
        begins.append([min(entry or 0 for entry in own) for own in entries_of(feed, 12).values()])
    assert begins == [begins[0]] * 4


def test_after_a_warmup_the_order_begins_anew_and_the_prompts_do_not() -> None:
    whole, feed = drawn(mixed(), 12), mixed()
    feed.start_at(0, 0, 0)
    assert drawn(feed, 6) == whole[:6]
    feed.start_at(6, 0, 0)
    again = drawn(feed, 6)
    assert [kind for kind, _, _ in again] == [kind for kind, _, _ in whole[:6]]
    assert sorted((kind, entry) for kind, entry, _ in whole[:6] + again) == sorted(
        (kind, entry) for kind, entry, _ in whole
    )
