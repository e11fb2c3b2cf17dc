"""The operator may die after any call: the next process carries on, and nothing is created twice."""

import contextlib
from datetime import UTC, datetime, timedelta

import pytest
from bodies import NOW, body, ended, running
from memory import NAME, DiedError, Memory, job_of, reason, reconcile, reconciler

from perfbench_api.outcome import Outcome, StoredResults
from perfbench_operator.api import RefusedError
from perfbench_operator.objects.identity import STARTED
from perfbench_operator.reconciler import LONGEST_WAIT_S

TERMINATION_MESSAGE = Outcome(outcome="succeeded").model_dump_json()


async def live_through_a_run(cluster: Memory) -> None:
    """From the benchmark to its end, with an operator that dies on the way and starts again."""
    for step in (None, running(), ended(TERMINATION_MESSAGE, 0)):
        cluster.runner = step
        for _ in range(3):
            try:
                await reconcile(cluster)
            except DiedError:
                continue


@pytest.mark.parametrize("lives", range(1, 14))
async def test_operator_that_dies_anywhere_creates_everything_once(lives: int) -> None:
    cluster = Memory(body(), lives)
    await live_through_a_run(cluster)
    assert [kind for kind in cluster.created if kind != "Event"] == ["ConfigMap", "PersistentVolumeClaim", "Job"]
    assert cluster.body["status"]["phase"] == "Succeeded"


@pytest.mark.parametrize("lives", range(1, 16))
async def test_workers_are_made_once_and_before_their_leader(lives: int) -> None:
    cluster = Memory(body(SEVERAL), lives)
    await live_through_a_run(cluster)
    made = [kind for kind in cluster.created if kind != "Event"]
    assert made == ["ConfigMap", "PersistentVolumeClaim", "Secret", "Service", "Job", "Job"]
    assert cluster.body["status"]["phase"] == "Succeeded"
    assert not [call for call in cluster.calls if call == "read Secret"]


SEVERAL = {"target": {"url": "http://x", "model": "m"}, "runner": {"replicas": 3}}


def suspended(cluster: Memory) -> dict[str, bool]:
    return {name: bool(item["spec"].get("suspend")) for (kind, name), item in cluster.objects.items() if kind == "Job"}


@pytest.mark.parametrize("lives", range(10, 16))
async def test_workers_do_not_wait_for_a_leader_that_is_cancelled_before_it_starts(lives: int) -> None:
    """Whenever the operator dies meanwhile."""
    cluster = Memory(body(SEVERAL), lives)
    await reconcile(cluster)
    assert suspended(cluster) == {"chat-0a1b2c3d": False, "chat-0a1b2c3d-w": False}
    cluster.body["spec"]["cancel"] = True
    for _ in range(4):
        with contextlib.suppress(DiedError):
            await reconcile(cluster)
    assert suspended(cluster) == {"chat-0a1b2c3d": True, "chat-0a1b2c3d-w": True}
    assert cluster.body["status"]["phase"] == "Cancelled"
    assert cluster.calls.count("suspend") == 2


async def test_a_worker_that_hangs_does_not_outlive_its_run() -> None:
    cluster = Memory(body(SEVERAL))
    await reconcile(cluster)
    cluster.runner = ended(TERMINATION_MESSAGE, 0)
    await reconcile(cluster)
    cluster.body["status"] |= {"completionTime": "2026-11-24T12:00:00Z"}
    job_of(cluster)["status"] = {"succeeded": 1, "conditions": [{"type": "Complete", "status": "True"}]}
    cluster.objects["Job", "chat-0a1b2c3d-w"]["status"] = {"active": 1, "succeeded": 1}
    assert await reconcile(cluster, NOW + timedelta(seconds=10)) == pytest.approx(20)
    await reconcile(cluster, NOW + timedelta(seconds=31))
    assert suspended(cluster) == {"chat-0a1b2c3d": False, "chat-0a1b2c3d-w": True}


async def test_a_second_reconcile_changes_nothing() -> None:
    cluster = Memory(body())
    await reconcile(cluster)
    calls = list(cluster.calls)
    await reconcile(cluster)
    assert cluster.calls == calls


