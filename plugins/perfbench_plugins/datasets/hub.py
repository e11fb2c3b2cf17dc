"""Datasets of ModelScope and Hugging Face. No dataset itself.

Neither hub's `datasets` library is needed: both clients can fetch the files of a repository, and rows are read from
those (see `rows.py`).
"""

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from perfbench_plugins.datasets.errors import DatasetError
from perfbench_plugins.datasets.rows import folder_rows
from perfbench_plugins.hub import MODELSCOPE, HubError, fetch


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
