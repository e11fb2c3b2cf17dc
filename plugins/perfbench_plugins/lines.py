"""Lines of JSON (NDJSON), a stream as Ollama's own API writes it."""

from collections.abc import Generator

AT_ONCE = 2048
"""Lines of one step: some half a millisecond."""


def lines_in_steps(body: bytes) -> Generator[None, None, tuple[list[bytes], list[int]]]:
    """The lines of a body that have something in them, and where in it each ends; between two steps others get their turn."""
    lines, ends, end = list[bytes](), list[int](), -1
    for number, line in enumerate(body.split(b"\n"), 1):
        end += len(line) + 1
        if line.strip():
            lines.append(line)
            ends.append(end)
        if not number % AT_ONCE:
            yield
    return lines, ends
