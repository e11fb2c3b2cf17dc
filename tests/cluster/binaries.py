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


def monitoring_definitions() -> list[Path]:
    """Return the files with the CustomResourceDefinitions of monitors and rules, from the module that publishes them."""
    module = PROMETHEUS_OPERATOR
    folder = CACHE / "definitions" / module.rpartition("@")[2]
    if not folder.exists():
        go = shutil.which("go")
        if go is None:
            raise ClusterError(f"needs Go on PATH to get the definitions of {module}")
        with step(f"definitions of {module}"):
            got = json.loads(run(go, "mod", "download", "-json", module, env={"GOFLAGS": "-mod=mod", "GOWORK": "off"}))
            if got["Sum"] != PROMETHEUS_OPERATOR_SUM:
                raise ClusterError(f"{module} has the checksum {got['Sum']}, not {PROMETHEUS_OPERATOR_SUM}")
            shutil.copytree(Path(got["Dir"]) / "example" / "prometheus-operator-crd", folder)
    names = ("podmonitors", "servicemonitors", "prometheusrules")
    return [folder / f"monitoring.coreos.com_{name}.yaml" for name in names]
