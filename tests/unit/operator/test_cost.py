"""What benchmarks cost the API server: requests are counted over minutes of simulated time."""

from collections.abc import Callable
from datetime import timedelta
from typing import Any

import pytest
from bodies import NOW, body, running, unscheduled
from memory import Memory, fill

from perfbench_api.outcome import Progress
from perfbench_operator.cache import Cache
from perfbench_operator.reconciler import Reconciler
from perfbench_operator.settings import Settings

MINUTES = 4
Data = dict[str, Any]


class Many(Memory):
    """Benchmarks that are all alike; every figure of a run changes all the time."""

    def __init__(self, bodies: list[Data], phase: str) -> None:
        super().__init__({}, lives=10**9)
        self.bodies = {one["metadata"]["name"]: one for one in bodies}
        self.phase, self.asked = phase, 0

    async def progress(self, pod: Data) -> Progress | None:
        self.asked += 1
        message = "connection refused" if self.phase == "waiting" else ""
        return Progress(phase=self.phase, stage="c8", requests=self.asked, percent=self.asked % 100, message=message)  # type: ignore[arg-type]

    async def patch_status(self, was: Data, patch: Data) -> Data:
        self.body = self.bodies[was["metadata"]["name"]]
        return await super().patch_status(was, patch)

    async def mark_started(self, was: Data) -> Data:
        self.body = self.bodies[was["metadata"]["name"]]
        return await super().mark_started(was)

    async def create(self, item: Data) -> Data:
        self.calls.append(f"create {item['kind']}")
        uid = f"job of {item['metadata']['name']}"
        return {**item, "metadata": {**item["metadata"], "uid": uid, "creationTimestamp": "2026-11-24T12:00:00Z"}}


def pod_of(one: Data, job_uid: str, kind: Callable[[], Data]) -> Data:
    found = kind()
    labels = found["metadata"]["labels"] | {"perfbench.io/uid": one["metadata"]["uid"]}
    owners = [{"uid": job_uid}]
    name = f"pod-{one['metadata']['name']}"
    found["metadata"] |= {"name": name, "uid": name, "labels": labels, "ownerReferences": owners}
    return found


async def requests_per_second(count: int, phase: str, pod: Callable[[], Data] | None, spec: Data) -> float:
    """For each of `count` benchmarks, once they have started."""
    names = [f"b{number}" for number in range(count)]
    target = spec.get("target") or {"mock": {}}
    bodies = [body({**spec, "target": target}, uid=f"uid-{name}-0000", name=name) for name in names]
    cluster, cache = Many(bodies, phase), Cache()
    now = [NOW]
    fake: Any = cluster
    reconciler = Reconciler(fake, fake, Settings(start_timeout_s=1e5), cache, lambda: now[0])
    fill(cache, "PerfBenchmark", bodies)
    due = dict.fromkeys(names, 0.0)
    begun = 0
    for second in range(60 * (MINUTES + 1)):
        now[0] = NOW + timedelta(seconds=second)
        if second == 60:
            begun = len(cluster.calls)
        for name in [name for name, at_s in due.items() if at_s <= second]:
            again_s = await reconciler.reconcile(("models", name))
            due[name] = second + (60.0 if again_s is None else again_s)
        for one in bodies:
            job = cache.job("models", f"{one['metadata']['name']}-{one['metadata']['uid'][:8]}")
            if job and pod and not cache.pods(one):
                cache.put("Pod", pod_of(one, job["metadata"]["uid"], pod))
    return (len(cluster.calls) - begun) / (60 * MINUTES * count)


SHARED = {"target": {"url": "http://llama:8000", "model": "llama"}}
MISSING = {"dataset": {"configMap": {"name": "none"}, "path": "a.txt"}}


async def test_sixty_running_benchmarks_cost_as_few_requests_each_as_one() -> None:
    assert await requests_per_second(60, "running", running, {}) <= 0.5


@pytest.mark.parametrize("count", [1, 16])
@pytest.mark.parametrize(
    ("phase", "pod", "spec", "limit"),
    [
        ("running", running, {}, 0.5),
        ("waiting", running, {}, 0.05),
        ("", lambda: unscheduled("Insufficient cpu"), {}, 0.05),
        ("", None, {}, 0.05),
        ("", None, MISSING, 0.05),
        ("", None, {"suspend": True}, 0.05),
    ],
    ids=["running", "waiting for the target", "pending", "no pod", "blocked", "suspended"],
)
async def test_a_benchmark_costs_few_requests(
    count: int, phase: str, pod: Callable[[], Data] | None, spec: Data, limit: float
) -> None:
    assert await requests_per_second(count, phase, pod, spec) <= limit


async def test_those_that_are_queued_cost_nothing() -> None:
    """But for the one that has the target."""
    assert await requests_per_second(60, "running", running, SHARED) <= 0.5 / 60
