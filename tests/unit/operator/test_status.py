"""The status of a benchmark, as a table of observations and what follows from them."""

from typing import Any

import pytest
from bodies import (
    CANCELLED,
    EARLIER,
    FAILED,
    NOW,
    UNDER_WAY_BODY,
    body,
    conditions,
    ended,
    event,
    job,
    message,
    observed,
    pod,
    running,
    unscheduled,
    waiting,
)

from perfbench_api.outcome import Progress
from perfbench_operator.kube import merge_patch, timestamp
from perfbench_operator.status.compute import compute, invalid
from perfbench_operator.status.draft import previous_status, with_other_conditions
from perfbench_operator.status.observed import Observed
from perfbench_operator.status.troubles import Trouble

LATE = {"now": NOW.replace(hour=13)}

UNDER_WAY: list[tuple[str, Observed, str, tuple[str, str]]] = [
    ("nothing there yet", observed(job=None), "Pending", ("False", "Starting")),
    ("Job without a pod", observed(), "Pending", ("False", "Starting")),
    ("pod is being started", observed(pods=[waiting("ContainerCreating")]), "Pending", ("False", "Starting")),
    (
        "ConfigMap missing",
        observed(job=None, blocked=Trouble("ConfigMapMissing", "x")),
        "Pending",
        ("False", "ConfigMapMissing"),
    ),
    ("image", observed(pods=[waiting("ErrImagePull", "no such host")]), "Pending", ("False", "ImageCannotBePulled")),
    (
        "secret",
        observed(pods=[waiting("CreateContainerConfigError", 'secret "k" not found')]),
        "Pending",
        ("False", "SecretMissing"),
    ),
    (
        "no node",
        observed(pods=[unscheduled("0/1 nodes are available: Insufficient cpu")]),
        "Pending",
        ("False", "Unschedulable"),
    ),
    (
        "claim missing",
        observed(pods=[unscheduled('0/1 nodes: persistentvolumeclaim "x" not found')]),
        "Pending",
        ("False", "ClaimMissing"),
    ),
    (
        "claim unbound",
        observed(pods=[unscheduled("0/1 nodes: pod has unbound immediate PersistentVolumeClaims")]),
        "Pending",
        ("False", "ClaimNotBound"),
    ),
    (
        "quota",
        observed(events=[event("FailedCreate", "pods is forbidden: exceeded quota: q, requested: cpu=1")]),
        "Pending",
        ("False", "QuotaExceeded"),
    ),
    (
        "pod security",
        observed(events=[event("FailedCreate", 'pods "x" is forbidden: violates PodSecurity "restricted"')]),
        "Pending",
        ("False", "PodSecurityViolation"),
    ),
    (
        "dataset ConfigMap missing",
        observed(
            pods=[waiting("ContainerCreating")],
            events=[event("FailedMount", 'MountVolume.SetUp failed: configmap "d" not found')],
        ),
        "Pending",
        ("False", "ConfigMapMissing"),
    ),
    ("runner does not answer yet", observed(pods=[running()]), "Pending", ("False", "Starting")),
    ("runner starts", observed(pods=[running()], progress=Progress()), "Pending", ("False", "Starting")),
    (
        "target is down",
        observed(pods=[running()], progress=Progress(phase="waiting", message="connection refused")),
        "Waiting",
        ("False", "WaitingForTarget"),
    ),
    ("warm-up", observed(pods=[running()], progress=Progress(phase="warmup")), "Running", ("True", "Running")),
    (
        "load",
        observed(pods=[running()], progress=Progress(phase="running", stage="c8")),
        "Running",
        ("True", "Running"),
    ),
    ("busy for a moment", observed(body=UNDER_WAY_BODY, pods=[running()]), "Running", ("", "")),
    ("termination message not read yet", observed(body=UNDER_WAY_BODY, pods=[ended(code=137)]), "Running", ("", "")),
]


