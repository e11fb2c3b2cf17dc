"""Statements into a results file that another program may have locked: they wait in memory, and the load does not."""

import errno
import sqlite3
from collections import deque
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from time import monotonic, sleep
from typing import Any

BUSY = (sqlite3.SQLITE_BUSY, sqlite3.SQLITE_LOCKED)
LOCKED_S = 60.0
"""So long another program may hold the file locked; what is to be written waits in memory meanwhile."""
WAITING_BYTES = 256 * 2**20
"""So much may wait."""
RETRY_S = 0.1
"""A locked file is tried this often."""


class StoreError(Exception):
    """The results cannot be written: disk full, folder not writable, file taken."""


@contextmanager
def told_in_words(path: Path, *passed: type[Exception]) -> Iterator[None]:
    """Turn SQLite's and the system's errors, but those to be passed on, into a StoreError that names the file."""
    try:
        yield
    except passed:
        raise
    except (sqlite3.Error, OSError) as error:
        raise in_words(path, error) from error


def in_words(path: Path, error: Exception) -> StoreError:
    """An error of SQLite's or the system's, with its likely cause."""
    code = getattr(error, "sqlite_errorcode", 0) & 0xFF
    if code == sqlite3.SQLITE_FULL or getattr(error, "errno", None) in (errno.ENOSPC, errno.EDQUOT):
        hint = "; is there room on the disk?"
    elif code in BUSY:
        hint = "; another program has it locked"
    elif code == sqlite3.SQLITE_READONLY and not path.exists():  # which is how SQLite finds it out
        return gone(path)
    else:
        hint = "; is the disk full, or gone?" if code == sqlite3.SQLITE_IOERR else ""
    return StoreError(f"cannot write {path}: {error}{hint}")


def gone(path: Path) -> StoreError:
    """That there is no such file any more."""
    return StoreError(f"cannot write {path}: it is gone; somebody has deleted or moved it while the run went on")


class Writer:
    """Writes in transactions. It never waits while the load goes on; what it cannot write yet is kept, within bounds."""

    def __init__(self, db: sqlite3.Connection, path: Path) -> None:
        """`db` must not wait for locks itself."""
        self._db, self.path = db, path
        self._is_dirty = False
        self._waiting: deque[tuple[str, Any]] = deque()
        self._waiting_bytes, self._locked_since_s, self._tried_s = 0, 0.0, 0.0

    def execute(self, sql: str, values: Any) -> None:
        """Write now, or as soon as the file can be written to. Raises StoreError."""
        if not self.begin():
            self._wait_with(sql, values)
            return
        with told_in_words(self.path):
            self._db.execute(sql, values)

    def begin(self) -> bool:
        """Begin to write, what waits first; false while another program has the file locked. Raises StoreError."""
        if self._is_dirty:
            return True
        now = monotonic()
        if self._waiting and now - self._tried_s < RETRY_S:
            return False
        self._tried_s = now
        try:
            self._db.execute("BEGIN IMMEDIATE")  # takes the lock now, and not with some statement later
        except sqlite3.Error as error:
            if error.sqlite_errorcode & 0xFF not in BUSY:
                raise in_words(self.path, error) from error
            self._locked_since_s = self._locked_since_s or now
            if now - self._locked_since_s > LOCKED_S:
                raise StoreError(
                    f"cannot write {self.path}: another program has locked it for {LOCKED_S:g} s"
                ) from None
            return False
        self._is_dirty, self._locked_since_s = True, 0.0
        with told_in_words(self.path):
            while self._waiting:
                self._db.execute(*self._waiting[0])
                self._waiting.popleft()
        self._waiting_bytes = 0
        return True

    def _wait_with(self, sql: str, values: Any) -> None:
        self._waiting.append((sql, tuple(values)))
        self._waiting_bytes += 200 + sum(len(value) for value in values if isinstance(value, (str, bytes)))
        if self._waiting_bytes > WAITING_BYTES:
            megabytes = WAITING_BYTES // 2**20
            raise StoreError(f"cannot write {self.path}: another program has it locked, and {megabytes} MB wait for it")

    def commit(self) -> None:
        """Make everything so far survive this process, or what is not waiting for a lock."""
        if self._waiting:
            self.begin()
        if self._is_dirty and self._db.in_transaction:
            if not self.path.exists():  # SQLite would write into what nobody can open any more, to the run's end
                raise gone(self.path)
            with told_in_words(self.path):
                self._db.execute("COMMIT")
        self._is_dirty = False

    def settle(self) -> None:
        """Write all that waits, however long another program has the file locked, within LOCKED_S. Not while there is load."""
        while self._waiting and not self.begin():
            sleep(RETRY_S)
        self.commit()
