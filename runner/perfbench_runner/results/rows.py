"""Reading a stage's rows into arrays: narrow columns at once, gaps a little at a time."""

# ruff: noqa: S608  # the names in these statements are our own

import sqlite3
from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from typing import Any, NamedTuple

import numpy as np

from perfbench_runner.results.quantiles import Array

Ints = np.ndarray[Any, np.dtype[np.int64]]
Mask = np.ndarray[Any, np.dtype[np.bool_]]
Bytes = np.ndarray[Any, np.dtype[np.uint8]]

NUMBERS = (
    "id", "success", "start_time", "completed_time", "scheduled_time", "dispatch_lag", "latency", "first_chunk_latency",
    "time_per_output_token", "prompt_tokens", "completion_tokens", "connect_time", "tls_time", "cached_tokens",
    "seq", "shard", "turn", "last_turn", "entry", "resends", "chunks", "is_stream", "merged_segments", "by_program",
    "asked_tokens", "no_content", "is_usage", "is_excluded", "runner", "retries", "retry_time",
)  # fmt: skip
"""Columns of a stage that are kept in memory, 8 bytes a request each."""
COMPUTED = {
    "by_program": "CASE stamps WHEN 'program' THEN 1 WHEN 'kernel' THEN 0 END",
    "is_usage": "token_source = 'usage'",
    "is_excluded": "excluded IS NOT NULL",
    "runner": "coalesce(runner, 0)",
    "retries": "coalesce(retries, 0)",
    "retry_time": "coalesce(retry_time, 0.0)",
}
"""Those that are no columns of the file."""
UNFINISHED = "success = 0 AND coalesce(failure, '') = 'unfinished'"
AT_ONCE = 20_000
"""Rows that are turned into arrays at once."""
GAPS_AT_ONCE = 2_000


class Part(NamedTuple):
    """Which requests of a stage: all of them, or those of one workload, or to one target."""

    stage: int
    workload: str | None = None
    target: str | None = None

    @property
    def condition(self) -> str:
        """As SQL, of a table `r`."""
        own = [name for name, value in zip(self._fields[1:], self[1:], strict=True) if value is not None]
        return " AND ".join(["r.stage = ?1", *(f"r.{name} = ?{number}" for number, name in enumerate(own, 2))])

    @property
    def values(self) -> tuple[int | str, ...]:
        """What the condition's question marks stand for."""
        return (self.stage, *(value for value in self[1:] if value is not None))


@dataclass
class Rows:
    """The requests of a stage, in the order in which they were stored. Arrays have one value for each."""

    columns: dict[str, Array]
    is_unfinished: Mask
    prompt_ids: Ints
    """0 where it is not known."""
    errors: Counter[str]
    """Failed requests by kind."""
    token_sources: Counter[str]
    """Succeeded requests by who counted their tokens."""
    models: Counter[str]
    """Succeeded requests by the model that their answer names."""
    status_codes: Counter[int]
    """Requests by the HTTP status of their answer."""
    workloads: list[str | None]
    """Those that there are among the requests; None where they have none."""
    workload: Bytes
    """Of each request: the number of its workload in `workloads`."""

    def __getitem__(self, name: str) -> Array:
        return self.columns[name]

    def where(self, mask: Mask) -> "Rows":
        """Some of them; what is counted by kind stays that of all."""
        columns = {name: values[mask] for name, values in self.columns.items()}
        return replace(
            self,
            columns=columns,
            is_unfinished=self.is_unfinished[mask],
            prompt_ids=self.prompt_ids[mask],
            workload=self.workload[mask],
        )

    def __len__(self) -> int:
        return len(self.is_unfinished)

    @property
    def is_ok(self) -> Mask:
        """Which succeeded."""
        ok: Mask = self.columns["success"] == 1
        return ok


def read_rows(db: sqlite3.Connection, part: Part, tell: Callable[[int], None], with_excluded: bool = True) -> Rows:
    """The requests of a part; `tell` is called with the number of rows read since the last time."""
    columns_of_numbers = ", ".join(COMPUTED.get(name, name) for name in NUMBERS)
    texts = "failure, token_source, model, status_code, workload"
    cursor = db.execute(
        f"SELECT {columns_of_numbers}, {UNFINISHED}, coalesce(prompt_id, 0), {texts} FROM requests r"
        f" WHERE {part.condition}{'' if with_excluded else ' AND excluded IS NULL'}",
        part.values,
    )
    parts: list[list[Array]] = [[] for _ in NUMBERS]
    unfinished: list[Mask] = []
    prompts: list[Ints] = []
    errors: Counter[str] = Counter()
    sources: Counter[str] = Counter()
    models: Counter[str] = Counter()
    codes: Counter[int] = Counter()
    workloads: dict[str | None, int] = {}
    workload: list[Bytes] = []
    while chunk := cursor.fetchmany(AT_ONCE):
        *numbers, cut, prompt_ids, failures, who, names, statuses, kinds = zip(*chunk, strict=True)
        for arrays, column in zip(parts, numbers, strict=True):
            arrays.append(np.array(column, dtype=np.float64))
        unfinished.append(np.array(cut, dtype=np.bool_))
        prompts.append(np.array(prompt_ids, dtype=np.int64))
        ok = numbers[NUMBERS.index("success")]
        errors.update(kind for kind, good, late in zip(failures, ok, cut, strict=True) if kind and not (good or late))
        sources.update(source for source, good in zip(who, ok, strict=True) if source and good)
        models.update(name for name, good in zip(names, ok, strict=True) if name and good)
        codes.update(filter(None, statuses))
        workload.append(np.array([workloads.setdefault(kind, len(workloads)) for kind in kinds], dtype=np.uint8))
        tell(len(chunk))
    columns = {}
    for name in NUMBERS:
        columns[name] = np.concatenate([np.empty(0), *parts.pop(0)])
    return Rows(
        columns,
        np.concatenate([np.empty(0, dtype=np.bool_), *unfinished]),
        np.concatenate([np.empty(0, dtype=np.int64), *prompts]),
        errors,
        sources,
        models,
        codes,
        list(workloads),
        np.concatenate([np.empty(0, dtype=np.uint8), *workload]),
    )


