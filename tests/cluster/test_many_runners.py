"""One run of several runner pods: together they send what was asked for, and whatever happens to one is told of."""

from __future__ import annotations

import json
import sqlite3
import subprocess
import sys
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import ExitStack, closing
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import components
import many
import pytest
from benchmarks import Release, benchmark, condition, installed, restricted_namespace, results, until
from kube import Cluster, Namespace, pod, pod_spec, wait_for
from many import Run
from recorder import Recorder
from rest import Rest


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


STAGES = (
    {"concurrency": 6, "requests": 121},
    {"rate": 20, "duration": "6s", "arrival": "constant"},
    {"concurrency": 5, "duration": "4s"},
    {"rate": 30, "requests": 121, "arrival": "poisson"},
)
COUNTS = "SELECT count(*), count(DISTINCT seq), sum(NOT success) FROM requests GROUP BY stage ORDER BY stage"
SPAN = "SELECT max(scheduled_time) - min(scheduled_time) FROM requests WHERE stage = 1"
TTFT = "SELECT stage, first_chunk_latency FROM requests ORDER BY 2"
RUNNERS = "SELECT state, requests, bound FROM runner ORDER BY runner"
STARTS = "SELECT max(begin_time) - min(begin_time) FROM runner_stage GROUP BY stage"


