"""The logger that plugins use, under the name EvalScope's plugins know it by."""

import logging

ROOT = "perfbench.plugins"


def get_logger(
    log_file: str | None = None,
    name: str | None = None,
    log_level: int | None = None,
    file_mode: str = "w",
    force: bool = False,
) -> logging.Logger:
    """The logger of all plugins, or one below it; `perfbench run --debug` shows what is logged below WARNING.

    Where its records go is the program's business: a `log_file` is not opened.
    """
    logger = logging.getLogger(f"{ROOT}.{name.rpartition('.')[2]}" if name else ROOT)
    if log_level is not None:
        logger.setLevel(log_level)
    return logger


def configure_logging(debug: bool, log_file: str | None = None) -> None:
    """Log more, or not."""
    get_logger(log_level=logging.DEBUG if debug else logging.NOTSET)
