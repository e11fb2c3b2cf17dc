"""The fault matrix: whatever happens to operator, runner, objects, API server or node, a benchmark ends as it should.

Each case is one fault, in a namespace and with an operator of its own, and all of them run at the same time. Operators are
processes on this machine, behind a proxy that kills them before and after every kind of request they make. What is seen
is the table in docs/reliability.md, which these cases make: PERFBENCH_WRITE_RELIABILITY=1 writes it.
"""

from __future__ import annotations

import os
import subprocess
import sys
import time
import uuid
from collections.abc import Callable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import ExitStack, suppress
from dataclasses import dataclass
from pathlib import Path

import components
import pytest
from benchmarks import CRD, REPOSITORY, has_crd
from faults import TIMEOUT_S, Bench, Place
from kube import Cluster, wait_for
from planted import planted_secret
from proxy import Killer, Proxy, kubectl_proxy
from recorder import Recorder
from rest import Rest
from ways import (
    End,
    be_away,
    cancel,
    delete,
    delete_namespace,
    end_runner,
    expire,
    fail,
    fill_claim,
    follow_leader,
    kill_pod,
    lose_api_server,
    lose_node,
    queue,
    retry,
    succeed,
)

PAGE = REPOSITORY / "docs" / "reliability.md"
BEGIN, END = "<!-- matrix: written by tests/cluster/test_faults.py -->\n", "<!-- end of matrix -->\n"
HEAD = "| what happens | when | how the benchmark ends | runs | results | left over |\n| --- | --- | --- | --- | --- | --- |"
WORKERS = 32


@dataclass(frozen=True)
class Case:
    """A row: what happens, when, and how the benchmark ends."""

    fault: str
    when: str
    way: Callable[[Place], End]
    expected: tuple[End, ...]
    kills: bool = False
    """The operator is killed before and after each kind of request, each once."""
    leftovers: tuple[str, ...] = ("jobs", "pods", "configmaps")
    left: str = "nothing"
    settings: tuple[tuple[str, str], ...] = ()
    needs_own_cluster: bool = False
    """The test does something to the node that only the cluster of this machine lets it."""
    in_ci: bool = True
    """The others only with PERFBENCH_ALL_FAULTS=1."""


def ends(*names: str, runs: int = 1, results: str = "stored") -> tuple[End, ...]:
    return tuple(End(name, runs, results) for name in names)


KILLED = "operator killed before and after each of its requests"
INTERRUPTED = (*ends("Failed Interrupted"), *ends("Failed Interrupted", results="none"))
EARLY = (*INTERRUPTED, *ends("Failed RunnerKilled", "Failed RunnerLost", "Failed RunnerFailed", results="none"))
MOMENTS_S = (0.0, 0.1, 0.2, 0.4, 0.7, 1.0, 1.5, 2.0, 3.0, 5.0)
CASES: dict[str, Case] = {
    "killed-success": Case(KILLED, "a run that succeeds", succeed, ends("Succeeded"), kills=True),
    "killed-failure": Case(KILLED, "a target that is down", fail, ends("Failed TargetUnreachable"), kills=True),
    "killed-cancel": Case(KILLED, "a run that is cancelled", cancel, ends("Cancelled"), kills=True),
    "killed-ttl": Case(KILLED, "a run with a ttl", expire, ends("deleted by its ttl", results="kept"), kills=True),
    "killed-queue": Case(KILLED, "two at the same target", queue, ends("Succeeded"), kills=True),
    "killed-retry": Case(KILLED, "a runner that is evicted", retry, ends("Succeeded", runs=2), kills=True),
    "job": Case("Job deleted", "mid-run", delete("jobs"), ends("Failed JobGone")),
    "job-orphan": Case(
        "Job deleted, `--cascade=orphan`", "mid-run", delete("jobs", propagation="Orphan"), ends("Failed JobGone"),
        leftovers=("jobs", "configmaps"), left="the ended pod, which nobody owns",
    ),
    "pod": Case("pod deleted", "mid-run", delete("pods"), ends("Failed Interrupted")),
    "pod-forced": Case("pod deleted by force", "mid-run", kill_pod,
                       ends("Failed Interrupted", "Failed RunnerLost", "Failed RunnerKilled")),
    "claim": Case("claim deleted", "mid-run", delete("persistentvolumeclaims", "app.kubernetes.io/component=results"),
                  ends("Succeeded")),
    "configmap": Case("ConfigMap deleted, then cancelled", "mid-run", delete("configmaps"), ends("Cancelled")),
    "namespace": Case("namespace deleted", "mid-run", delete_namespace, ends("deleted with its namespace", results="none"),
                      leftovers=()),
    "api": Case("API server away for 60 s", "the run ends meanwhile", lose_api_server, ends("Succeeded")),
    "away": Case("operator away, pod gone", "the run ends meanwhile", be_away, ends("Succeeded")),
    "leader": Case("one of two operators killed for good", "mid-run", follow_leader, ends("Succeeded")),
    "node": Case("node lost", "mid-run", lose_node, ends("Failed NodeLost", results="unknown"), leftovers=("configmaps",),
                 left="the pod, until its node is back or deleted",
                 settings=(("PERFBENCH_LOST_TIMEOUT", "15s"),)),
    "full": Case(
        "claim full", "mid-run", fill_claim, ends("Failed CannotStore", results="unfinished"), needs_own_cluster=True
    ),
    **{
        f"runner-{after_s:g}s": Case("runner ended", f"{after_s:g} s after its start", end_runner(after_s), EARLY,
                                     in_ci=after_s in (0.0, 0.4, 1.5, 5.0))
        for after_s in MOMENTS_S
    },
}  # fmt: skip
CHOSEN = [name for name, case in CASES.items() if case.in_ci or os.environ.get("PERFBENCH_ALL_FAULTS")]