def test_four_runner_pods_are_one_run_and_measure_what_one_does(release: Release, namespace: Namespace) -> None:
    """At the same time, the same load of one and of four, on an endpoint whose times differ widely and by chance."""
    namespace.apply(*mock_as("wide", namespace, "--ttft-s", "0.1", "--ttft-jitter-s", "0.08", "--itl-s", "0.002"))
    service = {"name": "wide", "namespace": namespace.name, "port": 8000}
    target = {"service": service, "model": "mock", "exclusive": False, "waitFor": "60s"}
    sizes = {"many": 4, "one": 1}
    for name, replicas in sizes.items():
        load = {"stages": [*STAGES], "randomSeed": 7}
        namespace.apply(benchmark(name, target, load=load, runner={"replicas": replicas, "linger": "3s"}))
    seen = {name: until(namespace, name, "Succeeded", timeout_s=180) for name in sizes}
    pods = workers_of(namespace)
    files = {
        name: results(namespace, found, "", COUNTS, SPAN, TTFT, RUNNERS, *((STARTS,) if name == "many" else ()))
        for name, found in seen.items()
    }
    for name, found in seen.items():
        counts, [[span_s]], _, runners = files[name]["answers"][:4]
        totals = [total for total, *_ in counts]
        assert totals[0] == totals[3] == 121
        assert 119 <= totals[1] <= 121
        assert [[total, total, 0] for total in totals] == counts, "each once, and none failed"
        assert (totals[1] - 1) / span_s == pytest.approx(20, rel=0.01), "offered as asked"
        assert found["results"]["rows"] == files[name]["rows"] == sum(totals)
        assert found["results"]["sha256"] == files[name]["sha256"]
        assert [stage["requests"]["total"] for stage in found["summary"]] == totals, "one run in the status"
        assert found["live"]["requests"] == totals[-1]
        assert found["live"]["itlP50"].endswith("ms"), found["live"]
        assert len(found["runners"]) == 1, "of the leader"
        assert [state for state, *_ in runners] == (["merged"] * 4 if name == "many" else [])
    assert len(pods) == 3
    runners, starts = files["many"]["answers"][3:]
    assert min(requests for _, requests, _ in runners) > 0, "each has sent a part"
    spreads = sorted(spread + 2 * max(bound or 0.0 for *_, bound in runners) for [spread] in starts)
    assert spreads[len(spreads) // 2] < 0.005, f"start within 5 ms: {spreads}"
    for stage in range(len(STAGES)):
        four, one = ([value for of, value in files[name]["answers"][2] if of == stage] for name in sizes)
        for share in (0.5, 0.9):
            # Of a uniform law 0.16 s wide, each with its standard error; a busy machine's 15 ms beside.
            error_s = 0.16 * (share * (1 - share) * (1 / len(four) + 1 / len(one))) ** 0.5
            difference_s = four[int(share * len(four))] - one[int(share * len(one))]
            assert abs(difference_s) < 4 * error_s + 0.015, (stage, share)
    namespace.kubectl("delete", "pb", "many", "one", "--wait=true", timeout_s=60)
    kinds = "jobs,services,secrets,pods"
    mine = "--selector=app.kubernetes.io/name=perfbench"
    wait_for(lambda: not namespace.kubectl("get", kinds, mine, "-o", "name").strip(), 60, "nothing of the run is left")


def mock_as(name: str, namespace: Namespace, *options: str) -> list[dict[str, Any]]:
    """A mock endpoint and its Service."""
    command = ("perfbench", "mock", "--host", "0.0.0.0", "--port", "8000", *options)
    spec = pod_spec(namespace.cluster.images["runner"], *command, env=[{"name": "HOME", "value": "/tmp"}])
    service = {"selector": {"app": name}, "ports": [{"port": 8000}]}
    return [
        pod(name, spec, app=name),
        {"apiVersion": "v1", "kind": "Service", "metadata": {"name": name}, "spec": service},
    ]


# What happens to runs of several runner pods, some at the same time

GRACE = {"gracePeriod": "5s", "maxFailedShare": 0.5}  # whatever else the machine does: it is not about the endpoint
OPEN = {"stages": [{"rate": 12, "duration": "15s", "arrival": "constant"}], **GRACE}
CLOSED = {"stages": [{"concurrency": 8, "requests": 450}], **GRACE}  # some 13 s: an answer takes 0.22 s
ENDLESS_OPEN = {"stages": [{"rate": 12, "duration": "5m"}], **GRACE}
ENDLESS_CLOSED = {"stages": [{"concurrency": 8, "duration": "5m"}], **GRACE}
MERGED = ["merged"] * 3
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
    target: tuple[tuple[str, Any], ...] = ()
    spec: tuple[tuple[str, Any], ...] = ()
    replicas: int = 3
    disk: str = ""
    """Size of the small disk that its claim is on."""
    afterwards: Callable[[Run], None] = many.nothing
    """What is done when it is over, and the disk still there."""


def free_and_recover(it: Run) -> None:
    """What somebody does who has made room on the claim."""
    it.until(
        "the leader has ended", lambda: it.leader["status"]["phase"] == "Failed"
    )  # until then the folder is its own
    disk = it.folder(it.disk)
    (disk / many.FILLER).unlink()
    folder = next(disk.rglob("results.sqlite*")).parent
    command = [str(Path(sys.executable).with_name("perfbench")), "recover", str(folder)]
    done = subprocess.run(command, capture_output=True, text=True, timeout=60, check=False)
    it.notes["files"] = sorted(file.name for file in folder.iterdir())
    assert done.returncode == 0, (done.stderr, it.notes["files"], it.status())
    with closing(sqlite3.connect(folder / "results.sqlite")) as db:
        it.notes["runners"] = list(db.execute("SELECT runner, state, requests FROM runner ORDER BY runner"))
        it.notes["rows"] = db.execute("SELECT count(*), count(DISTINCT seq) FROM requests").fetchall()


CONTINUE = (("onLoss", "continue"),)
SOON = (("startDeadline", "30s"),)
SEARCH = {"search": {"concurrency": {"from": 2, "to": 5}, "requests": 60, "maxDuration": "90s"}, "gracePeriod": "2s"}
KEPT = (("objectives", [{"metric": "ttft", "statistic": "p90", "max": "5s"}]),)
AFTER = {"name": "after", "concurrency": 4, "requests": 8}
PRECISE = {
    "concurrency": 8, "duration": "3m", "until": {"metric": "e2e_latency", "statistic": "p50", "within": "20%"}
}  # fmt: skip
FLOOD = {"rate": 30, "maxConcurrency": 4, "duration": "3m"}  # four places at 0.22 s carry 18 a second
LONG_PROMPTS = (("dataset", {"name": "line_by_line", "configMap": {"name": "long"}, "path": "lines.txt"}),)
CASES = {
    "worker killed": Case(
        many.kill_worker, ENDLESS_OPEN, "Failed RunnerLost", SILENT, ("merged", "merged", "lost")
    ),
    "worker killed, onLoss: continue": Case(
        many.kill_worker, CLOSED, "Succeeded", SILENT, ("merged", "merged", "lost"), runner=CONTINUE
    ),
    "worker deleted": Case(
        many.delete_worker, ENDLESS_CLOSED, "Failed RunnerLost", "SIGTERM", ("merged", "merged", "cut")
    ),
    "worker hangs": Case(
        many.hang_worker, ENDLESS_CLOSED, "Failed RunnerLost", SILENT, ("merged", "lost", "merged")
    ),
    "worker never comes": Case(
        many.keep_worker_away, OPEN, "Failed RunnerMissing", "did not report in within 30 s", rows=(0, 0), runner=SOON
    ),
    "leader killed": Case(many.kill_leader, ENDLESS_OPEN, "Failed RunnerKilled", rows=(5, 10_000)),
    "operator killed": Case(many.kill_operator, CLOSED, "Succeeded", "", MERGED, (450, 450)),
    "network cut for 10 s": Case(many.cut_network, OPEN, "Succeeded", "", MERGED, (179, 181)),
    "slow worker": Case(many.slow_worker, OPEN, "Succeeded", "", MERGED, (100, 181)),
    "leader's disk full": Case(many.fill_disk, ENDLESS_OPEN, "Failed CannotStore", rows=(0, 10_000), disk="8m"),
    "leader's disk full at the hand-over": Case(
        many.fill_disk_at_hand_over, CLOSED, "Failed CannotStore", "room on the disk", rows=(0, 10_000),
        spec=LONG_PROMPTS, disk="80m", afterwards=free_and_recover,
    ),
    "wrong token": Case(many.speak_with_a_wrong_token, OPEN, "Succeeded", "", MERGED, (179, 181)),
    "hand-over cut in the middle": Case(
        many.cut_hand_over, CLOSED, "Succeeded", "", MERGED, (450, 450), spec=LONG_PROMPTS
    ),
    "search": Case(many.nothing, SEARCH, "Succeeded", "", ["merged"] * 4, spec=KEPT, replicas=4),
    "failures beyond doubt": Case(
        many.nothing, {**ENDLESS_OPEN, "maxFailedShare": 1, "guards": {"failedShare": "20%"}},
        "Failed TooManyFailures", "load.guards.failedShare 0.2", MERGED, (10, 200),
        target=(("mock", {"errorRate": 0.6, "ttft": "20ms"}), ("connectionTest", False)),
    ),
    "over-saturation": Case(
        many.nothing, {"stages": [FLOOD, AFTER], **GRACE, "guards": {"overSaturation": True}}, "Succeeded", "", MERGED,
    ),
    "precise": Case(many.nothing, {"stages": [PRECISE, AFTER], **GRACE}, "Succeeded", "", MERGED, rows=(200, 10_000)),
    "budget": Case(
        many.nothing, {**ENDLESS_CLOSED, "guards": {"budget": {"requests": 80}}},
        "Failed BudgetSpent", "load.guards.budget.requests", MERGED, (80, 200),
    ),
    "cancelled before the leader starts": Case(
        many.cancel_before_the_leader, OPEN, "Cancelled", rows=(0, 0), results=(("storageClass", "never"),)
    ),
}  # fmt: skip
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
        lines = {"lines.txt": "tell me of the zebra " * 4000 + "\n"}
        space.apply({"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": "long"}, "data": lines})
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
        if case.disk:
            disk = many.small_disk(rest, namespace, run.disk, folder / run.disk, case.disk)
            kept = {"claim": {"name": stack.enter_context(disk)}}
        spec = {"request": {"maxTokens": 100}, "load": case.load, "results": kept, **dict(case.spec)}
        # Not by its Service, which has no endpoint while the machine is too busy for a probe.
        url = f"http://{pod_of(rest, release, 'demo')['status']['podIP']}:8000/v1/chat/completions"
        target = dict(case.target) or {"url": url, "model": "mock", "exclusive": False}
        made = benchmark(run.name, target, runner={"replicas": case.replicas, **dict(case.runner)}, **spec)
        every = run.path("perfbenchmarks", api=many.GROUP)
        run.until("the definition is served", lambda: rest("GET", every))
        rest("POST", every, made)
        case.fault(run)
        status = run.until_final()
        case.afterwards(run)
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


