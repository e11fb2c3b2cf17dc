"""Whether a run has failed although it went on to its end. Pure functions."""

from collections.abc import Iterable, Sequence

from perfbench_runner.results.summary import StageSummary


def nothing_sent(stages: Sequence[StageSummary]) -> str | None:
    """Why a run that went on to its end has measured nothing, where not one request came due; else None."""
    if not stages or any(stage.requests.total or stage.requests.unsent for stage in stages):
        return None
    return "no request came due in any stage: give a longer duration, or a higher rate"


def too_many_failures(stages: Iterable[StageSummary], max_failed_share: float) -> str | None:
    """Why the run has failed: the first stage in which too large a share of the requests that ended did; else None.

    Unfinished requests are neither failed nor succeeded. A stage in which nothing succeeded has failed, too, if
    anything in it failed.
    """
    for stage in stages:
        counts, share = stage.requests, stage.requests.failed_share
        if share is not None and (share > max_failed_share or not counts.succeeded):
            kinds = ", ".join(f"{kind} {count}" for kind, count in stage.errors.items())
            if share <= max_failed_share:
                return f"none of {counts.failed} requests of stage {stage.name} succeeded ({kinds})"
            return (
                f"{counts.failed} of {counts.succeeded + counts.failed} requests of stage {stage.name} failed ({kinds}),"
                f" more than load.maxFailedShare {max_failed_share:g} allows"
            )
    return None
