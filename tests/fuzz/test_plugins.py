"""Whatever a plugin returns or raises, it is this request's failure, or refused in a line; the run goes on."""

import asyncio
from array import array
from collections.abc import Iterator
from contextlib import suppress
from types import SimpleNamespace
from typing import Any

import pytest
from hypothesis import example, given
from hypothesis import strategies as st
from odd_values import JUNK, tries

from perfbench_plugins.api.base import ApiPluginBase
from perfbench_plugins.api.default_api import DefaultApiPlugin, TokenCount
from perfbench_plugins.arguments import Arguments
from perfbench_plugins.benchmark_data import BenchmarkData
from perfbench_plugins.datasets.base import DatasetPluginBase, Item, Turn
from perfbench_plugins.exchange import Exchange
from perfbench_plugins.reading import Piece
from perfbench_runner.engine.intake import Intake
from perfbench_runner.load.feed import REFUSALS, Feed
from perfbench_runner.load.requests import Kind
from perfbench_runner.results.figures import summarise
from perfbench_runner.results.store import Store
from perfbench_runner.server.figures import server_figures
from perfbench_runner.shard.messages import Measurement, Wiring
from perfbench_runner.shard.plugin_sender import PluginSender
from perfbench_runner.shard.request import PreparedRequest
from perfbench_runner.shard.transport import Limits

ARGUMENTS = Arguments(url="http://127.0.0.1:9/v1", model="m")
ODD = st.one_of(JUNK, st.just(object()), st.just(ValueError("odd")), st.binary(max_size=4), st.just({1, 2}))


def given_or_raised(value: Any) -> Any:
    if isinstance(value, Exception):
        raise value
    return value


class Odd(DefaultApiPlugin):
    """Returns what the test tells it to."""

    def __init__(self, **returns: Any) -> None:
        super().__init__(ARGUMENTS)
        self.returns = returns

    def build_request(self, messages: Any, param: Any = None) -> Any:
        return given_or_raised(self.returns.get("build_request", {"messages": messages}))

    def read_message(self, message: Any) -> Any:
        return given_or_raised(self.returns.get("read_message", Piece("hi", is_last=True)))

    def parse_responses(self, responses: Any, request: Any = None, **kwargs: Any) -> Any:
        return given_or_raised(self.returns.get("parse_responses", (1, 2)))


class Sends(ApiPluginBase):
    """Sends its requests itself."""

    def __init__(self, result: Any, tokens: Any) -> None:
        super().__init__(ARGUMENTS)
        self.result, self.tokens = result, tokens

    async def process_request(self, client_session: Any, url: str, headers: dict[str, str], body: Any) -> Any:
        return given_or_raised(self.result)

    def parse_responses(self, responses: Any, request: Any = None, **kwargs: Any) -> Any:
        return given_or_raised(self.tokens)


@pytest.fixture(scope="module")
def results(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Store]:
    """A results file that all odd results go into; at the end it is summarised."""
    made = Store(tmp_path_factory.mktemp("fuzz"))
    made.set_stage(0, "c1", {"concurrency": 1, "requests": 5})
    made.begin_stage(0, 0.0, None)
    yield made
    made.end_stage(0, 10.0, 0.0)
    made.commit()
    (stage,) = summarise(made.db, server_figures)
    assert stage.requests.total == made.rows
    assert stage.model_dump_json()
    made.db.close()


def stored(api: Any, what: Any, results: Store) -> BenchmarkData:
    """The result as the intake makes it, and the store keeps it."""
    intake = Intake(SimpleNamespace(kinds=[Kind(api)]), *[None] * 5)  # type: ignore[arg-type]
    made = intake._result(SimpleNamespace(number=0), Measurement(1, 0.5, what), what, PreparedRequest(b"{}"))  # type: ignore[arg-type]
    results.add(made)
    return made.data


def answer(body: bytes, kind: str) -> Exchange:
    ends = array("Q", [len(body)])
    return Exchange(sent_s=0.5, end_s=2, status=200, content_type=kind, body=body, ends=ends, stamps=array("d", [1.0]))


