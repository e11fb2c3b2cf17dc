"""What is to be done about a run, given what was observed and the status that follows: pure decisions, no requests."""

from collections.abc import Sequence
from dataclasses import dataclass

from perfbench_api.status import FINAL, Status
from perfbench_operator.kube import Data, moment
from perfbench_operator.status.observed import Observed
from perfbench_operator.status.pods import is_disrupted, is_finished, is_running, outcome_of


@dataclass(frozen=True)
class Steps:
    """What is to be done now."""

    end: Sequence[Data] = ()
    """Pods whose runner is to be ended; it stores what it has measured."""
    suspend: bool = False
    """Keep the Job from making pods."""
    recover: bool = False
    """Look on the claim for what was stored."""


def steps(observed: Observed, status: Status) -> Steps:
    """End whatever must not run on: what was cancelled or given up, or lost its Job. And look for what was stored."""
    is_given_up = status.phase in FINAL and status.phase != "Succeeded"
    is_orphan = observed.job is None and observed.has_started
    if not (observed.is_cancelled or is_given_up or is_orphan):
        return Steps(recover=_recovers(observed, status))
    running = [pod for pod in observed.active if is_running(pod) or is_orphan]
    return Steps(
        end=tuple(pod for pod in running if (pod["spec"].get("activeDeadlineSeconds") or 2) > 1),
        suspend=(not running or observed.is_lost) and _may_make_pods(observed) and status.phase != "Succeeded",
        recover=_recovers(observed, status),
    )


HELD_S = 30.0
"""A pod that is there so long after its run is held by a container that is not ours, such as a proxy that was injected."""


def held_s(observed: Observed) -> float | None:
    """In how many seconds to end the Job of a run that is over, because its pod is still there; None if it is not."""
    job, ended = observed.job, moment(observed.previous.completion_time)
    if job is None or ended is None or is_finished(job) or job["spec"].get("suspend"):
        return None
    if not (job.get("status") or {}).get("active"):
        return None
    return max(0.0, HELD_S - (observed.now - ended).total_seconds())


def _recovers(observed: Observed, status: Status) -> bool:
    return status.phase not in FINAL and observed.needs_recovery and observed.recovery.state == "none"


def _may_make_pods(observed: Observed) -> bool:
    job = observed.job
    if job is None or is_finished(job) or job["spec"].get("suspend"):
        return False
    # A runner that ended by its own decision ends its Job; after one that was lost the Job would start another pod.
    return not any(outcome_of(pod) and not is_disrupted(pod) for pod in observed.pods)
