"""What plugins written for EvalScope do with requests, dataset and arguments: the feed does as EvalScope does."""

from collections.abc import Iterator
from typing import Any

import orjson
import pytest

from perfbench_plugins.api.default_api import DefaultApiPlugin
from perfbench_plugins.api.openai_api import OpenaiPlugin
from perfbench_plugins.arguments import Arguments
from perfbench_plugins.datasets.base import DatasetPluginBase, Turn
from perfbench_plugins.registry import PluginError
from perfbench_runner.load.feed import Feed
from perfbench_runner.shard.request import PreparedConversation, PreparedRequest, prepare_request

HELLO = [{"role": "user", "content": "hello"}]


class Numbers(DatasetPluginBase):
    def build_messages(self) -> Iterator[Any]:
        for number in range(4):
            yield [{"role": "user", "content": str(number)}]


class Talks(DatasetPluginBase):
    def build_messages(self) -> Iterator[Any]:
        yield []
        yield [Turn(HELLO), Turn(HELLO), Turn(HELLO)]


class Choosy(OpenaiPlugin):
    wanted = "03"

    def build_request(self, messages: Any, param: Arguments | None = None) -> dict[str, Any]:
        body = super().build_request(messages, param)
        return body if messages[0]["content"] in self.wanted else None  # type: ignore[return-value]  # as EvalScope's do


class Nothing(Choosy):
    wanted = ""


class Plain(DefaultApiPlugin):
    """As EvalScope calls it: with messages alone."""

    def build_request(self, messages: Any) -> dict[str, Any]:  # type: ignore[override]
        return {"messages": messages, "max_tokens": self.param.max_tokens}


class Fixed(DefaultApiPlugin):
    def build_request(self, messages: Any, param: Arguments | None = None) -> dict[str, Any]:
        return {"messages": messages, "max_tokens": 100, "logit_bias": {7: -100}}


class OwnLimit(OpenaiPlugin):
    def set_request_max_tokens(self, request: dict[str, Any], max_tokens: int) -> None:
        request["max_completion_tokens"] = max_tokens
        del request["max_tokens"]


class Inserting(OpenaiPlugin):
    def build_request(self, messages: Any, param: Arguments | None = None) -> dict[str, Any]:
        messages[0]["content"] += "!"
        messages.insert(0, {"role": "system", "content": "S"})
        return super().build_request(messages, param)


class Changing(Numbers):
    def __init__(self, query_parameters: Arguments) -> None:
        super().__init__(query_parameters)
        query_parameters.max_tokens = 21
        query_parameters.extra_args = {"mine": 1}
        query_parameters.number = 3


def arguments(**values: Any) -> Arguments:
    return Arguments(**{"url": "http://x/v1/chat/completions", "model": "m", "max_tokens": 9, **values})


def feed(dataset: type[DatasetPluginBase], api: type[DefaultApiPlugin] = OpenaiPlugin, **values: Any) -> Feed:
    return Feed(arguments(**values), dataset, api(arguments(**values)))


def body_of(request: PreparedRequest) -> dict[str, Any]:
    assert isinstance(request.body, bytes)
    body: dict[str, Any] = orjson.loads(request.body)
    return body


def test_what_the_api_builds_nothing_of_is_left_out(capfd: pytest.CaptureFixture[str]) -> None:
    made = feed(Numbers, Choosy)
    assert made.first().entry == 0
    sent = [body_of(next(made))["messages"][0]["content"] for _ in range(5)]
    assert sent == ["0", "3", "0", "3", "0"]
    assert capfd.readouterr().err.count("left out") <= 1


def test_an_api_that_builds_nothing_at_all_is_told() -> None:
    with pytest.raises(PluginError, match="build_request returned nothing"):
        feed(Numbers, Nothing).first()


def test_a_conversation_has_at_most_as_many_turns_as_asked_for() -> None:
    conversation = next(feed(Talks, multi_turn=True, max_turns=2)).body
    assert isinstance(conversation, PreparedConversation)
    assert len(conversation.turns) == 2


def test_what_a_dataset_changes_in_its_arguments_holds() -> None:
    made = feed(Changing, number=[5, 5], parallel=[1, 2])
    made.first()
    for stage in (0, 1):
        made.start_at(stage, stage)
        assert body_of(next(made)).items() >= {"max_tokens": 21, "mine": 1}.items()


def test_a_dataset_that_would_change_the_load_is_told_of(monkeypatch: pytest.MonkeyPatch) -> None:
    told: list[str] = []
    monkeypatch.setattr("perfbench_runner.load.feed.Feed._warn_once", lambda _, text: told.append(text))
    made = feed(Changing, number=5)
    made.start_at(0, 0)
    assert told == ["dataset openqa sets number: without effect, give it as a flag"]


@pytest.mark.parametrize(
    ("api", "expected"),
    [
        (Plain, {"messages": HELLO, "max_tokens": 3}),
        (Fixed, {"messages": HELLO, "max_tokens": 3, "logit_bias": {"7": -100}}),
    ],
)
def test_a_turns_own_length_reaches_a_plugin_that_reads_no_param(
    api: type[DefaultApiPlugin], expected: dict[str, Any]
) -> None:
    made = api(arguments())
    own = arguments().model_copy(update={"max_tokens": 3})
    request = prepare_request(made, HELLO, own, max_tokens=3)
    assert body_of(request) == expected
    assert made.param.max_tokens == 9


def test_a_plugins_own_way_to_limit_an_answer_is_used() -> None:
    own = arguments().model_copy(update={"max_tokens": 3})
    body = body_of(prepare_request(OwnLimit(arguments()), HELLO, own, max_tokens=3, rid="r_t1"))
    assert (body["max_completion_tokens"], body["rid"], "max_tokens" in body) == (3, "r_t1", False)


@pytest.mark.parametrize("dataset", [Numbers, Talks])
def test_messages_that_are_changed_while_a_body_is_built_are_changed_once(dataset: type[DatasetPluginBase]) -> None:
    made = feed(dataset, Inserting, multi_turn=dataset is Talks)
    bodies = [orjson.loads(made.first_bodies()[0]), orjson.loads(made.first_bodies()[0])]
    assert bodies[0] == bodies[1]
    assert [message["role"] for message in bodies[0]["messages"]] == ["system", "user"]
