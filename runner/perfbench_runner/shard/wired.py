"""What a shard that was not forked is told: the wiring, and where to find the plugin in it."""

import io
import pickle
import sys
from pathlib import Path
from typing import Any

from perfbench_plugins.loading import load_file, loaded_files
from perfbench_plugins.registry import PluginError
from perfbench_runner.shard.messages import Wiring


def pack(wiring: Wiring) -> bytes:
    """What a new process needs to be a shard. Raises PluginError when it cannot get the plugin."""
    name = type(wiring.api).__name__
    file = io.BytesIO()
    try:
        _Pickler(file).dump(wiring)
    except _ElsewhereError as error:
        raise PluginError(
            f"API plugin {name}: {error} is defined in a notebook or in the program itself, where load-generating"
            " processes cannot get it while other threads run; put it into a file of its own and import that"
        ) from None
    except Exception as error:  # a plugin's own objects: whatever they raise, we name the plugin
        raise PluginError(
            f"API plugin {name}: it cannot be handed to load-generating processes while other threads run:"
            f" {error}; start the benchmark in a program without other threads"
        ) from error
    return pickle.dumps({"path": sys.path, "files": loaded_files(), "wiring": file.getvalue()})


class _ElsewhereError(Exception):
    """Something that another process cannot import."""


class _Pickler(pickle.Pickler):
    """Refuses what is defined in the program itself: another process has another `__main__`."""

    def reducer_override(self, thing: Any) -> Any:
        if getattr(thing, "__module__", None) == "__main__" and isinstance(thing, type):
            raise _ElsewhereError(thing.__qualname__)
        return NotImplemented


def unpack(packed: bytes) -> Wiring:
    """The other way round, in the new process; plugins from files are loaded first."""
    told = pickle.loads(packed)  # noqa: S301  # from our parent
    sys.path[:] = told["path"]
    for file in told["files"]:
        load_file(Path(file))
    wiring: Wiring = pickle.loads(told["wiring"])  # noqa: S301
    return wiring
