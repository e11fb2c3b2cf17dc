"""Runs that wait in a queue of Kueue: what their objects carry, what is told of them, and that nothing is left running."""

from typing import Any

import pytest
from bodies import CANCELLED, EARLIER, NOW, UID, body, conditions, ended, job, message, observed, pod, running
from memory import Memory, job_of, reconcile

from perfbench_api.resource import PerfBenchmark
from perfbench_operator.kube import timestamp
from perfbench_operator.objects.identity import Identity
from perfbench_operator.objects.job import build_job, build_recovery
from perfbench_operator.objects.kueue import GATE, MANAGED, QUEUE
from perfbench_operator.objects.workers import build_workers
from perfbench_operator.settings import Settings
from perfbench_operator.status.compute import compute
from perfbench_operator.status.observed import Observed, Recovery
from perfbench_operator.status.steps import Steps, steps

IN_QUEUE = {QUEUE: "team-a", "kueue.x-k8s.io/priority-class": "high", "team": "search"}
GROUP = "kueue.x-k8s.io/pod-group-name"
COUNT = "kueue.x-k8s.io/pod-group-total-count"
SETTINGS = Settings()
IDENTITY = Identity("models", "chat", UID)


def read(replicas: int, labels: dict[str, str], of_pods: dict[str, str] | None = None) -> PerfBenchmark:
    return PerfBenchmark.read(body({"runner": {"replicas": replicas, "labels": of_pods}}, labels=labels))


def jobs(benchmark: PerfBenchmark, settings: Settings = SETTINGS) -> list[dict[str, Any]]:
    """The Jobs of a run, the leader's first."""
    beside = build_workers(benchmark, IDENTITY, {}, settings, "a token")
    return [build_job(benchmark, IDENTITY, {}, settings), *(item for item in beside if item["kind"] == "Job")]


def test_a_single_runner_s_job_waits_in_its_queue() -> None:
    (made,) = jobs(read(1, IN_QUEUE))
    labels = made["metadata"]["labels"]
    assert (labels[QUEUE], labels["kueue.x-k8s.io/priority-class"]) == ("team-a", "high")
    assert "team" not in labels, "only Kueue's labels are passed on"
    assert made["spec"]["suspend"], "it does not start where nobody looks after the queue"
    template = made["spec"]["template"]
    assert not [name for name in template["metadata"]["labels"] if name.startswith("kueue")]
    assert "schedulingGates" not in template["spec"]


@pytest.mark.parametrize("replicas", [2, 3, 5, 16])
def test_pods_of_several_runners_are_one_group_and_their_jobs_are_in_no_queue(replicas: int) -> None:
    made = jobs(read(replicas, IN_QUEUE))
    assert len(made) == 2
    pods = 0
    for one in made:
        assert QUEUE not in one["metadata"]["labels"]
        assert "suspend" not in one["spec"]
        template, pods = one["spec"]["template"], pods + one["spec"]["completions"]
        labels, annotations = template["metadata"]["labels"], template["metadata"]["annotations"]
        assert (labels[QUEUE], labels[GROUP]) == ("team-a", IDENTITY.child)
        assert (annotations[COUNT], annotations["kueue.x-k8s.io/retriable-in-group"]) == (str(replicas), "false")
        assert template["spec"]["schedulingGates"] == [{"name": GATE}]
    assert pods == replicas, "a group that never is complete is never admitted"


@pytest.mark.parametrize("replicas", [1, 3])
def test_without_a_queue_nothing_waits_for_kueue(replicas: int) -> None:
    for made in jobs(read(replicas, {"team": "search"})):
        assert "kueue" not in str(made)
        assert "suspend" not in made["spec"]


@pytest.mark.parametrize("replicas", [1, 3])
def test_a_queue_may_be_given_by_the_runner_s_labels_or_the_operator_s(replicas: int) -> None:
    given = [
        jobs(read(replicas, {}, {QUEUE: "team-a"})),
        jobs(read(replicas, {}), Settings(runner_labels={QUEUE: "team-a"})),
        jobs(read(replicas, {QUEUE: "team-a"}, {QUEUE: "other"}), Settings(runner_labels={QUEUE: "third"})),
    ]
    assert given[0] == given[1] == given[2]
    assert given[0] == jobs(read(replicas, {QUEUE: "team-a"}))


