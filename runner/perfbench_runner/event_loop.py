"""The event loop: uvloop's where it exists, else asyncio's own, which is slower but right; and calls put off on it."""

import asyncio
from collections.abc import Callable, Coroutine, Iterable
from typing import Any, TypeVar

T = TypeVar("T")


class Soon:
    """Calls a function in the loop's next turn, or a little later; once, however often it is asked to meanwhile."""

    def __init__(self, function: Callable[[], None], delay_s: float = 0.0) -> None:
        self._function, self._delay_s = function, delay_s
        self._is_asked = False

    def __call__(self) -> None:
        """Ask for the call; belongs to the loop's thread."""
        if self._is_asked:
            return
        self._is_asked = True
        loop = asyncio.get_running_loop()
        if self._delay_s:
            loop.call_later(self._delay_s, self._call)
        else:
            loop.call_soon(self._call)

    def _call(self) -> None:
        self._is_asked = False
        self._function()


async def cancelled(tasks: Iterable[asyncio.Task[Any]]) -> None:
    """Cancel tasks, and wait until they have ended, however they do."""
    tasks = list(tasks)
    for task in tasks:
        task.cancel()
    await asyncio.gather(*tasks, return_exceptions=True)


def run_loop(main: Coroutine[Any, Any, T]) -> T:
    """Run a coroutine to its end on a loop of its own."""
    with asyncio.Runner(loop_factory=_loop_factory()) as runner:
        return runner.run(main)


def load() -> None:
    """Load what loops are made of, before a process forks: what is loaded once, all of them share."""
    _loop_factory()


def _loop_factory() -> Callable[[], asyncio.AbstractEventLoop] | None:
    try:
        import uvloop
    except ImportError:
        return None
    return uvloop.new_event_loop  # type: ignore[no-any-return,unused-ignore]
