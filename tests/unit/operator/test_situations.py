"""What a benchmark waits for, what it lacks and what is done about it, as tables of observations and what follows from them."""

from datetime import timedelta
from typing import Any

import pytest
from bodies import (
    CANCELLED,
    EARLIER,
    FAILED,
    NOW,
    STORED,
    UNDER_WAY_BODY,
    body,
    conditions,
    ended,
    event,
    job,
    message,
    observed,
    running,
    unscheduled,
    waiting,
)

from perfbench_operator.admission import Place
from perfbench_operator.kube import timestamp
from perfbench_operator.objects.identity import STARTED as MARK
from perfbench_operator.status.compute import compute
from perfbench_operator.status.observed import Observed, Recovery
from perfbench_operator.status.steps import Steps, steps
from perfbench_operator.status.troubles import Trouble
from perfbench_operator.status.writing import is_worth_writing

NOT_READY = {"conditions": [{"type": "Ready", "status": "False"}]}


DISRUPTED = {"conditions": [{"type": "DisruptionTarget", "status": "True"}]}


def silent(seconds: int, cancel: bool = False, **status: Any) -> Observed:
    """A runner that answered so long ago."""
    told = timestamp(NOW - timedelta(seconds=seconds))
    since = timestamp(NOW - timedelta(hours=2))
    before = {"phase": "Running", "startTime": since, "lastContact": told}
    spec = body({"cancel": cancel} if cancel else {}, before)
    return observed(body=spec, pods=[running(since, **status)])


SILENCES: list[tuple[str, Observed, str, str]] = [
    ("a moment", silent(10, **NOT_READY), "Running", ""),
    ("a while, not ready", silent(100, **NOT_READY), "Running", "RunnerSilent"),
    ("a while, ready: the network may be closed", silent(3000), "Running", "RunnerSilent"),
    ("for long, not ready", silent(301, **NOT_READY), "Failed", "NodeLost"),
    ("for long, taken from its node", silent(301, **DISRUPTED), "Failed", "NodeLost"),
    ("for long, cancelled", silent(301, cancel=True, **NOT_READY), "Cancelled", "Cancelled"),
]


@pytest.mark.parametrize(
    ("observation", "phase", "reason"), [row[1:] for row in SILENCES], ids=[row[0] for row in SILENCES]
)
def test_a_lost_node_does_not_leave_a_run_running_for_ever(observation: Observed, phase: str, reason: str) -> None:
    found = compute(observation)
    assert found.phase == phase
    assert conditions(found).get("Running", ("", ""))[1] == reason
    if phase == "Failed":
        assert conditions(found)["ResultsStored"][0] == "Unknown"
        assert "node node is lost" in found.message


def minutes_ago(number: float) -> str:
    return timestamp(NOW - timedelta(minutes=number))


ADMITTED = {"type": "Queued", "status": "False", "reason": "Admitted", "lastTransitionTime": minutes_ago(1)}


OLD = {"creationTimestamp": minutes_ago(600)}


MOUNT_EVENT = 'MountVolume.SetUp failed: configmap "d" not found'


def job_made(ago: float) -> dict[str, Any]:
    found = job()
    found["metadata"]["creationTimestamp"] = minutes_ago(ago)
    return found


def drained(began: float, ended_at: float) -> dict[str, Any]:
    found = ended(message("interrupted"), 130, at=minutes_ago(ended_at), **DISRUPTED)
    found["metadata"]["creationTimestamp"] = minutes_ago(began)
    return found


def creating(ago: float) -> dict[str, Any]:
    found = waiting("ContainerCreating")
    found["metadata"]["creationTimestamp"] = minutes_ago(ago)
    return found


