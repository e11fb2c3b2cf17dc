"""Files of ModelScope and Hugging Face, downloaded by the hubs' own clients, which are optional extras.

Downloads land in the hub's usual cache, so they happen once.
"""

from importlib import import_module
from pathlib import Path
from typing import Literal

MODELSCOPE, HUGGINGFACE = "modelscope", "huggingface"


class HubError(Exception):
    """Why nothing came from a hub: its client is not installed, or what the client says."""


def fetch(hub: str, kind: Literal["model", "dataset"], name: str, patterns: list[str]) -> Path:
    """Folder with the files of a hub's repository that match the patterns; raises HubError."""
    download = _from_huggingface if hub == HUGGINGFACE else _from_modelscope
    try:
        return Path(download(kind, name, patterns))
    except ImportError:
        raise HubError(f"needs the extra `{hub}`; run pip install 'perfbench-operator[{hub}]'") from None
    except Exception as error:  # noqa: BLE001  # the clients raise errors of many libraries: network, HTTP, disk
        raise HubError(f"cannot be downloaded: {' '.join(str(error).split())[:300]}") from None


def _from_modelscope(kind: str, name: str, patterns: list[str]) -> str:
    client = import_module("modelscope.hub.snapshot_download")  # no part of the type-checked environment
    download = client.dataset_snapshot_download if kind == "dataset" else client.snapshot_download
    path: str = download(name, allow_patterns=patterns)
    return path


def _from_huggingface(kind: str, name: str, patterns: list[str]) -> str:
    from huggingface_hub import snapshot_download

    path: str = snapshot_download(name, repo_type=kind, allow_patterns=patterns)
    return path
