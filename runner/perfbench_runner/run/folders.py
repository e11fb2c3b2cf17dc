"""The folder of a run: one that no other run has."""

from contextlib import suppress
from datetime import datetime
from pathlib import Path

from perfbench_runner.results import store
from perfbench_runner.results.store import StoreError

SUMMARY, MANIFEST = "summary.json", "manifest.yaml"


def new_folder(outputs: Path, name: str, with_time: bool = True, now: datetime | None = None) -> Path:
    """A folder that no other run has: outputs/20261123_101500/name, with a number if that is taken."""
    now = now or datetime.now()
    base = outputs / now.strftime("%Y%m%d_%H%M%S") if with_time else outputs
    for number in range(1, 10_000):
        folder = base / (name if number == 1 else f"{name}-{number}")
        with suppress(FileExistsError), store.told_in_words(folder, FileExistsError):
            folder.mkdir(parents=True)
            return folder
    raise StoreError(f"{base} is full of runs named {name}")


def own_folder(folder: Path) -> Path:
    """A folder given by the user, which must not hold results yet; raises StoreError."""
    with store.told_in_words(folder):
        taken = [name for name in (store.FILE, store.PARTIAL, SUMMARY) if (folder / name).exists()]
    if taken:
        raise StoreError(f"{folder} already holds {taken[0]} of another run; give another folder")
    with store.told_in_words(folder):
        folder.mkdir(parents=True, exist_ok=True)
    return folder
