"""The status of a benchmark, as a table of observations and what follows from them."""

import json
from datetime import timedelta
from typing import Any

import pytest
from bodies import EARLIER, NOW, body, ended, event, job, observed, pod, running, unscheduled, waiting

from perfbench_api.outcome import Outcome, Progress, StoredResults
from perfbench_api.status import Status
from perfbench_operator.admission import Place
from perfbench_operator.events import phase_event
from perfbench_operator.kube import merge_patch, timestamp
from perfbench_operator.objects.identity import STARTED as MARK
from perfbench_operator.status.compute import compute, invalid
from perfbench_operator.status.draft import previous_status, with_other_conditions
from perfbench_operator.status.figures import stages_of
from perfbench_operator.status.observed import Observed, Recovery
from perfbench_operator.status.steps import Steps, steps
from perfbench_operator.status.troubles import Trouble
from perfbench_operator.status.writing import is_worth_writing

STORED = StoredResults(path="/results/models/chat/0a1b/benchmark.db", bytes=4096, sha256="ab", rows=80)
STAGE = {
    "name": "c8",
    "requests": {"total": 80, "succeeded": 79, "failed": 1},
    "request_throughput_rps": 12.345678,
    "output_token_throughput_tps": 789.1234,
    "ttft_s": {"mean": 0.05, "p50": 0.0512345, "p99": 1.2345},
}


def message(kind: str = "succeeded", **given: Any) -> str:
    """A termination message."""
    return Outcome.model_validate({"outcome": kind, "stages": [STAGE], "results": STORED, **given}).model_dump_json()


def conditions(status: Status) -> dict[str, tuple[str, str]]:
    return {condition.type: (condition.status, condition.reason) for condition in status.conditions}


CANCELLED = body({"cancel": True})
UNDER_WAY_BODY = body(status={"phase": "Running", "startTime": EARLIER, "job": "chat-0a1b2c3d"})
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


FAILED = job("Failed")
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


def test_final_figures_are_rounded_and_readable() -> None:
    status = compute(observed(pods=[ended(message(verdict="Passed", client="valid"), 0)])).dump()
    assert status["verdict"] == "Passed"
    assert status["live"] == {
        "requests": 80,
        "failed": 1,
        "inFlight": 0,
        "requestsPerSecond": 12.35,
        "outputTokensPerSecond": 789.1,
        "ttftP50": "51.2ms",
        "ttftP99": "1.23s",
    }
    assert status["summary"][0]["request_throughput_rps"] == 12.3457
    assert status["progress"]["done"] == "100%"
    assert status["client"] == {"state": "valid", "reasons": []}
    assert status["results"] == {
        "claim": "chat-results",
        "path": "models/chat/0a1b/benchmark.db",
        "bytes": 4096,
        "sha256": "ab",
        "rows": 80,
        "complete": True,
    }


@pytest.mark.parametrize(("omitted", "text"), [(1, "1 more stage is only"), (58, "58 more stages are only")])
@pytest.mark.parametrize("kind", ["succeeded", "interrupted"])
def test_stages_that_the_termination_message_leaves_out_are_counted(kind: str, omitted: int, text: str) -> None:
    spec = CANCELLED if kind == "interrupted" else body()
    status = compute(observed(body=spec, pods=[ended(message(kind, stages_omitted=omitted))]))
    assert status.dump()["stagesOmitted"] == omitted
    assert f"{text} in summary.json" in status.message


@pytest.mark.parametrize("count", [1, 8, 64])
def test_the_whole_summary_is_kept_when_the_termination_message_has_only_a_part(count: int) -> None:
    whole = Outcome(outcome="succeeded", stages=[{**STAGE, "name": f"c{number}"} for number in range(count)])
    done = Progress(phase="done", stage=f"c{count - 1}")
    before = compute(observed(pods=[running()], progress=done, outcome=whole)).dump()
    assert before["phase"] == "Running", "its pod has not ended"
    found = compute(observed(body=body(status=before), pods=[ended(message(stages_omitted=count - 1), 0)])).dump()
    assert [stage["name"] for stage in found["summary"]] == [f"c{number}" for number in range(count)]
    assert "stagesOmitted" not in found
    assert found["progress"]["stage"] == f"c{count - 1}"
    assert found["results"]["rows"] == 80


def test_the_summary_of_an_attempt_before_is_not_that_of_the_next() -> None:
    before = body(status={"phase": "Running", "startTime": EARLIER, "summary": [STAGE], "stagesOmitted": 3})
    found = compute(observed(body=before, pods=[running()], progress=Progress(phase="warmup"))).dump()
    assert not {"summary", "stagesOmitted"} & found.keys()


