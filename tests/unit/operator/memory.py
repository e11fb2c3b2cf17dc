"""A cluster in memory, for one benchmark: what the API server keeps, and an operator that may die after any change."""

import copy
from collections.abc import Sequence
from datetime import datetime
from typing import Any

from bodies import JOB_UID, NOW

from perfbench_api.outcome import Outcome, Progress
from perfbench_operator.api import ConflictError, NotFoundError, RefusedError
from perfbench_operator.cache import Cache
from perfbench_operator.cluster import Source
from perfbench_operator.objects.identity import STARTED, Identity
from perfbench_operator.reconciler import Reconciler
from perfbench_operator.settings import Settings

Data = dict[str, Any]
NAME = ("models", "chat")


class DiedError(Exception):
    """The operator's process has ended."""


class Memory:
    """The cluster, and the runners in it. The operator dies after `lives` changes."""

    def __init__(self, benchmark: Data, lives: int = 999) -> None:
        self.body = benchmark
        self.objects: dict[tuple[str, str], Data] = {}
        self.created: list[str] = []
        self.calls: list[str] = []
        self.runner: Data | None = None
        self.others: list[Data] = []
        """Other pods."""
        self.outcome_asked: Outcome | None = None
        self.silent = False
        self.target_nodes: set[str] = set()
        self.lives = lives
        self.refuses: RefusedError | None = None
        self.events_told: list[Data] = []

    def _changed(self, what: str) -> None:
        self.calls.append(what)
        self.lives -= 1
        if self.lives == 0:
            raise DiedError

    def cache(self) -> Cache:
        """What a new process lists."""
        cache = Cache()
        fill(cache, "PerfBenchmark", [copy.deepcopy(self.body)] if self.body else [])
        fill(cache, "Job", [copy.deepcopy(item) for (kind, _), item in self.objects.items() if kind == "Job"])
        fill(cache, "Pod", [copy.deepcopy(item) for item in self._pods()])
        return cache

    def _pods(self) -> list[Data]:
        return [*self.others, *([self.runner] if self.runner else [])]

    def _fenced(self, was: Data) -> None:
        if was["metadata"]["resourceVersion"] != self.body["metadata"]["resourceVersion"]:
            raise ConflictError

    def _next_version(self) -> None:
        self.body["metadata"]["resourceVersion"] = str(int(self.body["metadata"]["resourceVersion"]) + 1)

    async def benchmark(self, namespace: str, name: str) -> Data:
        self.calls.append("read PerfBenchmark")
        return copy.deepcopy(self.body)

    async def patch_status(self, was: Data, patch: Data) -> Data:
        self._fenced(was)
        self.body["status"] = _merged(self.body.get("status", {}), patch)
        self._next_version()
        self._changed("status")
        return copy.deepcopy(self.body)

    async def mark_started(self, was: Data) -> Data:
        self._fenced(was)
        self.body["metadata"]["annotations"] = {STARTED: self.body["metadata"]["uid"]}
        self._next_version()
        self._changed("mark")
        return copy.deepcopy(self.body)

    async def delete_benchmark(self, was: Data) -> None:
        self.body = {}
        self._changed("delete")

    async def create(self, item: Data) -> Data:
        key = (item["kind"], item["metadata"]["name"])
        if key in self.objects:
            raise ConflictError
        if self.refuses and item["kind"] == "Job":
            raise self.refuses
        uid = JOB_UID if key == ("Job", "chat-0a1b2c3d") else item["metadata"]["name"]
        meta = {**item["metadata"], "uid": uid, "creationTimestamp": "2026-11-24T12:00:00Z"}
        self.objects[key] = {**item, "metadata": meta}
        self.created.append(item["kind"])
        self._changed(f"create {item['kind']}")
        return copy.deepcopy(self.objects[key])

    async def read(self, kind: str, namespace: str, name: str) -> Data:
        self.calls.append(f"read {kind}")
        if (kind, name) not in self.objects:
            raise NotFoundError
        return copy.deepcopy(self.objects[kind, name])

    async def pods(self, identity: Identity) -> list[Data]:
        self.calls.append("read pods")
        return self._pods()

    async def nodes_of_service(self, namespace: str, name: str) -> set[str]:
        self.calls.append("read EndpointSlices")
        return self.target_nodes

    async def events(self, namespace: str, uids: Sequence[str]) -> list[Data]:
        self.calls.append("read events")
        return self.events_told

    async def suspend(self, job: Data) -> None:
        self.objects["Job", job["metadata"]["name"]]["spec"]["suspend"] = True
        self._changed("suspend")

    async def delete_job(self, job: Data) -> None:
        del self.objects["Job", job["metadata"]["name"]]
        self._changed("delete Job")

    async def end_gracefully(self, pod: Data) -> None:
        for own in self._pods():
            if own["metadata"]["uid"] == pod["metadata"]["uid"]:
                own["spec"]["activeDeadlineSeconds"] = 1
        self._changed("end")

    async def progress(self, pod: Data) -> Progress | None:
        if self.silent:
            return None
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


def fill(cache: Cache, kind: str, items: Sequence[Data]) -> None:
    """A list of everything of a kind was read."""
    with cache.listing(Source(kind)) as listing:
        cache.listed(listing, items)


def reconciler(cluster: Memory, now: datetime = NOW, **settings: Any) -> Reconciler:
    """A new process, which has listed everything."""
    fake: Any = cluster
    return Reconciler(fake, fake, Settings(**settings), cluster.cache(), lambda: now)


async def reconcile(cluster: Memory, now: datetime = NOW, **settings: Any) -> float | None:
    """One reconcile by a new process."""
    return await reconciler(cluster, now, **settings).reconcile(NAME)


def job_of(cluster: Memory) -> Data:
    """The Job."""
    return cluster.objects["Job", "chat-0a1b2c3d"]


def reason(cluster: Memory, kind: str) -> str:
    """The reason of a condition; empty if there is none."""
    conditions = cluster.body["status"]["conditions"]
    return next((str(item["reason"]) for item in conditions if item["type"] == kind), "")
