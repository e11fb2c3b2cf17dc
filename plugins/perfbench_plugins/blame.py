"""Where a plugin's own code went wrong: one line with file and line, in place of a traceback."""

import inspect
from typing import Any


def blame(plugin: Any, error: BaseException) -> str:
    """`FILE line N: KeyError: 'k'`, N being the innermost line of the plugin's own file (a class, object or path)."""
    file = plugin if isinstance(plugin, str) else file_of(plugin)
    return f"{file}{line_of(error, file)}: {type(error).__name__}: {_text(error)}"


def file_of(plugin: Any) -> str:
    """The file of a plugin's class; the class's full name where it has none."""
    kind = plugin if inspect.isclass(plugin) else type(plugin)
    try:
        return inspect.getfile(kind)
    except (TypeError, OSError):
        return f"{kind.__module__}.{kind.__qualname__}"


def line_of(error: BaseException, file: str) -> str:
    """` line N`, or nothing where the file has no part in the error."""
    if isinstance(error, SyntaxError) and error.filename == file:
        return f" line {error.lineno}"
    line, trace = 0, error.__traceback__
    while trace is not None:
        if trace.tb_frame.f_code.co_filename == file:
            line = trace.tb_lineno
        trace = trace.tb_next
    return f" line {line}" if line else ""


def _text(error: BaseException) -> str:
    """The error's words, in one line; a syntax error's own place is left out, since it has been told."""
    return " ".join(str(error.msg if isinstance(error, SyntaxError) else error).split())


def is_signal(error: BaseException) -> bool:
    """Whether the process was told to end while a plugin's code ran, which is not the plugin's mistake; its sys.exit is."""
    return isinstance(error, SystemExit) and type(error) is not SystemExit
