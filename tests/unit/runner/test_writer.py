"""A results file that another program has locked: rows wait in memory, and the run fails in true words if they must."""

import errno
import sqlite3
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from perfbench_runner.results import store, writer
from perfbench_runner.results.store import Store, StoreError
from perfbench_runner.results.writer import Writer, in_words


@pytest.fixture
def file(tmp_path: Path) -> Path:
    path = tmp_path / "file.sqlite"
    with sqlite3.connect(path) as db:
        db.execute("PRAGMA journal_mode = WAL")
        db.execute("CREATE TABLE row (value TEXT)")
    db.close()
    return path


@pytest.fixture
def writes(file: Path) -> Iterator[Writer]:
    db = sqlite3.connect(file, isolation_level=None, check_same_thread=False)
    db.execute("PRAGMA busy_timeout = 0")
    yield Writer(db, file)
    db.close()


@pytest.fixture
def other(file: Path) -> Iterator[sqlite3.Connection]:
    """Another program, which may take the lock."""
    db = sqlite3.connect(file, isolation_level=None)
    yield db
    db.close()


def values(file: Path) -> list[str]:
    db = sqlite3.connect(file)
    try:
        return [value for (value,) in db.execute("SELECT value FROM row ORDER BY rowid")]
    finally:
        db.close()


def test_rows_wait_for_a_lock_and_keep_their_order(writes: Writer, other: sqlite3.Connection, file: Path) -> None:
    writes.execute("INSERT INTO row VALUES (?)", ("before",))
    writes.commit()
    other.execute("BEGIN IMMEDIATE")
    began_s = time.monotonic()
    for number in range(300):
        writes.execute("INSERT INTO row VALUES (?)", (str(number),))
    writes.commit()
    assert time.monotonic() - began_s < 2, "the load was held up"
    assert values(file) == ["before"]
    other.execute("ROLLBACK")
    time.sleep(writer.RETRY_S)
    writes.execute("INSERT INTO row VALUES (?)", ("after",))
    writes.commit()
    assert values(file) == ["before", *map(str, range(300)), "after"]


def test_at_the_end_it_is_waited_for(writes: Writer, other: sqlite3.Connection, file: Path) -> None:
    other.execute("BEGIN IMMEDIATE")
    writes.execute("INSERT INTO row VALUES (?)", ("a",))
    other.execute("ROLLBACK")
    writes.settle()
    assert values(file) == ["a"]


def test_a_lock_that_does_not_end_is_told_as_one(
    writes: Writer, other: sqlite3.Connection, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(writer, "LOCKED_S", 0.3)
    other.execute("BEGIN IMMEDIATE")
    writes.execute("INSERT INTO row VALUES (?)", ("a",))
    with pytest.raises(StoreError, match=r"another program has locked it for 0\.3 s$"):
        writes.settle()


def test_memory_is_bounded(writes: Writer, other: sqlite3.Connection, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(writer, "WAITING_BYTES", 2 * 2**20)
    other.execute("BEGIN IMMEDIATE")
    row = ("INSERT INTO row VALUES (?)", ("x" * 400_000,))
    for _ in range(5):
        writes.execute(*row)
    with pytest.raises(StoreError, match="another program has it locked, and 2 MB wait for it"):
        writes.execute(*row)


@pytest.mark.parametrize(
    ("error", "words"),
    [
        (OSError(errno.ENOSPC, "No space left on device"), "is there room on the disk?"),
        (OSError(errno.EROFS, "Read-only file system"), "Read-only file system"),
        (PermissionError(errno.EACCES, "Permission denied"), "Permission denied"),
    ],
)
def test_causes_are_told_as_they_are(error: OSError, words: str) -> None:
    text = str(in_words(Path("/x/file"), error))
    assert words in text
    assert ("room on the disk" in text) == (error.errno == errno.ENOSPC)


def test_a_store_whose_file_is_locked_has_all_rows_in_the_end(tmp_path: Path) -> None:
    made = Store(tmp_path)
    other = sqlite3.connect(made.path, isolation_level=None)
    other.execute("BEGIN IMMEDIATE")
    made.set_run(name="a")
    made.add_warmup_prompt(5)
    made.commit()
    other.execute("ROLLBACK")
    other.close()
    assert made.close() == tmp_path / store.FILE
    db = sqlite3.connect(tmp_path / store.FILE)
    assert db.execute("SELECT value FROM run").fetchall() == [("a",)]
    assert db.execute("SELECT prompt_id FROM warmup_prompt").fetchall() == [(5,)]
    db.close()
