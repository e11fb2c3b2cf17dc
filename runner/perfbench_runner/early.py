"""The first instructions of the command: a request to end is followed from here on, whatever is loaded after it.

On its own, and on `_signal` in place of `signal`, because that takes as long to load as Python does to start.
"""

import _signal  # type: ignore[import-not-found]  # of CPython; typeshed has only `signal`, which wraps it
import os

EXIT_CODE = 130
"""Of a process that was told to end before its work was done."""
NAMES = {_signal.SIGINT: b"SIGINT", _signal.SIGTERM: b"SIGTERM"}


def exit_at_once() -> None:
    """From now on a signal ends the process, without any cleaning up: while modules are loaded."""
    for number in NAMES:
        _signal.signal(number, _leave)


def _leave(number: int, frame: object) -> None:
    os.write(2, b"stopped by " + NAMES[number] + b"\n")
    os._exit(EXIT_CODE)