async def test_objects_of_an_earlier_benchmark_of_the_same_name_are_not_adopted() -> None:
    cluster = Memory(body())
    meta = {"namespace": "models", "name": "chat-0a1b2c3d", "uid": "o", "ownerReferences": [{"uid": "other"}]}
    cluster.objects["Job", "chat-0a1b2c3d"] = {"metadata": meta}
    await reconcile(cluster)
    assert reason(cluster, "Running") == "NameTaken"


async def test_claim_of_an_earlier_benchmark_of_the_same_name_is_reused_but_no_other_claim() -> None:
    cluster = Memory(body())
    await reconcile(cluster)
    again = Memory(body(uid="ffffffff-0000"))
    claim = cluster.objects["PersistentVolumeClaim", "chat-results"]
    again.objects["PersistentVolumeClaim", "chat-results"] = claim
    await reconcile(again)
    assert again.created == ["ConfigMap", "Job", "Event"]
    claim["metadata"]["labels"] = {}
    third = Memory(body(uid="eeeeeeee-0000"))
    third.objects["PersistentVolumeClaim", "chat-results"] = claim
    await reconcile(third)
    assert reason(third, "Running") == "ClaimTaken"


@pytest.mark.parametrize(
    ("refusal", "phase", "reason"),
    [
        (RefusedError("Job is invalid: spec.affinity: unknown", is_invalid=True), "Failed", "InvalidSpec"),
        (
            RefusedError("exceeded quota: q, requested: count/jobs.batch=1", is_invalid=False),
            "Pending",
            "QuotaExceeded",
        ),
        (RefusedError("cannot create resource jobs", is_invalid=False), "Pending", "OperatorForbidden"),
        (
            RefusedError("ValidatingAdmissionPolicy 'p' with binding 'b' denied request: no", is_invalid=True),
            "Pending",
            "PolicyDenied",
        ),
        (
            RefusedError('Internal error occurred: failed calling webhook "mjob.kb.io": refused', is_invalid=False),
            "Pending",
            "WebhookFailed",
        ),
        (RefusedError('admission webhook "w" denied the request: no', is_invalid=False), "Pending", "PolicyDenied"),
        (
            RefusedError('strict decoding error: unknown field "spec.template.spec.hostUsers"', is_invalid=True),
            "Failed",
            "InvalidSpec",
        ),
    ],
)
async def test_what_the_api_server_rejects_is_reported(refusal: RefusedError, phase: str, reason: str) -> None:
    cluster = Memory(body())
    cluster.refuses = refusal
    await reconcile(cluster)
    status = cluster.body["status"]
    assert (status["phase"], reason in [item["reason"] for item in status["conditions"]]) == (phase, True)


async def test_cancel_ends_a_running_pod_once_and_gracefully() -> None:
    cluster = Memory(body())
    await reconcile(cluster)
    cluster.runner = running()
    cluster.body["spec"]["cancel"] = True
    await reconcile(cluster)
    await reconcile(cluster)
    assert cluster.calls.count("end") == 1
    assert "suspend" not in cluster.calls


async def test_cancel_before_the_runner_runs_suspends_the_job() -> None:
    cluster = Memory(body())
    await reconcile(cluster)
    cluster.body["spec"]["cancel"] = True
    await reconcile(cluster)
    await reconcile(cluster)
    assert cluster.body["status"]["phase"] == "Cancelled"
    assert cluster.calls.count("suspend") == 1


async def test_a_run_that_failed_before_it_began_does_not_begin_later() -> None:
    """Even if the operator died after writing the status and before stopping the Job."""
    cluster = Memory(body())
    await reconcile(cluster)
    cluster.body["status"] |= {"phase": "Failed", "completionTime": "2026-11-24T12:00:00Z"}
    await reconcile(cluster)
    assert job_of(cluster)["spec"]["suspend"] is True


async def test_deleted_job_is_not_created_again() -> None:
    cluster = Memory(body())
    await reconcile(cluster)
    cluster.objects = {key: item for key, item in cluster.objects.items() if key[0] != "Job"}
    await reconcile(cluster)
    assert reason(cluster, "Failed") == "JobGone"
    assert cluster.created.count("Job") == 1


STORED = StoredResults(path="/results/models/chat/u/p/results.sqlite", bytes=1, sha256="a", rows=1)


