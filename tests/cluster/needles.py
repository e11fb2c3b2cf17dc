"""Keys that must be nowhere: in which forms they may show, and a search for them in files, results among them.

It runs on this machine, and as a program in a pod of the runner's image: it is given a folder, and the key as PLANTED.
"""

from __future__ import annotations

import json
import os
import re
import shutil
import sqlite3
import sys
import tempfile
from base64 import b64encode
from collections.abc import Iterator, Mapping
from contextlib import closing, suppress
from pathlib import Path

PART = 14
"""Characters of a key's beginning or end; shorter ones could be chance, and are what docs/security.md allows."""


def forms(key: str) -> dict[str, bytes]:
    """What to look for, by the name of the form: the key, its parts, and its base64 wherever it stands in a text."""
    found = {
        "key": key.encode(),
        "beginning": key[:PART].encode(),
        "end": key[-PART:].encode(),
        "hex": key.encode().hex().encode(),
    }
    for shift in range(3):  # three bytes are four letters: what is before the key shifts it
        encoded = b64encode(b"\0" * shift + key.encode())
        found[f"base64+{shift}"] = encoded[4 : len(key) // 3 * 4]
    return found


def found_in(text: bytes, wanted: Mapping[str, bytes]) -> list[str]:
    """The names of the forms that are in a text."""
    return [name for name, form in wanted.items() if form in text]


Marks = tuple[tuple[int, int], ...]
"""When a file was changed and how long it is; of a database that is written also its log."""


def found_in_folder(folder: Path, wanted: Mapping[str, bytes], seen: dict[str, Marks]) -> dict[str, list[str]]:
    """The forms that are in files below a folder, by path; what has not changed since it was `seen` is not read again."""
    found = {}
    for path in files_in(folder):
        with suppress(OSError):  # it is gone, or no file
            if path.is_symlink() or not path.is_file() or seen.get(str(path)) == (marks := marks_of(path)):
                continue
            seen[str(path)] = marks
            forms_there = {form for text in texts_of(path) for form in found_in(text, wanted)}
            if forms_there:
                found[str(path)] = sorted(forms_there)
    return found


def files_in(folder: Path) -> Iterator[Path]:
    """What is below a folder, in order; folders may go meanwhile, as those of runs do whose results a test deletes."""
    for where, folders, names in os.walk(folder):
        folders.sort()
        yield from (Path(where, name) for name in sorted(names))


def marks_of(path: Path) -> Marks:
    states = [file.stat() for file in (path, path.with_name(f"{path.name}-wal")) if file.exists()]
    return tuple((state.st_mtime_ns, state.st_size) for state in states)


def texts_of(path: Path) -> Iterator[bytes]:
    """What is in a file: its bytes, and if it has results also the bodies, which are compressed there."""
    data = path.read_bytes()
    yield data
    if data.startswith(b"SQLite format 3"):
        with suppress(sqlite3.DatabaseError):  # half of a file; its bytes have been looked at
            yield from bodies_of(path)


def bodies_of(path: Path) -> Iterator[bytes]:
    """Requests and answers, and what each answer says when its tokens are put together. A run may be writing them."""
    from perfbench_runner.results.encoding import decode

    with tempfile.TemporaryDirectory() as folder:
        copy = Path(folder, "results.sqlite")
        shutil.copy(path, copy)
        with suppress(FileNotFoundError):
            shutil.copy(f"{path}-wal", f"{copy}-wal")
        with closing(sqlite3.connect(copy)) as db:
            for request, messages in db.execute("SELECT request, response_messages FROM bodies"):
                texts = [json.dumps(decode(request))] if request else []
                texts += decode(messages) if messages else []
                yield "\n".join(texts).encode()
                yield "".join(
                    part for text in texts for part in re.findall(r'"content": ?"((?:[^"\\]|\\.)*)"', text)
                ).encode()


def main() -> None:
    print(json.dumps(found_in_folder(Path(sys.argv[1]), forms(os.environ["PLANTED"]), {})))


if __name__ == "__main__":
    main()
