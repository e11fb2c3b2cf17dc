"""Lines of JSON (NDJSON), a stream as Ollama's own API writes it."""

from collections.abc import Generator

from perfbench_plugins.sse import Events

AT_ONCE = 2048
"""Lines of one step: some half a millisecond."""


def lines_in_steps(body: bytes) -> Generator[None, None, Events]:
    """The lines of a body that have something in them, and where in it each ends; between two steps others get their turn."""
    found, end = Events([], [], []), -1
    for number, line in enumerate(body.split(b"\n"), 1):
        end += len(line) + 1
        if line.strip():
            found.data.append(line)
            found.ends.append(end)
        if not number % AT_ONCE:
            yield
    return found
