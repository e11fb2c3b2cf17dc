"""The logger that plugins use, under the name EvalScope's plugins know it by."""

import logging


def get_logger() -> logging.Logger:
    """The logger of all plugins; `perfbench run --debug` shows what is logged below WARNING."""
    return logging.getLogger("perfbench.plugins")