PIECES = st.builds(Piece, ODD, ODD, ODD, ODD, ODD)
TOKENS = st.one_of(ODD, st.tuples(ODD, ODD), st.builds(lambda a, b: TokenCount(a, b, "tokenizer"), JUNK, JUNK))


@tries(150)
@given(st.one_of(ODD, PIECES, st.just(Piece("hi", is_last=True))), TOKENS, st.booleans())
@example(None, (1, 2), True)
@example(Piece(None), (1, 2), True)  # type: ignore[arg-type]
@example(Piece("a", error={"a": 1}), (1, 2), False)  # type: ignore[arg-type]
@example(Piece("hi", is_last=True), TokenCount(None, [], "tokenizer"), True)  # type: ignore[arg-type]
def test_what_a_plugin_makes_of_an_answer(results: Store, piece: Any, tokens: Any, is_stream: bool) -> None:
    api = Odd(read_message=piece, parse_responses=tokens)
    body, kind = (b"data: {}\n\ndata: {}\n\n", "text/event-stream") if is_stream else (b"{}", "application/json")
    data = stored(api, answer(body, kind), results)
    assert data.success is (not data.failure)
    assert data.success or data.error


FIELDS = sorted(BenchmarkData.__dataclass_fields__)


@tries(150)
@given(st.dictionaries(st.sampled_from(FIELDS), ODD, max_size=6), TOKENS)
@example({"success": None}, (1, 2))
@example({"no_content": object(), "is_last_turn": object(), "input_num_turns": 1, "gap_tokens": 5}, (1, 2))
@example({"success": False, "status_code": "no"}, (1, 2))
@example({"token_source": b"x", "start_time": float("nan")}, (1, 2))
@example({"success": True, "chunk_times": None}, (1, 2))
@example({"success": True, "chunk_times": [1.0, "a"]}, (1, 2))
@example({"success": True, "response_messages": 5}, (1, 2))
@example({"success": True, "generated_text": 5, "error": b"x"}, (1, 2))
def test_what_a_plugin_that_sends_by_itself_returns(results: Store, fields: dict[str, Any], tokens: Any) -> None:
    data = BenchmarkData(success=True)
    for name, value in fields.items():
        setattr(data, name, None if isinstance(value, Exception) else value)
    asyncio.run(send_and_store(data, tokens, results))


@tries(20)
@given(ODD)
def test_anything_in_place_of_a_result(results: Store, value: Any) -> None:
    assert asyncio.run(send_and_store(value, (1, 2), results)).failure == "plugin"


async def send_and_store(value: Any, tokens: Any, results: Store) -> BenchmarkData:
    api = Sends(value, tokens)
    sender = PluginSender(Wiring("http://127.0.0.1:9/v1", {}, Limits(), {}, api, api))
    try:
        return stored(api, await sender.send(b"{}", None), results)
    finally:
        await sender.close()


ITEMS = st.one_of(
    ODD,
    st.builds(Item, ODD, at_s=ODD, max_tokens=ODD, headers=ODD, request_id=ODD, extra=ODD),
    st.lists(st.builds(Turn, ODD, max_tokens=ODD, tool_call_latency=ODD, rid=ODD), min_size=1, max_size=2),
)


@tries(150)
@given(st.lists(ITEMS, max_size=3), st.one_of(st.just({"a": 1}), ODD))
@example([{"__evalscope_headers": 5}], {"a": 1})
@example([Item("a", extra=None)], {"a": 1})  # type: ignore[arg-type]
def test_what_a_dataset_yields_and_a_plugin_builds(items: list[Any], body: Any) -> None:
    class Yields(DatasetPluginBase):
        def build_messages(self) -> Iterator[Any]:
            for item in items:
                yield given_or_raised(item)

    feed = Feed(ARGUMENTS, Yields, Odd(build_request=body))
    with suppress(*REFUSALS, StopIteration):
        feed.first()
        for _ in range(5):
            assert next(feed).body
