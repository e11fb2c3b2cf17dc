"""How much room the results of a run will take, and whether there is so much."""

import shutil
from contextlib import suppress
from pathlib import Path

from perfbench_api.resource import Spec
from perfbench_api.sections import Stage
from perfbench_plugins.arguments import Arguments

FILE_BYTES = 2_000_000
"""A results file without any row."""
ROW_BYTES, TOKEN_BYTES, BODY_SHARE = 1000, 10, 0.5
"""Of a row without bodies; what each token of the answer adds, with its time and its text; what is left of a prompt.

Measured with the mock's answers of 10 to 400 tokens, streamed and whole: 0.9 kB, and 6 to 9 bytes a token.
"""
USUAL_TOKENS = 256
"""Length of an answer that the request does not limit."""
WORTH_TELLING = 100_000_000


def rows(stage: Stage) -> int | None:
    """How many requests a stage makes at most; None where only the server's speed says."""
    if stage.requests is not None:
        return stage.requests
    return None if stage.rate is None or stage.duration is None else round(stage.rate * stage.duration)


def row_bytes(messages: str, max_tokens: int, body_bytes: int) -> float:
    """What a request takes, bodies included where they are kept."""
    body = body_bytes * BODY_SHARE if messages == "all" else 0.0
    return ROW_BYTES + TOKEN_BYTES * max_tokens + body


def estimate(spec: Spec, arguments: Arguments, body_bytes: int) -> int | None:
    """About how many bytes a run's results take at most; None where the number of its requests cannot be known."""
    search = spec.load.search
    counts = [rows(stage) for stage in spec.load.stages] if search is None else [search.max_requests]
    if None in counts:
        return None
    most = arguments.max_tokens
    tokens = max(most) if isinstance(most, list) else most
    each = row_bytes(spec.results.messages, tokens or USUAL_TOKENS, body_bytes)
    return round(FILE_BYTES + each * sum(filter(None, counts)))


def told(estimated: int | None, folder: Path) -> tuple[str, bool]:
    """What is worth saying of the room that a run takes, and whether it is a warning; an empty text for nothing."""
    if estimated is None:
        return "", False
    free = estimated
    with suppress(OSError):
        free = shutil.disk_usage(folder).free
    if free < estimated:
        return f"the results may take about {size(estimated)}, and {folder} has {size(free)} free", True
    return (
        (f"the results may take about {size(estimated)} in {folder}", False)
        if estimated >= WORTH_TELLING
        else ("", False)
    )


def size(count: float) -> str:
    """Bytes for people: 34 MB."""
    for unit in ("B", "kB", "MB", "GB"):
        if count < 1000:
            return f"{count:.3g} {unit}"
        count /= 1000
    return f"{count:.3g} TB"