@pytest.mark.parametrize("replicas", [1, 3])
def test_nobody_makes_a_run_part_of_another_workload(replicas: int) -> None:
    foreign = {GROUP: "other", "kueue.x-k8s.io/prebuilt-workload-name": "other", MANAGED: "true"}
    assert jobs(read(replicas, {**IN_QUEUE, **foreign})) == jobs(read(replicas, IN_QUEUE))


@pytest.mark.parametrize("replicas", [1, 3])
def test_what_looks_for_results_is_not_part_of_the_group(replicas: int) -> None:
    made = build_recovery(read(replicas, IN_QUEUE), IDENTITY, Settings())
    assert "kueue" not in str(made)


# What is told


def queued_job(suspend: bool = True, **given: Any) -> dict[str, Any]:
    found = job(suspend=suspend, **given)
    found["metadata"]["labels"] = {QUEUE: "team-a"}
    return found


def held(is_managed: bool = True) -> dict[str, Any]:
    found = pod(conditions=[{"type": "PodScheduled", "status": "False", "reason": "SchedulingGated"}])
    found["metadata"]["labels"] |= {QUEUE: "team-a", **({MANAGED: "true"} if is_managed else {})}
    found["spec"]["schedulingGates"] = [{"name": GATE}]
    del found["spec"]["nodeName"]
    return found


def workers(suspend: bool = False, **labels: str) -> dict[str, Any]:
    found = job(suspend=suspend)
    return {**found, "metadata": {**found["metadata"], "name": "chat-0a1b2c3d-w", "uid": "w", "labels": labels}}


LATE_S = {"start_timeout_s": 10.0}  # everything was made 30 s ago
ADMITTED = {
    "type": "Suspended", "status": "False", "reason": "JobResumed", "lastTransitionTime": timestamp(NOW)
}  # fmt: skip


def admitted_job() -> dict[str, Any]:
    return {**queued_job(suspend=False), "status": {"conditions": [ADMITTED]}}


SEEN: list[tuple[str, Observed, str, str, str]] = [
    ("a Job that is suspended", observed(job=queued_job(), **LATE_S), "Queued", "Queued", "LocalQueue team-a"),
    ("a Job that somebody suspended", observed(job=job(suspend=True), **LATE_S), "Queued", "Queued", "suspended"),
    ("a group of pods", observed(pods=[held()], workers=workers(), **LATE_S), "Queued", "Queued", "LocalQueue team-a"),
    ("admitted just now", observed(job=admitted_job(), **LATE_S), "Pending", "Starting", "starting"),
    (
        "no Kueue",
        observed(pods=[held(is_managed=False)], workers=workers(), start_timeout_s=60.0),
        "Pending",
        "NotManagedByKueue",
        "install it",
    ),
    (
        "no Kueue for too long",
        observed(pods=[held(is_managed=False)], workers=workers(), **LATE_S),
        "Failed",
        "NotManagedByKueue",
        "leave the label",
    ),
    (
        "Jobs one by one",
        observed(job=queued_job(), workers=workers(suspend=True, **{QUEUE: "default"})),
        "Failed",
        "QueuedInParts",
        "wait for each other",
    ),
    ("one of them admitted", observed(job=admitted_job(), workers=workers(True)), "Failed", "QueuedInParts", "default"),
]


@pytest.mark.parametrize(
    ("observation", "phase", "why", "text"), [row[1:] for row in SEEN], ids=[row[0] for row in SEEN]
)
def test_what_kueue_does_is_told(observation: Observed, phase: str, why: str, text: str) -> None:
    status = compute(observation)
    found = conditions(status)
    assert (status.phase, found["Running"][1]) == (phase, why)
    assert found["Queued"][0] == ("True" if phase == "Queued" else "False")
    assert text in status.message


def test_the_start_timeout_counts_from_when_kueue_lets_go() -> None:
    waited = body(status=compute(observed(pods=[held()], workers=workers())).dump())
    pending = held()
    del pending["spec"]["schedulingGates"]
    status = compute(observed(body=waited, pods=[pending], workers=workers(), **LATE_S))
    assert (status.phase, conditions(status)["Queued"]) == ("Pending", ("False", "Admitted"))


GONE_POD = {**ended(message("interrupted"), 130, began=EARLIER), "perfbench.io/gone": True}