def read_gaps(db: sqlite3.Connection, part: Part, tell: Callable[[int], None]) -> Iterator[Ints]:
    """Gaps of succeeded and unfinished requests in microseconds, those of many requests at once."""
    cursor = db.execute(
        "SELECT g.gaps_us FROM requests r JOIN gaps g ON g.id = r.id"
        f" WHERE {part.condition} AND (r.success = 1 OR {UNFINISHED}) AND r.excluded IS NULL",
        part.values,
    )
    while chunk := cursor.fetchmany(GAPS_AT_ONCE):
        yield parse_gaps(text for (text,) in chunk)
        tell(len(chunk))


def read_gaps_in_time(
    db: sqlite3.Connection, part: Part, tell: Callable[[int], None], of_tokens: bool = False
) -> Iterator[tuple[Ints, Array]]:
    """Gaps as `read_gaps` has them, or `read_token_gaps`, and when each was over, on the run's clock."""
    is_in = "r.success = 1 AND g.tokens IS NOT NULL" if of_tokens else f"(r.success = 1 OR {UNFINISHED})"
    cursor = db.execute(
        f"SELECT g.gaps_us, {'g.tokens' if of_tokens else 'NULL'}, r.start_time + r.first_chunk_latency"
        " FROM requests r JOIN gaps g ON g.id = r.id"
        f" WHERE {part.condition} AND length(g.gaps_us) > 2 AND r.first_chunk_latency IS NOT NULL"
        f" AND r.excluded IS NULL AND {is_in}",
        part.values,
    )
    while chunk := cursor.fetchmany(GAPS_AT_ONCE):
        texts, tokens, firsts = zip(*chunk, strict=True)
        gaps, sizes = parse_gaps(texts), np.array([text.count(",") + 1 for text in texts])
        ends = np.cumsum(gaps)
        before = np.concatenate([[0], ends[np.cumsum(sizes) - 1][:-1]])
        ends_s = (ends - np.repeat(before, sizes)) / 1e6 + np.repeat(np.array(firsts, dtype=np.float64), sizes)
        if of_tokens:
            counts = parse_gaps(tokens)
            if len(counts) == len(gaps):  # a plugin's own gaps may have lost some
                yield np.repeat(np.rint(gaps / counts).astype(np.int64), counts), np.repeat(ends_s, counts)
        else:
            yield gaps, ends_s
        tell(len(chunk))


def read_token_gaps(db: sqlite3.Connection, part: Part) -> Iterator[Ints]:
    """Gaps between tokens of succeeded requests in microseconds: a gap between chunks, spread over the later one's tokens."""
    cursor = db.execute(
        "SELECT g.gaps_us, g.tokens FROM requests r JOIN gaps g ON g.id = r.id"
        f" WHERE {part.condition} AND r.success = 1 AND g.tokens IS NOT NULL AND r.excluded IS NULL",
        part.values,
    )
    while chunk := cursor.fetchmany(GAPS_AT_ONCE):
        gaps, tokens = (parse_gaps(texts) for texts in zip(*chunk, strict=True))
        if len(gaps) == len(tokens):  # a plugin's own gaps may have lost some
            yield np.repeat(np.rint(gaps / tokens).astype(np.int64), tokens)


def gaps_of(db: sqlite3.Connection, ids: Ints) -> Iterator[tuple[int, Array]]:
    """Gaps of some requests in seconds, with their number in `ids`."""
    for index, number in enumerate(ids.tolist()):
        row = db.execute("SELECT gaps_us FROM gaps WHERE id = ?", (number,)).fetchone()
        yield index, parse_gaps([row[0]] if row else []) / 1e6


def parse_gaps(texts: Any) -> Ints:
    """The numbers of JSON lists of whole numbers, one after the other."""
    inner = ",".join([text[1:-1] for text in texts if text and len(text) > 2])
    return np.fromstring(inner, dtype=np.int64, sep=",") if inner else np.empty(0, dtype=np.int64)
