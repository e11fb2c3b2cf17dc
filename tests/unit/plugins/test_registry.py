"""Registries: found by name, checked when registered, and clear about which of two wins."""

import logging
from collections.abc import Iterator

import pytest

from perfbench_plugins.api.openai_api import OpenaiPlugin
from perfbench_plugins.datasets.base import DatasetPluginBase
from perfbench_plugins.registry import (
    ApiRegistry,
    DatasetRegistry,
    PluginError,
    PluginRegistry,
    register_api,
    register_dataset,
)


class Mine(DatasetPluginBase):
    def build_messages(self) -> Iterator[str]:
        yield "a"


class Other(Mine):
    pass


@pytest.fixture
def registry() -> PluginRegistry:
    return PluginRegistry("dataset", "perfbench_plugins.datasets", ("build_messages",))


def test_a_registered_class_is_found(registry: PluginRegistry) -> None:
    registry.register("mine", Mine)
    assert registry.get_class("mine") is Mine
    assert registry.all_classes()["mine"] is Mine


@pytest.mark.parametrize(
    ("registry_", "name", "words"),
    [
        (ApiRegistry, "openia", "API plugin 'openia' is not registered; did you mean 'openai'?"),
        (DatasetRegistry, "openqs", "dataset plugin 'openqs' is not registered; did you mean 'openqa'?"),
        (DatasetRegistry, "xyzzy", "dataset plugin 'xyzzy' is not registered; there are "),
    ],
)
def test_an_unknown_name_is_answered_with_those_there_are(registry_: PluginRegistry, name: str, words: str) -> None:
    with pytest.raises(PluginError) as caught:
        registry_.get_class(name)
    assert str(caught.value).startswith(words)
    assert isinstance(caught.value, ValueError)


@pytest.mark.parametrize(("plugin", "words"), [(lambda: 1, "is no class"), (int, "has no build_messages")])
def test_what_is_no_plugin_is_refused_when_registered(registry: PluginRegistry, plugin: type, words: str) -> None:
    with pytest.raises(PluginError, match=words):
        registry.register("x", plugin)


def test_two_of_the_users_own_with_one_name_are_an_error(registry: PluginRegistry) -> None:
    registry.register("x", Mine)
    registry.register("x", Mine)
    with pytest.raises(PluginError, match=r"two dataset plugins are named 'x': .*test_registry\.py:Mine and .*:Other"):
        registry.register("x", Other)


def test_the_users_own_replaces_a_builtin_with_a_word(
    registry: PluginRegistry, caplog: pytest.LogCaptureFixture
) -> None:
    builtin = type("Builtin", (Mine,), {"__module__": "perfbench_plugins.datasets.openqa"})
    registry.register("openqa", builtin)
    with caplog.at_level(logging.WARNING):
        registry.register("openqa", Mine)
    assert "replaces the built-in one" in caplog.text
    registry.register("openqa", builtin)
    assert registry.get_class("openqa") is Mine


def test_decorators_register_under_one_name_or_several(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(ApiRegistry, "entries", dict(ApiRegistry.entries))
    monkeypatch.setattr(DatasetRegistry, "entries", dict(DatasetRegistry.entries))

    @register_api(["mine_a", "mine_b"])
    class Api(OpenaiPlugin):
        pass

    @register_dataset("mine_c")
    class Dataset(Mine):
        pass

    assert ApiRegistry.get_class("mine_a") is ApiRegistry.get_class("mine_b") is Api
    assert DatasetRegistry.get_class("mine_c") is Dataset