async def test_termination_message_of_a_deleted_pod_is_kept() -> None:
    cluster = Memory(body())
    await reconcile(cluster)
    cluster.runner = running()
    own = reconciler(cluster)
    await own.reconcile(NAME)
    gone = ended(Outcome(outcome="interrupted", results=STORED).model_dump_json(), 130)
    cluster.runner = None
    job_of(cluster)["status"] = {"conditions": [{"type": "Failed", "status": "True"}]}
    own.cache.changed("Pod", "DELETED", gone)
    own.cache.put("Job", {**job_of(cluster), "metadata": {**job_of(cluster)["metadata"], "resourceVersion": "9"}})
    await own.reconcile(NAME)
    assert reason(cluster, "Failed") == "Interrupted"
    assert cluster.body["status"]["results"]["rows"] == 1
    assert own.cache.gone == {}, "nobody needs the pod any more"


def recovery_pod(message: str) -> dict[str, object]:
    found = ended(message, 0)
    found["metadata"] |= {"name": "r", "uid": "r", "ownerReferences": [{"uid": "chat-0a1b2c3d-recovery"}]}
    return found


FOUND = Outcome(outcome="succeeded", stages=[{"name": "c8"}], results=STORED)
PARTIAL = FOUND.model_copy(update={"outcome": "interrupted"})
NOTHING = Outcome(outcome="failed", reason="CannotStore", message="holds no run")


@pytest.mark.parametrize(
    ("condition", "told", "phase", "why", "stored"),
    [
        ("Complete", FOUND, "Succeeded", "", "True"),
        ("Failed", PARTIAL, "Failed", "RunnerLost", "True"),
        ("Failed", NOTHING, "Failed", "RunnerLost", "False"),
    ],
)
async def test_results_of_a_runner_that_left_no_word_are_looked_for(
    condition: str, told: Outcome, phase: str, why: str, stored: str
) -> None:
    cluster = Memory(body())
    await reconcile(cluster)
    cluster.runner = running()
    await reconcile(cluster)
    cluster.runner = None  # while nobody watched
    job_of(cluster)["status"] = {"conditions": [{"type": condition, "status": "True"}]}
    await reconcile(cluster)
    await reconcile(cluster)
    assert cluster.body["status"]["phase"] == "Running"
    assert reason(cluster, "Running") == "Recovering"
    assert cluster.created.count("Job") == 2, "the second one only looks"
    cluster.others = [recovery_pod(told.model_dump_json())]
    await reconcile(cluster)
    assert cluster.body["status"]["phase"] == phase
    if why:
        assert reason(cluster, "Failed") == why
    [results] = [item for item in cluster.body["status"]["conditions"] if item["type"] == "ResultsStored"]
    assert results["status"] == stored


async def test_a_job_that_cannot_look_for_results_is_not_waited_for() -> None:
    cluster = Memory(body())
    await reconcile(cluster)
    cluster.runner = running()
    await reconcile(cluster)
    cluster.runner = None
    job_of(cluster)["status"] = {"conditions": [{"type": "Failed", "status": "True"}]}
    cluster.refuses = RefusedError("exceeded quota", is_invalid=False)
    own = reconciler(cluster)
    await own.reconcile(NAME)
    await own.reconcile(NAME)
    assert reason(cluster, "Failed") == "RunnerLost"
    [results] = [item for item in cluster.body["status"]["conditions"] if item["type"] == "ResultsStored"]
    assert results["status"] == "Unknown"


@pytest.mark.parametrize("cascade", ["background", "orphan"])
async def test_a_run_whose_job_is_deleted_ends_when_its_pod_has_stored_what_it_measured(cascade: str) -> None:
    cluster = Memory(body())
    await reconcile(cluster)
    cluster.runner = running()
    await reconcile(cluster)
    del cluster.objects["Job", "chat-0a1b2c3d"]
    if cascade == "orphan":
        cluster.runner["metadata"]["ownerReferences"] = []
    await reconcile(cluster)
    assert cluster.body["status"]["phase"] == "Running", "the load goes on"
    assert cluster.calls.count("end") == 1
    message = Outcome(outcome="interrupted", results=STORED).model_dump_json()
    cluster.runner = ended(message, 130)
    if cascade == "orphan":
        cluster.runner["metadata"]["ownerReferences"] = []
    await reconcile(cluster)
    assert reason(cluster, "Failed") == "JobGone"
    assert cluster.body["status"]["results"]["rows"] == 1


