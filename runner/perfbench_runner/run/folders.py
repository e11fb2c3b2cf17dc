"""The folder of a run: one that no other run has."""

import fcntl
import os
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from datetime import datetime
from pathlib import Path

from perfbench_runner.results import store
from perfbench_runner.results.store import StoreError
from perfbench_runner.results.writer import told_in_words

SUMMARY, MANIFEST = "summary.json", "manifest.yaml"


@contextmanager
def held(folder: Path) -> Iterator[None]:
    """Say of a run's folder that its process lives; raises StoreError where another process has said so.

    A POSIX lock on the manifest, which nothing else opens: it goes with the process, however that ends.
    """
    with (folder / MANIFEST).open("r+") as file:
        try:
            fcntl.lockf(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            raise StoreError(
                f"{folder}: the run is still under way; end it with Ctrl-C or SIGTERM, and it finishes its files itself"
            ) from None
        except OSError:  # a file system without locks
            pass
        yield


def write_whole(path: Path, text: str) -> None:
    """Write a file, or leave none: a disk that is full leaves no half of it. Raises StoreError."""
    partial = path.with_name(path.name + ".partial")
    with told_in_words(path):
        try:
            with partial.open("w", encoding="utf-8") as file:
                file.write(text)
                file.flush()
                os.fsync(file.fileno())
            partial.replace(path)
        except OSError:
            partial.unlink(missing_ok=True)
            raise


def new_folder(outputs: Path, name: str, with_time: bool = True, now: datetime | None = None) -> Path:
    """A folder that no other run has: outputs/20261123_101500/name, with a number if that is taken."""
    now = now or datetime.now()
    base = outputs / now.strftime("%Y%m%d_%H%M%S") if with_time else outputs
    for number in range(1, 10_000):
        folder = base / (name if number == 1 else f"{name}-{number}")
        with suppress(FileExistsError), told_in_words(folder, FileExistsError):
            folder.mkdir(parents=True)
            return folder
    raise StoreError(f"{base} is full of runs named {name}")


def own_folder(folder: Path) -> Path:
    """A folder given by the user, which must not hold results yet; raises StoreError."""
    with told_in_words(folder):
        taken = [name for name in (store.FILE, store.PARTIAL, SUMMARY) if (folder / name).exists()]
    if taken:
        raise StoreError(f"{folder} already holds {taken[0]} of another run; give another folder")
    with told_in_words(folder):
        folder.mkdir(parents=True, exist_ok=True)
    return folder
