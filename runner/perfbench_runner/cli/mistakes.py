"""What a mistake in somebody's input raises: told in a line each, without a traceback."""

from perfbench_api.resource import SpecError
from perfbench_plugins.datasets.base import DatasetError
from perfbench_plugins.registry import PluginError
from perfbench_plugins.tokens import TokenizerError
from perfbench_runner.results.store import StoreError

BAD_INPUT = (SpecError, DatasetError, PluginError, TokenizerError, StoreError)
