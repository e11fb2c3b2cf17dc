"""`evalscope.utils`: what plugins and scripts import from it."""

import random
from importlib.util import find_spec
from typing import Any

from pydantic import SecretStr

from perfbench_plugins.evalscope.io_utils import csv_to_list as csv_to_list
from perfbench_plugins.evalscope.io_utils import dict_to_yaml as dict_to_yaml
from perfbench_plugins.evalscope.io_utils import gen_hash as gen_hash
from perfbench_plugins.evalscope.io_utils import json_to_dict as json_to_dict
from perfbench_plugins.evalscope.io_utils import jsonl_to_list as jsonl_to_list
from perfbench_plugins.evalscope.io_utils import safe_filename as safe_filename
from perfbench_plugins.evalscope.io_utils import yaml_to_dict as yaml_to_dict
from perfbench_plugins.logger import configure_logging as configure_logging
from perfbench_plugins.logger import get_logger as get_logger


def get_secret_value(value: Any) -> Any:
    """The value behind a secret; of a map or a list, those in it."""
    if isinstance(value, SecretStr):
        return value.get_secret_value()
    if isinstance(value, dict):
        return {name: get_secret_value(each) for name, each in value.items()}
    return [get_secret_value(each) for each in value] if isinstance(value, list) else value


def parse_int_or_float(num: Any) -> int | float:
    """A whole number where it is one."""
    number = float(num)
    return int(number) if number.is_integer() else number


def is_module_installed(module_name: str) -> bool:
    """Whether a module can be imported."""
    return find_spec(module_name) is not None


def seed_everything(seed: int) -> None:
    """Seed Python's random numbers, and NumPy's where it is installed."""
    random.seed(seed)
    if is_module_installed("numpy"):
        import numpy as np

        np.random.seed(seed)  # the generator that EvalScope's plugins use
