"""The operator may die after any call: the next process carries on, and nothing is created twice."""

import copy
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from bodies import NOW, body, ended, running

from perfbench_api.outcome import Outcome, Progress
from perfbench_operator.cluster import ConflictError, NotFoundError, RefusedError
from perfbench_operator.objects.identity import Identity
from perfbench_operator.reconciler import LONGEST_WAIT_S, Reconciler
from perfbench_operator.settings import Settings

Data = dict[str, Any]
NAME = ("models", "chat")


class DiedError(Exception):
    """The operator's process has ended."""


class Memory:
    """A cluster in memory that makes the operator die after some number of changes."""

    def __init__(self, benchmark: Data, lives: int = 999) -> None:
        self.body = benchmark
        self.objects: dict[tuple[str, str], Data] = {}
        self.created: list[str] = []
        self.calls: list[str] = []
        self.runner: Data | None = None
        self.outcome_asked: Outcome | None = None
        self.lives = lives
        self.refuses: RefusedError | None = None

    def _changed(self, what: str) -> None:
        self.calls.append(what)
        self.lives -= 1
        if self.lives == 0:
            raise DiedError

    async def benchmark(self, namespace: str, name: str) -> Data:
        if not self.body:
            raise NotFoundError
        return copy.deepcopy(self.body)

    async def patch_status(self, was: Data, patch: Data) -> Data:
        if was["metadata"]["resourceVersion"] != self.body["metadata"]["resourceVersion"]:
            raise ConflictError
        self.body["status"] = _merged(self.body.get("status", {}), patch)
        self.body["metadata"]["resourceVersion"] += "0"
        self._changed("status")
        return self.body

    async def delete_benchmark(self, was: Data) -> None:
        self.body = {}
        self._changed("delete")

    async def create(self, item: Data) -> Data:
        key = (item["kind"], item["metadata"]["name"])
        if key in self.objects:
            raise ConflictError
        if self.refuses and item["kind"] == "Job":
            raise self.refuses
        meta = {**item["metadata"], "uid": item["kind"], "creationTimestamp": "2026-11-24T12:00:00Z"}
        self.objects[key] = {**item, "metadata": meta}
        self.created.append(item["kind"])
        self._changed(f"create {item['kind']}")
        return self.objects[key]

    async def read(self, kind: str, namespace: str, name: str) -> Data:
        if (kind, name) not in self.objects:
            raise NotFoundError
        return self.objects[kind, name]

    async def pods(self, identity: Identity) -> list[Data]:
        return [self.runner] if self.runner else []

    async def events(self, namespace: str, uids: list[str]) -> list[Data]:
        return []

    async def suspend(self, job: Data) -> None:
        job["spec"]["suspend"] = True
        self._changed("suspend")

    async def end_gracefully(self, pod: Data) -> None:
        pod["spec"]["activeDeadlineSeconds"] = 1
        self._changed("end")

    async def progress(self, pod: Data) -> Progress | None:
        return Progress(phase="done" if self.outcome_asked else "running", stage="c8")

    async def outcome(self, pod: Data) -> Outcome | None:
        return self.outcome_asked


def _merged(old: Data, patch: Data) -> Data:
    new = {key: value for key, value in old.items() if patch.get(key, 0) is not None}
    for key, value in patch.items():
        if isinstance(value, dict) and isinstance(new.get(key), dict):
            new[key] = _merged(new[key], value)
        elif value is not None:
            new[key] = value
    return new


def reconciler(cluster: Memory, now: datetime = NOW) -> Reconciler:
    return Reconciler(cluster, Settings(), clock=lambda: now)  # type: ignore[arg-type]


async def reconcile(cluster: Memory, now: datetime = NOW) -> float | None:
    """One reconcile by a new process."""
    return await reconciler(cluster, now).reconcile(NAME)


def job_of(cluster: Memory) -> Data:
    [found] = [item for (kind, _), item in cluster.objects.items() if kind == "Job"]
    return found


TERMINATION_MESSAGE = Outcome(outcome="succeeded").model_dump_json()


@pytest.mark.parametrize("lives", range(1, 10))
async def test_operator_that_dies_anywhere_creates_everything_once(lives: int) -> None:
    cluster = Memory(body(), lives)
    for step in (None, running(), ended(TERMINATION_MESSAGE, 0)):
        cluster.runner = step
        for _ in range(3):
            try:
                await reconcile(cluster)
            except DiedError:
                continue
    assert [kind for kind in cluster.created if kind != "Event"] == ["ConfigMap", "PersistentVolumeClaim", "Job"]
    assert cluster.body["status"]["phase"] == "Succeeded"


async def test_a_second_reconcile_changes_nothing() -> None:
    cluster = Memory(body())
    await reconcile(cluster)
    calls = list(cluster.calls)
    await reconcile(cluster)
    assert cluster.calls == calls


async def test_objects_of_an_earlier_benchmark_of_the_same_name_are_not_adopted() -> None:
    cluster = Memory(body())
    cluster.objects["Job", "chat-0a1b2c3d"] = {"metadata": {"ownerReferences": [{"uid": "other"}]}}
    await reconcile(cluster)
    assert cluster.body["status"]["conditions"][0]["reason"] == "NameTaken"


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
    assert third.body["status"]["conditions"][0]["reason"] == "ClaimTaken"


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
    assert cluster.body["status"]["conditions"][-1]["reason"] == "JobGone"
    assert cluster.created.count("Job") == 1


async def test_termination_message_of_a_deleted_pod_is_kept() -> None:
    cluster = Memory(body())
    await reconcile(cluster)
    cluster.runner = running()
    await reconcile(cluster)
    job_of(cluster)["status"] = {"conditions": [{"type": "Failed", "status": "True"}]}
    terminating = ended(Outcome(outcome="interrupted").model_dump_json(), 130)
    terminating["metadata"] |= {"deletionTimestamp": "x", "labels": Identity.of(cluster.body).labels()}
    cluster.runner = None
    own = reconciler(cluster)
    own.saw_pod(terminating)
    await own.reconcile(NAME)
    assert cluster.body["status"]["conditions"][-1]["reason"] == "Interrupted"
    assert own.terminating == {}


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
