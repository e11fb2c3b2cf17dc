"""Plugins that return what is none, end the process, or are registered wrongly: one line that names them."""

import asyncio
from collections.abc import Iterator
from typing import Any

import pytest

from perfbench_plugins.api.openai_api import OpenaiPlugin
from perfbench_plugins.arguments import Arguments
from perfbench_plugins.blame import is_signal
from perfbench_plugins.datasets.base import DatasetPluginBase
from perfbench_plugins.registry import PluginError, register_api, register_dataset
from perfbench_runner.load.feed import Feed
from perfbench_runner.run.prepare import _own_headers
from perfbench_runner.shard.connection import Limits
from perfbench_runner.shard.messages import Wiring
from perfbench_runner.shard.plugin_sender import PluginSender
from perfbench_runner.shard.request import prepare_request
from perfbench_runner.signals import Interrupted

ARGUMENTS = Arguments(url="http://x/v1/chat/completions", model="m")


def api(**methods: Any) -> OpenaiPlugin:
    """A plugin of the user's own."""
    made: OpenaiPlugin = type("Mine", (OpenaiPlugin,), {"__module__": __name__, **methods})(ARGUMENTS)
    return made


async def a_coroutine(self: Any, messages: Any, param: Any = None) -> dict[str, Any]:
    return {}


def leaves(self: Any, *_: Any, **__: Any) -> Any:
    raise SystemExit(0)


def is_interrupted(self: Any, *_: Any, **__: Any) -> Any:
    raise Interrupted("SIGINT")


@pytest.mark.parametrize(
    ("build", "words"),
    [
        (lambda *_: "text", "build_request returned a str, and no dict for a body"),
        (lambda *_: [1], "build_request returned a list, and no dict for a body"),
        (a_coroutine, "build_request returned a coroutine, and no dict for a body"),
        (lambda *_: {"a": {1}}, "TypeError: "),
        (leaves, "SystemExit: 0"),
    ],
)
def test_what_is_no_body_is_the_plugin_s_mistake(build: Any, words: str) -> None:
    with pytest.raises(PluginError, match=r"^API plugin Mine: ") as caught:
        prepare_request(api(build_request=build), "hi", ARGUMENTS)
    assert words in str(caught.value)


@pytest.mark.parametrize("entry", [None, 5, {1, 2}, [None], object])
def test_an_entry_that_is_none_is_the_dataset_s_mistake(entry: Any) -> None:
    with pytest.raises(PluginError, match=r"^dataset: yields the .* of which API openai makes no request$"):
        prepare_request(OpenaiPlugin(ARGUMENTS), entry, ARGUMENTS)


@pytest.mark.parametrize("found", [None, 5, ["X"]])
def test_headers_that_are_none_are_the_plugin_s_mistake(found: Any) -> None:
    with pytest.raises(PluginError, match=r"^API plugin Mine: headers: "):
        _own_headers(api(headers=lambda *_: found), None)


def test_headers_are_texts() -> None:
    assert _own_headers(api(headers=lambda *_: {"X": 5}), None) == {"X": "5"}


def test_a_dataset_that_ends_the_process_is_told() -> None:
    class Ends(DatasetPluginBase):
        def build_messages(self) -> Iterator[Any]:
            raise SystemExit(0)
            yield

    feed = Feed(ARGUMENTS, Ends, OpenaiPlugin(ARGUMENTS))
    with pytest.raises(PluginError, match=r"dataset plugin Ends: build_messages: .*SystemExit: 0"):
        feed.first()


def test_a_signal_within_a_plugin_is_followed() -> None:
    assert is_signal(Interrupted("SIGINT"))
    assert not is_signal(SystemExit(0))
    with pytest.raises(Interrupted):
        prepare_request(api(build_request=is_interrupted), "hi", ARGUMENTS)
    with pytest.raises(Interrupted):
        _own_headers(api(headers=is_interrupted), None)


async def test_a_plugin_that_raises_being_cancelled_is_not_cut_off() -> None:
    async def process_request(self: Any, *_: Any) -> Any:
        raise asyncio.CancelledError

    plugin = api(process_request=process_request)
    sender = PluginSender(Wiring("http://x", {}, Limits(), {}, plugin, plugin))
    data = await sender.send(b"{}", None)
    await sender.close()
    assert data.failure == "plugin"
    assert "CancelledError" in str(data.error)


@pytest.mark.parametrize("register", [register_api, register_dataset])
def test_a_plugin_needs_a_name(register: Any) -> None:
    class Mine: ...

    with pytest.raises(PluginError, match=r"Mine: write @register_(api|dataset)\('name'\)"):
        register(Mine)
    with pytest.raises(PluginError, match="a plugin needs a name"):
        register("")
