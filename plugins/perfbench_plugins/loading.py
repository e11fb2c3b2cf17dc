"""Plugins of the user's own: from a file, a module, or the entry points of an installed package.

A plugin registers when its module is imported (`@register_api`, `@register_dataset`); entry points of the groups
`perfbench.apis` and `perfbench.datasets` name a class, which is registered under the entry point's name.
"""

import hashlib
import importlib
import importlib.util
import sys
from collections.abc import Iterable
from importlib.metadata import entry_points
from pathlib import Path

from perfbench_plugins.blame import blame, is_signal, line_of
from perfbench_plugins.registry import ApiRegistry, DatasetRegistry, PluginError

OF_FILE = "perfbench_plugin_"
"""Modules of plugin files have names that begin so."""
GROUPS = {"perfbench.apis": ApiRegistry, "perfbench.datasets": DatasetRegistry}


def load_plugins(sources: Iterable[str]) -> None:
    """Load files (*.py, or a path) and modules; raises PluginError that names the plugin and the place."""
    for source in sources:
        if source.endswith(".py") or "/" in source or Path(source).is_file():
            load_file(Path(source))
        else:
            load_module(source)


def load_file(path: Path) -> None:
    """Run a Python file as a module of its own; its imports from evalscope.perf find ours."""
    if not path.is_file():
        raise PluginError(f"plugin file {path} {'is no file' if path.exists() else 'does not exist'}")
    resolved = path.resolve()
    name = f"{OF_FILE}{path.stem}_{hashlib.sha1(str(resolved).encode(), usedforsecurity=False).hexdigest()[:8]}"
    if name in sys.modules:
        return
    spec = importlib.util.spec_from_file_location(name, resolved)
    if spec is None or spec.loader is None:
        raise PluginError(f"plugin file {path} is no Python file")
    module = importlib.util.module_from_spec(spec)
    sys.modules[name] = module
    sys.path.insert(0, str(resolved.parent))  # as for a script: it may import its neighbours
    try:
        spec.loader.exec_module(module)
    except PluginError as error:
        del sys.modules[name]
        raise PluginError(f"plugin file {path}{line_of(error, str(resolved))}: {error}") from error
    except (Exception, SystemExit) as error:  # a user's own code may raise anything; we name the file and line
        if is_signal(error):
            raise
        del sys.modules[name]
        raise PluginError(f"plugin file {blame(str(resolved), error)}") from error
    finally:
        sys.path.remove(str(resolved.parent))


def loaded_files() -> list[str]:
    """The plugin files that were loaded so far, as absolute paths."""
    modules = [module for name, module in list(sys.modules.items()) if name.startswith(OF_FILE)]
    return [file for module in modules if (file := getattr(module, "__file__", None))]


def load_module(name: str) -> None:
    """Import an installed module, which registers its plugins."""
    try:
        importlib.import_module(name)
    except PluginError:
        raise
    except (Exception, SystemExit) as error:  # a user's own code may raise anything; we name the module
        if is_signal(error):
            raise
        raise PluginError(f"plugin module {name}: {type(error).__name__}: {error}") from error


def load_entry_points() -> None:
    """Register the plugins of installed packages, each under the name of its entry point."""
    points = entry_points()  # once: each time reads a file of every installed package
    for group, registry in GROUPS.items():
        for point in points.select(group=group):
            distribution = point.dist.name if point.dist else "?"
            try:
                registry.register(point.name, point.load(), distribution)
            except PluginError:
                raise
            except Exception as error:  # a user's own code may raise anything; we name the package
                where = f"{registry.kind} plugin {point.name!r} of package {distribution} ({point.value})"
                raise PluginError(f"{where}: {type(error).__name__}: {error}") from error