def test_a_summary_that_is_too_long_for_kubernetes_is_cut_and_counted() -> None:
    stages, omitted = stages_of(Outcome(outcome="succeeded", stages=[STAGE] * 5000, stages_omitted=2))
    assert stages is not None
    assert len(json.dumps(stages)) < 500_000
    assert len(stages) + (omitted or 0) == 5002


def test_nothing_omitted_is_not_mentioned() -> None:
    status = compute(observed(pods=[ended(message(), 0)]))
    assert "stagesOmitted" not in status.dump()
    assert "summary.json" not in status.message


@pytest.mark.parametrize(
    ("omitted", "seen", "shown"),
    [
        (0, None, ("c8", 80)),
        (0, "c4", ("c8", 80)),  # the operator was away when the last stage began
        (3, None, ("c8", 80)),
        (3, "c64", ("c64", 7)),  # c8 is not the last one: what the runner said last stays
    ],
)
def test_the_columns_show_name_and_figures_of_the_same_stage(
    omitted: int, seen: str | None, shown: tuple[str, int]
) -> None:
    before = {"progress": {"stage": seen}, "live": {"requests": 7}} if seen else {}
    ended_pod = ended(message(stages_omitted=omitted), 0)
    status = compute(observed(body=body(status=before), pods=[ended_pod]))
    assert status.progress is not None
    assert status.live is not None
    assert (status.progress.stage, status.live.requests) == shown


def test_nan_never_gets_into_a_status() -> None:
    text = json.dumps({"outcome": "succeeded", "stages": [{"name": "a", "ttft_s": {"p99": float("nan")}}]})
    status = compute(observed(pods=[ended(text, 0)])).dump()
    assert status["summary"] == [{"name": "a", "ttft_s": {}}]
    json.dumps(status, allow_nan=False)


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
        client="degraded",
    )
    status = compute(observed(pods=[running()], progress=progress))
    assert status.progress is not None
    assert (status.progress.done, status.progress.eta, status.message) == ("41%", "92s", "stage 2 of 3: c8")
    assert status.live is not None
    assert (status.live.requests_per_second, status.live.ttft_p99) == (9.877, "31.4ms")
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


MISSED = "ttft p99 is 0.61 in stage c8, not <= 0.5"


@pytest.mark.parametrize(
    ("verdict", "condition"),
    [
        ("Passed", ("True", "ObjectivesMet")),
        ("Failed", ("False", "ObjectiveMissed")),
        ("Inconclusive", ("Unknown", "Inconclusive")),
        (None, ("Unknown", "NoObjectives")),
    ],
)
def test_the_verdict_and_its_reason_are_told(verdict: str | None, condition: tuple[str, str]) -> None:
    is_open = verdict in ("Failed", "Inconclusive")
    text = message(verdict=verdict, verdict_reasons=[MISSED, "and another"] if is_open else [])
    found = compute(observed(pods=[ended(text, 0)]))
    assert conditions(found)["ObjectivesMet"] == condition
    assert found.verdict == verdict
    assert (MISSED in found.message) == is_open
    assert found.verdict_reason == (f"{MISSED}; and another" if is_open else None)
    told = phase_event(body(), {}, found.dump(), NOW)
    assert told is not None
    assert (MISSED in told["message"]) == is_open


def test_objectives_of_a_run_that_failed_are_not_known() -> None:
    spec = body({"objectives": [{"metric": "ttft"}]})
    found = compute(observed(body=spec, job=FAILED, pods=[ended(code=137)]))
    assert conditions(found)["ObjectivesMet"] == ("Unknown", "RunnerKilled")


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


def test_pods_are_named() -> None:
    status = compute(observed(pods=[pod()]))
    assert status.runners is not None
    assert (status.runners[0].name, status.runners[0].node) == ("chat-0a1b2c3d-x", "node")


SUSPENDED, PLAIN = Steps(suspend=True), Steps()
RUNNER, DRAINED = running(), ended(message("interrupted"), 130, **DISRUPTED)
STEPS: list[tuple[str, Observed, Steps]] = [
    ("under way", observed(pods=[RUNNER]), PLAIN),
    ("cancelled", observed(body=CANCELLED, pods=[RUNNER]), Steps(end=(RUNNER,))),
    ("cancelled, no runner yet", observed(body=CANCELLED, pods=[waiting("ContainerCreating")]), SUSPENDED),
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
