"""One run of several runner pods: together they send what was asked for, and whatever happens to one is told of."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import ExitStack
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import components
import many
import pytest
from benchmarks import Release, benchmark, condition, installed, restricted_namespace, results, until
from kube import Cluster, Namespace, wait_for
from many import Run
from proxy import Rest
from recorder import Recorder


@pytest.fixture(scope="module")
def release(cluster: Cluster, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Release]:
    """The operator for the whole cluster, with the demo endpoint."""
    folder = tmp_path_factory.mktemp("chart")
    with (
        restricted_namespace(cluster) as space,
        installed(
            cluster, space, folder, demo={"enabled": True, "ttftSeconds": 0.02, "itlSeconds": 0.002}, startTimeout="60s"
        ) as found,
    ):
        yield found


def workers_of(space: Namespace) -> list[dict[str, Any]]:
    found: list[dict[str, Any]] = space.get("pods", "--selector=app.kubernetes.io/component=worker")["items"]
    return found


@pytest.mark.parametrize(
    ("replicas", "stage", "least", "most"),
    [
        (4, {"concurrency": 6, "requests": 121}, 121, 121),
        (3, {"rate": 20, "duration": "6s", "arrival": "constant"}, 119, 121),
    ],
    ids=["closed by count", "open by time"],
)
def test_runner_pods_share_one_load_and_leave_one_result(
    release: Release, namespace: Namespace, replicas: int, stage: dict[str, Any], least: int, most: int
) -> None:
    namespace.apply(benchmark("many", release.demo, load={"stages": [stage]}, runner={"replicas": replicas}))
    found = until(namespace, "many", "Succeeded", timeout_s=120)
    assert least <= found["results"]["rows"] <= most
    assert found["results"]["rows"] == found["summary"][0]["requests"]["total"]
    assert found["summary"][0]["requests"]["succeeded"] == found["results"]["rows"]
    assert len(workers_of(namespace)) == replicas - 1
    stored = results(namespace, found)
    assert (stored["rows"], stored["sha256"]) == (found["results"]["rows"], found["results"]["sha256"])
    assert len(stored["runners"]) == replicas
    assert sum(stored["runners"]) == stored["rows"]
    assert min(stored["runners"]) > 0, "each has sent a part"
    namespace.kubectl("delete", "pb", "many", "--wait=true", timeout_s=60)
    kinds = "jobs,services,secrets,pods"
    wait_for(
        lambda: (
            not namespace.kubectl("get", kinds, "--selector=app.kubernetes.io/name=perfbench", "-o", "name").strip()
        ),
        60,
        "nothing of the run is left",
    )


def test_a_search_tells_what_the_endpoint_carries(release: Release, namespace: Namespace) -> None:
    search = {"concurrency": {"from": 1, "to": 4}, "requests": 120, "maxDuration": "90s"}
    namespace.apply(
        benchmark(
            "search",
            release.demo,
            load={"search": search, "gracePeriod": "2s"},
            objectives=[{"metric": "ttft", "statistic": "p90", "max": "5s"}],
        )
    )
    found = until(namespace, "search", "Succeeded", timeout_s=150)
    assert condition(found, "LoadFound")[0] == "True", found["conditions"]
    assert found["search"]["low"] == 4, "the objectives hold at the highest load of the range"
    assert "4" in namespace.kubectl("get", "pb", "search").splitlines()[1]


# What happens to runs of four runner pods, several at the same time

GRACE = {"gracePeriod": "5s", "maxFailedShare": 0.5}  # whatever else the machine does: it is not about the endpoint
OPEN = {"stages": [{"rate": 12, "duration": "15s", "arrival": "constant"}], **GRACE}
CLOSED = {"stages": [{"concurrency": 8, "requests": 450}], **GRACE}  # some 13 s: an answer takes 0.22 s
ENDLESS_OPEN = {"stages": [{"rate": 12, "duration": "5m"}], **GRACE}
ENDLESS_CLOSED = {"stages": [{"concurrency": 8, "duration": "5m"}], **GRACE}
MERGED = ["merged"] * 4
SILENT = "was not heard of for 15 s"


@dataclass(frozen=True)
class Case:
    """A row: what happens under which load, and how the run ends."""

    fault: Callable[[Run], None]
    load: dict[str, Any]
    end: str
    """Phase and reason."""
    says: str = ""
    """Part of the message, beside the name of the runner that it happens to."""
    states: Sequence[str] = ()
    """Of the runners in the results; none where there are no results of all."""
    rows: tuple[int, int] = (21, 10_000)
    runner: tuple[tuple[str, Any], ...] = ()
    results: tuple[tuple[str, Any], ...] = ()


CONTINUE = (("onLoss", "continue"),)
SOON = (("startDeadline", "30s"),)
CASES = {
    "worker killed": Case(
        many.kill_worker, ENDLESS_OPEN, "Failed RunnerLost", SILENT, ("merged", "merged", "lost", "merged")
    ),
    "worker killed, onLoss: continue": Case(
        many.kill_worker, CLOSED, "Succeeded", SILENT, ("merged", "merged", "lost", "merged"), runner=CONTINUE
    ),
    "worker deleted": Case(
        many.delete_worker, ENDLESS_CLOSED, "Failed RunnerLost", "SIGTERM", ("merged", "merged", "cut", "merged")
    ),
    "worker hangs": Case(
        many.hang_worker, ENDLESS_CLOSED, "Failed RunnerLost", SILENT, ("merged", "merged", "merged", "lost")
    ),
    "worker never comes": Case(
        many.keep_worker_away, OPEN, "Failed RunnerMissing", "did not report in within 30 s", rows=(0, 0), runner=SOON
    ),
    "leader killed": Case(many.kill_leader, ENDLESS_OPEN, "Failed RunnerKilled", rows=(5, 10_000)),
    "operator killed": Case(many.kill_operator, CLOSED, "Succeeded", "", MERGED, (450, 450)),
    "network cut for 10 s": Case(many.cut_network, OPEN, "Succeeded", "", MERGED, (179, 181)),
    "slow worker": Case(many.slow_worker, OPEN, "Succeeded", "", MERGED, (100, 181)),
    "leader's disk full": Case(many.fill_disk, ENDLESS_OPEN, "Failed CannotStore", rows=(0, 10_000)),
    "wrong token": Case(many.speak_with_a_wrong_token, OPEN, "Succeeded", "", MERGED, (179, 181)),
    "cancelled before the leader starts": Case(
        many.cancel_before_the_leader, OPEN, "Cancelled", rows=(0, 0), results=(("storageClass", "never"),)
    ),
}
AT_A_TIME = 4
"""More on two CPUs, and runners are silent because they are not let to speak."""


@dataclass(frozen=True)
class Seen:
    run: Run
    status: dict[str, Any]
    runners: list[tuple[int, str, str, str, int]]


@pytest.fixture(scope="module")
def seen(
    release: Release,
    cluster: Cluster,
    recorder: Recorder,
    request: pytest.FixtureRequest,
    tmp_path_factory: pytest.TempPathFactory,
) -> Iterator[dict[str, Future[Seen]]]:
    """All cases that were selected, some under way at a time; they share a namespace and the demo endpoint."""
    if cluster.kubeconfig != components.KUBECONFIG:
        pytest.skip("the faults need the node to be this machine")
    selected = {item.callspec.params.get("name") for item in request.session.items if hasattr(item, "callspec")}
    rest, folder = Rest(recorder.url), tmp_path_factory.mktemp("many")
    with restricted_namespace(cluster) as space, ExitStack() as stack:
        for item in many.refusing(space.name, benchmark=name_of("worker never comes"), index=1):
            cluster.apply(item)
            stack.callback(cluster.kubectl, "delete", item["kind"], item["metadata"]["name"])
        pool = stack.enter_context(ThreadPoolExecutor(AT_A_TIME))
        play_one = partial(play, rest, release, space.name, folder)
        try:
            yield {name: pool.submit(play_one, name) for name in CASES if name in selected}
        finally:
            pool.shutdown(wait=True, cancel_futures=True)


def name_of(case: str) -> str:
    return "".join(letter if letter.isalnum() else "-" for letter in case.lower().replace("'", "")).strip("-")


def play(rest: Rest, release: Release, namespace: str, folder: Path, name: str) -> Seen:
    """Start the run of a case, let happen what is to happen, and see how it ends."""
    case = CASES[name]
    with ExitStack() as stack:
        run = Run(rest, namespace, name_of(name), stack)
        run.notes["operator"] = lambda: pod_of(rest, release, "operator")
        kept = {"storage": "1Gi", **dict(case.results)}
        if case.fault is many.fill_disk:
            kept = {
                "claim": {"name": stack.enter_context(many.small_disk(rest, namespace, "full", folder / "full", "8m"))}
            }
        spec = {"request": {"maxTokens": 100}, "load": case.load, "results": kept}
        # Not by its Service, which has no endpoint while the machine is too busy for a probe.
        url = f"http://{pod_of(rest, release, 'demo')['status']['podIP']}:8000/v1/chat/completions"
        target = {"url": url, "model": "mock", "exclusive": False}
        made = benchmark(run.name, target, runner={"replicas": 4, **dict(case.runner)}, **spec)
        rest("POST", run.path("perfbenchmarks", api=many.GROUP), made)
        case.fault(run)
        status = run.until_final()
        return Seen(run, status, run.runners(status) if case.states else [])


def pod_of(rest: Rest, release: Release, component: str) -> dict[str, Any]:
    path = f"/api/v1/namespaces/{release.namespace.name}/pods?labelSelector=app.kubernetes.io/component={component}"
    pods: list[dict[str, Any]] = rest("GET", path)["items"]
    return pods[-1]


@pytest.mark.parametrize("name", CASES)
def test_whatever_happens_to_a_runner_is_told_and_what_was_measured_is_kept(
    seen: dict[str, Future[Seen]], name: str
) -> None:
    case, it = CASES[name], seen[name].result(200)
    found, victim = it.status, it.run.victim
    reason = condition(found, "Failed")[1] if found["phase"] == "Failed" else ""
    shown = json.dumps(found, indent=1)
    assert f"{found['phase']} {reason}".strip() == case.end, shown
    told = found.get("message", "") + " ".join(found.get("client", {}).get("reasons", []))
    assert case.says in told, shown
    least, most = case.rows
    assert least <= (found.get("results") or {}).get("rows", 0) <= most, shown
    assert [state for _, _, state, _, _ in it.runners] == list(case.states)
    if case.states and "merged" not in case.end:
        assert sum(rows for *_, rows in it.runners) == found["results"]["rows"]
    lost = [(host, why) for _, host, state, why, _ in it.runners if state != "merged"]
    if lost:
        [(host, why)] = lost
        assert host == victim
        assert case.says in why
        assert victim in told, shown
    CHECKS.get(name, lambda it: None)(it)
    it.run.until("no worker is left", lambda: not it.run.workers_at_work(), 60)


def is_inconclusive(it: Seen) -> None:
    """Less load than asked for, or another one than was meant: no verdict."""
    assert it.status["client"]["state"] == "invalid", it.status
    assert it.run.victim in " ".join(it.status["client"]["reasons"]) + it.status["message"]


def was_slowest(it: Seen) -> None:
    """Others may be slow as well, on a busy machine, and reasons are told of the first ones only."""
    assert it.status["client"]["state"] == "invalid", it.status
    throttled = dict(
        it.run.ask(it.status, "SELECT coalesce(runner, 0), sum(throttled_s) FROM client_health GROUP BY 1")
    )
    assert max(throttled, key=lambda runner: throttled[runner] or 0.0) == 2, throttled


def names_who_is_missing(it: Seen) -> None:
    assert "runner 2" in it.status["message"]


def is_refused(it: Seen) -> None:
    assert it.run.notes["answers"] == {401}


def is_unfinished(it: Seen) -> None:
    assert condition(it.status, "ResultsStored") == ("False", "Unfinished"), it.status


CHECKS: dict[str, Callable[[Seen], None]] = {
    "worker killed, onLoss: continue": is_inconclusive,
    "slow worker": was_slowest,
    "worker never comes": names_who_is_missing,
    "wrong token": is_refused,
    "leader's disk full": is_unfinished,
}