def is_recovered(it: Seen) -> None:
    """Once there is room again: all of the leader's rows, of each worker all or none, and who is missing."""
    is_unfinished(it)
    notes = it.run.notes
    assert notes["files"] == ["manifest.yaml", "results.sqlite", "summary.json"]
    (number, state, own), *others = notes["runners"]
    assert (number, state) == (0, "merged")
    assert own > 50, "of 450 a third, more or less"
    assert "lost" in {state for _, state, _ in others}, others
    assert notes["rows"] == [(sum(rows for *_, rows in notes["runners"]),) * 2]


def was_cut(it: Seen) -> None:
    assert 0 < it.run.notes["arrived"] < it.run.notes["whole"]


def has_found_all_of_the_range(it: Seen) -> None:
    found = it.status["search"]
    assert found["low"] == 5, found
    assert condition(it.status, "LoadFound")[0] == "True", it.status
    of_stages = it.run.ask(it.status, "SELECT count(*), count(DISTINCT seq) FROM requests GROUP BY stage")
    assert set(of_stages) == {(72, 72)}, "60 and a fifth as many that settle"


def ended_at_one_time(it: Seen) -> None:
    """The first stage; and the next one went on."""
    stops = it.run.ask(it.status, "SELECT stop_time FROM runner_stage WHERE stage = 0")
    assert len(stops) == 3
    assert max(stops)[0] - min(stops)[0] < 0.005, stops
    first, after = it.status["summary"]
    assert first["duration_s"] < 80, first
    assert after["requests"]["succeeded"] == 8


def ended_since_it_was_precise(it: Seen) -> None:
    """Long before its time, by what all had measured."""
    ended_at_one_time(it)
    first = it.status["summary"][0]
    assert first["requests"]["total"] >= 200, "the first look"
    assert first["requests"]["failed"] == first["requests"]["unfinished"] == first["requests"]["unsent"] == 0
    parts = it.run.ask(it.status, "SELECT min(requests) FROM runner_stage WHERE stage = 0")
    assert parts[0][0] > 0, parts


CHECKS: dict[str, Callable[[Seen], None]] = {
    "worker killed, onLoss: continue": is_inconclusive,
    "slow worker": was_slowest,
    "worker never comes": names_who_is_missing,
    "wrong token": is_refused,
    "leader's disk full": is_unfinished,
    "leader's disk full at the hand-over": is_recovered,
    "hand-over cut in the middle": was_cut,
    "search": has_found_all_of_the_range,
    "over-saturation": ended_at_one_time,
    "precise": ended_since_it_was_precise,
}
