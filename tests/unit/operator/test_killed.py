"""Operators that are killed before and after each kind of request, against an API server in memory.

The same is seen on a real cluster in tests/cluster/test_faults.py; here it takes seconds.
"""

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from typing import Any

import pytest
from bodies import pod, timestamp_now
from fake_api import FakeApi, served
from kubernetes.aio import client

from perfbench_api.outcome import Outcome, Progress, StoredResults
from perfbench_operator.api import Api
from perfbench_operator.cluster import Cluster
from perfbench_operator.controller import Controller
from perfbench_operator.settings import Settings

Data = dict[str, Any]
NAMESPACE = "models"
STORED = StoredResults(path="/results/models/a/u/p/results.sqlite", bytes=1, sha256="a", rows=1)


class Node:
    """What Jobs, pods and runners do: each Job gets a pod, which runs for a while and says how it ended."""

    def __init__(self, api: FakeApi, outcome: Outcome, run_s: float) -> None:
        self.api, self.outcome, self.run_s = api, outcome, run_s
        self.loads: list[tuple[float, float, str]] = []
        """From when to when each pod put load on its target."""

    async def work(self) -> None:
        """Look after Jobs until cancelled."""
        begun: dict[str, float] = {}
        loop = asyncio.get_running_loop()
        while True:
            await asyncio.sleep(0.05)
            for job in self.api.all("jobs"):
                name = job["metadata"]["name"]
                mine = [one for one in self.api.all("pods") if one["metadata"]["name"] == f"{name}-x"]
                if not mine and not job["spec"].get("suspend") and name not in begun:
                    begun[name] = loop.time()
                    self.api.make("pods", _running(job))
                elif mine and "running" in mine[0]["status"]["containerStatuses"][0]["state"]:
                    is_told = mine[0]["spec"].get("activeDeadlineSeconds") == 1
                    if is_told or loop.time() - begun[name] > self.run_s:
                        self.loads.append((begun[name], loop.time(), name))
                        self._end(job, mine[0], self.outcome if not is_told else _INTERRUPTED)

    def _end(self, job: Data, runner: Data, outcome: Outcome) -> None:
        is_whole = outcome.outcome == "succeeded"
        code = {"succeeded": 0, "failed": 1, "interrupted": 130}[outcome.outcome]
        state = {"exitCode": code, "message": outcome.model_dump_json(), "finishedAt": timestamp_now()}
        runner["status"]["containerStatuses"][0]["state"] = {"terminated": state}
        self.api.put("pods", runner, "MODIFIED")
        job["status"] = {"conditions": [{"type": "Complete" if is_whole else "Failed", "status": "True"}]}
        self.api.put("jobs", job, "MODIFIED")


_INTERRUPTED = Outcome(outcome="interrupted", results=STORED)


def _running(job: Data) -> Data:
    found = pod({"running": {"startedAt": timestamp_now()}}, phase="Running")
    labels = job["spec"]["template"]["metadata"]["labels"]
    meta = {"name": f"{job['metadata']['name']}-x", "namespace": NAMESPACE, "labels": labels}
    return {**found, "metadata": {**meta, "ownerReferences": [{"uid": job["metadata"]["uid"]}]}}


class Asked:
    """Runners that answer."""

    async def progress(self, pod: Data) -> Progress:
        return Progress(phase="running", stage="c1", requests=9)

    async def outcome(self, pod: Data) -> None:
        return None

    async def close(self) -> None:
        return


@asynccontextmanager
async def cluster_of(outcome: Outcome, run_s: float) -> AsyncIterator[tuple[FakeApi, Node, str]]:
    api = FakeApi()
    node = Node(api, outcome, run_s)
    working = asyncio.create_task(node.work())
    try:
        async with served(api) as url:
            yield api, node, url
    finally:
        working.cancel()
        await asyncio.gather(working, return_exceptions=True)


