"""A real one-node Kubernetes for the tests, made from source and taken away again.

    python3 tests/cluster/cluster.py up            start it (nothing happens when it runs and is healthy)
    python3 tests/cluster/cluster.py programs      what other tests need of this: helm, promtool, the Pushgateway
    python3 tests/cluster/cluster.py image NAME…   build and load runner, operator, busybox (default: all)
    python3 tests/cluster/cluster.py env           print export lines for a shell: KUBECONFIG, PATH
    python3 tests/cluster/cluster.py status        say what runs
    python3 tests/cluster/cluster.py down          end it; caches stay

Upstream components, run as plain processes: machine.py is the ground, binaries.py builds, components.py has
the settings, images.py the images. It needs root on Linux with Debian's packages, Go, and no container engine.
Network policies are accepted but nothing enforces them.
"""

from __future__ import annotations

import argparse
import contextlib
import json
import os
import secrets
import shutil
import socket
import ssl
import sys
import urllib.error
import urllib.request
from collections.abc import Iterator
from pathlib import Path

import binaries
import components
import firewall
import images
import machine
from machine import STATE, ClusterError, run, say, step, wait_until

_KERNEL = (
    "/proc/sys/net/ipv4/ip_forward",
    # Else the answer of a Service's pod on the same bridge bypasses the address translation.
    "/proc/sys/net/bridge/bridge-nf-call-iptables",
)
_KERNEL_BEFORE = STATE / "kernel-before.json"
"""The kernel's settings before; once it is there, the bridge is ours."""

# Up


def up() -> None:
    """Bring the cluster up unless it is; what a crash left behind goes first."""
    reason = machine.missing()
    if reason:
        raise ClusterError(reason)
    if healthy():
        say("cluster is up")
        return
    if STATE.exists():
        with step("clean what an earlier cluster left"):
            _take_down()
    machine.install_packages()
    node = binaries.build() / "node"
    busybox = images.build(["busybox"])["busybox"]
    with step("cluster ready"):
        _start(node, busybox)


def _start(node: Path, busybox: Path) -> None:
    _write_files()
    _make_bridge()
    for component in (components.containerd(), *components.server(node)):
        machine.start(component.name, component.command)
    images.load("busybox", busybox)  # the sandbox of every pod
    wait_until(lambda: _answers("/readyz"), "API server is ready", 60)
    for component in components.clients(node):
        machine.start(component.name, component.command)
    _apply(components.objects())
    wait_until(_node_ready, "node is ready", 60)
    # Before, no pod is admitted to the namespace.
    wait_until(lambda: _answers("/api/v1/namespaces/default/serviceaccounts/default"), "default account is made", 30)
    wait_until(lambda: resolves(f"kubernetes.default.svc.{components.DOMAIN}"), "DNS answers", 30)


def _write_files() -> None:
    STATE.mkdir(mode=0o711, parents=True)
    components.VOLUMES.mkdir()
    for path, text in components.files(secrets.token_hex(16)).items():
        path.parent.mkdir(mode=0o700, exist_ok=True)
        path.touch(mode=0o600)
        path.write_text(text)
    (STATE / "resolv.conf").chmod(0o644)
    run("openssl", "genrsa", "-out", components.SERVICE_ACCOUNT_KEY, "2048")


def _make_bridge() -> None:
    bridge = components.BRIDGE
    if Path("/sys/class/net", bridge).exists():
        raise ClusterError(
            f"network device {bridge} exists and is not ours: another Kubernetes may run here; set KUBECONFIG to use it"
        )
    if shutil.which("modprobe"):
        run("modprobe", "br_netfilter", quiet=True)
    _KERNEL_BEFORE.write_text(json.dumps({path: Path(path).read_text() for path in _KERNEL}))
    run("ip", "link", "add", bridge, "type", "bridge")
    run("ip", "address", "add", f"{components.ADDRESS}/16", "dev", bridge)
    run("ip", "link", "set", bridge, "up")
    for path in _KERNEL:
        Path(path).write_text("1")


def _apply(objects: str) -> None:
    manifest = STATE / "objects.json"
    manifest.write_text(objects)
    run(binaries.folder() / "kubectl", "--kubeconfig", components.KUBECONFIG, "apply", "-f", manifest)


# Health


def _answers(path: str, needle: str = "") -> bool:
    """Say whether the API server answers path with 200 and, in it, needle."""
    try:
        token = components.TOKENS.read_text().partition(",")[0]
        context = ssl.create_default_context(cafile=str(components.CA))
        request = urllib.request.Request(components.SERVER + path, headers={"Authorization": f"Bearer {token}"})
        opener = urllib.request.build_opener(
            urllib.request.ProxyHandler({}), urllib.request.HTTPSHandler(context=context)
        )
        with opener.open(request, timeout=5) as response:
            return needle in response.read().decode()
    except OSError:  # URLError, timeouts, and files that are not there yet
        return False


def _node_ready() -> bool:
    return _answers(f"/api/v1/nodes/{components.NODE}", '"reason":"KubeletReady"')


def resolves(name: str) -> bool:
    """Ask the cluster's DNS for an IPv4 address of name."""
    labels = b"".join(bytes([len(label)]) + label.encode() for label in name.split("."))
    query = b"\x70\x62\x01\x00\x00\x01" + bytes(6) + labels + b"\0\x00\x01\x00\x01"
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as client:
        client.settimeout(1)
        try:
            client.sendto(query, (components.ADDRESS, 53))
            answer = client.recv(512)
        except OSError:
            return False
    return answer[3] & 0x0F == 0 and answer[7] > 0


