"""Rows (dicts) of data files, read as they are needed: JSONL, JSON, CSV, TSV, text, Parquet, Arrow, tar. No dataset itself.

A tar file is in the webdataset layout: files of the same stem make a row, `00.jpg` and `00.txt` are its columns. A
folder with a metadata.jsonl is in Hugging Face's imagefolder layout: column `file_name` names a file of the folder,
whose bytes become column `image`.
"""

import csv
import gzip
import json
import tarfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from importlib import import_module
from itertools import groupby
from pathlib import Path
from typing import Any, TextIO

from perfbench_plugins.datasets.errors import DatasetError, not_utf8

Row = dict[str, Any]
TEXT_COLUMN = "text"
"""The column of a text file's lines, and of a JSON list's bare strings."""
PARQUET_BATCH_ROWS = 64


def file_rows(path: Path, kind: str | None = None) -> Iterator[Row]:
    """Rows of a file, whose kind is by its ending if not given; raises DatasetError when it cannot be read."""
    kind = kind or kind_of(path)
    with readable(path):
        yield from READERS[kind](path)


def kind_of(path: Path) -> str:
    """The kind of a file by its ending; raises DatasetError that lists the kinds there are."""
    ending = path.name.lower().removesuffix(".gz").rpartition(".")[2]
    kind = ENDINGS.get(ending)
    if kind is None:
        known = ", ".join(f".{name}" for name in ENDINGS)
        raise DatasetError(f"dataset.path: {str(path)!r} is of no known kind; there are {known}, or give args.format")
    return kind


def folder_rows(folder: Path, split: str) -> Iterator[Row]:
    """Rows of all files of a split in a folder, as hubs lay them out; raises DatasetError when there are none."""
    found = sorted(
        path for path in folder.rglob("*") if path.is_file() and _is_of_split(path.relative_to(folder), split)
    )
    metadata = [path for path in found if path.name == "metadata.jsonl"]
    files = metadata or [path for path in found if _has_known_ending(path)]
    if not files:
        raise DatasetError(f"dataset.path: {str(folder)!r} has no data file of split {split!r}")
    for path in files:
        yield from map(_with_image(path.parent), file_rows(path)) if metadata else file_rows(path)


def rows_at(path: str | None, split: str) -> Iterator[Row]:
    """Rows of a file, or of a split in a folder; raises DatasetError when there is neither."""
    if not path:
        raise DatasetError("dataset.path: missing; this dataset is read from a file of your own")
    place = Path(path)
    return folder_rows(place, split) if place.is_dir() else file_rows(place)


@contextmanager
def readable(path: Path) -> Iterator[None]:
    """Turn what readers raise about a file into a DatasetError that names it."""
    try:
        yield
    except DatasetError:
        raise
    except OSError as error:
        raise DatasetError(f"dataset.path: cannot read {str(path)!r}: {error.strerror or error}") from None
    except UnicodeDecodeError as error:
        raise DatasetError(f"dataset.path: {str(path)!r} is no UTF-8 text: {not_utf8(error)}") from None
    except (ValueError, csv.Error, tarfile.TarError) as error:  # pyarrow's ArrowInvalid is a ValueError
        raise DatasetError(f"dataset.path: {str(path)!r} cannot be read: {error}") from None


def _is_of_split(path: Path, split: str) -> bool:
    return path.parts[0] == split or path.name.startswith(split) or split in path.parent.parts


def _has_known_ending(path: Path) -> bool:
    return path.name.lower().removesuffix(".gz").rpartition(".")[2] in ENDINGS


def _with_image(folder: Path) -> Callable[[Row], Row]:
    def add(row: Row) -> Row:
        image = folder / str(row.get("file_name"))
        with readable(image):
            return {**row, "image": image.read_bytes()}

    return add


def _open_text(path: Path) -> TextIO:
    if path.suffix.lower() == ".gz":
        return gzip.open(path, "rt", encoding="utf-8-sig", newline="")
    return path.open(encoding="utf-8-sig", newline="")


def _text(path: Path) -> Iterator[Row]:
    with _open_text(path) as file:
        for line in file:
            if line.strip():
                yield {TEXT_COLUMN: line.strip()}


def _jsonl(path: Path) -> Iterator[Row]:
    with _open_text(path) as file:
        for number, line in enumerate(file, 1):
            if not line.strip():
                continue
            try:
                value = json.loads(line)
            except ValueError as error:
                raise DatasetError(f"dataset.path: {str(path)!r}, line {number}: no JSON: {error}") from None
            yield _row(value, path, f"line {number}")


def _json(path: Path) -> Iterator[Row]:
    with _open_text(path) as file:
        items = json.load(file)
    if not isinstance(items, list):
        raise DatasetError(f"dataset.path: {str(path)!r} holds a JSON {type(items).__name__}, not a list")
    for number, value in enumerate(items, 1):
        yield _row(value, path, f"item {number}")


def _row(value: Any, path: Path, where: str) -> Row:
    if isinstance(value, str):
        return {TEXT_COLUMN: value}
    if not isinstance(value, dict):
        raise DatasetError(f"dataset.path: {str(path)!r}, {where}: a JSON {type(value).__name__}, no object")
    return value


def _csv(path: Path, delimiter: str = ",") -> Iterator[Row]:
    csv.field_size_limit(2**31 - 1)  # the default, 128 KiB, is less than a long prompt
    with _open_text(path) as file:
        yield from csv.DictReader(file, delimiter=delimiter)


def _tsv(path: Path) -> Iterator[Row]:
    return _csv(path, "\t")


def _parquet(path: Path) -> Iterator[Row]:
    parquet = _pyarrow("pyarrow.parquet", path)
    with parquet.ParquetFile(path) as file:
        for batch in file.iter_batches(PARQUET_BATCH_ROWS):
            yield from batch.to_pylist()


def _arrow(path: Path) -> Iterator[Row]:
    pa = _pyarrow("pyarrow", path)
    with pa.memory_map(str(path)) as source:
        try:
            batches = iter(pa.ipc.open_stream(source))
        except pa.ArrowInvalid:
            file = pa.ipc.open_file(source)
            batches = (file.get_batch(index) for index in range(file.num_record_batches))
        for batch in batches:
            yield from batch.to_pylist()


def _pyarrow(module: str, path: Path) -> Any:
    try:
        return import_module(module)
    except ImportError:
        raise DatasetError(
            f"dataset.path: {str(path)!r} needs the extra `parquet`; run pip install 'perfbench-operator[parquet]'"
        ) from None


def _tar(path: Path) -> Iterator[Row]:
    with tarfile.open(path) as archive:
        members = (member for member in archive if member.isfile())
        for key, parts in groupby(members, lambda member: member.name.partition(".")[0]):
            row: Row = {"__key__": key}
            for member in parts:
                file = archive.extractfile(member)
                data = file.read() if file else b""
                column = member.name.partition(".")[2]
                row[column] = data.decode() if column in ("txt", "json", "cls") else data
            yield row


READERS: dict[str, Callable[[Path], Iterator[Row]]] = {
    "jsonl": _jsonl,
    "json": _json,
    "csv": _csv,
    "tsv": _tsv,
    "parquet": _parquet,
    "arrow": _arrow,
    "tar": _tar,
    "text": _text,
}
ENDINGS = {name: name for name in READERS if name != "text"} | {"ndjson": "jsonl", "txt": "text"}
