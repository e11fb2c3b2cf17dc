"""The operator's settings: environment variables of its Deployment, read once.

A wrong value stops the operator at its start with one line.
"""

import json
import math
import os
from collections.abc import Mapping
from dataclasses import dataclass, field
from socket import gethostname
from typing import Any

from perfbench_api.values import parse_duration

PREFIX = "PERFBENCH_"


class SettingsError(ValueError):
    """An environment variable of the operator is wrong; the message names it."""


@dataclass(frozen=True)
class Settings:
    """The operator's settings; durations in seconds."""

    runner_image: str = "perfbench-runner:latest"
    """PERFBENCH_RUNNER_IMAGE: image of runners, unless the benchmark names one."""
    runner_pull_policy: str | None = None
    """PERFBENCH_RUNNER_PULL_POLICY: its pull policy; Kubernetes' default if not given."""
    runner_pull_secrets: tuple[str, ...] = ()
    """PERFBENCH_RUNNER_PULL_SECRETS: names of pull secrets, separated by commas."""
    runner_resources: Mapping[str, Any] = field(default_factory=dict)
    """PERFBENCH_RUNNER_RESOURCES: JSON, for benchmarks that set no resources."""
    runner_annotations: Mapping[str, str] = field(default_factory=dict)
    """PERFBENCH_RUNNER_ANNOTATIONS: JSON, for all runners' pods; the benchmark's own take precedence."""
    runner_labels: Mapping[str, str] = field(default_factory=dict)
    """PERFBENCH_RUNNER_LABELS: the same for labels."""
    runner_linger_s: float = 0.0
    """PERFBENCH_RUNNER_LINGER: how long runners stay for a last scrape, unless the benchmark says."""
    runner_ceiling: float = 1000.0
    """PERFBENCH_RUNNER_CEILING: requests a second, of 64 tokens, that one runner carries at most: see `perfbench plan`."""
    namespaces: tuple[str, ...] = ()
    """PERFBENCH_NAMESPACES: the namespaces to serve, separated by commas; all if empty."""
    max_concurrent: int = 0
    """PERFBENCH_MAX_CONCURRENT: how many benchmarks run at the same time; 0 for any number. The others are Queued."""
    max_concurrent_per_namespace: int = 0
    """PERFBENCH_MAX_CONCURRENT_PER_NAMESPACE: how many of them in one namespace."""
    start_timeout_s: float = 600.0
    """PERFBENCH_START_TIMEOUT: a runner that has not started after this time has failed; new nodes may take minutes."""
    lost_timeout_s: float = 300.0
    """PERFBENCH_LOST_TIMEOUT: a runner on a lost node that has not answered for so long has failed."""
    active_interval_s: float = 3.0
    """PERFBENCH_ACTIVE_INTERVAL: how often a benchmark under way is reconciled, whether or not anything has changed."""
    relist_interval_s: float = 60.0
    """PERFBENCH_RELIST_INTERVAL: how often all benchmarks are listed, to find what the watch has missed."""
    metrics_port: int = 9090
    """PERFBENCH_METRICS_PORT: port of the operator's own metrics; 0 for none."""
    health_port: int = 8080
    """PERFBENCH_HEALTH_PORT: port of /healthz."""
    log_format: str = "text"
    """PERFBENCH_LOG_FORMAT: json or text."""
    lease_namespace: str = "default"
    """PERFBENCH_LEASE_NAMESPACE: where the Lease of an operator for all namespaces is; the same for all releases."""
    identity: str = field(default_factory=gethostname)
    """PERFBENCH_IDENTITY: who holds a Lease, such as the pod's name."""
    runner_user: int | None = 65532
    """PERFBENCH_RUNNER_USER: user and group id of runners, unless the benchmark says; `none` leaves them to the cluster."""

    @classmethod
    def read(cls, environment: Mapping[str, str] = os.environ) -> "Settings":
        """Settings from environment variables; raises SettingsError."""
        given: dict[str, Any] = {}
        for name, parse in PARSERS.items():
            text = environment.get(PREFIX + name, "")
            if text:
                given[name.lower()] = _parse(name, text, parse)
        return cls(**{_FIELDS.get(name, name): value for name, value in given.items()})


def _list(text: str) -> tuple[str, ...]:
    return tuple(part.strip() for part in text.split(",") if part.strip())


def _count(text: str) -> int:
    if not text.isdigit():
        raise ValueError("must be a number, 0 for any number")
    return int(text)


def _rate(text: str) -> float:
    rate = float(text)
    if not 0 < rate < math.inf:
        raise ValueError("must be above 0")
    return rate


def _object(text: str) -> Mapping[str, Any]:
    data = json.loads(text)
    if not isinstance(data, dict):
        raise ValueError("must be a JSON object")
    return data


def _strings(text: str) -> Mapping[str, str]:
    data = _object(text)
    if not all(isinstance(value, str) for value in data.values()):
        raise ValueError("all values must be strings")
    return data


def _user(text: str) -> int | None:
    return None if text == "none" else int(text)


PARSERS: dict[str, Any] = {
    "RUNNER_IMAGE": str,
    "RUNNER_PULL_POLICY": str,
    "RUNNER_PULL_SECRETS": _list,
    "RUNNER_RESOURCES": _object,
    "RUNNER_ANNOTATIONS": _strings,
    "RUNNER_LABELS": _strings,
    "RUNNER_LINGER": parse_duration,
    "RUNNER_CEILING": _rate,
    "NAMESPACES": _list,
    "START_TIMEOUT": parse_duration,
    "ACTIVE_INTERVAL": parse_duration,
    "RELIST_INTERVAL": parse_duration,
    "LOST_TIMEOUT": parse_duration,
    "MAX_CONCURRENT": _count,
    "MAX_CONCURRENT_PER_NAMESPACE": _count,
    "METRICS_PORT": int,
    "HEALTH_PORT": int,
    "LOG_FORMAT": str,
    "LEASE_NAMESPACE": str,
    "IDENTITY": str,
    "RUNNER_USER": _user,
}
_SECONDS = ("runner_linger", "start_timeout", "lost_timeout", "active_interval", "relist_interval")
_FIELDS = {name: f"{name}_s" for name in _SECONDS}


def _parse(name: str, text: str, parse: Any) -> Any:
    try:
        return parse(text)
    except ValueError as error:
        raise SettingsError(f"{PREFIX}{name}={text!r}: {error}") from None
