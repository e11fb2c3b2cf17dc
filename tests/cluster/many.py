"""What happens to runs of several runner pods, and what a test sees of them: the faults need the node to be this machine."""

from __future__ import annotations

import json
import os
import signal
import sqlite3
import subprocess
import time
import urllib.error
import urllib.request
from collections.abc import Callable, Iterator
from contextlib import ExitStack, closing, contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import images
from benchmarks import FINAL
from machine import STATE, run
from rest import Rest

GROUP = "/apis/perfbench.io/v1alpha1"
PORT, RUNNERS_PORT = 9090, 9091
GROUPS = Path("/sys/fs/cgroup")
_OPENER = urllib.request.build_opener(urllib.request.ProxyHandler({}))


@dataclass
class Run:
    """A benchmark of several runners that is under way; asked for without a kubectl for each question."""

    rest: Rest
    namespace: str
    name: str
    stack: ExitStack
    """What is undone when the case is over."""
    victim: str = ""
    """The worker that something happens to, as messages name it."""
    notes: dict[str, Any] = field(default_factory=dict)

    def path(self, plural: str, name: str = "", api: str = "/api/v1") -> str:
        return f"{api}/namespaces/{self.namespace}/{plural}" + (f"/{name}" if name else "")

    @property
    def disk(self) -> str:
        """Its claim, where that is on a small disk."""
        return f"{self.name}-disk"

    def status(self) -> dict[str, Any]:
        found: dict[str, Any] = self.rest("GET", self.path("perfbenchmarks", self.name, GROUP)).get("status") or {}
        return found

    def patch(self, spec: dict[str, Any]) -> None:
        self.rest.patch(self.path("perfbenchmarks", self.name, GROUP), {"spec": spec})

    def pods(self, component: str) -> list[dict[str, Any]]:
        """Its pods, workers by their number."""
        selector = f"perfbench.io/benchmark={self.name},app.kubernetes.io/component={component}"
        found: list[dict[str, Any]] = self.rest("GET", f"{self.path('pods')}?labelSelector={selector}")["items"]
        return sorted(found, key=index_of)

    @property
    def leader(self) -> dict[str, Any]:
        return self.pods("runner")[-1]

    def worker(self, number: int) -> dict[str, Any]:
        """A worker by its number among the runners; from now on it is the victim."""
        pod = next(pod for pod in self.pods("worker") if index_of(pod) == number - 1)
        self.victim = pod["spec"].get("hostname") or pod["metadata"]["name"]
        return pod

    def until(self, what: str, check: Callable[[], Any], timeout_s: float = 90, every_s: float = 0.3) -> Any:
        deadline_s = time.monotonic() + timeout_s
        while time.monotonic() < deadline_s:
            with suppress(KeyError, IndexError, StopIteration):
                if found := check():
                    return found
            time.sleep(every_s)
        raise AssertionError(f"{self.name}: {what}: not within {timeout_s:.0f} s; status: {json.dumps(self.status())}")

    def until_loaded(self, requests: int = 20) -> None:
        """By the leader's own word: the operator may be late, or be what something happens to."""

        def is_loaded() -> bool:
            found = self.status()
            assert found.get("phase") not in FINAL, f"{self.name}: it is over: {json.dumps(found)}"
            with suppress(RuntimeError):  # it does not listen yet
                page = self.path("pods", f"{self.leader['metadata']['name']}:{PORT}/proxy/progress")
                return bool((self.rest("GET", page).get("requests") or 0) >= requests)
            return False

        self.until("it is under load", is_loaded)

    def until_final(self, timeout_s: float = 120) -> dict[str, Any]:
        def final() -> dict[str, Any] | None:
            found = self.status()
            return found if found.get("phase") in FINAL else None

        found: dict[str, Any] = self.until("it is over", final, timeout_s)
        return found

    def workers_at_work(self) -> list[str]:
        """Workers that have not ended."""
        return [
            pod["metadata"]["name"]
            for pod in self.pods("worker")
            if pod["status"].get("phase") not in ("Succeeded", "Failed")
        ]

    def runners(self, found: dict[str, Any]) -> list[tuple[int, str, str, str, int]]:
        """Table `runner` of its results: number, name, state, why, rows. The claim is a folder of this machine."""
        return self.ask(found, "SELECT runner, name, state, reason, requests FROM runner ORDER BY runner")

    def ask(self, found: dict[str, Any], sql: str) -> list[Any]:
        """What the results say."""
        path = self.folder(found["results"]["claim"]) / found["results"]["path"]
        with closing(sqlite3.connect(f"file:{path}?mode=ro&immutable=1", uri=True)) as db:
            return list(db.execute(sql))

    def folder(self, claim: str) -> Path:
        """Where a claim's volume is on this machine."""
        volume = self.rest("GET", self.path("persistentvolumeclaims", claim))["spec"]["volumeName"]
        source = self.rest("GET", f"/api/v1/persistentvolumes/{volume}")["spec"]
        return Path((source.get("local") or source["hostPath"])["path"])


