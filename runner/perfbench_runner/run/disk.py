"""How much room the results of a run will take, and whether there is so much. Pure but for `told`."""

import shutil
from collections.abc import Iterable
from contextlib import suppress
from pathlib import Path
from typing import NamedTuple

from perfbench_api.resource import Spec
from perfbench_api.sections import Stage
from perfbench_plugins.arguments import Arguments
from perfbench_runner.results.store import PAGE_BYTES

FILE_BYTES = 1_400_000
"""A results file without any row: a page of each table and index, and another that is partly filled of the large ones."""
SECOND_BYTES = 1_500
"""Samples of the client's health, and of a server's own counts, in each second."""
ROW_BYTES, GAPS_BYTES, GAP_BYTES = 250, 60, 7
"""Of the times and counts of a request; of the gaps of a stream, and of each: microseconds as text, up to a second."""
BASE64 = 4 / 3
BODY_BYTES = 100
"""Of a request's body beside its own length."""
STREAM_BYTES, WHOLE_BYTES = (500, 7.5), (900, 7.5)
"""What is kept of an answer, streamed (compressed) or whole, and of each of its tokens: docs/results.md."""
EMPTY = 0.75
"""So much of a row stays empty in a page of rows that differ."""
LOG_BYTES = 2000 * PAGE_BYTES
"""What was written waits in a second file until it is put into the first, which is when there are 1,000 pages and more of
it: what is stored within a second comes at once."""
USUAL_TOKENS = 256
"""Length of an answer that the request does not limit."""
WORTH_TELLING = 100_000_000


class Shape(NamedTuple):
    """What the room of a request depends on."""

    messages: str
    """`results.messages`."""
    body_bytes: float
    """Of the request's body, as it is sent."""
    tokens: float
    """Of each of its answers."""
    is_stream: bool = True
    answers: int = 1
    """Of a request (`request.nChoices`)."""


class Room(NamedTuple):
    """What a run's results take, in bytes."""

    results: int
    at_work: int
    """While they are written, and while those of several runners are put together."""
    each_failed: int = 0
    """What each request that fails takes beside, where bodies are kept of those alone."""


def request_bytes(shape: Shape) -> float:
    """What a succeeded request takes, at most."""
    gaps = in_pages(GAPS_BYTES + GAP_BYTES * shape.tokens) if shape.is_stream else 0.0
    return ROW_BYTES + gaps + (bodies_bytes(shape) if shape.messages == "all" else 0.0)


def bodies_bytes(shape: Shape) -> float:
    """What the bodies of a request and its answers take where they are kept, at most."""
    each, token = STREAM_BYTES if shape.is_stream else WHOLE_BYTES
    body = BASE64 * shape.body_bytes
    return in_pages(body + BODY_BYTES + each + token * shape.tokens * shape.answers, varied=body)


def in_pages(row: float, varied: float = 0.0) -> float:
    """What a row takes of its pages, with what stays empty in them because the next one does not fit.

    Of rows of one size whole ones are in a page. Where sizes are spread from nothing to twice the mean, some two thirds of a
    row stay empty: that is supposed of `varied` bytes of it, since prompts differ; answers are counted at their longest.
    Of a row that is longer than a page, SQLite puts whole pages elsewhere, and the rest among the others.
    """
    if row > PAGE_BYTES:
        return row + EMPTY * PAGE_BYTES
    mixed = min(row / (1 - EMPTY * varied / PAGE_BYTES), row + EMPTY * PAGE_BYTES)
    return max(mixed, PAGE_BYTES / (PAGE_BYTES // row))


def room(rows_bytes: float, replicas: int = 1, are_here: bool = False) -> Room:
    """What so many bytes of rows take, of several runners at the leader; `are_here`: the others run on its machine, too.

    The leader gets the files of all others before it puts the first of them in. Beside these it needs the log, with at
    least one of them, and what has come of that into its own file. On one machine the others' own files are there as long.
    """
    results = FILE_BYTES + rows_bytes
    if replicas == 1:
        return Room(round(results), round(results + min(results, LOG_BYTES)))
    share = rows_bytes / replicas
    files = FILE_BYTES + share
    own = (replicas - 1) * files if are_here else 0.0
    log = max(2 * share, min(rows_bytes, LOG_BYTES))
    return Room(round(results), round(replicas * files + log + own))


def rows(stage: Stage) -> int | None:
    """How many requests a stage makes at most; None where only the server's speed says."""
    if stage.requests is not None:
        return stage.requests
    return None if stage.rate is None or stage.duration is None else round(stage.rate * stage.duration)


def seconds(stages: Iterable[Stage]) -> float:
    """How long stages take, as far as they say."""
    return sum(
        stage.duration if stage.duration is not None else (stage.requests or 0) / stage.rate if stage.rate else 0.0
        for stage in stages
    )


def estimate(spec: Spec, shapes: Iterable[Shape], are_here: bool) -> Room | None:
    """What a run takes if all its requests are like the largest of these; None where nobody knows how many there will be."""
    search, stages = spec.load.search, spec.load.stages if spec.load.search is None else []
    counts = [rows(stage) for stage in stages] if search is None else [search.max_requests]
    if None in counts:
        return None
    largest = max(shapes, key=request_bytes)
    rows_bytes = request_bytes(largest) * sum(filter(None, counts)) + SECOND_BYTES * seconds(stages)
    found = room(rows_bytes, spec.runner.replicas, are_here)
    return found._replace(each_failed=each_failed(largest))


def each_failed(shape: Shape) -> int:
    """What each request that fails takes beside, where bodies are kept of those alone."""
    return round(bodies_bytes(shape)) if shape.messages == "failed" else 0


def shape_of(messages: str, arguments: Arguments, body_bytes: int) -> Shape:
    """A request of this body, with the longest answer that it may get."""
    most = arguments.max_tokens
    tokens = max(most) if isinstance(most, list) else most
    return Shape(messages, body_bytes, tokens or USUAL_TOKENS, bool(arguments.stream), arguments.n_choices or 1)


def told(found: Room | None, folder: Path) -> tuple[str, bool]:
    """What is worth saying of the room that a run takes, and whether it is a warning; an empty text for nothing."""
    if found is None:
        return "", False
    words = f"the results may take {in_words(found)}"
    free = found.at_work
    with suppress(OSError):
        free = shutil.disk_usage(folder).free
    if free < found.at_work:
        return f"{words}, and {folder} has {size(free)} free", True
    return (f"{words}, in {folder}", False) if found.at_work >= WORTH_TELLING else ("", False)


def in_words(found: Room) -> str:
    """How much room, and of what requests that is true."""
    more = f", and {size(found.each_failed)} more for each that fails" if found.each_failed else ""
    return f"about {size(found.results)}, {size(found.at_work)} while they are written, if all requests are like the first{more}"


def size(count: float) -> str:
    """Bytes for people: 34 MB."""
    for unit in ("B", "kB", "MB", "GB"):
        if count < 1000:
            return f"{count:.3g} {unit}"
        count /= 1000
    return f"{count:.3g} TB"
