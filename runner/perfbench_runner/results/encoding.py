"""How bodies and answers are stored: base64 of a pickle, as EvalScope's documented analysis script reads them."""

import base64
import io
import json
import pickle
from typing import Any

import orjson

from perfbench_plugins.plain import PlainUnpickler
from perfbench_plugins.reading import Messages


def plain_request(request: Any) -> Any:
    """The body that was sent, as plain data: a plugin may leave JSON text, the body itself, or something else."""
    try:
        return orjson.loads(request if isinstance(request, (str, bytes)) else orjson.dumps(request, default=str))
    except (ValueError, TypeError):
        return str(request)


def raw_messages(messages: Any) -> list[str]:
    """Messages as JSON texts, as the analysis script wants them."""
    if isinstance(messages, Messages):
        return [message.decode(errors="replace") for message in messages.raw]
    return [_text(message) for message in messages or ()]


def _text(message: Any) -> str:
    if isinstance(message, bytes):
        return message.decode(errors="replace")
    return message if isinstance(message, str) else json.dumps(message, default=str)


def encode(value: Any) -> str:
    """base64 of the pickle, as EvalScope's documented analysis script decodes it."""
    return base64.b64encode(pickle.dumps(value, 4)).decode()


def decode(text: str) -> Any:
    """The value of a column that `encode` wrote; raises UnpicklingError for anything but plain data."""
    return PlainUnpickler(io.BytesIO(base64.b64decode(text))).load()
