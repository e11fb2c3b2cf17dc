"""References to other objects of the cluster: a Service, a Secret or ConfigMap, one of its keys."""

from typing import Literal

from pydantic import Field

from perfbench_api.values import Section

_LABEL = r"^[a-z0-9]([-a-z0-9]*[a-z0-9])?$"
"""What Kubernetes lets a Service or namespace be called. Both become parts of a URL."""


class KeyRef(Section):
    """One key of a Secret or ConfigMap in the benchmark's namespace."""

    name: str = Field(min_length=1)
    """Name of the Secret or ConfigMap."""
    key: str = Field(min_length=1)
    """Key in it."""


class NameRef(Section):
    """A Secret, ConfigMap or PersistentVolumeClaim in the benchmark's namespace."""

    name: str = Field(min_length=1)
    """Name of the object."""


class ServiceRef(Section):
    """A Kubernetes Service; only in the cluster."""

    name: str = Field(pattern=_LABEL, max_length=63)
    """Name of the Service."""
    namespace: str | None = Field(None, pattern=_LABEL, max_length=63)
    """Its namespace; the benchmark's if not given."""
    port: int = Field(80, ge=1, le=65535)
    """Its port."""
    path: str = ""
    """Path of the URL; the API's usual one if empty."""
    scheme: Literal["http", "https"] = "http"
    """Protocol."""
