"""Kubernetes objects as plain data, the way the API server sends and accepts them. Pure."""

from collections.abc import Mapping
from datetime import datetime
from typing import Any

Data = Mapping[str, Any]
"""JSON that is only read."""
Resource = dict[str, Any]
"""A whole Kubernetes object, or a patch of one."""
NamespacedName = tuple[str, str]
"""Namespace and name."""


def namespaced_name(resource: Data) -> NamespacedName:
    """Namespace and name of an object."""
    return resource["metadata"]["namespace"], resource["metadata"]["name"]


def timestamp(moment: datetime) -> str:
    """A time in UTC as Kubernetes writes it."""
    return moment.strftime("%Y-%m-%dT%H:%M:%SZ")


def moment(text: object) -> datetime | None:
    """A time as Kubernetes writes it; None if it is none."""
    try:
        return datetime.fromisoformat(str(text)) if text else None
    except ValueError:
        return None


def merge_patch(old: Data, new: Data) -> Resource:
    """The JSON merge patch that turns `old` into `new`; empty when they are equal."""
    patch: Resource = {}
    for key in old.keys() | new.keys():
        if key not in new:
            patch[key] = None
        elif isinstance(new[key], dict) and isinstance(old.get(key), dict):
            inner = merge_patch(old[key], new[key])
            patch |= {key: inner} if inner else {}
        elif key not in old or old[key] != new[key]:
            patch[key] = new[key]
    return patch
