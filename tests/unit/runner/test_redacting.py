"""Secrets out of what came back: nothing else of it changes, neither its length nor its times."""

import json
from array import array
from typing import Any

import pytest

from perfbench_api import redaction
from perfbench_api.redaction import Redactor
from perfbench_plugins.api.default_api import DefaultApiPlugin
from perfbench_plugins.api.openai_api import OpenaiPlugin
from perfbench_plugins.arguments import Arguments
from perfbench_plugins.benchmark_data import BenchmarkData
from perfbench_plugins.exchange import Exchange
from perfbench_runner.engine import redacting
from perfbench_runner.engine.redacting import legible, redact, redactor_for

KEY = "planted-7Fq2ZtR9xW4mK8vB3nL6pQ1sD5"
API = OpenaiPlugin(Arguments(url="http://x", model="m"))


@pytest.fixture(autouse=True)
def known(monkeypatch: pytest.MonkeyPatch) -> Redactor:
    """What the process knows, of this test alone."""
    made = Redactor()
    for module in (redaction, redacting):
        monkeypatch.setattr(module, "KNOWN", made)
    made.add(KEY)
    return made


def stream(*texts: str, kind: str = "content") -> Exchange:
    """Tokens that came one a second."""
    events = [
        b"data: " + json.dumps({"choices": [{"index": 0, "delta": {kind: text}}]}).encode() + b"\n\n" for text in texts
    ]
    events.append(b"data: [DONE]\n\n")
    ends = array("Q", [sum(map(len, events[: number + 1])) for number in range(len(events))])
    stamps = array("d", [1.0 + number for number in range(len(events))])
    return Exchange(
        sent_s=0.5,
        end_s=99.0,
        status=200,
        content_type="text/event-stream",
        body=b"".join(events),
        ends=ends,
        stamps=stamps,
    )


def read(exchange: Exchange, api: DefaultApiPlugin = API, redactor: Redactor | None = None) -> BenchmarkData:
    redactor = redactor or redactor_for(None)
    data = api.read(legible(exchange, redactor), "{}")
    redact(data, api, redactor)
    return data


def raw(data: BenchmarkData) -> str:
    messages: Any = data.response_messages
    return b"\n".join(messages.raw).decode()


def test_what_has_no_secret_is_the_very_same() -> None:
    exchange = stream("a", "b")
    assert legible(exchange, redactor_for(None)) is exchange


@pytest.mark.parametrize("kind", ["content", "reasoning_content"])
@pytest.mark.parametrize("size", [1, 3, 7, 20, 100])
def test_tokens_that_spell_a_secret_are_masked_and_have_their_times(kind: str, size: int) -> None:
    tokens = ["My key is ", *(KEY[at : at + size] for at in range(0, len(KEY), size)), ", keep it."]
    data = read(stream(*tokens, kind=kind))
    assert data.success
    assert data.chunk_times == [1.0 + number for number in range(len(tokens))]
    assert len(data.response_messages) == len(tokens)
    pieces = [API.read_message(json.loads(text)) for text in raw(data).split("\n")]
    spelled = "".join(piece.text + piece.reasoning for piece in pieces)
    assert spelled.startswith("My key is *")
    assert spelled.endswith("*, keep it.")
    assert len(spelled) == len("".join(tokens))
    assert KEY not in data.generated_text + data.reasoning_text


def test_a_message_whose_text_is_not_found_in_it_is_left_out_whole() -> None:
    class Joins(OpenaiPlugin):
        def read_message(self, message: Any) -> Any:
            return super().read_message({"choices": [{"text": "".join(message["parts"]), "finish_reason": "stop"}]})

    body = b"".join(b'data: {"parts": ["%s", "%s"]}\n\n' % (KEY[at : at + 3].encode(), KEY[at + 3 : at + 6].encode())
                    for at in range(0, len(KEY), 6))  # fmt: skip
    exchange = Exchange(sent_s=0.5, end_s=2, status=200, content_type="text/event-stream", body=body)
    exchange.ends.append(len(body))
    exchange.stamps.append(1.0)
    data = read(exchange, Joins(API.param))
    assert set(raw(data).split("\n")) == {'{"hidden": true}'}


def test_a_key_of_one_request_alone_is_hidden_in_its_answer() -> None:
    own = "users-own-token-4711-abcdefgh"
    redactor = redactor_for({"X-User-Token": own, "X-Request-Id": "42-42-42-42"})
    data = read(stream(f"{own} and {KEY} and 42-42-42-42"), redactor=redactor)
    assert own not in raw(data)
    assert KEY not in raw(data)
    assert "42-42-42-42" in raw(data)
    assert own in raw(read(stream(own))), "it is no secret of the run"


def test_texts_of_plugins_that_send_by_themselves_are_hidden() -> None:
    data = BenchmarkData(
        request=json.dumps({"key": KEY}),
        error=f"refused {KEY}",
        generated_text=KEY,
        response_messages=[{"echo": [KEY]}, f"data: {KEY}", 5],
    )
    redact(data, API, redactor_for(None))
    assert KEY not in repr(data)
    assert json.loads(data.request)["key"] == "*" * len(KEY)