@pytest.mark.parametrize(
    "forged",
    [
        {"namespace": "elsewhere"},
        {"ownerReferences": []},
        {"ownerReferences": [{"uid": "another"}], "creationTimestamp": "2026-11-24T13:00:00Z"},
    ],
    ids=["in another namespace", "without an owner", "younger, with another owner"],
)
async def test_labels_alone_make_no_runner(forged: dict[str, object]) -> None:
    cluster = Memory(body())
    await reconcile(cluster)
    pod = ended(Outcome(outcome="succeeded", verdict="Passed").model_dump_json(), 0)
    pod["metadata"] |= {"name": "forged", "uid": "forged", **forged}
    cluster.others = [pod]
    await reconcile(cluster)
    assert cluster.body["status"]["phase"] == "Pending"
    cluster.runner = running()
    await reconcile(cluster)
    assert cluster.body["status"]["phase"] == "Running"
    assert [runner["uid"] for runner in cluster.body["status"]["runners"]] == ["p"]


async def test_a_drained_runner_begins_again_and_the_whole_run_counts() -> None:
    cluster = Memory(body())
    await reconcile(cluster)
    drained = ended(
        Outcome(outcome="interrupted").model_dump_json(),
        130,
        conditions=[{"type": "DisruptionTarget", "status": "True"}],
    )
    cluster.others = [drained]
    await reconcile(cluster)
    assert (cluster.body["status"]["phase"], reason(cluster, "Running")) == ("Pending", "RunnerDisrupted")
    again = running()
    again["metadata"] |= {"name": "again", "uid": "again", "creationTimestamp": "2026-11-24T11:59:40Z"}
    cluster.runner = again
    await reconcile(cluster)
    assert cluster.body["status"]["phase"] == "Running"
    cluster.runner = ended(Outcome(outcome="succeeded", results=STORED).model_dump_json(), 0)
    cluster.runner["metadata"] |= again["metadata"]
    await reconcile(cluster)
    assert cluster.body["status"]["phase"] == "Succeeded"
    assert [runner["uid"] for runner in cluster.body["status"]["runners"]] == ["p", "again"]


async def test_a_node_that_drains_for_ever_is_given_up() -> None:
    cluster = Memory(body())
    await reconcile(cluster)
    for number in range(6):
        disrupted = ended(code=137, conditions=[{"type": "DisruptionTarget", "status": "True"}])
        disrupted["metadata"] |= {"name": f"p{number}", "uid": f"p{number}"}
        disrupted["status"]["containerStatuses"][0]["state"]["terminated"]["message"] = Outcome(
            outcome="interrupted"
        ).model_dump_json()
        cluster.others.append(disrupted)
    await reconcile(cluster)
    assert reason(cluster, "Failed") == "RunnerDisrupted"
    assert cluster.body["status"]["phase"] == "Failed"


async def test_a_restored_benchmark_does_not_start_by_itself() -> None:
    copied = body()
    copied["metadata"]["annotations"] = {STARTED: "the uid of the one in the backup"}
    cluster = Memory(copied)
    assert await reconcile(cluster) is None
    assert (cluster.body["status"]["phase"], reason(cluster, "Queued")) == ("Suspended", "Restored")
    assert cluster.created == ["Event"]
    del cluster.body["metadata"]["annotations"]
    await reconcile(cluster)
    assert "Job" in cluster.created


async def test_what_was_started_is_marked_before_there_is_a_job() -> None:
    cluster = Memory(body(), lives=1)
    with pytest.raises(DiedError):
        await reconcile(cluster)
    assert cluster.body["metadata"]["annotations"][STARTED] == cluster.body["metadata"]["uid"]
    await reconcile(cluster)
    assert cluster.created.count("Job") == 1
    assert cluster.calls.count("mark") == 1


async def test_a_suspended_benchmark_starts_when_it_is_let_go() -> None:
    cluster = Memory(body({"suspend": True}))
    assert await reconcile(cluster) is None
    assert (cluster.body["status"]["phase"], cluster.created) == ("Suspended", ["Event"])
    cluster.body["spec"]["suspend"] = False
    await reconcile(cluster)
    assert cluster.body["status"]["phase"] == "Pending"
    assert "Job" in cluster.created


