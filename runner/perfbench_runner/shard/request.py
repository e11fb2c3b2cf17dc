"""From a dataset's item to the body that is sent: by the feed ahead of time, and by a conversation turn by turn."""

from dataclasses import dataclass
from typing import Any

import orjson

from perfbench_plugins.api.base import ApiPluginBase
from perfbench_plugins.arguments import Arguments
from perfbench_plugins.blame import blame
from perfbench_plugins.body_meta import ARRIVAL_OFFSET
from perfbench_plugins.datasets.base import Item, Turn
from perfbench_plugins.registry import PluginError


@dataclass(frozen=True, slots=True)
class PreparedConversation:
    """A conversation to be played: its turns are built one by one, since each needs the answer before it."""

    turns: list[Turn]
    parameters: Arguments


@dataclass(frozen=True, slots=True)
class PreparedRequest:
    """A request ready to be sent, or a conversation."""

    body: bytes | PreparedConversation
    headers: dict[str, str] | None = None
    request_id: str | None = None
    at_s: float | None = None
    """When to send it, where the dataset says so: seconds from the start of its schedule."""
    entry: int | None = None
    """Number of the dataset's entry that it was made of; the connection test has none."""
    item: Item | None = None
    """That entry."""
    prompt_id: int | None = None
    """Signed 64-bit number that tells prompts apart."""
    is_warmup: bool = False
    """Sent in its place, but not measured: counted as a request of the warm-up."""


def prepare_request(
    api: ApiPluginBase, messages: Any, parameters: Arguments, item: Item | None = None
) -> PreparedRequest:
    """The request for a dataset's item; raises PluginError when the plugin cannot build it."""
    name = type(api).__name__
    try:
        body = api.build_request(messages, parameters)
        if not body:
            raise PluginError(f"API plugin {name}: build_request returned nothing for {str(messages)[:200]!r}")
        at_s = body.get(ARRIVAL_OFFSET)
        headers, request_id = api.extract_body_meta(body, {})
        content = orjson.dumps(body)
    except PluginError:
        raise
    except Exception as error:  # a plugin's own code: whatever it raised, we name the plugin
        raise PluginError(f"API plugin {name}: build_request: {blame(api, error)}") from error
    if item is None:
        return PreparedRequest(content, headers or None, request_id, at_s)
    headers, at_s = {**headers, **(item.headers or {})}, at_s if item.at_s is None else item.at_s
    return PreparedRequest(content, headers or None, item.request_id or request_id, at_s, is_warmup=item.is_warmup)
