"""Is every row of a dataset's file what it should be? Looked at before any load, so that a run does not break at a late one."""

from collections.abc import Callable
from typing import NamedTuple

from perfbench_api.sections import Load
from perfbench_runner.load.feed import Feed
from perfbench_runner.load.parts import first_entries, reserved
from perfbench_runner.load.rates import expected

LIMIT_S = 5.0
"""So long is looked; a file of a hundred thousand plain rows takes about a second."""


class Checked(NamedTuple):
    """How far the rows were looked at."""

    entries: int
    is_complete: bool
    """All that the run can reach."""


def reachable(load: Load, offset: int, has_schedule: bool) -> int | None:
    """How many entries, from the dataset's first one on, a run can use; None for all of them."""
    is_open_ended = any(stage.requests is None and expected(stage) is None for stage in load.stages)
    if has_schedule or is_open_ended or load.search is not None:
        return None
    return first_entries(load, offset)[-1] + reserved(load.stages[-1])


def check(feed: Feed, most: int | None, builds: bool, clock: Callable[[], float], limit_s: float = LIMIT_S) -> Checked:
    """Draw the entries of a feed of its own, once each, and build their requests if `builds`; raises REFUSALS."""
    until_s, seen = clock() + limit_s, 0
    while most is None or seen < most:
        try:
            feed.skim(builds)
        except StopIteration:
            break
        if feed.dataset_entries is not None:  # that one was the first again
            break
        seen += 1
        if clock() > until_s:
            return Checked(seen, is_complete=False)
    return Checked(seen, is_complete=True)