def index_of(pod: dict[str, Any]) -> int:
    return int(pod["metadata"]["labels"].get("batch.kubernetes.io/job-completion-index", -1))


def processes(pod: dict[str, Any]) -> list[int]:
    """The processes of a pod's container, as the node knows them."""
    identity = pod["status"]["containerStatuses"][0]["containerID"].rpartition("/")[2]
    lines = images.ctr("task", "ps", identity).splitlines()[1:]
    return [int(line.split()[0]) for line in lines]


def send(pod: dict[str, Any], number: signal.Signals) -> None:
    """Send a signal to all processes of a pod's container."""
    signal_all(processes(pod), number)


def signal_all(pids: list[int], number: signal.Signals) -> None:
    """Send a signal to those of the processes that there still are."""
    for pid in pids:
        with suppress(ProcessLookupError):
            os.kill(pid, number)


# What happens


def nothing(_: Run) -> None:
    """The run goes its way."""


def kill_worker(it: Run) -> None:
    it.until_loaded()
    send(it.worker(2), signal.SIGKILL)


def delete_worker(it: Run) -> None:
    """As a drain does: it may hand over what it has."""
    it.until_loaded()
    it.rest("DELETE", it.path("pods", it.worker(2)["metadata"]["name"]), {})


def hang_worker(it: Run) -> None:
    it.until_loaded()
    pod = it.worker(1)
    it.stack.callback(send, pod, signal.SIGCONT)
    send(pod, signal.SIGSTOP)


def keep_worker_away(it: Run) -> None:
    """An admission policy (`refusing`) lets the second worker's pod not be made."""
    it.victim = "runner 2"


def kill_leader(it: Run) -> None:
    it.until_loaded(requests=60)
    send(it.leader, signal.SIGKILL)


def kill_operator(it: Run) -> None:
    """The process, at once; its container begins again."""
    it.until_loaded()
    send(it.notes["operator"](), signal.SIGKILL)


def cut_network(it: Run) -> None:
    """Nothing passes between the leader and a worker for 10 s."""
    it.until_loaded()
    ends = (it.leader["status"]["podIP"], it.worker(1)["status"]["podIP"])
    with cut(*ends):
        time.sleep(10)


def cut_hand_over(it: Run) -> None:
    """When part of a worker's file has arrived, its connection is cut, and the leader's port refused for 6 s."""
    it.until_loaded()
    pod, leader = it.worker(2), it.leader
    [store] = it.folder(f"{it.name}-results").rglob("results.sqlite.partial")
    partial = store.with_name("runner-2.sqlite.partial")
    pids = processes(leader)
    it.until("part of the file has arrived", lambda: partial.exists() and partial.stat().st_size, 120, every_s=0.001)
    signal_all(pids, signal.SIGSTOP)  # it takes longer to make a rule than to hand over the rest
    try:
        own = STATE / "kubelet" / "pods" / pod["metadata"]["uid"] / "volumes"
        it.notes["whole"] = max(file.stat().st_size for file in own.rglob("results.sqlite*"))
        it.notes["arrived"] = partial.stat().st_size
        way = ("-s", pod["status"]["podIP"], "-d", leader["status"]["podIP"], "-p", "tcp", "--dport", f"{RUNNERS_PORT}")
        rule = ("FORWARD", *way, "-j", "REJECT", "--reject-with", "tcp-reset")
        run("iptables", "-w", "-I", *rule)
    finally:
        signal_all(pids, signal.SIGCONT)
    time.sleep(6)
    run("iptables", "-w", "-D", *rule)


def slow_worker(it: Run) -> None:
    """For 8 s its container gets half of the CPU time that it needs, as by a limit: on any machine, that is too little."""
    it.until_loaded(requests=5)
    pid = processes(it.worker(2))[0]
    quota, usage = group_of(pid, "cpu") / "cpu.cfs_quota_us", group_of(pid, "cpuacct") / "cpuacct.usage"
    before_ns = int(usage.read_text())
    time.sleep(2)
    needed = (int(usage.read_text()) - before_ns) / 2e9
    was = quota.read_text()
    quota.write_text(str(max(1000, int(needed / 2 * 100_000))))
    time.sleep(8)
    quota.write_text(was)


def group_of(pid: int, controller: str) -> Path:
    """The folder of a process's control group."""
    lines = [line.split(":", 2) for line in Path(f"/proc/{pid}/cgroup").read_text().splitlines()]
    [path] = [path for _, controllers, path in lines if controller in controllers.split(",")]
    return GROUPS / controller / path.lstrip("/")


def fill_disk(it: Run) -> None:
    """Its claim is on a small disk in memory, which is full from now on."""
    it.until_loaded()
    fill(it.folder(it.disk))


def fill_disk_at_hand_over(it: Run) -> None:
    """When part of a worker's file has arrived, the small disk that the claim is on is full."""
    it.until_loaded()
    disk, pids = it.folder(it.disk), processes(it.leader)

    def has_begun() -> bool:
        return any(partial.stat().st_size for partial in disk.rglob("runner-*.sqlite.partial"))

    it.until("part of a file has arrived", has_begun, 120, every_s=0.001)
    signal_all(pids, signal.SIGSTOP)  # the rest may arrive sooner than the disk is full
    fill(disk)
    signal_all(pids, signal.SIGCONT)


