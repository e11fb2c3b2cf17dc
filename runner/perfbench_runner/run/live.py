"""Whether a run is still under way: its process holds a lock on the manifest in its folder for as long as it lives."""

import fcntl
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from perfbench_runner.results.store import StoreError
from perfbench_runner.run.folders import MANIFEST


@contextmanager
def live(folder: Path) -> Iterator[None]:
    """Say within the block that the run in this folder is under way; nothing else of this process may open its manifest.

    A lock of the process (POSIX), which its children do not inherit and the system gives back however it ends.
    """
    with (folder / MANIFEST).open("r+b") as file:
        with suppress(OSError):  # a file system without locks: then `recover` cannot tell
            fcntl.lockf(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        yield


def refuse_if_live(folder: Path) -> None:
    """Raise StoreError where the run in this folder is still under way."""
    with (folder / MANIFEST).open("r+b") as file:
        try:
            fcntl.lockf(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except (BlockingIOError, PermissionError):
            raise StoreError(
                f"{folder}: the run is still under way; end it with Ctrl-C or SIGTERM, and it finishes its files itself"
            ) from None
        except OSError:  # a file system without locks
            return