async def test_the_whole_outcome_is_asked_for_before_the_pod_goes() -> None:
    cluster = Memory(body())
    await reconcile(cluster)
    cluster.runner = running()
    cluster.outcome_asked = Outcome(outcome="succeeded", stages=[{"name": f"c{number}"} for number in range(64)])
    await reconcile(cluster)
    cluster.runner = ended(Outcome(outcome="succeeded", stages_omitted=64).model_dump_json(), 0)
    await reconcile(cluster)
    assert cluster.body["status"]["phase"] == "Succeeded"
    assert len(cluster.body["status"]["summary"]) == 64


async def test_ttl_counts_from_the_end() -> None:
    status = {"phase": "Succeeded", "completionTime": "2026-11-24T12:00:00Z"}
    cluster = Memory(body({"ttlSecondsAfterFinished": 60}, status))
    assert await reconcile(cluster, NOW + timedelta(seconds=10)) == pytest.approx(50.5)
    assert cluster.body
    assert await reconcile(cluster, datetime(2026, 11, 24, 12, 1, 1, tzinfo=UTC)) is None
    assert not cluster.body


async def test_a_change_of_ttl_after_the_end_is_acknowledged_once() -> None:
    status = {"phase": "Succeeded", "completionTime": "2026-11-24T12:00:00Z", "observedGeneration": 1}
    cluster = Memory(body({"ttlSecondsAfterFinished": 600}, status, generation=2))
    await reconcile(cluster)
    assert cluster.body["status"] == {**status, "observedGeneration": 2}
    calls = list(cluster.calls)
    await reconcile(cluster)
    assert cluster.calls == calls


@pytest.mark.parametrize("phase", ["Succeeded", "Failed", "Cancelled"])
async def test_a_sidecar_that_does_not_end_keeps_neither_pod_nor_job(phase: str) -> None:
    cluster = Memory(body())
    await reconcile(cluster)
    cluster.runner = ended(TERMINATION_MESSAGE, 0, phase="Running")
    await reconcile(cluster)
    assert cluster.body["status"]["phase"] == "Succeeded"
    cluster.body["status"] |= {"phase": phase, "completionTime": "2026-11-24T12:00:00Z"}
    job_of(cluster)["status"] = {"active": 1}
    assert await reconcile(cluster, NOW + timedelta(seconds=10)) == pytest.approx(20)
    assert "suspend" not in cluster.calls, "a pod needs a moment to end by itself"
    assert await reconcile(cluster, NOW + timedelta(seconds=31)) is None
    assert cluster.calls.count("suspend") == 1
    await reconcile(cluster, NOW + timedelta(seconds=60))
    assert cluster.calls.count("suspend") == 1


async def test_a_job_that_has_ended_is_left_as_it_is() -> None:
    cluster = Memory(body())
    await reconcile(cluster)
    cluster.runner = ended(TERMINATION_MESSAGE, 0)
    await reconcile(cluster)
    job_of(cluster)["status"] = {"succeeded": 1, "conditions": [{"type": "Complete", "status": "True"}]}
    assert await reconcile(cluster, NOW + timedelta(seconds=90)) is None
    assert "suspend" not in cluster.calls


@pytest.mark.parametrize("ttl_s", [10**8, 99999999999999, 2**63 - 1])
async def test_a_ttl_of_any_length_waits(ttl_s: int) -> None:
    status = {"phase": "Succeeded", "completionTime": "2026-11-24T12:00:00Z"}
    cluster = Memory(body({"ttlSecondsAfterFinished": ttl_s}, status))
    assert await reconcile(cluster) == LONGEST_WAIT_S
    assert cluster.body


async def test_a_damaged_status_does_not_make_a_second_job() -> None:
    cluster = Memory(body())
    await reconcile(cluster)
    cluster.body["status"] |= {"phase": "Unheard", "live": {"requests": "many"}}
    cluster.objects = {key: item for key, item in cluster.objects.items() if key[0] != "Job"}
    for _ in range(3):
        await reconcile(cluster)
    assert cluster.created.count("Job") == 1


async def test_benchmark_that_is_gone_needs_nothing() -> None:
    assert await reconcile(Memory({})) is None
    assert await reconcile(Memory(body(deletionTimestamp="2026-11-24T12:00:00Z"))) is None
