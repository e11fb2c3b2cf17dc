"""Where plugins are registered and found: one registry for APIs and one for datasets.

Built-in plugins register when their module is first looked for. A user's plugin may take a built-in's name; two of the
user's own with one name are an error, since which one would win is an accident of import order.
"""

import importlib
import inspect
import pkgutil
from collections.abc import Callable
from dataclasses import dataclass
from difflib import get_close_matches
from functools import cache
from importlib.util import find_spec
from typing import Any, TypeVar

from perfbench_plugins.logger import get_logger

P = TypeVar("P", bound=type)
BUILTIN = "perfbench_plugins."


class PluginError(ValueError):
    """A plugin that cannot be used: unknown name, wrong class, or two of the same name."""


@dataclass(frozen=True)
class Entry:
    """A registered plugin class and where it came from."""

    name: str
    plugin: type[Any]
    origin: str
    """Its file and class."""
    package: str | None = None
    """The distribution that brought it by an entry point."""

    @property
    def builtin(self) -> bool:
        """Whether it comes with perfbench."""
        return self.plugin.__module__.startswith(BUILTIN)


class PluginRegistry:
    """Plugin classes of one kind, by name."""

    def __init__(self, kind: str, package: str, needs: tuple[str, ...], parent: str = "") -> None:
        self.kind, self.package, self.needs, self.parent = kind, package, needs, parent
        self.entries: dict[str, Entry] = {}

    def register(self, name: str, plugin_cls: type[Any], package: str | None = None) -> None:
        """Register a class under a name; raises PluginError when the class lacks a method or the name is taken."""
        entry = Entry(name, plugin_cls, _origin(plugin_cls), package)
        if not inspect.isclass(plugin_cls):
            raise PluginError(f"{self.kind} plugin {name!r} is no class but {plugin_cls!r}")
        self._check(plugin_cls, f"{self.kind} plugin {name!r} ({entry.origin})")
        before = self.entries.get(name)
        if before and not before.builtin and not entry.builtin and before.origin != entry.origin:
            raise PluginError(
                f"two {self.kind} plugins are named {name!r}: {before.origin} and {entry.origin}; rename one of them"
            )
        if before and before.builtin != entry.builtin:
            entry = before if entry.builtin else entry  # a built-in never takes its name back
            get_logger().warning("%s plugin %r of %s replaces the built-in one", self.kind, name, entry.origin)
        self.entries[name] = entry

    def _check(self, plugin: type[Any], who: str) -> None:
        """Raise PluginError for a class that the engine could not work with."""
        base = f"{self.package}.base"  # whose methods only say that they are missing
        if self.parent and not any(parent.__module__ == base for parent in plugin.__mro__):
            raise PluginError(f"{who} must inherit {self.parent}")
        methods = {name: getattr(plugin, name, None) for name in self.needs}
        missing = [name for name, method in methods.items() if not callable(method) or method.__module__ == base]
        if missing:
            raise PluginError(f"{who} has no {' and no '.join(missing)}")

    def _load(self, name: str) -> None:
        """Import the built-in module that a name suggests, or all of them: most runs need one of forty."""
        kind = self.package.rpartition(".")[2].rstrip("s")
        suggested = [module for module in (name, f"{name}_{kind}") if self._exists(module)]
        for module in suggested:
            importlib.import_module(f"{self.package}.{module}")
        if not suggested or name not in self.entries:
            load_builtins(self.package)

    def _exists(self, module: str) -> bool:
        return module.isidentifier() and find_spec(f"{self.package}.{module}") is not None

    def get_class(self, name: str) -> type[Any]:
        """The plugin class of a name; raises PluginError that lists the names there are."""
        if name not in self.entries or not self.entries[name].builtin:  # else nobody says that it replaces one
            self._load(name)
        if name not in self.entries:
            near = get_close_matches(name, self.entries, n=1)
            hint = f"did you mean {near[0]!r}?" if near else f"there are {', '.join(sorted(self.entries))}"
            raise PluginError(f"{self.kind} plugin {name!r} is not registered; {hint}")
        return self.entries[name].plugin

    def all_entries(self) -> list[Entry]:
        """All plugins with where they came from, by name."""
        load_builtins(self.package)
        return [entry for _, entry in sorted(self.entries.items())]

    def all_classes(self) -> dict[str, type[Any]]:
        """All plugin classes, by name."""
        return {entry.name: entry.plugin for entry in self.all_entries()}


@cache
def load_builtins(package: str) -> None:
    """Import every module of a package of built-in plugins, so that they register."""
    for module in pkgutil.iter_modules(importlib.import_module(package).__path__):
        importlib.import_module(f"{package}.{module.name}")


def _origin(plugin: Any) -> str:
    try:
        return f"{inspect.getfile(plugin)}:{plugin.__qualname__}"
    except (TypeError, OSError):
        return f"{getattr(plugin, '__module__', '?')}.{getattr(plugin, '__qualname__', plugin)}"


ApiRegistry = PluginRegistry(
    "API",
    BUILTIN + "api",
    ("build_request", "parse_responses", "process_request"),
    "ApiPluginBase or DefaultApiPlugin",
)
DatasetRegistry = PluginRegistry("dataset", BUILTIN + "datasets", ("build_messages",))


def register_api(name: str | list[str]) -> Callable[[P], P]:
    """Class decorator: register an API plugin under a name, or several."""
    return _decorator(ApiRegistry, name)


def register_dataset(name: str | list[str]) -> Callable[[P], P]:
    """Class decorator: register a dataset plugin under a name, or several."""
    return _decorator(DatasetRegistry, name)


def _decorator(registry: PluginRegistry, name: str | list[str]) -> Callable[[P], P]:
    if inspect.isclass(name):
        raise PluginError(
            f"{name.__name__}: write @register_{registry.kind.lower()}('name') with a name in parentheses"
        )
    if not name:
        raise PluginError(f"register_{registry.kind.lower()}: a plugin needs a name")

    def decorate(plugin: P) -> P:
        for one in [name] if isinstance(name, str) else name:
            registry.register(one, plugin)
        return plugin

    return decorate
