"""What an answer says of itself beside its content: the model that made it, tokens so far, an HTTP error. Pure functions."""

from collections.abc import Callable, Sequence
from itertools import chain, pairwise
from typing import Any

import orjson

from perfbench_plugins.content import message_text
from perfbench_plugins.reading import Messages, Piece

LONGEST_ERROR = 1000
"""Characters that are kept of an HTTP error."""
LOOKED_AT = 3
"""Messages at the start and at the end of an answer in which the model's name is looked for."""
COUNTS = (b'"completion_tokens"', b'"predicted_n"')
"""What an event that counts the tokens so far has in it: usage by chunk, and llama.cpp's timings by token."""


def model_of(messages: Sequence[Any]) -> str | None:
    """The model's name in an answer, as OpenAI, Anthropic and Ollama have it; None where there is none."""
    count = len(messages)
    for index in chain(range(min(LOOKED_AT, count)), range(max(LOOKED_AT, count - LOOKED_AT), count)):
        message = messages[index]  # one by one: each is decoded when it is looked at, and the first has it as a rule
        if isinstance(message, dict):
            for where in (message, message.get("message"), message.get("response")):
                if isinstance(where, dict) and isinstance(where.get("model"), str) and where["model"]:
                    return str(where["model"])
    return None


def chunk_tokens(messages: Messages, look: Callable[[Any], Piece]) -> list[int]:
    """Tokens that came with each chunk of content after the first, where the server counts them event by event.

    Empty where it does not, or where its counts do not grow with every chunk.
    """
    if not messages or not any(name in messages.raw[len(messages) // 2] for name in COUNTS):
        return []
    counts = [_count_so_far(message) for message in messages if (piece := look(message)).text or piece.reasoning]
    if any(count is None for count in counts):
        return []
    steps = [later - earlier for earlier, later in pairwise(count for count in counts if count is not None)]
    return steps if all(step > 0 for step in steps) else []


def _count_so_far(message: Any) -> int | None:
    if not isinstance(message, dict):
        return None
    usage, timings = message.get("usage"), message.get("timings")
    count = usage.get("completion_tokens") if isinstance(usage, dict) else None
    if count is None and isinstance(timings, dict):
        count = timings.get("predicted_n")
    return count if type(count) is int else None


def http_error(body: bytes) -> str:
    """An HTTP error's text: the message in its JSON, else its start, and told where it is cut."""
    try:
        said = orjson.loads(body)
    except ValueError:
        said = None
    text = _error_message(said) or body.decode(errors="replace").strip()
    return text if len(text) <= LONGEST_ERROR else f"{text[:LONGEST_ERROR]}… (cut, {len(text)} characters)"


def _error_message(said: Any) -> str:
    """The words in an error object: {"error": {"message": …}}, {"error": …}, {"message": …}, {"detail": …}."""
    if not isinstance(said, dict):
        return ""
    inner = said.get("error", said)
    if isinstance(inner, dict):
        inner = next((inner[name] for name in ("message", "detail", "error") if inner.get(name)), inner)
    return inner if isinstance(inner, str) else orjson.dumps(inner).decode()


def words_of(body: dict[str, Any]) -> int | None:
    """Words of a body's prompt: fewer than its tokens, with any tokenizer. None where its prompt is somewhere else."""
    prompt = body.get("messages") or body.get("prompt")
    if isinstance(prompt, str):
        return len(prompt.split())
    if not isinstance(prompt, list):
        return None
    if isinstance(prompt[0], int):
        return len(prompt)
    return sum(len(message_text(message).split()) for message in prompt)
