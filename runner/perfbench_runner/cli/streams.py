"""stdout and stderr that are closed, full, or read by nobody: the command says so in words, and its files are whole."""

import errno
import os
import sys
from contextlib import suppress
from typing import TextIO

UNWRITABLE = (errno.ENOSPC, errno.EDQUOT, errno.EIO, errno.EBADF)


def open_what_is_closed() -> None:
    """Give what is closed a place where it goes nowhere: its number would be the next file's, such as the results'."""
    for number in (0, 1, 2):
        try:
            os.fstat(number)
        except OSError:
            os.open(os.devnull, os.O_RDWR)  # gets the lowest free number: this one
    sys.stdout = sys.stdout or _nowhere()
    sys.stderr = sys.stderr or _nowhere()


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
