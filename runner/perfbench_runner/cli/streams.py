"""stdout and stderr: only what was asked for on the one, no secrets on the other, words where they cannot be written."""

import errno
import logging
import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager, redirect_stdout, suppress
from typing import TextIO

import click

from perfbench_api.redaction import KNOWN

UNWRITABLE = (errno.ENOSPC, errno.EDQUOT, errno.EIO, errno.EBADF)


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


def remark(text: str, colour: str | None = None) -> None:
    """Say something beside the result, on stderr; where that cannot be written, the result stands all the same."""
    with suppress(OSError):
        click.secho(text, fg=colour, err=True)


def open_what_is_closed() -> None:
    """Give what is closed a place where it goes nowhere: its number would be the next file's, such as the results'."""
    for number in (0, 1, 2):
        try:
            os.fstat(number)
        except OSError:
            os.open(os.devnull, os.O_RDWR)  # gets the lowest free number: this one
    sys.stdout = sys.stdout or _nowhere()
    sys.stderr = sys.stderr or _nowhere()


def is_stdout_closed() -> bool:
    """Whether something in this process, such as a plugin, has closed stdout; what is written there goes nowhere then."""
    if not sys.stdout.closed:
        return False
    sys.stdout = _nowhere()
    return True


def _nowhere() -> TextIO:
    return open(os.devnull, "w")  # noqa: PTH123  # for as long as the process lives


def is_unwritable(error: OSError) -> bool:
    """Whether this is about a stream without a name, such as stdout on a full disk; files are told with theirs."""
    return error.errno in UNWRITABLE and error.filename is None


def give_up(error: OSError) -> None:
    """Say that the output cannot be written, and write no more of it."""
    with suppress(OSError, ValueError):
        print(f"error: cannot write the output: {error.strerror}", file=sys.stderr, flush=True)  # noqa: T201
    _write_no_more()


def flushed(code: str | int | None) -> str | int | None:
    """The exit code, once all has been written; 1 in place of 0 where it cannot be, since Python would print a traceback."""
    try:
        sys.stdout.flush()
    except OSError as error:
        if error.errno == errno.EPIPE:  # who reads it has seen enough
            _write_no_more()
            return code
        give_up(error)
        return code or 1
    return code


def _write_no_more() -> None:
    nowhere = os.open(os.devnull, os.O_WRONLY)
    os.dup2(nowhere, 1)
    os.close(nowhere)
