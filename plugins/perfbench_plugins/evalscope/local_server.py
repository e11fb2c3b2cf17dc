"""`evalscope.perf.utils.local_server`: a refusal, since perfbench runs no model itself."""

from typing import Any, NoReturn

from perfbench_plugins.registry import PluginError

WAY_OUT = "perfbench runs no model itself; start a server (vllm serve MODEL --port 8877) and give its URL"


def start_app(args: Any) -> NoReturn:
    """Raises PluginError with the way out."""
    raise PluginError(WAY_OUT)


def create_app(model: Any, attn_implementation: Any = None) -> NoReturn:
    """Raises PluginError with the way out."""
    raise PluginError(WAY_OUT)
