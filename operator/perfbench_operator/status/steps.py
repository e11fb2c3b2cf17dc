"""What is to be done about a run, given what was observed and the status that follows: pure decisions, no requests."""

from collections.abc import Sequence
from dataclasses import dataclass

from perfbench_api.status import FINAL, Status
from perfbench_operator.kube import Data, moment
from perfbench_operator.objects.kueue import queue_of
from perfbench_operator.status.observed import Observed
from perfbench_operator.status.pods import has_run, is_disrupted, is_finished, is_running, outcome_of


@dataclass(frozen=True)
class Steps:
    """What is to be done now."""

    end: Sequence[Data] = ()
    """Pods whose runner is to be ended; it stores what it has measured."""
    suspend: bool = False
    """Keep the Job from making pods."""
    dismiss: bool = False
    """Keep the workers from waiting for a leader that never comes."""
    recover: bool = False
    """Look on the claim for what was stored."""


def steps(observed: Observed, status: Status) -> Steps:
    """End whatever must not run on: what was cancelled or given up, or lost its Job. And look for what was stored."""
    is_given_up = status.phase in FINAL and status.phase != "Succeeded"
    is_orphan = observed.job is None and observed.has_started
    if not (observed.is_cancelled or is_given_up or is_orphan or observed.is_preempted):
        return Steps(recover=_recovers(observed, status))
    running = [pod for pod in observed.active if is_running(pod) or is_orphan]
    return Steps(
        end=tuple(pod for pod in running if (pod["spec"].get("activeDeadlineSeconds") or 2) > 1),
        suspend=(not running or observed.is_lost) and _may_make_pods(observed) and status.phase != "Succeeded",
        # Of one that has run they hear themselves that it is over; they may be handing over what they have measured.
        dismiss=not any(map(has_run, observed.pods)) and _may_go_on(observed.workers),
        recover=_recovers(observed, status),
    )


HELD_S = 30.0
"""A pod that is there so long after its run is held: by a container that is not ours, such as a proxy that was injected, or
because its runner does not answer."""


def held(observed: Observed) -> list[Data]:
    """The Jobs of a run that is over that still have pods: they are ended `HELD_S` after it."""
    jobs = [job for job in (observed.job, observed.workers) if job is not None and _is_under_way(job)]
    return [job for job in jobs if (job.get("status") or {}).get("active")]


def held_s(observed: Observed) -> float | None:
    """In how many seconds to end them; None if nobody knows when the run ended."""
    ended = moment(observed.previous.completion_time)
    return None if ended is None else max(0.0, HELD_S - (observed.now - ended).total_seconds())


def _recovers(observed: Observed, status: Status) -> bool:
    return status.phase not in FINAL and observed.needs_recovery and observed.recovery.state == "none"


def _may_make_pods(observed: Observed) -> bool:
    if not _is_under_way(observed.job):
        return _may_go_on(observed.job)
    # A runner that ended by its own decision ends its Job; after one that was lost the Job would start another pod.
    return not any(outcome_of(pod) and not is_disrupted(pod) for pod in observed.pods)


def _may_go_on(job: Data | None) -> bool:
    """Whether a Job makes pods, or will: one of Kueue's that is suspended is let go of some time."""
    return job is not None and (_is_under_way(job) or (queue_of(job) is not None and not is_finished(job)))


def _is_under_way(job: Data | None) -> bool:
    return job is not None and not is_finished(job) and not job["spec"].get("suspend")
