"""Datasets of ModelScope and Hugging Face: files are downloaded by the hub's own client and read here. No dataset itself.

Neither hub's `datasets` library is needed: both clients can fetch the files of a repository, and rows are read from
those (see `rows.py`). Downloads land in the hub's usual cache, so they happen once.
"""

from collections.abc import Iterator, Mapping
from importlib import import_module
from pathlib import Path
from typing import Any

from perfbench_plugins.datasets.base import DatasetError
from perfbench_plugins.datasets.rows import folder_rows

MODELSCOPE, HUGGINGFACE = "modelscope", "huggingface"


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
    fetch = _from_huggingface if source == HUGGINGFACE else _from_modelscope
    try:
        folder = Path(fetch(dataset_id, patterns))
    except ImportError:
        extra = HUGGINGFACE if source == HUGGINGFACE else MODELSCOPE
        raise DatasetError(
            f"dataset: {dataset_id!r} of {extra} needs the extra `{extra}`; run pip install"
            f" 'perfbench-operator[{extra}]', or give a local file as dataset.path"
        ) from None
    except Exception as error:  # noqa: BLE001  # the clients raise errors of many libraries: network, HTTP, disk
        reason = " ".join(str(error).split())[:300]
        raise DatasetError(
            f"dataset: cannot download {dataset_id!r} from {source or MODELSCOPE}: {reason}; give a local file as dataset.path"
        ) from None
    if not any(any(folder.glob(pattern)) for pattern in patterns):
        raise DatasetError(f"dataset: {dataset_id!r} on {source or MODELSCOPE} has no file {' or '.join(patterns)}")
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


def _from_modelscope(dataset_id: str, patterns: list[str]) -> str:
    client = import_module("modelscope.hub.snapshot_download")  # no part of the type-checked environment
    path: str = client.dataset_snapshot_download(dataset_id, allow_patterns=patterns)
    return path


def _from_huggingface(dataset_id: str, patterns: list[str]) -> str:
    from huggingface_hub import snapshot_download

    path: str = snapshot_download(dataset_id, repo_type="dataset", allow_patterns=patterns)
    return path
