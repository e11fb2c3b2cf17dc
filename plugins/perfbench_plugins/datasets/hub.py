"""Datasets of ModelScope and Hugging Face. No dataset itself.

Neither hub's `datasets` library is needed: both clients can fetch the files of a repository, and rows are read from
those (see `rows.py`).
"""

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any

from perfbench_plugins.datasets.errors import DatasetError
from perfbench_plugins.datasets.rows import folder_rows
from perfbench_plugins.hub import HUGGINGFACE, MODELSCOPE, HubError, fetch


@dataclass(frozen=True)
class DatasetSource:
    """Where a dataset is: its name on ModelScope, and on Hugging Face where that is another."""

    dataset_id: str
    dataset_revision: str | None = None
    hf_dataset_id: str | None = None
    hf_dataset_revision: str | None = None
    hf_file_paths: Mapping[str, str] = field(default_factory=dict)
    """Name of a file: its path on Hugging Face, where that is another."""

    @property
    def is_local(self) -> bool:
        """Whether its name is a path that there is."""
        return Path(self.dataset_id).exists()

    def resolve_dataset_id(self, data_source: str | None) -> str:
        """Its name on a hub."""
        return self.hf_dataset_id or self.dataset_id if data_source == HUGGINGFACE else self.dataset_id

    def resolve_revision(self, data_source: str | None) -> str | None:
        """Its revision on a hub; None for the newest."""
        own = self.hf_dataset_revision if data_source == HUGGINGFACE else None
        return own or self.dataset_revision

    def resolve_file_path(self, data_source: str | None, file_path: str) -> str:
        """A file's path on a hub."""
        return self.hf_file_paths.get(file_path, file_path) if data_source == HUGGINGFACE else file_path


def source_of(plugin: Any, dataset_id: str | None) -> DatasetSource:
    """Where a plugin's dataset is: as it declares, if that is the one asked for. Raises DatasetError."""
    declared: DatasetSource | None = plugin.dataset_source
    if declared is not None and dataset_id in (None, declared.dataset_id):
        return declared
    if dataset_id is None:
        raise DatasetError(
            f"{type(plugin).__name__} names no dataset of a hub; declare dataset_source or pass dataset_id"
        )
    return DatasetSource(dataset_id)


def local_file(path: str, name: str) -> Path:
    """The file at a path: itself, or the one of that name in it, if it is a folder. Raises DatasetError."""
    place = Path(path)
    found = place / name if place.is_dir() else place
    if not found.exists():
        raise DatasetError(f"dataset.path: cannot read {str(found)!r}: there is no such file")
    return found


class Rows:
    """Rows of a dataset: read as they are needed by who goes through them, held in memory by who asks for one, or how many."""

    def __init__(self, read: Callable[[], Iterator[dict[str, Any]]]) -> None:
        self._read = read

    def __iter__(self) -> Iterator[dict[str, Any]]:
        return self._read()

    def __next__(self) -> dict[str, Any]:
        return next(self._going)

    @cached_property
    def _going(self) -> Iterator[dict[str, Any]]:
        return self._read()

    @cached_property
    def _held(self) -> list[dict[str, Any]]:
        return list(self._read())

    def __len__(self) -> int:
        return len(self._held)

    def __getitem__(self, key: Any) -> Any:
        """One row, some of them, or a column by its name."""
        return [row.get(key) for row in self._held] if isinstance(key, str) else self._held[key]


def id_on(source: str | None, ids: Mapping[str, str]) -> str:
    """A dataset's name on the hub that is asked for; raises DatasetError where it is not on it."""
    hub = source or MODELSCOPE
    if hub in ids or hub == "local":
        return ids.get(hub) or next(iter(ids.values()))
    raise DatasetError(
        f"dataset.source: {next(iter(ids.values()))!r} is not on {hub}; use {' or '.join(ids)}, or dataset.path"
    )


def download(source: str | None, dataset_id: str, patterns: list[str]) -> Path:
    """Folder with the files of a hub's dataset that match the patterns; raises DatasetError with the way out.

    `source` is modelscope (None means it too) or huggingface; local is an error, since then a path has to be given.
    """
    if source == "local":
        raise DatasetError(f"dataset.path: missing; with source `local` give the path of {dataset_id}'s file")
    hub = source or MODELSCOPE
    try:
        folder = fetch(hub, "dataset", dataset_id, patterns)
    except HubError as error:
        raise DatasetError(f"dataset: {dataset_id!r} of {hub} {error}, or give a local file as dataset.path") from None
    if not any(any(folder.glob(pattern)) for pattern in patterns):
        raise DatasetError(f"dataset: {dataset_id!r} on {hub} has no file {' or '.join(patterns)}")
    return folder


def rows(
    source: str | None, dataset_id: str, split: str = "train", subset: str = "default"
) -> Iterator[dict[str, Any]]:
    """Rows of a split of a hub's dataset; raises DatasetError."""
    inside = "" if subset == "default" else f"{subset}/"
    folder = download(
        source,
        dataset_id,
        [f"{inside}**/{split}*", f"{inside}{split}*", f"{inside}{split}/**", f"{inside}**/{split}/**"],
    )
    return folder_rows(folder / inside, split)
