"""How much room the results of a run will take, and whether there is so much."""

import shutil
from contextlib import suppress
from math import ceil
from pathlib import Path

from perfbench_api.resource import Spec
from perfbench_api.sections import Stage
from perfbench_plugins.arguments import Arguments
from perfbench_runner.results.store import PAGE_BYTES

FILE_BYTES = 2_000_000
"""A results file without any row."""
ROW_BYTES, TOKEN_BYTES, BODY_SHARE = 1000, 10, 4 / 3
"""Of a row without bodies; what each token of the answer adds, with its time and its text; what becomes of a request's body.

Measured with the mock's answers of 10 to 400 tokens, streamed and whole: 0.9 kB, and 6 to 9 bytes a token. A body is kept
as base64, which the analysis scripts of EvalScope's users expect.
"""
LOG_BYTES = 1000 * PAGE_BYTES
"""What was written waits in a second file, up to this, until it is put into the first."""
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
    answer = ROW_BYTES + TOKEN_BYTES * max_tokens
    return _in_pages(answer + body_bytes * BODY_SHARE) if messages == "all" else answer


def _in_pages(row: float) -> float:
    """What a row takes of its pages, with what stays empty in them because the next row does not fit."""
    return PAGE_BYTES / (PAGE_BYTES // row) if row <= PAGE_BYTES else PAGE_BYTES * ceil(row / PAGE_BYTES)


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
    room = at_work(estimated)
    words = f"the results may take about {size(estimated)}, {size(room)} while they are written"
    free = room
    with suppress(OSError):
        free = shutil.disk_usage(folder).free
    if free < room:
        return f"{words}, and {folder} has {size(free)} free", True
    return (f"{words}, in {folder}", False) if room >= WORTH_TELLING else ("", False)


def at_work(estimated: int) -> int:
    """What so large a file takes while it is written."""
    return estimated + min(estimated, LOG_BYTES)


def size(count: float) -> str:
    """Bytes for people: 34 MB."""
    for unit in ("B", "kB", "MB", "GB"):
        if count < 1000:
            return f"{count:.3g} {unit}"
        count /= 1000
    return f"{count:.3g} TB"