STARTS: list[tuple[str, Observed, str]] = [
    ("an old benchmark, a new Job", observed(body=body(**OLD), job=job_made(1), pods=[creating(1)]), ""),
    ("nothing is known, for too long", observed(job=job_made(11), pods=[creating(11)]), "StartTimeout"),
    ("a new pod after a drain", observed(job=job_made(60), pods=[creating(2)]), ""),
    ("drained after hours", observed(job=job_made(600), pods=[drained(600, 1)]), ""),
    ("drained, and no new pod for too long", observed(job=job_made(600), pods=[drained(600, 11)]), "RunnerDisrupted"),
    ("no pod, for too long", observed(job=job_made(11)), "StartTimeout"),
    ("a node that is slow to pull", observed(job=job_made(9), pods=[creating(9)]), ""),
    (
        "a mount that failed long ago",
        observed(job=job_made(11), pods=[creating(11)], events=[event("FailedMount", MOUNT_EVENT, minutes_ago(8))]),
        "StartTimeout",
    ),
    (
        "a mount that failed before the image was pulled",
        observed(
            job=job_made(2),
            pods=[creating(2)],
            events=[event("FailedMount", MOUNT_EVENT, minutes_ago(2)), event("Pulling", "", minutes_ago(1))],
        ),
        "",
    ),
    (
        "a mount that still fails",
        observed(job=job_made(11), pods=[creating(11)], events=[event("FailedMount", MOUNT_EVENT, minutes_ago(1))]),
        "ConfigMapMissing",
    ),
    (
        "queued for hours, blocked for a minute",
        observed(
            body=body(status={"conditions": [ADMITTED]}, **OLD), job=None, blocked=Trouble("ConfigMapMissing", "x")
        ),
        "",
    ),
]


@pytest.mark.parametrize(("observation", "failure"), [row[1:] for row in STARTS], ids=[row[0] for row in STARTS])
def test_the_start_timeout_counts_from_when_it_could_start(observation: Observed, failure: str) -> None:
    found = compute(observation)
    assert (found.phase, conditions(found).get("Failed", ("", ""))[1]) == ("Failed" if failure else "Pending", failure)


LATE = {"body": CANCELLED, "job": job_made(11)}


@pytest.mark.parametrize(
    "pods",
    [
        [unscheduled("Insufficient cpu")],
        [waiting("ImagePullBackOff")],
        [waiting("InvalidImageName")],
        [creating(11)],
        [],
    ],
    ids=["no node", "no image", "impossible image", "nothing is known", "no pod"],
)
def test_what_is_cancelled_does_not_fail_for_what_kept_it_from_starting(pods: list[dict[str, Any]]) -> None:
    """Neither while its Job is being suspended, though the start timeout is over, nor when its pod is gone."""
    found = observed(pods=pods, **LATE)
    status = compute(found)
    assert (status.phase, conditions(status)["Running"]) == ("Pending", ("False", "Cancelled"))
    assert steps(found, status) == SUSPENDED
    suspended = job(suspend=True)
    for last in ([], [{**one, "status": {**one["status"], "phase": "Failed"}} for one in pods]):
        over = compute(observed(body=CANCELLED, job=suspended, pods=last))
        assert (over.phase, conditions(over)["Failed"]) == ("Cancelled", ("False", "Cancelled"))


QUEUED = Place(2, 3, (("models", "first"),))


@pytest.mark.parametrize(
    ("observation", "phase", "reason"),
    [
        (observed(job=None, place=QUEUED), "Queued", ("True", "Queued")),
        (observed(job=None, body=body({"suspend": True})), "Suspended", ("True", "Suspended")),
        (observed(job=None, body=body(annotations={MARK: "other"})), "Suspended", ("True", "Restored")),
        (observed(job=None), "Pending", ("False", "Admitted")),
        (observed(body=body({"suspend": True}), pods=[running()]), "Pending", ("False", "Admitted")),
    ],
    ids=["queued", "suspended", "restored", "admitted", "suspended too late"],
)
def test_what_holds_a_benchmark_back(observation: Observed, phase: str, reason: tuple[str, str]) -> None:
    found = compute(observation)
    assert (found.phase, conditions(found)["Queued"]) == (phase, reason)


def test_a_file_that_could_not_be_finished_is_not_called_stored() -> None:
    partial = STORED.model_copy(update={"is_complete": False})
    found = compute(observed(pods=[ended(message("failed", reason="CannotStore", results=partial))]))
    assert conditions(found)["ResultsStored"] == ("False", "Unfinished")
    assert found.results is not None
    assert not found.results.complete


