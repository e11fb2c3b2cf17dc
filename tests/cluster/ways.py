"""The ways that a benchmark can go, with what happens to it on its way."""

from __future__ import annotations

import os
import signal
import subprocess
import time
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from benchmarks import FINAL, condition
from faults import Place
from ghosts import ghost_node, now
from kube import pod_spec, wait_for

SHORT: dict[str, Any] = {"load": {"stages": [{"rate": 10, "duration": "4s"}], "gracePeriod": "2s"}}


LONG: dict[str, Any] = {"load": {"stages": [{"rate": 10, "duration": "3m"}], "gracePeriod": "2s"}}


@dataclass(frozen=True)
class End:
    """How a benchmark ended, as the table has it."""

    end: str
    runs: int
    results: str

    @classmethod
    def of(cls, place: Place, name: str) -> End:
        found = place.until_final(name)
        reason = condition(found, "Failed")[1] if found["phase"] == "Failed" else ""
        runs = sum(_has_run(runner) for runner in found.get("runners") or [])
        state, why = condition(found, "ResultsStored")
        stored = (
            why.lower() if why == "Unfinished" else {"True": "stored", "False": "none", "Unknown": "unknown"}[state]
        )
        return cls(" ".join(filter(None, (found["phase"], reason))), runs, stored)


def _has_run(runner: dict[str, Any]) -> bool:
    return runner.get("phase") != "Pending"


def succeed(place: Place) -> End:
    place.apply("way", **SHORT)
    return End.of(place, "way")


def fail(place: Place) -> End:
    place.apply("way", {"url": "http://127.0.0.1:9/v1/chat/completions", "model": "none", "waitFor": "2s"})
    return End.of(place, "way")


def cancel(place: Place) -> End:
    place.apply("way", **LONG)
    place.until_loaded("way")
    place.bench.rest.patch(place.path("perfbenchmarks", "way"), {"spec": {"cancel": True}})
    return End.of(place, "way")


def expire(place: Place) -> End:
    place.apply("way", ttlSecondsAfterFinished=2, **SHORT)
    place.until("way is gone", lambda: not place.bench.rest("GET", place.path("perfbenchmarks"))["items"])
    [claim] = place.items("persistentvolumeclaims")
    return End("deleted by its ttl", 1, "kept" if claim["metadata"]["name"] == "way-results" else "none")


def queue(place: Place) -> End:
    """Two at one target: the second one starts when the first one is over."""
    target = {"service": {"name": "target", "port": 8000}, "model": "mock"}
    _serve_target(place)
    place.apply("first", target, **SHORT)
    place.until("first has started", lambda: place.status("first").get("startTime"))
    place.apply("way", target, **SHORT)
    place.until("way is queued", lambda: place.status("way").get("phase") in ("Queued", *FINAL), 60)
    first, second = End.of(place, "first"), End.of(place, "way")
    assert first == second
    ended, began = place.status("first")["completionTime"], place.status("way")["startTime"]
    assert ended <= began, f"the first one ended at {ended}, the second one began at {began}"
    return second


def retry(place: Place) -> End:
    """An eviction, as a drain makes it."""
    place.apply("way", **{**SHORT, "load": {"stages": [{"rate": 10, "duration": "25s"}], "gracePeriod": "2s"}})
    place.until_loaded("way")
    [pod] = place.pods("way")
    name = pod["metadata"]["name"]
    eviction = {"apiVersion": "policy/v1", "kind": "Eviction", "metadata": {"name": name, "namespace": place.name}}
    place.bench.rest("POST", f"{place.path('pods', name)}/eviction", eviction)
    return End.of(place, "way")


def _serve_target(place: Place) -> None:
    """A mock endpoint as Service `target`."""
    command = ("perfbench", "mock", "--host", "0.0.0.0", "--port", "8000", "--ttft-s", "0.02", "--itl-s", "0.002")
    spec = pod_spec(place.bench.cluster.images["runner"], *command, env=[{"name": "HOME", "value": "/tmp"}])
    labels = {"app": "target"}
    place.bench.rest(
        "POST", place.path("pods"),
        {"apiVersion": "v1", "kind": "Pod", "metadata": {"name": "target", "labels": labels}, "spec": spec},
    )  # fmt: skip
    service = {"selector": labels, "ports": [{"port": 8000}]}
    place.bench.rest(
        "POST", place.path("services"),
        {"apiVersion": "v1", "kind": "Service", "metadata": {"name": "target"}, "spec": service},
    )  # fmt: skip


def delete(
    plural: str, selector: str = "perfbench.io/benchmark=way", propagation: str = "Background"
) -> Callable[[Place], End]:
    """Delete the benchmark's objects of a kind in the middle of its run."""

    def way(place: Place) -> End:
        place.apply("way", **LONG if plural != "persistentvolumeclaims" else SHORT)
        place.until_loaded("way")
        for item in place.items(plural, selector):
            options = {"propagationPolicy": propagation}
            place.bench.rest("DELETE", place.path(plural, item["metadata"]["name"]), options)
        if plural == "configmaps":
            place.bench.rest.patch(place.path("perfbenchmarks", "way"), {"spec": {"cancel": True}})
        return End.of(place, "way")

    return way


def kill_pod(place: Place) -> End:
    """By force: it may not even store what it has in hand, so there is something stored already."""
    place.apply("way", **LONG)
    place.until_loaded("way", requests=40)
    [pod] = place.pods("way")
    place.bench.rest("DELETE", place.path("pods", pod["metadata"]["name"]), {"gracePeriodSeconds": 0})
    return End.of(place, "way")


