"""Kueue's labels: which queue a benchmark waits in, and how its Jobs or pods are put there. Pure.

One runner's Job is a workload of Kueue as any Job is. Several runners are two Jobs, which Kueue would admit one by one: two runs
could each hold a part of what they need, and wait for the rest for ever. So the pods of such a run are one pod group, which
Kueue admits as one workload, all of it or nothing; the Jobs themselves are none of its business.

https://kueue.sigs.k8s.io/docs/tasks/run/plain_pods/#running-a-group-of-pods-to-be-admitted-together
"""

from collections.abc import Mapping

from perfbench_api.resource import PerfBenchmark
from perfbench_operator.kube import Data, Resource
from perfbench_operator.objects.identity import Identity
from perfbench_operator.settings import Settings

PREFIX = "kueue.x-k8s.io/"
QUEUE = f"{PREFIX}queue-name"
MANAGED = f"{PREFIX}managed"
"""Label that Kueue puts on pods that it holds back."""
GATE = f"{PREFIX}admission"
"""Scheduling gate that Kueue takes away from pods that it admits."""
_GROUP = f"{PREFIX}pod-group-name"
_COUNT = f"{PREFIX}pod-group-total-count"
_RETRIABLE = f"{PREFIX}retriable-in-group"
_OWN = (MANAGED, _GROUP, f"{PREFIX}prebuilt-workload-name")
"""Labels that Kueue or we give: they would make another workload of a run."""


def kueue_labels(benchmark: PerfBenchmark, settings: Settings) -> dict[str, str]:
    """Kueue's labels of a benchmark: its own, those it gives its pods, those that the operator gives all pods."""
    given = {**settings.runner_labels, **(benchmark.spec.runner.labels or {}), **benchmark.metadata.labels}
    return {name: value for name, value in given.items() if name.startswith(PREFIX) and name not in _OWN}


def without_kueue(labels: Mapping[str, str]) -> dict[str, str]:
    """All labels but Kueue's."""
    return {name: value for name, value in labels.items() if not name.startswith(PREFIX)}


def queue_job(job: Resource, labels: Mapping[str, str]) -> None:
    """Put the Job of a single runner into its queue: Kueue lets go of it when it is admitted."""
    job["metadata"]["labels"] = {**job["metadata"]["labels"], **labels}
    if QUEUE in labels:
        job["spec"]["suspend"] = True


def queue_pods(template: Resource, labels: Mapping[str, str], identity: Identity, runners: int) -> None:
    """Put the pods of several runners into their queue, as one group.

    They are held back from the beginning, so that none starts alone where Kueue does not look after pods.
    """
    if QUEUE not in labels:
        return
    meta, spec = template["metadata"], template["spec"]
    meta["labels"] = {**meta["labels"], **labels, _GROUP: identity.child}
    # A runner that is lost is not replaced: a run does not wait for another one.
    meta["annotations"] = {**meta["annotations"], _COUNT: str(runners), _RETRIABLE: "false"}
    spec["schedulingGates"] = [{"name": GATE}]


def queue_of(item: Data) -> str | None:
    """The queue that a Job or pod is in; None if it is in none."""
    name = (item["metadata"].get("labels") or {}).get(QUEUE)
    return None if name is None else str(name)


def is_held(pod: Data) -> bool:
    """Whether a pod waits for Kueue to admit it."""
    return any(gate.get("name") == GATE for gate in pod["spec"].get("schedulingGates") or [])


def is_managed(pod: Data) -> bool:
    """Whether Kueue looks after a pod."""
    return MANAGED in (pod["metadata"].get("labels") or {})
