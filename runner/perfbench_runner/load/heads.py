"""Random heads: a few words before a prompt, so that no server has its beginning in a cache.

A prefix cache compares prompts from their first token on. So the head comes first: before a system message, and before
what prompts share on purpose. All of it is pure: the random generator is passed in.
"""

from dataclasses import replace
from random import Random
from typing import Any

from perfbench_plugins.datasets.base import Turn
from perfbench_plugins.datasets.random_text import words

WORDS = 5
"""Words of a head: of the 900 there are, two of a million prompts have the same ones in one of a thousand runs."""
IDS = 4
"""Token ids of a head, where prompts are token ids."""
FIELDS = ("system", "instructions", "messages", "prompt", "input", "inputs", "query", "text", "texts")
"""Fields of whole bodies that hold a prompt: the first one that is there comes first for the model, too."""


class NoTextError(ValueError):
    """There is no text that a head could be put before."""


def head(random: Random) -> str:
    """A few words and a full stop, about six tokens."""
    return " ".join(random.choices(words(), k=WORDS)) + "."


def with_head(messages: Any, random: Random) -> Any:
    """What a dataset yielded, a random head before it; nothing is changed in place. Raises NoTextError.

    Of token ids the head is some of the prompt's own ids, since nobody knows which others there are.
    """
    if isinstance(messages, str):
        return f"{head(random)} {messages}"
    if isinstance(messages, dict):
        return _body_with_head(messages, random)
    if not isinstance(messages, list) or not messages:
        raise NoTextError(f"there is no text in {str(messages)[:80]!r}")
    first, *rest = messages
    if isinstance(first, Turn):
        return [replace(first, messages=with_head(first.messages, random)), *rest]
    if isinstance(first, int):
        return [*random.choices(messages, k=IDS), *messages]
    if isinstance(first, str):  # a batch, each text of which stands alone
        return [with_head(text, random) for text in messages]
    if not isinstance(first, dict):
        raise NoTextError(f"there is no text in {str(first)[:80]!r}")
    return [_message_with_head(first, random), *rest]


def own_prompt(messages: Any, random: Random) -> Any:
    """A short prompt of the same kind that shares nothing with this one, where its kind is known; else it, with a head.

    For the connection test: what it sends must not be in the server's cache when the first measured request comes.
    """
    if isinstance(messages, str):
        return head(random)
    if isinstance(messages, list) and messages:
        first = messages[0]
        if isinstance(first, Turn):
            return own_prompt(first.messages, random)
        if isinstance(first, int):
            return random.choices(messages, k=IDS)
        if isinstance(first, str):
            return [head(random)]
        if isinstance(first, dict) and {"role", "content"} <= first.keys():
            return [{"role": "user", "content": head(random)}]
    try:
        return with_head(messages, random)
    except NoTextError:
        return messages


def _body_with_head(body: dict[str, Any], random: Random) -> dict[str, Any]:
    for field in FIELDS:
        if body.get(field):
            return {**body, field: with_head(body[field], random)}
    raise NoTextError(f"there is no prompt in a body with the fields {', '.join(map(str, body))}")


def _message_with_head(message: dict[str, Any], random: Random) -> dict[str, Any]:
    content = message.get("content")
    if isinstance(content, str):
        return {**message, "content": with_head(content, random)}
    if isinstance(content, list):
        return {**message, "content": [{"type": "text", "text": head(random)}, *content]}
    raise NoTextError(f"there is no text in the message {str(message)[:80]!r}")
