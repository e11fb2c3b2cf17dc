"""From a dataset's item to the body that is sent: by the feed ahead of time, and by a conversation turn by turn."""

import inspect
from collections.abc import Callable, Coroutine
from dataclasses import dataclass
from functools import cache
from typing import Any, NamedTuple

from perfbench_plugins.api.base import ApiPluginBase
from perfbench_plugins.arguments import Arguments
from perfbench_plugins.blame import blame, is_signal
from perfbench_plugins.body_meta import ARRIVAL_OFFSET
from perfbench_plugins.content import json_of
from perfbench_plugins.datasets.base import Item, Turn
from perfbench_plugins.registry import BUILTIN, PluginError


@dataclass(frozen=True, slots=True)
class PreparedConversation:
    """A conversation to be played: its turns are built one by one, since each needs the answer before it."""

    turns: list[Turn]
    parameters: Arguments


class PreparedRequest(NamedTuple):
    """A request ready to be sent, or a conversation."""

    body: bytes | PreparedConversation
    headers: dict[str, str] | None = None
    request_id: str | None = None
    at_s: float | None = None
    """When to send it, where the dataset says so: seconds from the start of its schedule."""
    entry: int | None = None
    """Number of the dataset's entry that it was made of; the connection test has none."""
    prompt_id: int | None = None
    """Signed 64-bit number that tells prompts apart."""
    is_warmup: bool = False
    """Sent in its place, but not measured: counted as a request of the warm-up."""
    kind: int = 0
    """Number of its kind among those of the run: of its workload."""


class NothingBuiltError(PluginError):
    """`build_request` returned nothing for a dataset's item: EvalScope's plugins say so that it is to be left out."""


def prepare_request(
    api: ApiPluginBase,
    messages: Any,
    parameters: Arguments,
    item: Item | None = None,
    max_tokens: int | None = None,
    rid: str | None = None,
) -> PreparedRequest:
    """The request for a dataset's item, or a turn with its own longest answer and name.

    Raises PluginError when the plugin cannot build it, NothingBuiltError when it does not want to.
    """
    name = type(api).__name__
    try:
        body = _checked(_built(api, messages, parameters), name, messages)
        if max_tokens is not None:
            _limit(api, body, max_tokens)
        if rid:
            body.setdefault("rid", rid)
        at_s = body.get(ARRIVAL_OFFSET)
        headers, request_id = api.extract_body_meta(body, {})
        content = json_of(body)
    except PluginError:
        raise
    except (Exception, SystemExit) as error:  # a plugin's own code: whatever it raised, we name the plugin
        if is_signal(error):
            raise
        raise _unbuilt(api, messages, parameters, error) from error
    if item is None:
        return PreparedRequest(content, headers or None, request_id, at_s)
    headers, at_s = {**headers, **(item.headers or {})}, at_s if item.at_s is None else item.at_s
    return PreparedRequest(content, headers or None, item.request_id or request_id, at_s, is_warmup=item.is_warmup)


def _checked(body: Any, name: str, messages: Any) -> dict[str, Any]:
    """What a plugin has built, if it is a body; raises PluginError."""
    if isinstance(body, Coroutine):
        body.close()
    if not isinstance(body, dict) and body:
        raise PluginError(f"API plugin {name}: build_request returned a {type(body).__name__}, and no dict for a body")
    if not body:
        raise NothingBuiltError(f"API plugin {name}: build_request returned nothing for {str(messages)[:200]!r}")
    return body


def _unbuilt(api: ApiPluginBase, messages: Any, parameters: Arguments, error: BaseException) -> PluginError:
    """Why there is no body, and whose mistake that is: of the text, of the dataset, or of the API plugin."""
    if isinstance(error, UnicodeEncodeError):
        half = error.object[error.start]
        return PluginError(f"a prompt or parameter holds {half!r}, half of a character, which cannot be sent")
    if type(api).__module__.startswith(BUILTIN) and not _takes(messages):
        what = f"{type(messages).__name__} {str(messages)[:80]!r}"
        return PluginError(f"dataset: yields the {what}, of which API {parameters.api} makes no request")
    return PluginError(f"API plugin {type(api).__name__}: build_request: {blame(api, error)}")


def _takes(messages: Any) -> bool:
    """Whether a dataset's entry is of a kind that APIs know: a text, a whole body, or a list of messages, texts or ids."""
    if isinstance(messages, list):
        return all(isinstance(each, (str, dict, int, list)) for each in messages)
    return isinstance(messages, (str, dict))


def _built(api: ApiPluginBase, messages: Any, parameters: Arguments) -> Any:
    """What the plugin builds. EvalScope gives it no `param`, so its plugins read `self.param`, or have no such parameter."""
    before = getattr(api, "param", parameters)  # a plugin may not have called its parent's __init__
    api.param = parameters
    try:
        return (
            api.build_request(messages, parameters)
            if _takes_param(type(api).build_request)
            else api.build_request(messages)
        )
    finally:
        api.param = before


@cache
def _takes_param(build_request: Callable[..., Any]) -> bool:
    """Whether a plugin's `build_request` has a second parameter."""
    try:
        inspect.signature(build_request).bind(None, None, None)
    except TypeError:
        return False
    return True


def _limit(api: ApiPluginBase, body: dict[str, Any], max_tokens: int) -> None:
    """A request's own longest answer, put into its body as a plugin of EvalScope's contract expects it."""
    plugin = type(api)
    has_own_way = not plugin.set_request_max_tokens.__module__.startswith(BUILTIN)
    if has_own_way or ("max_tokens" in body and not plugin.build_request.__module__.startswith(BUILTIN)):
        api.set_request_max_tokens(body, max_tokens)