def delete_namespace(place: Place) -> End:
    place.apply("way", **LONG)
    place.until_loaded("way")
    place.bench.rest("DELETE", f"/api/v1/namespaces/{place.name}", {})

    def is_gone() -> bool:
        try:
            place.bench.rest("GET", f"/api/v1/namespaces/{place.name}")
        except KeyError:
            return True
        return False

    place.until("namespace is gone", is_gone)
    time.sleep(2)
    assert Path(f"/proc/{place.pid}").exists(), "the operator waits for its namespace"
    return End("deleted with its namespace", 1, "none")


def follow_leader(place: Place) -> End:
    """Two operators: the one that has the Lease is killed for good, and the other one follows."""
    place.apply("way", **{**SHORT, "load": {"stages": [{"rate": 10, "duration": "20s"}]}})
    place.until_loaded("way")
    leader = place.pid
    place.start("rival")
    time.sleep(3)
    os.kill(leader, signal.SIGKILL)
    return End.of(place, "way")


def lose_api_server(place: Place) -> End:
    """For a minute, from the middle of the run until after its end."""
    place.apply("way", **{**SHORT, "load": {"stages": [{"rate": 10, "duration": "20s"}]}})
    place.until_loaded("way")
    place.proxy.is_away = True
    time.sleep(60)
    place.proxy.is_away = False
    return End.of(place, "way")


def be_away(place: Place) -> End:
    """The operator is away when the run ends, and its pod is gone when it comes back."""
    place.apply("way", **SHORT)
    place.until_loaded("way")
    place.kill()
    wait_for(lambda: (place.items("jobs")[0].get("status") or {}).get("succeeded"), 90, "Job is complete")
    for pod in place.pods("way"):
        place.bench.rest("DELETE", place.path("pods", pod["metadata"]["name"]), {})
    wait_for(lambda: not place.pods("way"), 60, "pod is gone")
    return End.of(place, "way")


def end_runner(after_s: float) -> Callable[[Place], End]:
    """End the runner so long after its container has started."""

    def way(place: Place) -> End:
        place.apply("way", **LONG)
        place.until(
            "container runs", lambda: "running" in place.pods("way")[0]["status"]["containerStatuses"][0]["state"]
        )
        time.sleep(after_s)
        [pod] = place.pods("way")
        place.bench.rest("DELETE", place.path("pods", pod["metadata"]["name"]), {})
        return End.of(place, "way")

    return way


def lose_node(place: Place) -> End:
    """A node whose kubelet has stopped: it is only an object, and the test says what a kubelet would."""
    node = f"ghost-{place.name}"
    try:
        with ghost_node(place.bench.rest, node):
            _make_claim(place, Path("/nobody/uses/it"))
            place.apply(
                "way",
                results={"claim": {"name": "anywhere"}},
                runner={"nodeSelector": {"ghost": node}, "tolerations": [{"operator": "Exists"}]},
                **LONG,
            )
            pod = place.until(
                "pod is on the node", lambda: [one for one in place.pods("way") if one["spec"].get("nodeName")]
            )[0]
            running = {"name": "runner", "ready": True, "restartCount": 0, "image": "i", "imageID": "", "started": True,
                       "state": {"running": {"startedAt": now()}}}  # fmt: skip
            state = {"phase": "Running", "containerStatuses": [running], "startTime": now(),
                     "conditions": [{"type": "Ready", "status": "True", "lastTransitionTime": now()}]}  # fmt: skip
            place.bench.rest.patch(f"{place.path('pods', pod['metadata']['name'])}/status", {"status": state})
            return End.of(place, "way")
    finally:
        _drop_volume(place)


def fill_claim(place: Place) -> End:
    """The volume is a small disk in memory: only where the node is this machine."""
    disk = place.bench.folder / place.name
    disk.mkdir()
    subprocess.run(["mount", "-t", "tmpfs", "-o", "size=6m,mode=1777", "tmpfs", str(disk)], check=True)
    try:
        _make_claim(place, disk)
        load = {"stages": [{"rate": 60, "duration": "3m"}], "gracePeriod": "2s"}
        place.apply("way", results={"claim": {"name": "anywhere"}}, request={"maxTokens": 64}, load=load)
        return End.of(place, "way")
    finally:
        subprocess.run(["umount", "--lazy", str(disk)], check=True)
        _drop_volume(place)


def _make_claim(place: Place, folder: Path) -> None:
    """A claim whose volume is a folder that every node has, as the scheduler sees it."""
    size, modes = {"storage": "1Gi"}, ["ReadWriteOnce"]
    volume = {
        "capacity": size,
        "accessModes": modes,
        "hostPath": {"path": str(folder)},
        "claimRef": {"namespace": place.name, "name": "anywhere"},
        "persistentVolumeReclaimPolicy": "Retain",
    }
    claim = {"accessModes": modes, "resources": {"requests": size}, "storageClassName": "", "volumeName": place.name}
    place.bench.rest("POST", "/api/v1/persistentvolumes", {"metadata": {"name": place.name}, "spec": volume})
    place.bench.rest("POST", place.path("persistentvolumeclaims"), {"metadata": {"name": "anywhere"}, "spec": claim})


def _drop_volume(place: Place) -> None:
    with suppress(KeyError):
        place.bench.rest("DELETE", f"/api/v1/persistentvolumes/{place.name}", {})
