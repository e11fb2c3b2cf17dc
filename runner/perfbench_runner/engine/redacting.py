"""Secrets out of what came back: an endpoint may echo the key that it was sent, whole, in part, or token by token.

What is hidden keeps its length: JSON stays JSON, and each piece of the body its place and its time.
"""

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

import orjson

from perfbench_api.redaction import KNOWN, Redactor, is_secret_name
from perfbench_plugins.api.default_api import DefaultApiPlugin
from perfbench_plugins.benchmark_data import BenchmarkData
from perfbench_plugins.decoding import decoded
from perfbench_plugins.exchange import Exchange
from perfbench_plugins.reading import Messages, Piece


def redactor_for(headers: Mapping[str, str] | None) -> Redactor:
    """What knows the run's secrets, and those in the headers of one request alone."""
    own = [value for name, value in (headers or {}).items() if is_secret_name(name)]
    if not own:
        return KNOWN
    redactor = Redactor()
    for value in (*KNOWN.names, *own):
        redactor.add(value)
    return redactor


def legible(exchange: Exchange, redactor: Redactor) -> Exchange:
    """The exchange as it may be read: decoded, and without secrets; the same object where there is nothing to do."""
    steps = decoded(exchange)
    while True:
        try:
            next(steps)
        except StopIteration as end:
            found: Exchange = end.value
            break
    if redactor.is_clean(found.body) and redactor.is_clean(found.error.encode(errors="replace")):
        return found
    return replace(found, body=redactor.masked(found.body), error=redactor.text(found.error))


def redact(data: BenchmarkData, api: Any, redactor: Redactor) -> None:
    """Hide secrets in a result: in the texts of plugins that send by themselves, and where tokens spell one out."""
    data.error = redactor.text(data.error) if isinstance(data.error, str) else data.error
    if isinstance(data.request, (str, bytes)):
        content = data.request.encode(errors="replace") if isinstance(data.request, str) else data.request
        data.request = data.request if redactor.is_clean(content) else redactor.masked(content).decode(errors="replace")
    else:
        data.request = redactor.data(data.request)
    messages = data.response_messages
    if isinstance(messages, Messages):
        texts = [text.encode(errors="replace") for text in (data.generated_text, data.reasoning_text)]
        if not all(map(redactor.is_clean, texts)):
            data.response_messages = _without_spelled(messages, api, redactor)  # type: ignore[assignment]
    else:
        data.response_messages = redactor.data(list(messages or ()))
    data.generated_text = redactor.text(data.generated_text or "")
    data.reasoning_text = redactor.text(data.reasoning_text or "")


def _without_spelled(messages: Messages, api: DefaultApiPlugin, redactor: Redactor) -> Messages:
    """The messages with the texts masked that together spell a secret."""
    pieces = [_look(api, message) for message in messages]
    raws = list(messages.raw)
    for kind in ("text", "reasoning"):
        parts = [getattr(piece, kind).encode(errors="replace") for piece in pieces]
        spans, begin = redactor.spans(b"".join(parts)), 0
        for number, part in enumerate(parts):
            if any(first < begin + len(part) and last > begin for first, last in spans):
                raws[number] = _with_stars(raws[number], part)
            begin += len(part)
    return Messages(raws)


def _with_stars(raw: bytes, text: bytes) -> bytes:
    """A message with its text masked, or the whole message where the text does not stand in it as it is."""
    written = orjson.dumps(text.decode(errors="replace"))
    if text and written in raw:
        return raw.replace(written, b'"%s"' % (b"*" * (len(written) - 2)))
    return b'{"hidden": true}' if text else raw


def _look(api: DefaultApiPlugin, message: Any) -> Piece:
    try:
        piece = api.read_message(message)
    except Exception:  # noqa: BLE001  # a plugin's own code, on a message that it could not read before either
        return Piece()
    return piece if isinstance(piece, Piece) and type(piece.text) is type(piece.reasoning) is str else Piece()
