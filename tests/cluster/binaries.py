"""The Kubernetes binary and helm, built from node/ and kept until its files change; definitions of the Prometheus operator."""

from __future__ import annotations

import hashlib
import json
import shutil
from pathlib import Path

from machine import CACHE, ClusterError, run, step

SOURCE = Path(__file__).resolve().parent / "node"
KUBERNETES = "1.35.4"
_VERSION = "k8s.io/component-base/version"
_CAPABILITIES = "helm.sh/helm/v3/pkg/chartutil"
_MAJOR, _MINOR, _ = KUBERNETES.split(".")
# Without the stamp kubectl and helm take the server for a version 0.
_BUILDS = {
    "node": (
        f"-s -w -X {_VERSION}.gitVersion=v{KUBERNETES} -X {_VERSION}.gitMajor={_MAJOR} -X {_VERSION}.gitMinor={_MINOR}",
        ".",
    ),
    "helm": (
        f"-s -w -X {_CAPABILITIES}.k8sVersionMajor={_MAJOR} -X {_CAPABILITIES}.k8sVersionMinor={_MINOR}",
        "helm.sh/helm/v3/cmd/helm",
    ),
}


def _key() -> str:
    digest = hashlib.sha256(repr(_BUILDS).encode())
    for file in sorted(SOURCE.iterdir()):
        digest.update(file.name.encode() + b"\0" + file.read_bytes())
    return digest.hexdigest()[:16]


def folder() -> Path:
    """Return the folder that has (or will have) node, helm and kubectl."""
    return CACHE / "bin" / _key()


def build() -> Path:
    """Build what is not built yet and return the folder of the binaries."""
    target = folder()
    if (target / "kubectl").exists():
        return target
    go = shutil.which("go")
    if go is None:
        raise ClusterError("the test cluster needs Go 1.25 or newer on PATH to build Kubernetes")
    target.mkdir(parents=True, exist_ok=True)
    for name, (flags, package) in _BUILDS.items():
        with step(f"go build {name}"):
            run(
                *("nice", "-n", "10", go, "build", "-trimpath", "-buildvcs=false", "-ldflags", flags),
                *("-o", target / name, package),
                cwd=SOURCE,
                env={"CGO_ENABLED": "0", "GOFLAGS": "", "GOWORK": "off"},
            )
    (target / "kubectl").symlink_to("node")  # last: it says that all is there
    for old in target.parent.iterdir():
        if old != target:
            shutil.rmtree(old)
    return target


PROMETHEUS_OPERATOR = "github.com/prometheus-operator/prometheus-operator@v0.85.0"
PROMETHEUS_OPERATOR_SUM = "h1:M5xLCLEoaW2IJfnuCwFzzpL+jSVQu3KGT84Pye+fW8s="


KUEUE = "sigs.k8s.io/kueue@v0.17.0"
KUEUE_SUM = "h1:7hzb38M4eKGzYW+CFv2s1L+swzzacUCHOCXxZmAV90I="


def monitoring_definitions() -> list[Path]:
    """Return the files with the CustomResourceDefinitions of monitors and rules, from the module that publishes them."""
    module = PROMETHEUS_OPERATOR
    folder = CACHE / "definitions" / module.rpartition("@")[2]
    if not folder.exists():
        with step(f"definitions of {module}"):
            shutil.copytree(_module(module, PROMETHEUS_OPERATOR_SUM) / "example" / "prometheus-operator-crd", folder)
    names = ("podmonitors", "servicemonitors", "prometheusrules")
    return [folder / f"monitoring.coreos.com_{name}.yaml" for name in names]


def kueue() -> tuple[Path, Path]:
    """Kueue's program, and the folder of its manifests. The build takes nine minutes of CPU, once."""
    folder = CACHE / "kueue" / KUEUE.rpartition("@")[2]
    program, manifests = folder / "kueue", folder / "components"
    if not program.exists():
        with step(f"go install {KUEUE}"):
            source = _module(KUEUE, KUEUE_SUM)
            shutil.copytree(source / "config" / "components", manifests, dirs_exist_ok=True)
            package = f"{KUEUE.partition('@')[0]}/cmd/kueue@{KUEUE.rpartition('@')[2]}"
            run(
                *("nice", "-n", "10", _go(), "install", "-trimpath", "-ldflags", "-s -w", package),
                env={"GOBIN": str(folder), "CGO_ENABLED": "0", "GOFLAGS": "", "GOWORK": "off"},
            )
    return program, manifests


def _module(module: str, checksum: str) -> Path:
    """The folder of a module's source."""
    got = json.loads(run(_go(), "mod", "download", "-json", module, env={"GOFLAGS": "-mod=mod", "GOWORK": "off"}))
    if got["Sum"] != checksum:
        raise ClusterError(f"{module} has the checksum {got['Sum']}, not {checksum}")
    return Path(got["Dir"])


def _go() -> str:
    go = shutil.which("go")
    if go is None:
        raise ClusterError("needs Go on PATH")
    return go
