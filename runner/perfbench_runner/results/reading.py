"""Opening a results file to read it."""

import sqlite3
from pathlib import Path

from perfbench_runner.results.store import FILE, StoreError


def open_results(path: Path) -> sqlite3.Connection:
    """Open a results file to read it; raises StoreError when it is none."""
    if path.is_dir():
        path = path / FILE
    if not path.exists():
        raise StoreError(f"there is no {path}")
    try:
        db = sqlite3.connect(f"file:{path}?mode=ro", uri=True)
        db.execute("SELECT count(*) FROM migration")
    except sqlite3.Error as error:
        raise StoreError(f"{path} is no results file: {error}") from None
    return db
