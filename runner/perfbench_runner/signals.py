"""Requests to end (SIGINT, SIGTERM), from the first instruction of a process on: followed at once, or kept for the run.

Python takes a second to load all that a run needs, and ten where a container has a fraction of a CPU. Meanwhile a
signal without a handler leaves a traceback, or is dropped by the kernel where the process is a container's first. So
`early.exit_at_once` comes before every other import; `raise_interrupted` follows when there is something to clean up, and
`kept` while there are results to be stored. This module imports next to nothing for that reason.
"""

import os
import signal
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from types import FrameType

from perfbench_runner.early import EXIT_CODE as EXIT_CODE

NUMBERS = (signal.SIGINT, signal.SIGTERM)
_asked: list[str] = []
"""Names of signals that came before a run did. Raising is not enough: Python drops what is raised in a destructor."""


class Interrupted(SystemExit):
    """The process was told to end, and nothing is under way that must be finished first."""

    def __init__(self, name: str) -> None:
        """`name` is the signal's: SIGINT."""
        super().__init__(EXIT_CODE)
        self.name = name


class Interrupts:
    """Requests to end a run: kept until somebody listens, then passed on. Belongs to no thread."""

    def __init__(self) -> None:
        self.names: list[str] = []
        """Signals that came so far."""
        self._tell: Callable[[str], None] | None = None

    def ask(self, name: str) -> None:
        """Ask for the end, in a signal's name."""
        self.names.append(name)
        if self._tell is not None:
            self._tell(name)

    def listen(self, tell: Callable[[str], None]) -> None:
        """Pass on what was asked so far, and whatever comes; `tell` is called in the main thread, between any two steps."""
        self._tell = tell
        for name in self.names.copy():
            tell(name)


def exit_with(code: int) -> None:
    """From now on a signal ends the process with this exit code: the work is done, only its report is still printed.

    Nothing changes in a program that handles signals itself.
    """
    if getattr(signal.getsignal(signal.SIGINT), "__module__", None) == __name__:
        _handle(lambda number, frame: os._exit(code))


def raise_interrupted() -> None:
    """From now on a signal raises Interrupted in the main thread; a second one ends the process."""

    def leave(number: int, frame: FrameType | None) -> None:
        name = signal.Signals(number).name
        _asked.append(name)
        if len(_asked) > 1:
            os._exit(EXIT_CODE)
        raise Interrupted(name)

    _handle(leave)


def as_usual() -> None:
    """From now on signals do what they do in any Python program."""
    signal.signal(signal.SIGINT, signal.default_int_handler)
    signal.signal(signal.SIGTERM, signal.SIG_DFL)


def ignore() -> None:
    """From now on signals do nothing: another process, which gets them too, says when to end."""
    for number in NUMBERS:
        signal.signal(number, signal.SIG_IGN)


@contextmanager
def kept() -> Iterator[Interrupts]:
    """Within the block signals are requests to a run; after it they do what they did before.

    Nothing changes outside the main thread, which alone handles signals in Python.
    """
    interrupts = Interrupts()
    if threading.current_thread() is not threading.main_thread():
        yield interrupts
        return
    former = {number: signal.getsignal(number) for number in NUMBERS}
    _handle(lambda number, frame: interrupts.ask(signal.Signals(number).name))
    while _asked:
        interrupts.ask(_asked.pop())
    try:
        yield interrupts
    finally:
        for number, handler in former.items():
            signal.signal(number, signal.SIG_DFL if handler is None else handler)


def _handle(handler: Callable[[int, FrameType | None], None]) -> None:
    for number in NUMBERS:
        signal.signal(number, handler)
