"""Undo the Content-Encoding of a body. The stamps stay as they are; where their pieces end moves.

perfbench asks for `identity`. A server, or a proxy before it, that compresses all the same delays tokens until its
compressor lets go of them, which is part of what its users see; what it sends is an answer for all that.
"""

import zlib
from array import array
from collections.abc import Callable, Generator, Iterator
from dataclasses import replace
from importlib import import_module
from typing import Any

from perfbench_plugins.exchange import ERROR_BYTES, Exchange, FailureKind

MOST_BYTES = 256 * 2**20
"""A body that is longer than this, decoded, is refused: a few kilobytes can be compressed gigabytes."""
STEP_BYTES = 2**18
"""A step of decoding: about a millisecond."""
Decoder = Callable[[bytes], Iterator[bytes]]


class DecodingError(ValueError):
    """A body that cannot be decoded: says why, and the way out."""


def decoded(exchange: Exchange) -> Generator[None, None, Exchange]:
    """The exchange with its body decoded, in steps; the same object where nothing is encoded."""
    codings = [coding for name in exchange.content_encoding.split(",") if (coding := name.strip())]
    if not exchange.body or all(coding == "identity" for coding in codings):
        return exchange
    parts, ends, length, begin, told = list[bytes](), array("Q"), 0, 0, 0
    failure, error = exchange.failure, exchange.error
    try:
        decoders = [_decoder(coding) for coding in reversed(codings) if coding != "identity"]
        for end in exchange.ends:
            for part in _through(decoders, exchange.body[begin:end]):
                parts.append(part)
                length += len(part)
                if length > MOST_BYTES:
                    raise DecodingError(f"the body is larger than {MOST_BYTES} bytes when it is decoded")
                if length - told >= STEP_BYTES:
                    told = length
                    yield
            ends.append(length)
            begin = end
    except DecodingError as cause:
        if length > MOST_BYTES:  # nobody reads what is refused, and it would fill the disk
            parts, length = [b"".join(parts[:1])], min(length, len(parts[0]))
            ends = array("Q", [min(end, length) for end in ends])
        ends.extend([length] * (len(exchange.ends) - len(ends)))
        if not failure:
            failure, error = FailureKind.PROTOCOL, str(cause)
    body = b"".join(parts)
    if failure.startswith("http_"):  # its text is the body's beginning
        error = body[:ERROR_BYTES].decode(errors="replace")
    return replace(exchange, body=body, ends=ends, content_encoding="", failure=failure, error=error)


def _through(decoders: list[Decoder], data: bytes) -> Iterator[bytes]:
    """A piece of the body through one decoder after the other."""
    if not decoders:
        yield data
        return
    first, *others = decoders
    for part in first(data):
        yield from _through(others, part)


def _decoder(coding: str) -> Decoder:
    """What undoes one coding; raises DecodingError where nothing does."""
    if coding in ("gzip", "x-gzip"):
        return _Zlib("gzip", 31)
    if coding == "deflate":
        return _Zlib("deflate", 15)
    if coding == "br":
        return _plain("br", _optional("br", "brotli", "brotlicffi").Decompressor().process)
    if coding == "zstd":
        module = _optional("zstd", "compression.zstd", "backports.zstd", "zstandard")
        makes = module.ZstdDecompressor()
        return _plain("zstd", (makes.decompressobj() if hasattr(makes, "decompressobj") else makes).decompress)
    raise DecodingError(f"the server's Content-Encoding is {coding!r}, which nobody here can undo; {WAY_OUT}")


WAY_OUT = (
    "perfbench asks for none (Accept-Encoding: identity): switch compression off in the server or the proxy before it"
)


def _optional(coding: str, *modules: str) -> Any:
    for name in modules:
        try:
            return import_module(name)
        except ImportError:
            continue
    package = modules[0] if coding == "br" else modules[-1]
    raise DecodingError(f"the server's Content-Encoding is {coding!r}: pip install {package}, or {WAY_OUT}")


def _broken(coding: str, error: Exception) -> DecodingError:
    return DecodingError(f"the body is no {coding}, which Content-Encoding says it is: {error}")


def _plain(coding: str, decode: Callable[[bytes], bytes]) -> Decoder:
    def feed(data: bytes) -> Iterator[bytes]:
        try:
            part = decode(data)
        except Exception as error:  # noqa: BLE001  # each module has its own
            raise _broken(coding, error) from None
        yield part

    return feed


class _Zlib:
    """gzip, of one member or several, and deflate, with zlib's header as it should be or without as some send it."""

    def __init__(self, coding: str, window: int) -> None:
        self._coding, self._window = coding, window
        self._object = zlib.decompressobj(window)
        self._is_new = True

    def __call__(self, data: bytes) -> Iterator[bytes]:
        """What the data decodes to, at most a step's bytes at a time."""
        while True:
            try:
                part = self._object.decompress(data, STEP_BYTES)
            except zlib.error as error:
                if not (self._coding == "deflate" and self._is_new and self._window > 0):
                    raise _broken(self._coding, error) from None
                self._window = -15
                self._object = zlib.decompressobj(self._window)
                continue
            self._is_new = False
            yield part
            data = self._object.unconsumed_tail
            if self._object.eof:
                data = self._object.unused_data.lstrip(b"\0")  # what pads a member is none
                self._object = zlib.decompressobj(self._window)
            if not data and len(part) < STEP_BYTES:
                return
