"""The results file: SQLite, written while the run goes on.

While a run goes on the file is in WAL mode under a temporary name, committed at least every second; at the end it
becomes one file, synced, under its own name. Its tables: `results.schema`.
"""

import json
import os
import sqlite3
from collections.abc import Iterable
from pathlib import Path
from time import monotonic, sleep
from typing import Any

import orjson

from perfbench_runner.results import client_health as health
from perfbench_runner.results.encoding import encode, encode_gaps, encode_messages, plain_request
from perfbench_runner.results.result import Result
from perfbench_runner.results.schema import NARROW, migrate
from perfbench_runner.results.writer import BUSY, Writer, in_words, told_in_words
from perfbench_runner.results.writer import StoreError as StoreError

FILE = "results.sqlite"
PARTIAL = "results.sqlite.partial"
PAGE_BYTES = 65_536
"""A page of the file holds whole rows: where these have 20 kB and more it takes half the time of the default's."""

REQUEST = f"INSERT INTO requests VALUES (?, {', '.join('?' * len(NARROW))})"  # noqa: S608  # our names

READERS_S = 10.0
"""So long others may read the file before it is finished."""


class Store:
    """Writes results; a sink. `messages` says which bodies are kept: all, failed or none."""

    def __init__(self, folder: Path, messages: str = "all") -> None:
        self.folder, self.messages = folder, messages
        self.path = folder / PARTIAL
        self.rows = 0
        with told_in_words(self.path):
            # One thread after the other: the summary is made in another one than the rows.
            self.db = sqlite3.connect(self.path, isolation_level=None, check_same_thread=False)
            self.db.execute(f"PRAGMA page_size = {PAGE_BYTES}")
            self.db.execute("PRAGMA journal_mode = WAL")
            self.db.execute("PRAGMA synchronous = NORMAL")
            self.db.execute("PRAGMA journal_size_limit = 16777216")
            migrate(self.db)
            self.db.execute("PRAGMA busy_timeout = 0")  # whoever writes waits without holding up the load
            self._writer = Writer(self.db, self.path)
            self._last_id = self.db.execute("SELECT coalesce(max(id), 0) FROM requests").fetchone()[0]

    def add(self, result: Result) -> None:
        """Insert a result; it is durable after the next `commit`."""
        data = result.data
        gaps_s = data.inter_chunk_latency or ()
        self._last_id += 1
        self._add_narrow(narrow_row(result, len(gaps_s)))
        if gaps_s:
            tokens = orjson.dumps(data.gap_tokens).decode() if data.gap_tokens else None
            self._execute("INSERT INTO gaps VALUES (?, ?, ?)", (self._last_id, encode_gaps(gaps_s), tokens))
        if self.messages == "all" or (self.messages == "failed" and not data.success):
            request = encode(plain_request(data.request)) if data.request else None
            messages = encode_messages(data.response_messages)
            self._execute("INSERT INTO bodies VALUES (?, ?, ?)", (self._last_id, request, messages))
        self.rows += 1

    def add_unsent(
        self,
        stage: int,
        seq: int,
        scheduled_s: float,
        until_s: float,
        workload: str | None = None,
        target: str | None = None,
    ) -> None:
        """Insert a request that was due and never sent: a limit held it until the stage was over, or was stopped."""
        self._execute(
            "INSERT INTO unsent (stage, seq, scheduled_time, until_time, workload, target) VALUES (?, ?, ?, ?, ?, ?)",
            (stage, seq, scheduled_s, until_s, workload, target),
        )

    def add_warmup_prompt(self, prompt_id: int, target: str | None = None) -> None:
        """Note a prompt that the warm-up has sent, so that it counts as sent before."""
        self._execute("INSERT INTO warmup_prompt VALUES (?, ?)", (prompt_id, target))

    def add_sample(self, sample: health.Sample) -> None:
        """Insert a sample of client health."""
        values = [getattr(sample, name) for name in health.COLUMNS]
        self._execute(f"INSERT INTO client_health VALUES ({', '.join('?' * len(values))})", values)  # noqa: S608

    def add_server_metrics(self, rows: Iterable[tuple[float, int, str, str, str, float]]) -> None:
        """Insert samples of the server's own metrics."""
        for row in rows:
            self._execute("INSERT INTO server_metric VALUES (?, ?, ?, ?, ?, ?)", row)

    def set_run(self, **values: Any) -> None:
        """Set facts of the run; anything that is no text is stored as JSON."""
        for key, value in values.items():
            text = value if isinstance(value, str) else json.dumps(value)
            self._execute("INSERT OR REPLACE INTO run VALUES (?, ?)", (key, text))

    def set_stage(self, number: int, name: str, plan: dict[str, Any]) -> None:
        """Record a stage, before its load begins."""
        self._execute("INSERT INTO stage (stage, name, plan) VALUES (?, ?, ?)", (number, name, json.dumps(plan)))

    def begin_stage(self, number: int, begin_s: float, deadline_s: float | None) -> None:
        """Record when a stage's load began, its schedule's zero, and when it was to end; None if it ends by count."""
        sql = "UPDATE stage SET start_time = ?1, begin_time = ?1, deadline_time = ?2 WHERE stage = ?3"
        self._execute(sql, (begin_s, deadline_s, number))

    def end_stage(
        self, number: int, end_s: float, feed_s: float, stop_s: float | None = None, ending: str | None = None
    ) -> None:
        """Record when a stage was over, how long its requests took to generate, and when it was told to stop early.

        `ending` says in words why it ended before its count or duration, if it did.
        """
        if ending is not None:
            self._execute("UPDATE stage SET plan = json_set(plan, '$.ending', ?) WHERE stage = ?", (ending, number))
        sql = "UPDATE stage SET end_time = ?, feed_time = ?, stop_time = ? WHERE stage = ?"
        self._execute(sql, (end_s, feed_s, stop_s, number))

    def cut_stage_short(self) -> None:
        """Say of a stage whose run was killed that it was stopped when it was last heard of."""
        self._execute(
            "UPDATE stage SET end_time = heard, stop_time = heard, plan = json_set(plan, '$.killed', json('true')) FROM"
            " (SELECT stage AS number, max(at_s) AS heard FROM (SELECT stage, at_s FROM client_health"
            " UNION ALL SELECT stage, completed_time FROM requests) GROUP BY stage)"
            " WHERE stage = number AND end_time IS NULL",
            (),
        )

    def set_summaries(self, summaries: list[dict[str, Any]]) -> None:
        """Record the summaries of all stages, in their order."""
        self.settle()
        numbers = [row[0] for row in self.db.execute("SELECT stage FROM stage ORDER BY stage")]
        for number, summary in zip(numbers, summaries, strict=True):
            self._execute("UPDATE stage SET summary = ? WHERE stage = ?", (json.dumps(summary), number))
            for runner in summary.get("runners", ()):
                client = runner["client"]
                self._execute(
                    "UPDATE runner_stage SET client = ?, client_reasons = ? WHERE runner = ? AND stage = ?",
                    (client["state"], json.dumps(client["reasons"]), runner["runner"], number),
                )

    def _add_narrow(self, values: tuple[Any, ...]) -> None:
        if not self._writer.begin():
            self._execute(REQUEST, (self._last_id, *map(_storable, values, NARROW.values())))
            return
        try:
            self.db.execute(REQUEST, (self._last_id, *values))
        except (sqlite3.ProgrammingError, sqlite3.InterfaceError, OverflowError, UnicodeEncodeError):
            self._execute(REQUEST, (self._last_id, *map(_storable, values, NARROW.values())))
        except sqlite3.Error as error:
            raise in_words(self.path, error) from error

    def _execute(self, sql: str, values: Any) -> None:
        self._writer.execute(sql, values)

    def commit(self) -> None:
        """Make everything so far survive this process, but what waits for a lock."""
        self._writer.commit()

    def settle(self) -> None:
        """Write all that waits for a lock of another program, and commit; not while there is load. Raises StoreError."""
        self._writer.settle()

    def close(self) -> Path:
        """Turn the file into one file under its own name, on the disk for sure; returns its path."""
        self.settle()
        with told_in_words(self.path):
            until_s = monotonic() + READERS_S
            while not self._is_one_file():
                if monotonic() > until_s:
                    raise StoreError(f"{self.path} cannot be finished: another program has it open and does not end.")
                sleep(0.05)
            self.db.close()
            final = self.folder / FILE
            _sync(self.path)
            self.path.rename(final)
            _sync(self.folder)
        return final

    def _is_one_file(self) -> bool:
        """Take the log into the file; it cannot be done while somebody reads it."""
        try:
            is_busy = self.db.execute("PRAGMA wal_checkpoint(TRUNCATE)").fetchone()[0]
            return not is_busy and self.db.execute("PRAGMA journal_mode = DELETE").fetchone()[0] == "delete"
        except sqlite3.OperationalError as error:
            if error.sqlite_errorcode & 0xFF not in BUSY:
                raise
            return False


