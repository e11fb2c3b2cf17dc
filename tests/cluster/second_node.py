"""A second node of the cluster on this machine: a kubelet with a containerd, a bridge and control groups of its own.

Pods of both nodes reach each other through the kernel's routes; kube-proxy's rules are the machine's, and so serve both.
"""

from __future__ import annotations

import json
import os
import shutil
import subprocess
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path

import binaries
import components
import images
from kube import Cluster, wait_for
from machine import STATE, run

NAME = "node2"
HOME = Path("/var/lib/perfbench-node2")
SOCKET = HOME / "containerd.sock"
BRIDGE, ADDRESS, POD_RANGE = "cni1", "10.245.0.1", "10.245.0.0/16"
GROUPS = Path("/sys/fs/cgroup")


@contextmanager
def second_node(cluster: Cluster) -> Iterator[str]:
    """The name of a Ready node beside the cluster's own, with the tests' images; nothing of it is left afterwards."""
    processes: list[subprocess.Popen[bytes]] = []
    try:
        _write_files()
        _make_bridge()
        _make_groups()
        processes.append(_start("containerd", ("containerd", "--config", HOME / "containerd.toml")))
        wait_for(SOCKET.exists, 20, "containerd listens")
        for archive in images.build(images.NAMES).values():
            _ctr("images", "import", archive)
        processes.append(_start("kubelet", _kubelet()))
        wait_for(lambda: _is_ready(cluster), 60, f"{NAME} is ready")
        yield NAME
    finally:
        _take_down(cluster, processes)


def _write_files() -> None:
    """What the first node has, with another folder, address and bridge."""
    network = json.loads(_moved(components.cni_config()))
    network["plugins"][0] |= {"bridge": BRIDGE}
    network["plugins"][0]["ipam"]["ranges"] = [[{"subnet": POD_RANGE, "gateway": ADDRESS}]]
    # Each kubelet ends what it does not know in its control groups; and only one can have the usual port.
    kubelet = json.loads(_moved(components.kubelet_config()))
    kubelet |= {"address": ADDRESS, "healthzPort": 0, "cgroupRoot": f"/{NAME}"}
    (HOME / "cni").mkdir(parents=True)
    (HOME / "cni" / "pods.conflist").write_text(json.dumps(network))
    (HOME / "containerd.toml").write_text(_moved(components.containerd_config()))
    (HOME / "kubelet.json").write_text(json.dumps(kubelet))
    (HOME / "resolv.conf").write_text(f"nameserver {components.ADDRESS}\n")


def _moved(text: str) -> str:
    return text.replace(str(STATE), str(HOME))


def _make_bridge() -> None:
    run("ip", "link", "add", BRIDGE, "type", "bridge")
    run("ip", "address", "add", f"{ADDRESS}/16", "dev", BRIDGE)
    run("ip", "link", "set", BRIDGE, "up")


def _controllers() -> list[Path]:
    return [path for path in GROUPS.iterdir() if path.is_dir() and not path.is_symlink()]


def _make_groups() -> None:
    for controller in _controllers():
        group = controller / NAME
        group.mkdir(exist_ok=True)
        for setting in ("cpuset.cpus", "cpuset.mems"):  # empty at first, and then no process may be put in
            if (group / setting).exists():
                (group / setting).write_text((controller / setting).read_text())


def _kubelet() -> tuple[str | Path, ...]:
    return (
        *(binaries.folder() / "node", "kubelet"),
        *("--config", HOME / "kubelet.json", "--kubeconfig", components.KUBECONFIG),
        *("--root-dir", HOME / "kubelet", "--cert-dir", HOME / "kubelet" / "pki"),
        *("--hostname-override", NAME, "--node-ip", ADDRESS),
    )


def _start(name: str, command: Sequence[str | Path]) -> subprocess.Popen[bytes]:
    with (HOME / f"{name}.log").open("wb") as log:
        return subprocess.Popen(command, stdin=subprocess.DEVNULL, stdout=log, stderr=log, start_new_session=True)


def _ctr(*arguments: str | Path, quiet: bool = False) -> str:
    return run("ctr", "-a", SOCKET, "-n", "k8s.io", *arguments, quiet=quiet)


def _is_ready(cluster: Cluster) -> bool:
    conditions = cluster.get("node", NAME)["status"]["conditions"]
    return {"Ready": "True"}.items() <= {one["type"]: one["status"] for one in conditions}.items()


def _take_down(cluster: Cluster, processes: list[subprocess.Popen[bytes]]) -> None:
    """The kubelet first: it would start again what is taken away."""
    *containerd, kubelet = processes if len(processes) > 1 else [*processes, None]
    _end(kubelet)
    cluster.kubectl("delete", "node", NAME, "--ignore-not-found")
    if containerd and (tasks := _ctr("task", "ls", "--quiet", quiet=True).split()):
        _ctr("task", "rm", "--force", *tasks, quiet=True)
    for one in containerd:
        _end(one)
    for target in sorted(_mounts(), key=len, reverse=True):
        run("umount", "--lazy", target, quiet=True)
    run("ip", "link", "delete", BRIDGE, quiet=True)
    for controller in _controllers():
        for folder, _, _ in os.walk(controller / NAME, topdown=False):
            with suppress(OSError):  # a process is still about to end: an empty group does no harm
                Path(folder).rmdir()
    assert not list(_mounts()), f"mounts are left below {HOME}; nothing there is deleted"
    shutil.rmtree(HOME, ignore_errors=True)


def _end(process: subprocess.Popen[bytes] | None) -> None:
    if process is not None:
        process.kill()
        process.wait()


def _mounts() -> Iterator[str]:
    for line in Path("/proc/self/mountinfo").read_text().splitlines():
        target = line.split()[4].encode().decode("unicode_escape")
        if target.startswith(f"{HOME}/"):
            yield target