@pytest.mark.parametrize(
    ("observation", "phase", "reason"), [row[1:] for row in UNDER_WAY], ids=[row[0] for row in UNDER_WAY]
)
def test_under_way(observation: Observed, phase: str, reason: tuple[str, str]) -> None:
    status = compute(observation)
    assert status.phase == phase
    assert conditions(status).get("Running", ("", "")) == reason
    assert not {"Complete", "Failed"} & conditions(status).keys()


OVER: list[tuple[str, Observed, str, str]] = [
    ("succeeded", observed(pods=[ended(message(), 0)], job=job("Complete")), "Succeeded", "Completed"),
    ("succeeded, Job not there yet", observed(pods=[ended(message(), 0)]), "Succeeded", "Completed"),
    ("succeeded before the cancel", observed(body=CANCELLED, pods=[ended(message(), 0)]), "Succeeded", "Completed"),
    (
        "too many failed",
        observed(pods=[ended(message("failed", reason="TooManyFailures"))]),
        "Failed",
        "TooManyFailures",
    ),
    (
        "target down",
        observed(pods=[ended(message("failed", reason="TargetUnreachable"))]),
        "Failed",
        "TargetUnreachable",
    ),
    ("out of memory", observed(job=FAILED, pods=[ended("", 137, "OOMKilled")]), "Failed", "RunnerOutOfMemory"),
    ("killed", observed(job=FAILED, pods=[ended("", 137)]), "Failed", "RunnerKilled"),
    ("crashed", observed(job=FAILED, pods=[ended("Traceback\nKeyError: 'x'", 1)]), "Failed", "RunnerFailed"),
    ("refused", observed(job=FAILED, pods=[ended("", 2)]), "Failed", "InvalidSpec"),
    ("pod is gone", observed(job=FAILED), "Failed", "RunnerLost"),
    ("never scheduled in time", observed(job=job("Failed", reason="DeadlineExceeded")), "Failed", "DeadlineExceeded"),
    ("told to stop", observed(pods=[ended(message("interrupted"), 130)]), "Failed", "Interrupted"),
    (
        "cancelled in mid-run",
        observed(body=CANCELLED, pods=[ended(message("interrupted"), 130)]),
        "Cancelled",
        "Cancelled",
    ),
    ("cancelled before the runner ran", observed(body=CANCELLED, job=job(suspend=True)), "Cancelled", "Cancelled"),
    ("cancelled before anything", observed(body=CANCELLED, job=None), "Cancelled", "Cancelled"),
    ("Job deleted by someone", observed(body=UNDER_WAY_BODY, job=None), "Failed", "JobGone"),
    ("image for too long", observed(pods=[waiting("ImagePullBackOff")], **LATE), "Failed", "ImageCannotBePulled"),
    ("impossible image name", observed(pods=[waiting("InvalidImageName")]), "Failed", "ImageCannotBePulled"),
    ("no node for too long", observed(pods=[unscheduled("Insufficient cpu")], **LATE), "Failed", "Unschedulable"),
    (
        "blocked for ever",
        observed(job=None, blocked=Trouble("InvalidSpec", "x", is_final=True)),
        "Failed",
        "InvalidSpec",
    ),
    (
        "blocked for too long",
        observed(job=None, blocked=Trouble("ConfigMapMissing", "x"), **LATE),
        "Failed",
        "ConfigMapMissing",
    ),
]


@pytest.mark.parametrize(("observation", "phase", "reason"), [row[1:] for row in OVER], ids=[row[0] for row in OVER])
def test_over(observation: Observed, phase: str, reason: str) -> None:
    status = compute(observation)
    assert status.phase == phase
    facts = conditions(status)
    assert facts["Complete"] == ("True" if phase == "Succeeded" else "False", reason)
    assert facts["Failed"][0] == ("True" if phase == "Failed" else "False")
    assert facts["Finished"] == ("True", reason)
    assert facts["Running"] == ("False", reason)
    assert status.completion_time == timestamp(observation.now)


