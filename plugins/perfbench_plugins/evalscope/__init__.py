"""Plugins written for EvalScope run unmodified: their imports from `evalscope` find ours.

Only where EvalScope itself is not installed: the finder stands at the end of the import path. Classes are the same
objects under both names.
"""

import importlib
import sys
from collections.abc import Callable, Sequence
from functools import cache
from importlib.abc import Loader, MetaPathFinder
from importlib.machinery import ModuleSpec
from importlib.metadata import entry_points
from types import ModuleType
from typing import Any

from perfbench_plugins.evalscope.names import EXPORTS, MODULES

GROUP = "perfbench.evalscope"
"""Entry points of this group name modules of packages above this one, which it does not know: the runner's, say."""


@cache
def modules() -> dict[str, tuple[str, ...]]:
    """EvalScope's modules and ours for them, those of other packages included."""
    return MODULES | {point.name: (point.value,) for point in entry_points(group=GROUP)}


class _Finder(MetaPathFinder):
    """Finds the modules of EvalScope that we have something for."""

    def find_spec(
        self, name: str, path: Sequence[str] | None = None, target: ModuleType | None = None
    ) -> ModuleSpec | None:
        if name.partition(".")[0] != "evalscope" or name not in modules():
            return None
        is_package = any(other.startswith(f"{name}.") for other in modules())
        return ModuleSpec(name, _Loader(), is_package=is_package)


class _Loader(Loader):
    """Fills a module with the names of ours."""

    def create_module(self, spec: ModuleSpec) -> None:
        return None

    def exec_module(self, module: ModuleType) -> None:
        for ours in modules()[module.__name__]:
            names = vars(importlib.import_module(ours))
            vars(module).update({name: value for name, value in names.items() if not name.startswith("__")})
        if exports := EXPORTS.get(module.__name__):
            vars(module).update(__getattr__=_lazily(module.__name__, exports), __all__=list(exports))


def _lazily(name: str, exports: dict[str, str]) -> Callable[[str], Any]:
    """A module's `__getattr__` that imports what is asked for."""

    def get(attribute: str) -> Any:
        if attribute not in exports:
            raise AttributeError(f"module {name!r} has no attribute {attribute!r}")
        return getattr(importlib.import_module(exports[attribute]), attribute)

    return get


def install() -> None:
    """Let imports from evalscope find ours, if nothing else provides them. Can be called twice."""
    if not any(isinstance(finder, _Finder) for finder in sys.meta_path):
        sys.meta_path.append(_Finder())