def _sync(path: Path) -> None:
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def narrow_row(result: Result, gaps: int) -> tuple[Any, ...]:
    """The values of NARROW. What a failed request had measured before it failed is among them."""
    data, ok = result.data, result.data.success
    return (
        data.start_time,
        int(ok),
        data.completed_time,
        data.query_latency if ok else None,
        data.first_chunk_latency,
        data.prompt_tokens if ok else None,
        data.completion_tokens if ok else None,
        data.max_gpu_memory_cost,
        data.time_per_output_token if ok else None,
        data.request_id,
        int(bool(data.is_stream)),
        result.stage,
        result.seq,
        result.shard,
        result.scheduled_s,
        result.dispatch_lag_s,
        result.connect_s,
        result.tls_s,
        result.first_byte_s,
        result.response_bytes,
        data.status_code,
        data.failure or None,
        data.error,
        data.token_source or None,
        data.real_cached_tokens,
        data.trace_id,
        data.input_num_turns or None,
        int(data.is_last_turn) if data.input_num_turns else None,
        result.entry,
        result.prompt_id,
        result.resends,
        gaps + 1 if gaps or data.first_chunk_latency is not None else 0,
        result.stamps,
        result.merged_segments,
        data.model,
        data.asked_tokens,
        int(data.no_content),
        result.send_s,
        result.excluded,
        None,  # known when files are merged
        result.retries,
        result.retry_s if result.retries else None,
        result.workload,
        result.target,
    )


def _storable(value: Any, kind: str) -> Any:
    """What a column can hold of a value that a plugin left in a result: nothing, rather than end the run."""
    if value is None:
        return None
    if kind == "TEXT":
        return str(value).encode(errors="replace").decode()
    try:
        number = float(value)
    except (TypeError, ValueError, OverflowError):
        return None
    return int(number) if kind == "INTEGER" and abs(number) < 2**63 else number
