"""Requests to the API server through a `kubectl proxy`: tests that poll would do nothing else but start kubectl."""

from __future__ import annotations

import json
import urllib.error
import urllib.request
from dataclasses import dataclass
from typing import Any
from urllib.parse import quote

_OPENER = urllib.request.build_opener(urllib.request.ProxyHandler({}))
_CORE = (
    "configmaps",
    "events",
    "persistentvolumeclaims",
    "pods",
    "resourcequotas",
    "secrets",
    "serviceaccounts",
    "services",
)
_APIS = {
    **dict.fromkeys(_CORE, "/api/v1"),
    "deployments": "/apis/apps/v1",
    "jobs": "/apis/batch/v1",
    "perfbenchmarks": "/apis/perfbench.io/v1alpha1",
}
_SHORT = {"pb": "perfbenchmarks", "pvc": "persistentvolumeclaims"}


@dataclass(frozen=True)
class Rest:
    """Requests to the API server without a kubectl for each: tests that poll would do nothing else."""

    url: str

    def __call__(self, method: str, path: str, body: Any = None, kind: str = "application/json") -> dict[str, Any]:
        """One request; KeyError if there is no such thing, RuntimeError with the answer for any other refusal."""
        data = None if body is None else json.dumps(body).encode()
        request = urllib.request.Request(f"{self.url}{path}", data, {"Content-Type": kind}, method=method)
        try:
            with _OPENER.open(request, timeout=30) as response:
                answer: dict[str, Any] = json.load(response)
                return answer
        except urllib.error.HTTPError as error:
            text = error.read().decode()
            raise (KeyError if error.code == 404 else RuntimeError)(f"{method} {path}: {text}") from None

    def patch(self, path: str, body: Any) -> dict[str, Any]:
        """A merge patch."""
        return self("PATCH", path, body, "application/merge-patch+json")


def path_of(namespace: str, arguments: tuple[str, ...]) -> str:
    """What `kubectl get` with these arguments asks for; empty where only kubectl knows."""
    word, *rest = arguments
    plural = _SHORT.get(word, word if word.endswith("s") else f"{word}s")
    if plural not in _APIS:
        return ""
    path = f"{_APIS[plural]}/namespaces/{namespace}/{plural}"
    match rest:
        case []:
            return path
        case ["-l" | "--selector", selector]:
            return f"{path}?labelSelector={quote(selector)}"
        case [text] if text.startswith("--selector="):
            return f"{path}?labelSelector={quote(text.partition('=')[2])}"
        case [name] if not name.startswith("-"):
            return f"{path}/{name}"
    return ""
