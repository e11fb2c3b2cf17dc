"""What tests do with a cluster: kubectl, helm, apply, wait. Any cluster will do, not only ours."""

from __future__ import annotations

import json
import os
import subprocess
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar

from rest import Rest, path_of

T = TypeVar("T")

USER_ID = 65532
"""The project images' user; any id but 0 would do."""
RESTRICTED_POD: Mapping[str, Any] = {
    "runAsNonRoot": True,
    "runAsUser": USER_ID,
    "fsGroup": USER_ID,
    "seccompProfile": {"type": "RuntimeDefault"},
}
RESTRICTED_CONTAINER: Mapping[str, Any] = {
    "allowPrivilegeEscalation": False,
    "readOnlyRootFilesystem": True,
    "capabilities": {"drop": ["ALL"]},
}


class CommandError(Exception):
    """kubectl or helm failed; the message is what it said."""


@dataclass(frozen=True)
class Cluster:
    kubeconfig: Path
    programs: Mapping[str, str]
    """Paths of kubectl and helm."""
    images: Mapping[str, str]
    """References of runner, operator and busybox, as pods name them."""
    url: str = ""
    """Of a proxy to its API server; where there is none, kubectl is asked for everything."""

    def kubectl(self, *arguments: str, stdin: str = "", timeout_s: float = 120) -> str:
        """Return what kubectl printed; raise CommandError with what it said."""
        return self._run("kubectl", arguments, stdin, timeout_s)

    def helm(self, *arguments: str, timeout_s: float = 300) -> str:
        """Return what helm printed; raise CommandError with what it said."""
        return self._run("helm", arguments, "", timeout_s)

    def apply(self, *manifests: str | Mapping[str, Any]) -> None:
        """Apply YAML texts or objects that are not bound to a namespace or name theirs."""
        self.kubectl("apply", "-f", "-", stdin=_documents(manifests))

    def get(self, *arguments: str) -> dict[str, Any]:
        """Return an object, such as get("node", "node"); raise CommandError when there is none."""
        return _object(self.kubectl("get", *arguments, "--output", "json"))

    def _run(self, program: str, arguments: tuple[str, ...], stdin: str, timeout_s: float) -> str:
        done = subprocess.run(
            [self.programs[program], *arguments],
            input=stdin,
            env={**os.environ, "KUBECONFIG": str(self.kubeconfig)},
            capture_output=True,
            text=True,
            timeout=timeout_s,
            check=False,
        )
        if done.returncode:
            raise CommandError(f"{program} {' '.join(arguments)}: {done.stderr.strip()}")
        return done.stdout


@dataclass(frozen=True)
class Namespace:
    """A fresh namespace that admits restricted pods only; everything goes to it."""

    cluster: Cluster
    name: str

    def kubectl(self, *arguments: str, stdin: str = "", timeout_s: float = 120) -> str:
        return self.cluster.kubectl("--namespace", self.name, *arguments, stdin=stdin, timeout_s=timeout_s)

    def helm(self, *arguments: str, timeout_s: float = 300) -> str:
        return self.cluster.helm("--namespace", self.name, *arguments, timeout_s=timeout_s)

    def apply(self, *manifests: str | Mapping[str, Any]) -> None:
        self.kubectl("apply", "-f", "-", stdin=_documents(manifests))

    def get(self, *arguments: str) -> dict[str, Any]:
        """Return an object or a list, as `kubectl get` does; raise CommandError when there is none."""
        path = path_of(self.name, arguments) if self.cluster.url else ""
        if not path:
            return _object(self.kubectl("get", *arguments, "--output", "json"))
        try:
            return Rest(self.cluster.url)("GET", path)
        except (KeyError, RuntimeError, OSError) as error:
            raise CommandError(str(error)) from None

    def phase(self, kind: str, name: str) -> str:
        """Return status.phase of a pod or claim, empty while it has none."""
        return str(self.get(kind, name).get("status", {}).get("phase", ""))


def wait_for(condition: Callable[[], T], timeout_s: float = 60, what: str = "condition") -> T:
    """Poll until condition() is true, and return it; a CommandError counts as not yet.

    Raises AssertionError with the last answer after timeout_s seconds.
    """
    deadline_s = time.monotonic() + timeout_s
    while True:
        answer: T | CommandError
        try:
            answer = condition()
        except CommandError as error:
            answer = error
        if answer and not isinstance(answer, CommandError):
            return answer
        if time.monotonic() > deadline_s:
            raise AssertionError(f"{what}: not within {timeout_s:.0f} s; last answer: {answer}")
        time.sleep(0.2)


def pod_spec(image: str, *command: str, **container: Any) -> dict[str, Any]:
    """Return the spec of a pod that a restricted namespace admits, with one container named main."""
    return {
        "restartPolicy": "Never",
        "terminationGracePeriodSeconds": 1,
        "automountServiceAccountToken": False,
        "securityContext": RESTRICTED_POD,
        "containers": [
            {
                "name": "main",
                "image": image,
                "imagePullPolicy": "IfNotPresent",
                "command": list(command),
                "securityContext": RESTRICTED_CONTAINER,
                **container,
            }
        ],
    }


def pod(name: str, spec: Mapping[str, Any], **labels: str) -> dict[str, Any]:
    return {"apiVersion": "v1", "kind": "Pod", "metadata": {"name": name, "labels": labels}, "spec": spec}


def _documents(manifests: tuple[str | Mapping[str, Any], ...]) -> str:
    texts = [manifest if isinstance(manifest, str) else json.dumps(manifest) for manifest in manifests]
    return "\n---\n".join(texts)


def _object(text: str) -> dict[str, Any]:
    answer: dict[str, Any] = json.loads(text)
    return answer