@dataclass(frozen=True)
class Seen:
    """What was seen in a case."""

    end: End
    kills: int
    kinds: int
    leftovers: list[str]


def play(bench: Bench, case: Case) -> Seen:
    name = f"fault-{uuid.uuid4().hex[:8]}"
    labels = {"pod-security.kubernetes.io/enforce": "restricted"}
    bench.rest("POST", "/api/v1/namespaces", {"kind": "Namespace", "metadata": {"name": name, "labels": labels}})
    proxy = Proxy(bench.rest.url)
    place = Place(bench, name, proxy, settings=dict(case.settings))
    killer = Killer(place.kill)
    if case.kills:
        proxy.on_moment = killer
    with proxy.served():
        try:
            bench.rest("POST", place.path("secrets"), planted_secret())
            wait_for(lambda: _exists(bench.rest, place.path("serviceaccounts", "default")), 60, "service account")
            place.start()
            end = case.way(place)
            leftovers = _leftovers(place, case) if case.leftovers else []
            kinds = {kind for _, kind in proxy.counts}
            return Seen(end, len(killer.seen), len(kinds), leftovers)
        finally:
            place.kill()
            with suppress(KeyError, RuntimeError):
                bench.rest("DELETE", f"/api/v1/namespaces/{name}", {})


def _exists(rest: Rest, path: str) -> bool:
    try:
        return bool(rest("GET", path))
    except KeyError:
        return False


def _leftovers(place: Place, case: Case) -> list[str]:
    """What is left of the benchmarks' objects when they have been deleted."""
    for item in place.bench.rest("GET", place.path("perfbenchmarks"))["items"]:
        place.bench.rest("DELETE", place.path("perfbenchmarks", item["metadata"]["name"]), {})

    def left() -> list[str]:
        found = [item for plural in case.leftovers for item in place.items(plural)]
        return [f"{item['metadata']['name']}" for item in found]

    deadline_s = time.monotonic() + 60
    while (found := left()) and time.monotonic() < deadline_s:
        time.sleep(0.5)
    return found


@pytest.fixture(scope="module")
def seen(
    cluster: Cluster, recorder: Recorder, request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[dict[str, Future[Seen]]]:
    """All cases that were selected, under way at the same time."""
    had_crd = has_crd(cluster)
    if not had_crd:
        cluster.kubectl("apply", "-f", str(REPOSITORY / "crds"))
        # Not by `kubectl wait`, which fails at a definition that is so new that it has no conditions.
        wait_for(
            lambda: "perfbenchmarks" in cluster.kubectl("api-resources", "--api-group=perfbench.io"), 60, "definition"
        )
    with ExitStack() as stack:
        rest = Rest(stack.enter_context(kubectl_proxy(cluster)))
        command = [sys.executable, str(Path(__file__).with_name("nursery.py"))]
        nursery = stack.enter_context(
            subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
        )
        bench = Bench(cluster, rest, nursery, tmp_path_factory.mktemp("faults"))
        recorder.look_into(bench.folder)  # the operators' logs
        pool = stack.enter_context(ThreadPoolExecutor(WORKERS))
        try:
            is_own = cluster.kubeconfig == components.KUBECONFIG
            selected = {item.callspec.params.get("name") for item in request.session.items if hasattr(item, "callspec")}
            names = [name for name in CHOSEN if name in selected and (is_own or not CASES[name].needs_own_cluster)]
            yield {name: pool.submit(play, bench, CASES[name]) for name in names}
        finally:
            pool.shutdown(wait=True, cancel_futures=True)
            nursery.kill()
            if not had_crd:
                cluster.kubectl("delete", "crd", CRD)


@pytest.mark.parametrize("name", CHOSEN)
def test_a_benchmark_ends_as_it_should_whatever_happens(seen: dict[str, Future[Seen]], name: str) -> None:
    if name not in seen:
        pytest.skip("only in the cluster of this machine")
    case, found = CASES[name], seen[name].result(2 * TIMEOUT_S)
    assert found.end in case.expected
    assert found.leftovers == []
    if case.kills:
        assert found.kills >= 2 * found.kinds - 4, (
            "each kind of request is made again after a kill, but for the last ones"
        )
        assert found.kills > 10


def test_the_table_in_the_docs_is_the_one_that_the_cases_make() -> None:
    """And the cases are what is seen: the test above holds each of them to its row."""
    head, _, rest = PAGE.read_text().partition(BEGIN)
    body, _, tail = rest.partition(END)
    if os.environ.get("PERFBENCH_WRITE_RELIABILITY"):
        PAGE.write_text(head + BEGIN + table() + END + tail)
        return
    assert body == table(), "the cases have changed: PERFBENCH_WRITE_RELIABILITY=1 writes the table anew"


def table() -> str:
    return "\n".join([HEAD, *dict.fromkeys(map(row, CASES.values()))]) + "\n"


def row(case: Case) -> str:
    expected = case.expected
    ends_, results = ({get(end): None for end in expected} for get in (lambda end: end.end, lambda end: end.results))
    runs = max(end.runs for end in expected)
    return f"| {case.fault} | {case.when} | {' or '.join(ends_)} | {runs} | {' or '.join(results)} | {case.left} |"
