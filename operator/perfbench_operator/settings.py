"""What the operator is told by its Deployment: environment variables, read once.

Every value that is wrong ends the operator at its start with one line.
"""

import json
import os
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from perfbench_api.values import parse_duration

PREFIX = "PERFBENCH_"


class SettingsError(ValueError):
    """An environment variable of the operator is wrong; the message names it."""


@dataclass(frozen=True)
class Settings:
    """The operator's settings; durations in seconds."""

    runner_image: str = "perfbench-runner:latest"
    """PERFBENCH_RUNNER_IMAGE: image of runners where the benchmark names none."""
    runner_pull_policy: str | None = None
    """PERFBENCH_RUNNER_PULL_POLICY: its pull policy; Kubernetes' default if not given."""
    runner_pull_secrets: tuple[str, ...] = ()
    """PERFBENCH_RUNNER_PULL_SECRETS: names of pull secrets, by commas."""
    runner_resources: Mapping[str, Any] = field(default_factory=dict)
    """PERFBENCH_RUNNER_RESOURCES: JSON, for runners that ask for nothing themselves."""
    runner_annotations: Mapping[str, str] = field(default_factory=dict)
    """PERFBENCH_RUNNER_ANNOTATIONS: JSON, of all runners' pods; those of the benchmark come first."""
    runner_labels: Mapping[str, str] = field(default_factory=dict)
    """PERFBENCH_RUNNER_LABELS: the same for labels."""
    runner_linger_s: float = 0.0
    """PERFBENCH_RUNNER_LINGER: how long runners stay for a last scrape where the benchmark does not say."""
    namespaces: tuple[str, ...] = ()
    """PERFBENCH_NAMESPACES: the namespaces to serve, by commas; all if empty."""
    start_timeout_s: float = 600.0
    """PERFBENCH_START_TIMEOUT: a runner that could not start for so long has failed; nodes may take minutes to come."""
    active_interval_s: float = 3.0
    """PERFBENCH_ACTIVE_INTERVAL: how often a benchmark that is under way is looked at, whatever the watches say."""
    relist_interval_s: float = 30.0
    """PERFBENCH_RELIST_INTERVAL: how often all benchmarks are listed, to find what a watch has missed."""
    metrics_port: int = 9090
    """PERFBENCH_METRICS_PORT: port of the operator's own metrics; 0 for none."""

    @classmethod
    def read(cls, environment: Mapping[str, str] = os.environ) -> "Settings":
        """Settings from environment variables; raises SettingsError."""
        given: dict[str, Any] = {}
        for name, read in READERS.items():
            text = environment.get(PREFIX + name, "")
            if text:
                given[name.lower()] = _read(name, text, read)
        return cls(**{_FIELDS.get(name, name): value for name, value in given.items()})


def _list(text: str) -> tuple[str, ...]:
    return tuple(part.strip() for part in text.split(",") if part.strip())


def _object(text: str) -> Mapping[str, Any]:
    data = json.loads(text)
    if not isinstance(data, dict):
        raise ValueError("it must be a JSON object")
    return data


def _texts(text: str) -> Mapping[str, str]:
    data = _object(text)
    if not all(isinstance(value, str) for value in data.values()):
        raise ValueError("all of its values must be texts")
    return data


READERS: dict[str, Any] = {
    "RUNNER_IMAGE": str,
    "RUNNER_PULL_POLICY": str,
    "RUNNER_PULL_SECRETS": _list,
    "RUNNER_RESOURCES": _object,
    "RUNNER_ANNOTATIONS": _texts,
    "RUNNER_LABELS": _texts,
    "RUNNER_LINGER": parse_duration,
    "NAMESPACES": _list,
    "START_TIMEOUT": parse_duration,
    "ACTIVE_INTERVAL": parse_duration,
    "RELIST_INTERVAL": parse_duration,
    "METRICS_PORT": int,
}
_FIELDS = {name: f"{name}_s" for name in ("runner_linger", "start_timeout", "active_interval", "relist_interval")}


def _read(name: str, text: str, read: Any) -> Any:
    try:
        return read(text)
    except ValueError as error:
        raise SettingsError(f"{PREFIX}{name}={text!r}: {error}") from None
