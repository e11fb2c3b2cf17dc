"""The limit on open files: each request under way needs a connection, which is one. Raised as far as that helps, or told."""

import resource
from collections.abc import Sequence
from contextlib import suppress
from math import ceil, inf

from perfbench_api.sections import Stage

SPARE = 64
"""Files that a process has open beside its connections, at most."""
ANSWER_S = 10.0
"""An open loop has room enough where answers may take this long."""


def connections(stage: Stage, total_timeout_s: float | None) -> int:
    """The most connections that a stage can have at a time."""
    most = inf if stage.requests is None else stage.requests
    if stage.concurrency is not None:
        return int(min(stage.concurrency, most))
    if stage.max_concurrency is not None:
        return int(min(stage.max_concurrency, most))
    if stage.rate is None:  # recorded times: nobody knows
        return 0
    longest_s = min(inf if stage.duration is None else stage.duration, total_timeout_s or inf)
    return int(min(stage.rate * longest_s, most, 2**20))


def provide(stages: Sequence[Stage], total_timeout_s: float | None, workers: int) -> str:
    """Raise this process's limit to what the stages can need, as far as is allowed; what is still short, in words."""
    needed = max(connections(stage, total_timeout_s) for stage in stages)
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    limit = _raised(soft, hard, ceil(needed / workers) + SPARE)
    return next((text for stage in stages if (text := shortage(stage, total_timeout_s, workers, limit))), "")


def shortage(stage: Stage, total_timeout_s: float | None, workers: int, limit: float) -> str:
    """What this limit on the open files of each process means for a stage; empty where it is enough."""
    room = max(0, int(min(limit, 2**31)) - SPARE) * workers
    if connections(stage, total_timeout_s) <= room:
        return ""
    told = f"the limit on open files ({limit:,.0f} in each of {workers} processes) is too low for stage {stage.title}"
    way_out = "raise it (ulimit -n, LimitNOFILE)"
    if stage.rate is None or stage.max_concurrency is not None:
        most = stage.concurrency or stage.max_concurrency
        return f"{told}: of {most:,} requests at a time those above {room:,} will fail; {way_out}"
    if room / stage.rate >= ANSWER_S:
        return ""
    return f"{told}: if answers take more than {room / stage.rate:.3g} s, requests will fail; {way_out}"


def _raised(soft: float, hard: float, needed: int) -> float:
    soft, hard = (inf if limit == resource.RLIM_INFINITY else limit for limit in (soft, hard))
    if soft >= needed:
        return soft
    for wanted in (min(needed, hard), min(needed, hard, 10240)):  # macOS allows no more, whatever it says
        with suppress(ValueError, OSError):
            own_hard = resource.getrlimit(resource.RLIMIT_NOFILE)[1]
            resource.setrlimit(resource.RLIMIT_NOFILE, (int(wanted), own_hard))
            return wanted
    return soft