def healthy() -> bool:
    """Say whether every component lives and the cluster answers."""
    processes = machine.stored_processes()
    names = {"containerd", *(part.name for part in (*components.server(Path()), *components.clients(Path())))}
    return (
        names == processes.keys()
        and all(map(machine.alive, processes.values()))
        and _node_ready()
        and resolves(f"kubernetes.default.svc.{components.DOMAIN}")
    )


# Down


def _take_down() -> None:
    """End the cluster, however much of it is left."""
    processes = machine.stored_processes()
    containerd = processes.pop("containerd", (0, 0))
    for name in reversed(processes):  # kubelet first: it would start again what is taken away
        machine.kill(processes[name])
    if machine.alive(containerd):
        _end_containers()
    machine.kill(containerd)
    _end_orphans()
    _unmount()
    _remove_network()
    _remove_folders()


def _end_containers() -> None:
    tasks = images.ctr("task", "ls", "--quiet", quiet=True).split()
    if tasks:
        images.ctr("task", "rm", "--force", *tasks, quiet=True)


def _end_orphans() -> None:
    """End containers, and the shims above them, that lost their containerd: it stored the containers' ids."""
    shims = set()
    for file in components.CONTAINERD_STATE.glob("io.containerd.runtime.v2.task/k8s.io/*/init.pid"):
        with contextlib.suppress(OSError, ValueError):
            pid = int(file.read_text())
            process = (pid, machine.start_time(pid))
            if file.parent.name in Path(f"/proc/{pid}/cgroup").read_text():  # else the id is another's by now
                shims.add(machine.parent(pid))
                machine.kill(process)
    for pid in shims:
        with contextlib.suppress(OSError):
            process = (pid, machine.start_time(pid))
            if str(components.CONTAINERD_SOCKET) in Path(f"/proc/{pid}/cmdline").read_text():
                machine.kill(process)


def _mounts() -> Iterator[str]:
    for line in Path("/proc/self/mountinfo").read_text().splitlines():
        target = line.split()[4].encode().decode("unicode_escape")
        if target.startswith(f"{STATE}/"):
            yield target


def _unmount() -> None:
    for target in sorted(_mounts(), key=len, reverse=True):
        run("umount", "--lazy", target, quiet=True)


def _remove_network() -> None:
    if not _KERNEL_BEFORE.exists():  # the bridge is not ours
        return
    node = binaries.folder() / "node"
    if node.exists():
        run(node, "kube-proxy", "--cleanup", quiet=True)  # its iptables rules, all but these:
        for rule in ("-D INPUT -j", "-D OUTPUT -j", "-F", "-X"):
            run("iptables", *rule.split(), "KUBE-FIREWALL", quiet=True)
    firewall.remove_rules()  # where a test was killed that enforced policies
    run("ip", "link", "delete", components.BRIDGE, quiet=True)
    for path, value in json.loads(_KERNEL_BEFORE.read_text()).items():
        Path(path).write_text(value)


def _remove_folders() -> None:
    for link in Path("/var/log/containers").glob("*.log"):  # the kubelet's; the path is fixed in it
        if link.is_symlink() and str(link.readlink()).startswith(f"{STATE}/"):
            link.unlink()
    for pods in Path("/sys/fs/cgroup").glob("*/kubepods"):
        for folder, _, _ in os.walk(pods, topdown=False):
            with contextlib.suppress(OSError):  # not empty: not ours
                Path(folder).rmdir()
    if any(_mounts()):
        raise ClusterError(f"mounts are left below {STATE}; nothing there is deleted")
    shutil.rmtree(STATE)


def down() -> None:
    """Take the cluster away; nothing happens when there is none."""
    if not STATE.exists():
        say("no cluster")
        return
    with step("cluster is down"):
        _take_down()


# Commands


def status() -> int:
    """Print one line per component; return 0 if the cluster is healthy."""
    for name, process in machine.stored_processes().items():
        print(
            f"{name:<24} {f'runs, pid {process[0]}' if machine.alive(process) else f'dead, see {machine.LOGS}/{name}.log'}"
        )
    well = healthy()
    print(f"cluster is {'up' if well else 'ill: `up` starts it anew' if STATE.exists() else 'down'}")
    return 0 if well else 3


def programs() -> None:
    """Build and install what tests beside this folder run, and what would else be installed while they do."""
    reason = machine.missing()
    if reason:
        raise ClusterError(reason)
    machine.install_packages((*machine.PACKAGES, *machine.TOOLS))
    binaries.build()


def image(names: list[str]) -> None:
    """Build images and load those that changed into the cluster, if it runs."""
    reason = machine.missing()
    if reason:
        raise ClusterError(reason)
    machine.install_packages()
    for name, archive in images.build(names or images.NAMES).items():
        if STATE.exists():
            images.load(name, archive)
        print(images.describe(name, archive))


def environment() -> str:
    return f"export KUBECONFIG={components.KUBECONFIG}\nexport PATH={binaries.folder()}:$PATH"


def _change(arguments: argparse.Namespace) -> None:
    if arguments.command == "up":
        up()
    elif arguments.command == "down":
        down()
    elif arguments.command == "programs":
        programs()
    else:
        image(arguments.names)


def main() -> int:
    parser = argparse.ArgumentParser(description="A real one-node Kubernetes for the tests.")
    commands = parser.add_subparsers(dest="command", required=True)
    for name in ("up", "down", "status", "env", "programs"):
        commands.add_parser(name)
    commands.add_parser("image").add_argument("names", nargs="*", metavar="NAME")
    arguments = parser.parse_args()
    try:
        if arguments.command == "status":
            return status()
        if arguments.command == "env":
            print(environment())
            return 0
        with machine.lock():
            _change(arguments)
    except ClusterError as error:
        say(f"error: {error}")
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