@pytest.mark.parametrize(
    ("status", "reason"),
    [
        ({"reason": "Evicted", "message": "The node was low on resource: memory."}, "RunnerEvicted"),
        ({"reason": "DeadlineExceeded"}, "DeadlineExceeded"),
        (
            {"conditions": [{"type": "DisruptionTarget", "status": "True", "reason": "PreemptionByScheduler"}]},
            "RunnerDisrupted",
        ),
    ],
)
@pytest.mark.parametrize(
    "text", ["", message("interrupted")], ids=["without termination message", "with partial results"]
)
def test_what_kubernetes_did_is_reported_as_the_reason(status: dict[str, Any], reason: str, text: str) -> None:
    found = compute(observed(job=FAILED, pods=[ended(text, 130, **status)]))
    assert conditions(found)["Failed"] == ("True", reason)
    assert (found.results is not None) == bool(text), "a failed run keeps what it measured"


def test_live_figures_follow_the_runner() -> None:
    progress = Progress(
        phase="running",
        stage="c8",
        stage_index=1,
        stage_count=3,
        percent=41.7,
        eta_s=92.4,
        requests=40,
        request_throughput_rps=9.87654,
        ttft_p99_s=0.0314159,
        itl_p50_s=0.0051234,
        itl_p99_s=0.0123456,
        client="degraded",
    )
    status = compute(observed(pods=[running()], progress=progress))
    assert status.progress is not None
    assert (status.progress.done, status.progress.eta, status.message) == ("41%", "92s", "stage 2 of 3: c8")
    assert status.live is not None
    assert (status.live.requests_per_second, status.live.ttft_p99) == (9.877, "31.4ms")
    assert (status.live.itl_p50, status.live.itl_p99) == ("5.12ms", "12.3ms")
    assert status.client is not None
    assert status.client.state == "degraded"


def test_transition_time_of_a_condition_changes_only_with_its_state() -> None:
    first = compute(observed(pods=[waiting("ErrImagePull")])).dump()
    later = {"body": body(status=first), "now": NOW.replace(minute=5)}
    second = compute(observed(pods=[waiting("ImagePullBackOff")], **later)).dump()
    third = compute(observed(pods=[running()], progress=Progress(phase="running"), **later)).dump()
    assert second["conditions"][0]["lastTransitionTime"] == "2026-11-24T12:00:00Z"
    assert {item["type"]: item["lastTransitionTime"] for item in third["conditions"]}[
        "Running"
    ] == "2026-11-24T12:05:00Z"


def test_the_same_observation_gives_the_same_status() -> None:
    first_observation = observed(pods=[running()], progress=Progress(phase="running", stage="c8"))
    first = compute(first_observation).dump()
    again = compute(
        observed(pods=first_observation.pods, progress=first_observation.progress, body=body(status=first))
    ).dump()
    assert merge_patch(first, again) == {}


def test_invalid_spec_names_every_problem() -> None:
    status = invalid(body(), NOW, ["load.stages[0]: has no end", "request.maxTokens: 0"])
    assert status.phase == "Failed"
    assert conditions(status)["Failed"] == ("True", "InvalidSpec")
    assert status.message == "load.stages[0]: has no end; request.maxTokens: 0"


def test_log_of_a_crash_gives_one_line_at_most() -> None:
    log = "a header with a secret\n" + "KeyError: " + "x" * 5000
    status = compute(observed(job=FAILED, pods=[ended(log)]))
    assert "secret" not in status.message
    assert len(status.message) < 600


READY = {"type": "TargetReady", "status": "True", "reason": "TargetAnswers", "lastTransitionTime": EARLIER}


def test_of_a_status_that_cannot_be_read_what_can_be_read_is_kept() -> None:
    conditions = [READY, {"type": "Running", "status": "Perhaps"}, "Complete"]
    damaged = {"phase": "Unheard", "old": 1, "startTime": EARLIER, "job": "chat-0a1b2c3d", "conditions": conditions}
    found = previous_status(body(status=damaged))
    assert (found.phase, found.start_time, found.job) == ("Pending", EARLIER, "chat-0a1b2c3d")
    assert [condition.type for condition in found.conditions] == ["TargetReady"]


@pytest.mark.parametrize("status", ["Succeeded", [1], {"conditions": {"a": 1}}, {"conditions": None}])
def test_nothing_in_a_status_stops_the_operator(status: Any) -> None:
    assert previous_status({**body(), "status": status}).phase == "Pending"


