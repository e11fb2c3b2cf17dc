"""A body that a server has compressed, though nobody asked for it: the same answer, the same times."""

import gzip
import sys
import zlib
from array import array
from collections.abc import Callable
from random import Random
from types import ModuleType
from typing import Any

import pytest

from perfbench_plugins import decoding
from perfbench_plugins.api.openai_api import OpenaiPlugin
from perfbench_plugins.arguments import Arguments
from perfbench_plugins.decoding import decoded
from perfbench_plugins.exchange import Exchange

API = OpenaiPlugin(Arguments(url="http://x", model="m"))
EVENTS = [b'data: {"choices": [{"delta": {"content": "t%d "}}]}\n\n' % number for number in range(30)]
EVENTS.append(b"data: [DONE]\n\n")


def flushed(window: int, pieces: list[bytes]) -> list[bytes]:
    """The pieces as a server compresses them that flushes after each token."""
    packer = zlib.compressobj(wbits=window)
    found = [packer.compress(piece) + packer.flush(zlib.Z_SYNC_FLUSH) for piece in pieces]
    return [*found[:-1], found[-1] + packer.flush()]


def exchange(pieces: list[bytes], encoding: str, **more: Any) -> Exchange:
    """A response whose pieces came one a second."""
    ends = array("Q", [sum(map(len, pieces[: number + 1])) for number in range(len(pieces))])
    settings: dict[str, Any] = {"status": 200, "content_type": "text/event-stream", "end_s": 100.0} | more
    return Exchange(
        sent_s=0.5,
        stamps=array("d", [1.0 + number for number in range(len(pieces))]),
        ends=ends,
        body=b"".join(pieces),
        content_encoding=encoding,
        **settings,
    )


def run(found: Exchange) -> tuple[Exchange, int]:
    steps, count = decoded(found), 0
    while True:
        try:
            next(steps)
        except StopIteration as end:
            return end.value, count
        count += 1


@pytest.mark.parametrize(
    ("encoding", "window"), [("gzip", 31), ("x-gzip", 31), ("deflate", 15), ("deflate", -15), ("identity, gzip", 31)]
)
def test_tokens_of_a_compressed_stream_have_the_times_of_their_bytes(encoding: str, window: int) -> None:
    found = API.read(exchange(flushed(window, EVENTS), encoding), "{}")
    assert (found.failure, found.generated_text) == ("", "".join(f"t{number} " for number in range(30)))
    assert found.chunk_times == [1.0 + number for number in range(30)]


@pytest.mark.parametrize("size", [1, 2, 3, 7, 64, 5000])
def test_cutting_changes_nothing_but_the_times(size: int) -> None:
    body = gzip.compress(b"".join(EVENTS))
    pieces = [body[at : at + size] for at in range(0, len(body), size)]
    found = API.read(exchange(pieces, "gzip"), "{}")
    assert (found.failure, len(found.chunk_times)) == ("", 30)
    assert found.chunk_times == sorted(found.chunk_times)


def test_codings_are_undone_in_their_order_and_members_follow_each_other() -> None:
    half = len(EVENTS) // 2
    members = gzip.compress(b"".join(EVENTS[:half])) + gzip.compress(b"".join(EVENTS[half:])) + b"\0" * 20
    found = API.read(exchange([zlib.compress(members)], "gzip, deflate"), "{}")
    assert (found.failure, len(found.chunk_times)) == ("", 30)


def test_a_whole_answer_is_decoded_and_what_was_read_stays_as_it_was() -> None:
    raw = gzip.compress(b'{"choices": [{"message": {"content": "hi"}}], "usage": {"completion_tokens": 1}}')
    came = exchange([raw], "gzip", content_type="application/json")
    found = API.read(came, "{}")
    assert (found.failure, found.generated_text) == ("", "hi")
    assert came.body == raw


def test_the_text_of_an_http_error_is_legible() -> None:
    raw = gzip.compress(b'{"error": "no such model"}')
    came = exchange([raw], "gzip", status=404, failure="http_404", error=raw.decode(errors="replace"))
    found = API.read(came, "{}")
    assert (found.failure, found.error) == ("http_404", "no such model")


@pytest.mark.parametrize(
    ("encoding", "words"),
    [
        ("gzip", "the body is no gzip, which Content-Encoding says it is"),
        ("deflate", "the body is no deflate"),
        ("sdch", "Content-Encoding is 'sdch', which nobody here can undo; perfbench asks for none"),
        ("br", "pip install brotli, or perfbench asks for none"),
        ("zstd", "pip install zstandard, or perfbench asks for none"),
    ],
)
def test_what_cannot_be_undone_names_content_encoding(
    encoding: str, words: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    for module in ("brotli", "brotlicffi", "compression.zstd", "backports.zstd", "zstandard"):
        monkeypatch.setitem(sys.modules, module, None)
    found = API.read(exchange([b"data: x\n\n"], encoding), "{}")
    assert found.failure == "protocol"
    assert words in str(found.error)


def test_a_failure_of_the_transport_stays_the_cause() -> None:
    pieces = flushed(31, EVENTS)[:3]
    found = API.read(exchange(pieces, "gzip", failure="disconnected", error="the connection ended"), "{}")
    assert (found.failure, found.generated_text) == ("disconnected", "t0 t1 t2 ")


def test_a_bomb_is_refused_in_time(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(decoding, "MOST_BYTES", 2**20)
    found, _ = run(exchange([gzip.compress(b"\0" * 2**26)], "gzip"))
    assert (found.failure, len(found.body) <= 2**20 + decoding.STEP_BYTES) == ("protocol", True)
    assert len(found.body) == decoding.STEP_BYTES == found.ends[-1], "what is refused is not stored either"


@pytest.mark.parametrize("size", [1000, 2**18, 3 * 2**20 + 5])
def test_a_long_body_is_decoded_in_steps(size: int) -> None:
    body = Random(1).randbytes(size // 2) + b"\0" * (size - size // 2)
    found, steps = run(exchange([gzip.compress(body)], "gzip"))
    assert found.body == body
    assert list(found.ends) == [size]
    assert steps >= size // decoding.STEP_BYTES - 1


def module(name: str, **attributes: Any) -> ModuleType:
    made = ModuleType(name)
    vars(made).update(attributes)
    return made


class _Reverses:
    """Stands for a module that is not installed here."""

    process = decompress = staticmethod(lambda data: bytes(reversed(data)))

    def decompressobj(self) -> "_Reverses":
        return self


@pytest.mark.parametrize(
    ("encoding", "name", "attribute"), [("br", "brotli", "Decompressor"), ("zstd", "zstandard", "ZstdDecompressor")]
)
def test_modules_that_are_there_are_used(
    encoding: str, name: str, attribute: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    for other in ("compression.zstd", "backports.zstd"):
        monkeypatch.setitem(sys.modules, other, None)
    maker: Callable[[], _Reverses] = _Reverses
    monkeypatch.setitem(sys.modules, name, module(name, **{attribute: maker}))
    found, _ = run(exchange([b"cba", b"fed"], encoding))
    assert (found.body, list(found.ends)) == (b"abcdef", [3, 6])
