"""The text of chat messages, whose content is text or a list of parts; and bodies as JSON."""

import json
from typing import Any

import orjson


def content_text(content: Any) -> str:
    """The text of a message's content; parts that are no text, such as images, have none."""
    if isinstance(content, list):
        return "".join(part.get("text") or "" for part in content if isinstance(part, dict))
    return content or ""


def message_text(message: Any) -> str:
    """The text of one chat message, or of a bare text."""
    return content_text(message.get("content") if isinstance(message, dict) else message)


def json_of(body: Any) -> bytes:
    """A body as JSON; also one with keys that are no texts, or larger numbers, as Python's own encoder takes them."""
    try:
        # A copy: what orjson returns keeps the buffer it was written into, 4 kB and more for a body of 400 bytes.
        return bytes(memoryview(orjson.dumps(body)))
    except TypeError:
        return json.dumps(body, ensure_ascii=False).encode()
