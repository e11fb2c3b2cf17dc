"""How the long parts of a request are stored: bodies and answers as EvalScope's analysis script reads them, and gaps.

That script says `pickle.loads(base64.b64decode(text))`. A pickle may call functions, and so an answer's messages are
stored as a pickle that decompresses and splits them: a stream of 500 tokens takes 4 kB instead of 160 kB, and less CPU
time than pickling its messages one by one. `decode` reads such pickles and no others.
"""

import base64
import io
import json
import pickle
import zlib
from collections.abc import Iterable
from struct import pack
from typing import Any

import orjson

from perfbench_plugins.plain import PlainUnpickler
from perfbench_plugins.reading import Messages

SEPARATOR = b"\0"
"""Between the messages of an answer. JSON has no such byte, except within a plugin's own texts."""
FEWEST_MESSAGES = 8
"""Messages of a stream are much alike. Whole bodies are not, and compressing them costs more CPU time than it saves."""
LONGEST_GAP_US = 10**15
"""Longer ones are a plugin's mistake; their sums would not fit into 64 bits."""


def _global(module: bytes, name: bytes) -> bytes:
    """Opcodes that look a function up."""
    return b"\x8c" + bytes([len(module)]) + module + b"\x8c" + bytes([len(name)]) + name + b"\x93"


# str.split(str(zlib.decompress(DATA), "utf-8", "replace"), "\0"), in the opcodes of protocol 4.
BEFORE_DATA = (
    b"\x80\x04" + _global(b"builtins", b"str.split") + _global(b"builtins", b"str") + _global(b"zlib", b"decompress")
)
AFTER_DATA = b"\x85R" + b"\x8c\x05utf-8\x8c\x07replace\x87R" + b"\x8c\x01" + SEPARATOR + b"\x86R."


def encode(value: Any) -> str:
    """base64 of the pickle, as EvalScope's documented analysis script decodes it."""
    return base64.b64encode(pickle.dumps(value, 4)).decode()


def encode_messages(messages: Any) -> str:
    """An answer's messages, for `decode` to make a list of texts of; of a stream compressed."""
    if isinstance(messages, Messages):
        raw = messages.raw
    else:
        texts = [_text(message) for message in messages or ()]
        raw = [text.encode(errors="replace") for text in texts]
    joined = SEPARATOR.join(raw)
    if len(raw) < FEWEST_MESSAGES or joined.count(SEPARATOR) != len(raw) - 1:
        return encode([message.decode(errors="replace") for message in raw])
    data = zlib.compress(joined, 1)
    return base64.b64encode(b"".join((BEFORE_DATA, b"B", pack("<I", len(data)), data, AFTER_DATA))).decode()


def _text(message: Any) -> str:
    if isinstance(message, bytes):
        return message.decode(errors="replace")
    return message if isinstance(message, str) else json.dumps(message, default=str)


def decode(text: str) -> Any:
    """The value of a column with bodies; raises UnpicklingError for anything but plain data."""
    return PlainUnpickler(io.BytesIO(base64.b64decode(text))).load()


def plain_request(request: Any) -> Any:
    """The body that was sent, as plain data: a plugin may leave JSON text, the body itself, or something else."""
    try:
        return orjson.loads(request if isinstance(request, (str, bytes)) else orjson.dumps(request, default=str))
    except (ValueError, TypeError):
        return str(request)


def encode_gaps(gaps_s: Iterable[float]) -> str:
    """Gaps in seconds as JSON text of whole microseconds; what is no finite number, or no time (30 years), is left out."""
    try:
        gaps_us = [round(gap_s * 1e6) for gap_s in gaps_s]
    except (ValueError, OverflowError):
        gaps_us = [round(gap_s * 1e6) for gap_s in gaps_s if abs(gap_s) < LONGEST_GAP_US / 1e6]
    if gaps_us and not -LONGEST_GAP_US < min(gaps_us) <= max(gaps_us) < LONGEST_GAP_US:
        gaps_us = [gap_us for gap_us in gaps_us if abs(gap_us) < LONGEST_GAP_US]
    return orjson.dumps(gaps_us).decode()