FILLER = "filler"


def fill(disk: Path) -> None:
    """Leave no room on a disk, until its file FILLER is gone."""
    with suppress(OSError), (disk / FILLER).open("wb", buffering=0) as file:
        while file.write(bytes(4096)):
            pass


def speak_with_a_wrong_token(it: Run) -> None:
    """Somebody who knows where the leader is, and all but its token."""
    it.until_loaded(requests=5)
    url = f"http://{it.leader['status']['podIP']}:{RUNNERS_PORT}"
    said = [
        ("GET", "/clock", None),
        ("GET", "/news?first=0", None),
        ("POST", "/hello", {"runner": 1}),
        ("POST", "/runners/1/lease", {}),
        ("POST", "/runners/1/leaving", {"instance": "x", "state": "failed", "reason": "no", "message": "no"}),
        ("PUT", "/runners/1/file", {}),
    ]
    for token in ("", "Bearer ", "Bearer wrong", f"Bearer {'x' * 43}"):
        for method, path, body in said:
            it.notes.setdefault("answers", set()).add(status_of(method, f"{url}{path}", token, body))


def cancel_before_the_leader(it: Run) -> None:
    """The leader's claim is never bound, so it never starts; the workers wait for it."""
    it.until("workers run", lambda: [pod["status"]["phase"] for pod in it.pods("worker")] == ["Running"] * 2)
    it.patch({"cancel": True})


def status_of(method: str, url: str, token: str, body: Any) -> int:
    """The HTTP status of an answer."""
    headers = {"Authorization": token, "Content-Type": "application/json"}
    request = urllib.request.Request(url, None if body is None else json.dumps(body).encode(), headers, method=method)
    try:
        with _OPENER.open(request, timeout=10) as response:
            return int(response.status)
    except urllib.error.HTTPError as error:
        return error.code


@contextmanager
def cut(one: str, other: str) -> Iterator[None]:
    """Drop every packet between two addresses of pods."""
    rules = [("FORWARD", "-s", source, "-d", target, "-j", "DROP") for source, target in ((one, other), (other, one))]
    for rule in rules:
        run("iptables", "-w", "-I", *rule)
    try:
        yield
    finally:
        for rule in rules:
            run("iptables", "-w", "-D", *rule)


@contextmanager
def small_disk(rest: Rest, namespace: str, name: str, folder: Path, size: str) -> Iterator[str]:
    """A bound claim whose volume is a disk in memory; its name."""
    folder.mkdir()
    subprocess.run(["mount", "-t", "tmpfs", "-o", f"size={size},mode=1777", "tmpfs", str(folder)], check=True)
    volume = f"{namespace}-{name}"
    room, modes = {"storage": "1Gi"}, ["ReadWriteOnce"]
    spec = {"capacity": room, "accessModes": modes, "hostPath": {"path": str(folder)}, "persistentVolumeReclaimPolicy": "Retain",
            "claimRef": {"namespace": namespace, "name": name}}  # fmt: skip
    asked = {"accessModes": modes, "resources": {"requests": room}, "storageClassName": "", "volumeName": volume}
    try:
        rest("POST", "/api/v1/persistentvolumes", {"metadata": {"name": volume}, "spec": spec})
        rest(
            "POST",
            f"/api/v1/namespaces/{namespace}/persistentvolumeclaims",
            {"metadata": {"name": name}, "spec": asked},
        )
        yield name
    finally:
        subprocess.run(["umount", "--lazy", str(folder)], check=True)
        with suppress(KeyError):
            rest("DELETE", f"/api/v1/persistentvolumes/{volume}", {})


def refusing(namespace: str, benchmark: str, index: int) -> list[dict[str, Any]]:
    """A policy and its binding: the pod of one worker of a benchmark is not admitted."""
    labels = "object.metadata.?labels"
    mine = f"{labels}['perfbench.io/benchmark'].orValue('') == '{benchmark}'"
    which = f"{labels}['batch.kubernetes.io/job-completion-index'].orValue('') == '{index}'"
    api, name = "admissionregistration.k8s.io/v1", f"refuse-{namespace}"
    rules = [{"apiGroups": [""], "apiVersions": ["v1"], "operations": ["CREATE"], "resources": ["pods"]}]
    selector = {"matchLabels": {"kubernetes.io/metadata.name": namespace}}
    return [
        {
            "apiVersion": api, "kind": "ValidatingAdmissionPolicy", "metadata": {"name": name},
            "spec": {
                "matchConstraints": {"resourceRules": rules, "namespaceSelector": selector},
                "validations": [{"expression": f"!({mine} && {which})", "message": "no room for this one"}],
            },
        },
        {
            "apiVersion": api, "kind": "ValidatingAdmissionPolicyBinding", "metadata": {"name": name},
            "spec": {"policyName": name, "validationActions": ["Deny"]},
        },
    ]  # fmt: skip