def test_a_run_whose_place_kueue_took_fails_and_says_so() -> None:
    found = observed(job=queued_job(), pods=[GONE_POD])
    status = compute(found)
    assert (status.phase, conditions(status)["Failed"]) == ("Failed", ("True", "Preempted"))
    assert status.results is not None, "what was measured is kept"
    assert steps(found, status).suspend, "Kueue would start it again"


# What is done


PLAIN = Steps()
DONE: list[tuple[str, Observed, Steps]] = [
    ("it waits", observed(job=queued_job()), PLAIN),
    ("a group waits", observed(pods=[held()], workers=workers()), PLAIN),
    ("cancelled while its Job waits", observed(body=CANCELLED, job=queued_job()), Steps(suspend=True)),
    (
        "cancelled while its pods wait",
        observed(body=CANCELLED, pods=[held()], workers=workers()),
        Steps(suspend=True, dismiss=True),
    ),
    (
        "cancelled while the workers already run",
        observed(body=CANCELLED, pods=[pod()], workers=workers()),
        Steps(suspend=True, dismiss=True),
    ),
    ("cancelled, suspended", observed(body=CANCELLED, job=job(suspend=True), workers=workers(suspend=True)), PLAIN),
    ("running", observed(job=admitted_job(), pods=[running()]), PLAIN),
    (
        "cancelled while it runs: its workers hand over first",
        observed(body=CANCELLED, pods=[RUNNER := running()], workers=workers()),
        Steps(end=(RUNNER,)),
    ),
    (
        "its leader failed: its workers hear so themselves",
        observed(job=job("Failed"), pods=[ended(message("failed", reason="X"), 1, began=EARLIER)], workers=workers()),
        PLAIN,
    ),
    ("it succeeded", observed(job=job("Complete"), pods=[ended(message(), 0)], workers=workers()), PLAIN),
    (
        "queued in parts",
        observed(job=queued_job(), workers=workers(suspend=True, **{QUEUE: "default"})),
        Steps(suspend=True, dismiss=True),
    ),
    (
        "preempted without a word",
        observed(job=queued_job(), pods=[{**running(), "perfbench.io/gone": True}], recovery=Recovery()),
        Steps(suspend=True, recover=True),
    ),
]


@pytest.mark.parametrize(("observation", "expected"), [row[1:] for row in DONE], ids=[row[0] for row in DONE])
def test_nothing_is_left_that_could_start_later(observation: Observed, expected: Steps) -> None:
    assert steps(observation, compute(observation)) == expected


SEVERAL = {"target": {"url": "http://x", "model": "m"}, "runner": {"replicas": 3}}


async def test_a_cancelled_run_that_waited_for_kueue_is_gone_from_its_queue() -> None:
    cluster = Memory(body(labels=IN_QUEUE))
    await reconcile(cluster)
    assert job_of(cluster)["spec"]["suspend"]
    await reconcile(cluster)
    assert cluster.body["status"]["phase"] == "Queued"
    cluster.body["spec"]["cancel"] = True
    for _ in range(3):
        await reconcile(cluster)
    assert cluster.body["status"]["phase"] == "Cancelled"
    assert cluster.calls.count("delete Job") == 1
    assert "suspend" not in cluster.calls, "Kueue would let go of it again"


async def test_a_suspended_run_of_several_runners_has_nothing_in_any_queue_until_it_is_let_go() -> None:
    cluster = Memory(body({**SEVERAL, "suspend": True}, labels=IN_QUEUE))
    await reconcile(cluster)
    assert cluster.body["status"]["phase"] == "Suspended"
    assert [kind for kind, _ in cluster.objects if kind != "Event"] == []
    cluster.body["spec"]["suspend"] = False
    await reconcile(cluster)
    assert [name for kind, name in cluster.objects if kind == "Job"] == ["chat-0a1b2c3d-w", "chat-0a1b2c3d"]


async def test_a_run_of_several_runners_that_is_cancelled_while_suspended_never_has_any() -> None:
    cluster = Memory(body({**SEVERAL, "suspend": True, "cancel": True}))
    await reconcile(cluster)
    assert cluster.body["status"]["phase"] == "Cancelled"
    assert [kind for kind, _ in cluster.objects if kind != "Event"] == []
