"""CPUs that may be used: those of the machine, and no more than the container's limit."""

import os
from pathlib import Path

import pytest

from perfbench_runner.run.cpus import available_cpus, default_workers

MACHINE = float(len(os.sched_getaffinity(0))) if hasattr(os, "sched_getaffinity") else float(os.cpu_count() or 1)


@pytest.mark.parametrize(
    ("files", "cpus"),
    [
        ({}, MACHINE),
        ({"cpu.max": "max 100000\n"}, MACHINE),
        ({"cpu.max": "50000 100000\n"}, 0.5),
        ({"cpu.max": "99900000 100000\n"}, MACHINE),
        ({"cpu.max": "what\n"}, MACHINE),
        ({"cpu/cpu.cfs_quota_us": "-1\n", "cpu/cpu.cfs_period_us": "100000\n"}, MACHINE),
        ({"cpu/cpu.cfs_quota_us": "60000\n", "cpu/cpu.cfs_period_us": "100000\n"}, 0.6),
        ({"cpu/cpu.cfs_quota_us": "60000\n", "cpu/cpu.cfs_period_us": "0\n"}, MACHINE),
    ],
)
def test_a_limit_of_the_container_counts(files: dict[str, str], cpus: float, tmp_path: Path) -> None:
    (tmp_path / "cpu").mkdir()
    for name, text in files.items():
        (tmp_path / name).write_text(text)
    assert available_cpus(tmp_path) == cpus


@pytest.mark.parametrize(
    ("cpus", "workers"), [(0.06, 1), (0.5, 1), (1, 1), (2, 1), (2.9, 1), (3, 2), (4, 2), (16, 2), (192, 2)]
)
def test_there_are_no_more_workers_by_default_than_can_be_fed(cpus: float, workers: int) -> None:
    assert default_workers(cpus) == workers
