"""What a process samples of itself costs it little."""

import os

import pytest

from perfbench_runner.shard import sampler
from perfbench_runner.shard.sampler import OpenFiles


@pytest.fixture
def listed(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """Folders that were listed; of open files there are 110, ten of them connections."""
    folders: list[str] = []

    def listdir(path: str) -> list[str]:
        folders.append(path)
        return [str(number) for number in range(110)]

    monkeypatch.setattr(os, "listdir", listdir)
    monkeypatch.setattr(sampler.resource, "getrlimit", lambda _: (1000, 1000))
    return folders


@pytest.mark.parametrize("connections", [10, 0, 500, 900])
def test_connections_are_counted_and_files_are_listed_once(listed: list[str], connections: int) -> None:
    files = OpenFiles()
    files.list(0.0, 10)
    for half_second in range(100):
        assert files.share(half_second / 2, connections) == (100 + connections) / 1000
    assert listed == ["/proc/self/fd"]


def test_where_a_plugin_may_open_files_they_are_listed_now_and_then(listed: list[str]) -> None:
    files = OpenFiles(again_s=10.0)
    files.list(0.0, 0)
    for half_second in range(60):
        files.share(half_second / 2, 0)
    assert len(listed) == 3
