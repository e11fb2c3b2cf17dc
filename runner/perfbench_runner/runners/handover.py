"""A worker's results file on its way to the leader: in chunks, resumed where it was cut off, checked by its SHA-256."""

import os
from collections.abc import Iterator
from contextlib import suppress
from hashlib import file_digest
from pathlib import Path

from perfbench_runner.results.writer import told_in_words
from perfbench_runner.runners.members import RefusedError
from perfbench_runner.runners.messages import Delivered


class Inbox:
    """The files that the leader gets. Not for an event loop: all of it waits for the disk. Raises StoreError."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder

    def _partial(self, runner: int) -> Path:
        return self._folder / f"runner-{runner}.sqlite.partial"

    def received(self, runner: int) -> int:
        """How much of a runner's file is here."""
        partial = self._partial(runner)
        with told_in_words(partial):
            return partial.stat().st_size if partial.exists() else 0

    def append(self, runner: int, offset: int, data: bytes) -> int:
        """Put a chunk where it belongs; returns how much is here then. Raises RefusedError where there would be a gap."""
        partial = self._partial(runner)
        with told_in_words(partial):
            descriptor = os.open(partial, os.O_RDWR | os.O_CREAT, 0o600)
            with open(descriptor, "r+b") as file:  # noqa: PTH123  # of a descriptor
                size = os.fstat(descriptor).st_size
                if offset > size:
                    raise RefusedError(409, f"there are {size} bytes of the file of runner {runner}, not {offset}")
                file.seek(offset)
                file.write(data)
                file.truncate()
                return offset + len(data)

    def finish(self, runner: int, said: Delivered) -> Path:
        """The whole file; raises RefusedError where it is another one than was sent, and forgets it."""
        partial, whole, done = self._partial(runner), self._folder / f"runner-{runner}.sqlite", said.done
        with told_in_words(partial):
            if not partial.exists() and whole.exists():  # it was finished before, and the answer was lost
                partial = whole
            if not partial.exists() or partial.stat().st_size != done.size or digest_of(partial) != done.sha256:
                partial.unlink(missing_ok=True)
                raise RefusedError(422, f"the file of runner {runner} did not arrive as it was sent")
            _note_of(whole).write_text(said.model_dump_json())
            partial.replace(whole)
        return whole

    def drop_partial(self) -> None:
        """Make room: what is not whole will never be."""
        for partial in self._folder.glob("runner-*.sqlite.partial"):
            with suppress(OSError):
                partial.unlink()

    def delivered(self) -> Iterator[tuple[int, Path, Delivered]]:
        """The whole files that are here, by their runners' numbers."""
        with told_in_words(self._folder):
            numbers = sorted(int(path.stem.rpartition("-")[2]) for path in self._folder.glob("runner-*.sqlite"))
            for number in numbers:
                path = self._folder / f"runner-{number}.sqlite"
                yield number, path, Delivered.model_validate_json(_note_of(path).read_text())


def forget(path: Path) -> None:
    """The rows of a worker's file are in the leader's."""
    with suppress(OSError):
        path.unlink()
        _note_of(path).unlink()


def _note_of(path: Path) -> Path:
    """What is to be known of a worker's file: whole before the file has its name."""
    return path.with_suffix(".json")


def digest_of(path: Path) -> str:
    """SHA-256 of a file. Of a large one it takes long."""
    with path.open("rb") as file:
        return file_digest(file, "sha256").hexdigest()


def chunk_of(path: Path, offset: int, most: int) -> bytes:
    """A part of a file."""
    with path.open("rb") as file:
        file.seek(offset)
        return file.read(most)
