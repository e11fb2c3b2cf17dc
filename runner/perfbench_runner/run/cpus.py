"""How many CPUs this process may use, and how many load-generating processes that makes by default."""

import os
from contextlib import suppress
from math import floor
from pathlib import Path

MOST_WORKERS = 2
"""More by default make no sense: the control process takes about two thirds of the CPU that a shard takes for a request
(bench/README.md), so that it keeps one CPU busy when two shards keep one and a half."""


def default_workers(cpus: float) -> int:
    """One for each CPU, minus one for the control process, as far as that can feed them."""
    return max(1, min(MOST_WORKERS, floor(cpus) - 1))


def available_cpus(cgroup: Path = Path("/sys/fs/cgroup")) -> float:
    """CPUs that this process may run on, and no more than its container's CPU limit allows."""
    allowed = float(len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1)
    quota = _quota(cgroup)
    return allowed if quota is None else min(allowed, quota)


def _quota(cgroup: Path) -> float | None:
    """CPUs of the cgroup's quota (version 2, then 1); None without one."""
    with suppress(OSError, ValueError, ZeroDivisionError):
        limit, period = (cgroup / "cpu.max").read_text().split()
        return None if limit == "max" else int(limit) / int(period)
    with suppress(OSError, ValueError, ZeroDivisionError):
        limit_us = int((cgroup / "cpu" / "cpu.cfs_quota_us").read_text())
        return limit_us / int((cgroup / "cpu" / "cpu.cfs_period_us").read_text()) if limit_us > 0 else None
    return None
