"""What goes to stdout and stderr: what was asked for and nothing else on the one, no secrets on the other."""

import logging
import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager, redirect_stdout

from perfbench_api.redaction import KNOWN


@contextmanager
def stdout_kept_clean() -> Iterator[None]:
    """What is printed meanwhile, by plugins and their libraries, goes to stderr: stdout is for what was asked for."""
    try:
        file, errors = sys.stdout.fileno(), sys.stderr.fileno()
    except (OSError, AttributeError):  # no real files, as in a test
        with redirect_stdout(sys.stderr):
            yield
        return
    sys.stdout.flush()
    kept = os.dup(file)
    os.dup2(errors, file)
    try:
        yield
    finally:
        sys.stdout.flush()
        os.dup2(kept, file)
        os.close(kept)


class _Formatter(logging.Formatter):
    """Hides secrets in what is logged, tracebacks included."""

    def format(self, record: logging.LogRecord) -> str:
        return KNOWN.text(super().format(record))


def log_without_secrets(level: int) -> None:
    """Log to stderr, secrets hidden."""
    handler = logging.StreamHandler()
    handler.setFormatter(_Formatter("%(levelname)s %(message)s"))
    logging.basicConfig(level=level, handlers=[handler])
