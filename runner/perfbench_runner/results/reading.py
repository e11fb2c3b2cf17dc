"""Opening a results file to read it, and what is to be said of it as a file."""

import sqlite3
from collections.abc import Callable
from contextlib import closing
from hashlib import file_digest
from pathlib import Path

from perfbench_api.outcome import StoredResults
from perfbench_runner.results.schema import show_as_newest
from perfbench_runner.results.store import FILE, StoreError

Tell = Callable[[int, int], None]
"""Is told how many rows of how many have been read."""


def told_nobody(done: int, total: int) -> None:
    """Progress that nobody waits for."""


def open_results(path: Path) -> sqlite3.Connection:
    """Open a results file, of this version or an older one, to read it; raises StoreError when it is none."""
    if path.is_dir():
        path = path / FILE
    if not path.exists():
        raise StoreError(f"there is no {path}")
    db = None
    try:
        db = sqlite3.connect(f"{path.absolute().as_uri()}?mode=ro", uri=True)
        db.execute("SELECT count(*) FROM migration")
        show_as_newest(db)
    except sqlite3.Error as error:
        if db is not None:
            db.close()
        raise StoreError(f"{path} is no results file: {error}") from None
    return db


def facts(db: sqlite3.Connection) -> dict[str, str]:
    """What the file says of the run as a whole."""
    return dict(db.execute("SELECT key, value FROM run"))


def stored(path: Path) -> StoredResults:
    """Size, checksum and rows of a results file. Of a large one it takes long: not for an event loop."""
    with path.open("rb") as file:
        digest = file_digest(file, "sha256").hexdigest()
    with closing(open_results(path)) as db:
        (rows,) = db.execute("SELECT count(*) FROM requests").fetchone()
    return StoredResults(path=str(path), bytes=path.stat().st_size, sha256=digest, rows=rows)
