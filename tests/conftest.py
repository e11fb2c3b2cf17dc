"""Programs that tests of several folders run. Without one a test is skipped, saying why; where CI=true it fails."""

from __future__ import annotations

import os
import shutil
import socket
from pathlib import Path

import pytest

from perfbench_api.redaction import KNOWN, Redactor

CACHE = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "perfbench-cluster" / "bin"
"""Where tests/cluster keeps what it has built."""


@pytest.fixture(autouse=True)
def _no_secret_is_known() -> None:
    """What one test gave as a key is not hidden from the next."""
    vars(KNOWN).update(vars(Redactor()))


@pytest.fixture(scope="session")
def promtool() -> str:
    """Path of Prometheus' own checker."""
    return _found("promtool", "Debian package prometheus; the tests on the cluster install it")


@pytest.fixture(scope="session")
def helm() -> str:
    """Path of helm: a machine's own, or the one that the tests on the cluster have built."""
    return _found("helm", "on PATH, or `make cluster-up` once")


@pytest.fixture(scope="session")
def pushgateway() -> str:
    """Path of the Pushgateway."""
    return _found("prometheus-pushgateway", "Debian package of that name; the tests on the cluster install it")


def _found(name: str, whence: str) -> str:
    built = next((str(path) for path in sorted(CACHE.glob(f"*/{name}"))), None)
    path = shutil.which(name) or built
    if path:
        return path
    reason = f"needs {name} ({whence})"
    if os.environ.get("CI") == "true":
        pytest.fail(reason, pytrace=False)
    pytest.skip(reason)


@pytest.fixture(scope="session")
def has_ipv6() -> bool:
    """Whether this machine has an IPv6 loopback."""
    try:
        socket.create_server(("::1", 0), family=socket.AF_INET6).close()
    except OSError:
        return False
    return True
