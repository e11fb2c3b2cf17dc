"""Everything that a status is computed from, and the questions that are answered by it. Pure."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from functools import cached_property
from typing import Literal

from perfbench_api.outcome import Outcome, Progress
from perfbench_api.status import Status
from perfbench_operator.admission import Place
from perfbench_operator.kube import Data, moment
from perfbench_operator.objects.identity import STARTED
from perfbench_operator.objects.kueue import is_held, is_managed, queue_of
from perfbench_operator.status.draft import previous_status
from perfbench_operator.status.pods import (
    condition,
    has_ended,
    has_run,
    is_disrupted,
    is_finished,
    is_running,
    is_true,
    outcome_of,
    terminated,
)
from perfbench_operator.status.troubles import Trouble

MAX_DISRUPTIONS = 5
"""So often Kubernetes may take a runner from its node before the benchmark is given up: a node that evicts it does so again."""


@dataclass(frozen=True)
class Recovery:
    """Looking on the claim for what a runner has stored that left no termination message."""

    state: Literal["none", "running", "done", "failed"] = "none"
    outcome: Outcome | None = None


@dataclass(frozen=True)
class Observed:
    """What is in the cluster. Whatever is missing here has been confirmed to be missing."""

    body: Data
    """The PerfBenchmark."""
    now: datetime
    """The API server's time."""
    job: Data | None = None
    workers: Data | None = None
    """The Job of a run's other runners, if it has several."""
    pods: Sequence[Data] = ()
    """The benchmark's own pods, also those that are gone, the newest last."""
    events: Sequence[Data] = ()
    """Events of Job or pod; only fetched while no runner is running."""
    progress: Progress | None = None
    """What the runner reports; None if it could not be asked."""
    outcome: Outcome | None = None
    """The whole outcome of a runner that is done; None if it is not, or could not be asked."""
    recovery: Recovery = Recovery()
    claim: str = ""
    """Name of the claim that holds the results."""
    blocked: Trouble | None = None
    """Why there is no Job yet."""
    undersized: str = ""
    """Why its runners are too few for its load; empty where they are enough."""
    shared_nodes: Sequence[str] = ()
    """Nodes on which both runners and the target's pods run."""
    place: Place | None = None
    """Its place in the queue; None if it may start, or has."""
    start_timeout_s: float = 600.0
    lost_timeout_s: float = 300.0

    @cached_property
    def previous(self) -> Status:
        """The status so far."""
        return previous_status(self.body)

    @property
    def is_cancelled(self) -> bool:
        """Whether the user has cancelled the benchmark."""
        return bool(self.body["spec"].get("cancel"))

    @property
    def is_suspended(self) -> bool:
        """Whether the user holds the benchmark back."""
        return bool(self.body["spec"].get("suspend"))

    @property
    def restored_from(self) -> str | None:
        """The uid of the benchmark that this one is a copy of, if that one had been started."""
        started = (self.body["metadata"].get("annotations") or {}).get(STARTED)
        return str(started) if started and started != self.body["metadata"]["uid"] else None

    @property
    def is_marked(self) -> bool:
        """Whether it has the mark that it is being started."""
        return bool((self.body["metadata"].get("annotations") or {}).get(STARTED) == self.body["metadata"]["uid"])

    @property
    def has_started(self) -> bool:
        """Whether its Job was made, even if that is gone."""
        return self.job is not None or self.previous.start_time is not None

    @property
    def pod(self) -> Data | None:
        """The newest pod."""
        return self.pods[-1] if self.pods else None

    # Kueue

    @property
    def is_queued(self) -> bool:
        """Whether Kueue, or whoever else has suspended the Job, has yet to let the run begin."""
        if self.job is None or is_finished(self.job) or self.is_cancelled:
            return False
        return bool(self.job["spec"].get("suspend")) or any(map(is_held, self.active))

    @property
    def queue(self) -> str | None:
        """The queue of Kueue that the run is in."""
        items = [item for item in (self.job, *self.pods) if item is not None]
        return next((name for name in map(queue_of, items) if name), None)

    @property
    def is_unmanaged(self) -> bool:
        """Whether its pods wait for a Kueue that does not look after them."""
        return any(is_held(pod) and not is_managed(pod) for pod in self.active)

    @property
    def is_queued_in_parts(self) -> bool:
        """Whether Kueue queues the Jobs of a run of several runners one by one, so that it could begin by half."""
        if self.job is None or self.workers is None:
            return False
        return any(queue_of(job) or job["spec"].get("suspend") for job in (self.job, self.workers))

    @property
    def is_preempted(self) -> bool:
        """Whether Kueue has taken its place from a run that had begun."""
        is_suspended = self.is_queued and self.job is not None and self.job["spec"].get("suspend")
        return bool(is_suspended) and any(map(has_run, self.pods))

    # What still can run

    @property
    def active(self) -> list[Data]:
        """Pods in which a runner runs or may still start."""
        return [pod for pod in self.pods if not has_ended(pod)]

    @property
    def disruptions(self) -> int:
        """How often Kubernetes took a runner from its node."""
        return sum(is_disrupted(pod) for pod in self.pods)

    @cached_property
    def contact(self) -> datetime | None:
        """When the runner answered last, or else when it started."""
        if self.progress is not None:
            return self.now
        pod = self.pod
        if pod is None or not is_running(pod):
            return None
        started = moment(_started(pod))
        told = moment(self.previous.last_contact)
        return max((at for at in (started, told) if at), default=None)

    @property
    def silent_s(self) -> float:
        """For how long a running runner has not answered."""
        return (self.now - self.contact).total_seconds() if self.contact else 0.0

    @property
    def is_lost(self) -> bool:
        """Whether the runner's node is lost: nobody can say how the run ends, and nobody can end it."""
        pod = self.pod
        if pod is None or has_ended(pod) or self.silent_s <= self.lost_timeout_s:
            return False
        has_left = condition(pod, "Ready").get("status") in ("False", "Unknown") or is_disrupted(pod)
        return is_running(pod) and has_left

    @property
    def is_over(self) -> bool:
        """Whether nothing can run any more, or nothing that anybody could still end."""
        if self.is_lost:
            return True
        if self.active:
            return False
        if self.job is None or is_finished(self.job) or self.is_preempted:
            return True
        if self.is_cancelled and (self.pods or self.job["spec"].get("suspend")):
            return True
        said = outcome_of(self.pod) if self.pod is not None else None
        if self.pod is None or said is None:
            return False  # the Job makes a pod, or decides whether to try again
        is_whole = said.outcome == "succeeded"
        return is_whole or not is_disrupted(self.pod) or self.disruptions > MAX_DISRUPTIONS

    # What is left

    @property
    def word(self) -> Outcome | None:
        """What the runners have said of their end: the last one that succeeded counts, else the last one."""
        said = [outcome for outcome in map(outcome_of, self.pods) if outcome]
        whole = [outcome for outcome in said if outcome.outcome == "succeeded"]
        return (whole or said)[-1] if said else self.recovery.outcome

    @property
    def needs_recovery(self) -> bool:
        """Whether a runner has run and left no word, so that one must look on the claim for what it has stored."""
        if not self.is_over or self.is_lost or self.word or self.recovery.state in ("done", "failed"):
            return False
        has_completed = self.job is not None and is_true(self.job, "Complete")
        was_seen = self.previous.phase in ("Waiting", "Running") or self.previous.last_contact is not None
        return has_completed or was_seen or any(map(has_run, self.pods))

    # How long it waits

    @property
    def waited_s(self) -> float:
        """For how long nothing but its start has been missing, in seconds."""
        admitted = next((one for one in self.previous.conditions if one.type == "Queued"), None)
        if self.job is not None:
            texts = [item["metadata"].get("creationTimestamp") for item in (self.job, *self.pods)]
            texts += [terminated(pod).get("finishedAt") for pod in self.pods]
            texts += [condition(pod, "DisruptionTarget").get("lastTransitionTime") for pod in self.pods]
            texts += [condition(self.job, "Suspended").get("lastTransitionTime")]  # when Kueue let go of it
            texts += [admitted.last_transition_time] if admitted else []
        elif admitted:
            texts = [admitted.last_transition_time]
        else:
            texts = [self.body["metadata"].get("creationTimestamp")]
        since = max((at for at in map(moment, texts) if at), default=self.now)
        return (self.now - since).total_seconds()


def _started(pod: Data) -> str | None:
    containers = pod.get("status", {}).get("containerStatuses") or []
    times = [((one.get("state") or {}).get("running") or {}).get("startedAt") for one in containers]
    return next((time for time in times if time), None) or terminated(pod).get("startedAt")
