"""Network policies that are enforced: kube-router's controller, which Kubernetes leaves to a network plugin.

Only the tests of policies start it: the pods' network is a bridge of the CNI plugins, which knows no policies.
"""

from __future__ import annotations

import json
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import components
import machine
from machine import CACHE, ClusterError, run, step

NAME = "kube-router"
MODULE = "github.com/cloudnativelabs/kube-router/v2@v2.1.0"
MODULE_SUM = "h1:xWsptKtmZ44L+NjwFKoFAFlVdxCz8fka9A/eYJe95Ok="
_CHAINS = ("KUBE-ROUTER-", "KUBE-POD-FW-", "KUBE-NWPLCY-")
_SETS = ("KUBE-SRC-", "KUBE-DST-", "kube-router-")


def binary() -> Path:
    """Build kube-router unless it is there and return its path."""
    target = CACHE / NAME / MODULE.rpartition("@")[2]
    if target.exists():
        return target
    go = shutil.which("go")
    if go is None:
        raise ClusterError("needs Go on PATH to build kube-router")
    with step(f"go build {MODULE}"):
        got = json.loads(run(go, "mod", "download", "-json", MODULE, env={"GOFLAGS": "-mod=mod", "GOWORK": "off"}))
        if got["Sum"] != MODULE_SUM:
            raise ClusterError(f"{MODULE} has the checksum {got['Sum']}, not {MODULE_SUM}")
        run(
            *("nice", "-n", "10", go, "build", "-trimpath", "-buildvcs=false", "-ldflags", "-s -w"),
            *("-o", target, "./cmd/kube-router"),
            cwd=Path(got["Dir"]),
            env={"CGO_ENABLED": "0", "GOFLAGS": "", "GOWORK": "off"},
        )
    return target


def command(program: Path) -> tuple[str, ...]:
    """kube-router as a firewall and nothing else: kube-proxy does Services, the bridge does routes."""
    return (
        *(str(program), "--kubeconfig", str(components.KUBECONFIG), "--hostname-override", components.NODE),
        *("--run-firewall=true", "--run-router=false", "--run-service-proxy=false", "--run-loadbalancer=false"),
        *("--service-cluster-ip-range", components.SERVICE_RANGE, "--iptables-sync-period=5s"),
        *("--health-port=0", "--metrics-port=0", "--enable-ipv6=false"),
    )


@contextmanager
def enforced() -> Iterator[None]:
    """Enforce NetworkPolicies in the cluster of cluster.py."""
    machine.install_packages(("ipset",))
    machine.start(NAME, command(binary()))
    try:
        yield
    finally:
        machine.kill(machine.stored_processes()[NAME])
        machine.forget(NAME)
        remove_rules()


def remove_rules() -> None:
    """Take kube-router's chains and sets away, if there are any; rules of others stay as they are."""
    if shutil.which("ipset") is None:
        return
    lines = run("iptables-save", "--table", "filter").splitlines(keepends=True)
    kept = [line for line in lines if not any(chain in line for chain in _CHAINS)]
    if kept == lines:
        return
    rules = machine.STATE / "filter.rules"
    rules.write_text("".join(kept))
    run("iptables-restore", "--table", "filter", rules)
    for name in run("ipset", "list", "--name").split():
        if name.startswith(_SETS):
            run("ipset", "destroy", name)