class Operator:
    """One operator after the other."""

    def __init__(self, url: str) -> None:
        self.url, self.lives = url, 0
        self.dying: list[asyncio.Task[None]] = []
        self.start()

    def start(self) -> None:
        self.lives += 1
        settings = Settings(namespaces=(NAMESPACE,), identity="operator", active_interval_s=0.1, relist_interval_s=2.0)
        api = Api(client.ApiClient(client.Configuration(host=self.url)))
        asked: Any = Asked()
        self.controller = Controller(settings, Cluster(api), asked)
        self.controller.start()

    def kill(self) -> None:
        """Nothing of it runs on, and the next one starts."""
        dead = self.controller
        dead.queue.close()
        for task in dead.tasks:
            task.cancel()
        self.dying.append(asyncio.create_task(_bury(dead)))
        self.start()

    async def stop(self) -> None:
        await self.controller.stop()
        await asyncio.gather(*self.dying)


async def _bury(dead: Controller) -> None:
    await asyncio.gather(*dead.tasks, return_exceptions=True)
    await dead.cluster.close()


def killer(api: FakeApi, operator: Operator) -> dict[tuple[str, str], bool]:
    """Kill the operator before and after each kind of request, each once."""
    seen: dict[tuple[str, str], bool] = {}

    def on_moment(kind: str, moment: str) -> bool:
        if (kind, moment) in seen or (moment == "after" and (kind, "before") not in seen):
            return False
        seen[kind, moment] = True
        operator.kill()
        return True

    api.on_moment = on_moment
    return seen


def benchmark(name: str, **spec: Any) -> Data:
    target = {"url": "http://llama:8000", "model": "llama"}
    return {
        "apiVersion": "perfbench.io/v1alpha1",
        "kind": "PerfBenchmark",
        "metadata": {"name": name, "namespace": NAMESPACE},
        "spec": {"target": target, **spec},
    }


async def until(check: Callable[[], bool], timeout_s: float = 60) -> None:
    async with asyncio.timeout(timeout_s):
        while not check():  # noqa: ASYNC110 - what is waited for is in another process, as it were
            await asyncio.sleep(0.05)


SUCCESS = Outcome(outcome="succeeded", results=STORED, verdict="Passed")
FAILURE = Outcome(outcome="failed", reason="TargetUnreachable", results=STORED)
WAYS: dict[str, tuple[Outcome, list[Data], str]] = {
    "success": (SUCCESS, [benchmark("a")], "Succeeded"),
    "failure": (FAILURE, [benchmark("a")], "Failed"),
    "cancel": (SUCCESS, [benchmark("a")], "Cancelled"),
    "ttl": (SUCCESS, [benchmark("a", ttlSecondsAfterFinished=1)], ""),
    "queue": (SUCCESS, [benchmark("a"), benchmark("b"), benchmark("c")], "Succeeded"),
}


@pytest.mark.parametrize("way", WAYS)
async def test_operators_that_are_killed_at_every_request_bring_a_benchmark_to_its_end(way: str) -> None:
    outcome, bodies, phase = WAYS[way]
    async with cluster_of(outcome, 60.0 if way == "cancel" else 1.0) as (api, node, url):
        operator = Operator(url)
        seen = killer(api, operator)
        for one in bodies:
            api.make("perfbenchmarks", one)

        def phases() -> list[str]:
            return [(one.get("status") or {}).get("phase", "") for one in api.all("perfbenchmarks")]

        if way == "cancel":
            await until(lambda: phases() == ["Running"])
            one = api.all("perfbenchmarks")[0]
            one["spec"]["cancel"] = True
            api.put("perfbenchmarks", one, "MODIFIED")
        if way == "ttl":
            await until(lambda: not api.all("perfbenchmarks"))
            assert not [one for plural in ("jobs", "pods", "configmaps") for one in api.all(plural)]
        else:
            await until(lambda: phases() == [phase] * len(bodies))
            for one in api.all("perfbenchmarks"):
                assert one["status"]["results"]["rows"] == 1
        await operator.stop()
        jobs = [made for made in api.made if made.startswith("jobs")]
        assert len(jobs) == len(set(jobs)) == len(bodies), "one run of each"
        node.loads.sort()
        for (_, ended_s, _), (begun_s, _, _) in zip(node.loads, node.loads[1:], strict=False):
            assert ended_s <= begun_s + 0.2, "one at a time at the same target"
        assert len(seen) > 20
        assert operator.lives == len(seen) + 1
