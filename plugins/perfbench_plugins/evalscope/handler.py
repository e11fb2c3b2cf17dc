"""`evalscope.perf.utils.handler`: a decorator that logs what a function raises."""

import functools
import inspect
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

from perfbench_plugins.logger import get_logger


@contextmanager
def _logged(function: Callable[..., Any]) -> Iterator[None]:
    try:
        yield
    except Exception as error:
        get_logger().error("%s: %s: %s", getattr(function, "__name__", function), type(error).__name__, error)
        raise


def exception_handler(func: Callable[..., Any]) -> Callable[..., Any]:
    """Decorator, also of coroutines and of their generators: log an exception before it goes on."""

    async def generate(*args: Any, **kwargs: Any) -> Any:
        with _logged(func):
            async for item in func(*args, **kwargs):
                yield item

    async def wait(*args: Any, **kwargs: Any) -> Any:
        with _logged(func):
            return await func(*args, **kwargs)

    def call(*args: Any, **kwargs: Any) -> Any:
        with _logged(func):
            return func(*args, **kwargs)

    asynchronous = wait if inspect.iscoroutinefunction(func) else call
    return functools.wraps(func)(generate if inspect.isasyncgenfunction(func) else asynchronous)