@pytest.mark.parametrize(
    ("patch", "phase", "age_s", "is_written"),
    [
        ({}, "Running", 1000, False),
        ({"message": "x", "live": {}}, "Running", 1, True),
        ({"live": {}}, "Running", 9, False),
        ({"live": {}, "lastContact": "x"}, "Running", 10, True),
        ({"lastContact": "x"}, "Waiting", 30, False),
        ({"lastContact": "x"}, "Waiting", 60, True),
        ({"live": {}}, "Running", -100, True),
    ],
)
def test_figures_are_written_from_time_to_time_and_changes_at_once(
    patch: dict[str, Any], phase: str, age_s: int, is_written: bool
) -> None:
    old = {"phase": phase, "lastContact": timestamp(NOW - timedelta(seconds=age_s))}
    assert is_worth_writing(old, patch, NOW) == is_written


SUSPENDED, PLAIN = Steps(suspend=True), Steps()


RUNNER, DRAINED = running(), ended(message("interrupted"), 130, **DISRUPTED)


WAITING = waiting("ContainerCreating")
WORKERS = job()
STEPS: list[tuple[str, Observed, Steps]] = [
    ("under way", observed(pods=[RUNNER]), PLAIN),
    ("cancelled", observed(body=CANCELLED, pods=[RUNNER]), Steps(end=(RUNNER,))),
    ("cancelled, no runner yet", observed(body=CANCELLED, pods=[waiting("ContainerCreating")]), SUSPENDED),
    (
        "cancelled, no leader yet",
        observed(body=CANCELLED, workers=WORKERS, pods=[WAITING]),
        Steps(suspend=True, dismiss=True),
    ),
    (
        "cancelled, no Job of the leader's yet",
        observed(body=body({"cancel": True}), workers=WORKERS, job=None),
        Steps(dismiss=True),
    ),
    ("no leader, for too long", observed(job=job_made(11), workers=WORKERS), Steps(suspend=True, dismiss=True)),
    ("workers that go already", observed(body=CANCELLED, workers=job(suspend=True), pods=[WAITING]), SUSPENDED),
    ("workers of a leader that runs", observed(body=CANCELLED, workers=WORKERS, pods=[RUNNER]), Steps(end=(RUNNER,))),
    (
        "workers of a leader that has run",
        observed(body=CANCELLED, workers=WORKERS, pods=[ended(message("interrupted"), 130, began=EARLIER)]),
        PLAIN,
    ),
    ("cancelled, ended", observed(body=CANCELLED, pods=[ended(message("interrupted"), 130)]), PLAIN),
    ("cancelled, drained", observed(body=CANCELLED, pods=[DRAINED]), SUSPENDED),
    ("drained: it begins again", observed(pods=[DRAINED]), PLAIN),
    ("drained too often", observed(pods=[DRAINED] * 6), SUSPENDED),
    ("never started", observed(pods=[waiting("InvalidImageName")]), SUSPENDED),
    ("its node is lost", silent(301, **NOT_READY), Steps(end=(silent(301, **NOT_READY).pods[0],), suspend=True)),
    ("its Job is gone", observed(body=UNDER_WAY_BODY, job=None, pods=[RUNNER]), Steps(end=(RUNNER,))),
    ("no word", observed(job=FAILED, pods=[ended(code=137, began=EARLIER)], recovery=Recovery()), Steps(recover=True)),
    ("never ran", observed(job=FAILED, recovery=Recovery()), PLAIN),
    ("succeeded", observed(job=job("Complete"), pods=[ended(message(), 0)]), PLAIN),
]


@pytest.mark.parametrize(("observation", "expected"), [row[1:] for row in STEPS], ids=[row[0] for row in STEPS])
def test_what_is_done_follows_from_what_is_seen(observation: Observed, expected: Steps) -> None:
    assert steps(observation, compute(observation)) == expected