def test_conditions_of_others_are_kept() -> None:
    theirs = {"type": "example.com/Approved", "status": "True", "reason": "", "x": 1}
    old = body(status={"conditions": [theirs, READY]})
    new = with_other_conditions(old["status"], compute(observed(body=old, pods=[running()])).dump())
    assert theirs in new["conditions"]
    assert [item["type"] for item in new["conditions"]].count("TargetReady") == 1
    many = {"conditions": [{**theirs, "type": f"T{number}"} for number in range(64)]}
    assert len(with_other_conditions(many, new)["conditions"]) == 32


@pytest.mark.parametrize(
    ("given", "reason"),
    [("x" * 200, "x" * 128), ("Too many: failures", "Toomany:failures"), ("429", "Unknown"), ("ü", "Unknown")],
)
def test_a_reason_is_one_that_kubernetes_takes(given: str, reason: str) -> None:
    status = compute(observed(pods=[ended(message("failed", reason=given))]))
    assert conditions(status)["Failed"] == ("True", reason)


@pytest.mark.parametrize(
    ("job", "pods", "ended_at"),
    [
        (job("Complete"), [ended(message(), 0, at="2026-11-24T11:59:50Z")], "2026-11-24T11:59:50Z"),
        (job("Failed", at="2026-11-24T11:58:00Z"), [], "2026-11-24T11:58:00Z"),
        (job("Failed"), [ended(code=137)], "2026-11-24T12:00:00Z"),
    ],
    ids=["when the container ended", "when the Job ended", "now, as nothing says when"],
)
def test_the_completion_time_is_when_the_run_ended(job: Any, pods: list[Any], ended_at: str) -> None:
    assert compute(observed(job=job, pods=pods)).completion_time == ended_at


@pytest.mark.parametrize(
    ("pods", "phase"),
    [
        ([ended(message(), 0, phase="Running")], "Succeeded"),
        ([ended(code=137, phase="Running")], "Failed"),
        ([], "Unknown"),
    ],
)
def test_no_runner_of_a_finished_run_is_shown_as_running(pods: list[Any], phase: str) -> None:
    known = {"runners": [{"name": "chat-0a1b2c3d-x", "phase": "Running"}]}
    status = compute(observed(body=body(status=known), job=job("Failed"), pods=pods))
    assert [runner.phase for runner in status.runners or []] == [phase]


@pytest.mark.parametrize(
    ("target", "model"),
    [({"url": "http://a", "model": "llama"}, "llama"), ({"mock": {}}, "mock"), ({"url": "http://a"}, None)],
)
def test_the_model_is_shown(target: dict[str, Any], model: str | None) -> None:
    assert compute(observed(body=body({"target": target}))).model == model


def test_the_models_of_several_targets_are_shown_each_once() -> None:
    targets = [
        {"name": "a", "url": "http://a"},
        {"name": "b", "mock": {}, "model": "n"},
        {"name": "c", "url": "http://c"},
    ]
    assert compute(observed(body=body({"target": {"model": "m"}, "targets": targets}))).model == "m, n"


@pytest.mark.parametrize(
    ("old", "new", "patch"),
    [
        ({}, {"a": 1}, {"a": 1}),
        ({"a": 1}, {}, {"a": None}),
        ({"a": {"b": 1, "c": 2}}, {"a": {"b": 1, "c": 3}}, {"a": {"c": 3}}),
        ({"a": [1]}, {"a": [1]}, {}),
        ({"a": {"b": 1}}, {"a": {"b": 1}}, {}),
    ],
)
def test_patch_contains_only_what_changed(old: dict[str, Any], new: dict[str, Any], patch: dict[str, Any]) -> None:
    assert merge_patch(old, new) == patch


def test_pods_are_named() -> None:
    status = compute(observed(pods=[pod()]))
    assert status.runners is not None
    assert (status.runners[0].name, status.runners[0].node) == ("chat-0a1b2c3d-x", "node")
