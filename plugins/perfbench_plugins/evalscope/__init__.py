"""Plugins written for EvalScope run unmodified: their imports from `evalscope.perf` find ours.

Only where EvalScope itself is not installed: the finder stands at the end of the import path. Classes are the same
objects under both names.
"""

import importlib
import sys
from collections.abc import Sequence
from functools import cache
from importlib.abc import Loader, MetaPathFinder
from importlib.machinery import ModuleSpec
from importlib.metadata import entry_points
from types import ModuleType

GROUP = "perfbench.evalscope"
"""Entry points of this group name modules of packages above this one, which it does not know: the runner's, say."""
OURS: dict[str, str | None] = {
    "evalscope": None,
    "evalscope.perf": None,
    "evalscope.perf.arguments": "perfbench_plugins.arguments",
    "evalscope.perf.plugin": "perfbench_plugins.registry",
    "evalscope.perf.plugin.registry": "perfbench_plugins.registry",
    "evalscope.perf.plugin.api": None,
    "evalscope.perf.plugin.api.base": "perfbench_plugins.api.base",
    "evalscope.perf.plugin.api.default_api": "perfbench_plugins.api.default_api",
    "evalscope.perf.plugin.api.openai_api": "perfbench_plugins.api.openai_api",
    "evalscope.perf.plugin.datasets": None,
    "evalscope.perf.plugin.datasets.base": "perfbench_plugins.datasets.base",
    "evalscope.perf.utils": None,
    "evalscope.perf.utils.benchmark_util": "perfbench_plugins.benchmark_data",
    "evalscope.utils": None,
    "evalscope.utils.logger": "perfbench_plugins.logger",
}
"""EvalScope's module: ours with the same names in it; None for a package that only holds others."""


class _Finder(MetaPathFinder):
    """Finds the modules of OURS."""

    def find_spec(
        self, name: str, path: Sequence[str] | None = None, target: ModuleType | None = None
    ) -> ModuleSpec | None:
        if name not in OURS and name not in registered():
            return None
        is_package = any(other.startswith(f"{name}.") for other in OURS)
        return ModuleSpec(name, _Loader(), is_package=is_package)


class _Loader(Loader):
    """Fills a module with the names of ours."""

    def create_module(self, spec: ModuleSpec) -> None:
        return None

    def exec_module(self, module: ModuleType) -> None:
        ours = OURS.get(module.__name__) or registered().get(module.__name__)
        if ours is None:
            return
        names = vars(importlib.import_module(ours))
        vars(module).update({name: value for name, value in names.items() if not name.startswith("__")})


@cache
def registered() -> dict[str, str]:
    """Modules of EvalScope that other packages provide, and theirs."""
    return {point.name: point.value for point in entry_points(group=GROUP)}


def install() -> None:
    """Let imports from evalscope.perf find ours, if nothing else provides them. Can be called twice."""
    if not any(isinstance(finder, _Finder) for finder in sys.meta_path):
        sys.meta_path.append(_Finder())
