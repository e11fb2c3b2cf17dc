"""Bodies, answers and gaps as they are stored: small, and still what EvalScope's scripts read."""

import base64
import pickle
import random
from typing import Any

import pytest

from perfbench_plugins import plain
from perfbench_plugins.reading import Messages
from perfbench_runner.results.encoding import FEWEST_MESSAGES, decode, encode, encode_gaps, encode_messages

EVENT = '{{"id": "chatcmpl-1", "object": "chat.completion.chunk", "choices": [{{"delta": {{"content": "{0}"}}}}]}}'


def as_the_script(text: str) -> Any:
    return pickle.loads(base64.b64decode(text))


@pytest.mark.parametrize("count", [0, 1, FEWEST_MESSAGES - 1, FEWEST_MESSAGES, 16, 500])
@pytest.mark.parametrize("word", ["word", "ä日🙂", 'a \\" quote', "\\u0000", ""])
def test_messages_come_back_by_the_script_and_by_our_reader(count: int, word: str) -> None:
    texts = [EVENT.format(f"{word}{number}") for number in range(count)]
    for messages in (Messages([text.encode() for text in texts]), texts):
        stored = encode_messages(messages)
        assert as_the_script(stored) == decode(stored) == texts


@pytest.mark.parametrize("odd", [b"\xff\xfe", b"\xe4\xb8", b"a\0b", b"", "\ud800", {"a": 1}, None, 5])
def test_odd_messages_are_the_same_in_a_long_answer_as_in_a_short_one(odd: Any) -> None:
    (alone,) = decode(encode_messages([odd]))
    for place in (0, 7, 15):
        messages: list[Any] = ["x"] * 15
        messages.insert(place, odd)
        stored = encode_messages(messages)
        expected = ["x"] * 15
        expected.insert(place, alone)
        assert as_the_script(stored) == decode(stored) == expected


def test_a_stream_takes_a_tenth_of_its_pickle() -> None:
    words = random.Random(1)
    texts = [EVENT.format("".join(words.choices("abcdefgh ", k=5))) for _ in range(500)]
    assert len(encode_messages(texts)) < len(encode(texts)) / 10


class _Evil:
    def __init__(self, *what: Any) -> None:
        self.what = what

    def __reduce__(self) -> Any:
        return self.what


@pytest.mark.parametrize(
    "value",
    [
        _Evil(print, ("owned",)),
        _Evil(eval, ("1",)),
        _Evil(getattr, (str, "split")),
        _Evil(str.join, ("", ["a"])),
        _Evil(bytes, (5,)),
        {"a": _Evil(exec, ("1",))},
    ],
)
def test_nothing_else_is_called(value: Any) -> None:
    with pytest.raises(pickle.UnpicklingError, match="refused to load"):
        decode(encode(value))


def test_what_may_be_called_cannot_be_changed_by_a_pickle() -> None:
    allowed = plain.ALLOWED["zlib", "decompress"]
    for state in ({"a": 1}, (None, {"__class__": str}), (None, {"limit": 1})):
        found = b"\x80\x04\x8c\x04zlib\x8c\x0adecompress\x93" + pickle.dumps(state, 4)[2:-1] + b"b."
        with pytest.raises((AttributeError, TypeError)):
            decode(base64.b64encode(found).decode())
    assert type(allowed).__name__ == "_Decompress"


def test_a_small_file_cannot_fill_the_memory(monkeypatch: pytest.MonkeyPatch) -> None:
    stored = encode_messages(["a" * 1000] * 100)
    monkeypatch.setattr(plain, "LARGEST_BYTES", 50_000)
    with pytest.raises(pickle.UnpicklingError, match="refused to decompress more than 50000 bytes"):
        decode(stored)


@pytest.mark.parametrize(
    ("gaps_s", "text"),
    [
        ([], "[]"),
        ([0.01, 0.0200004, 0.0200006], "[10000,20000,20001]"),
        ([0.0, 3600.5], "[0,3600500000]"),
        ([float("nan"), 0.5, float("inf")], "[500000]"),
        ([1e300, 0.5], "[500000]"),
        ([0.5, -1e300, 1e13], "[500000]"),
        ([9.9e8, -0.25, 1e9], "[990000000000000,-250000]"),
    ],
)
def test_gaps_are_whole_microseconds(gaps_s: list[float], text: str) -> None:
    assert encode_gaps(gaps_s) == text
