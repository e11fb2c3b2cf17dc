"""What a benchmark loads, as one name: two benchmarks with the same one would spoil each other's figures. Pure."""

from urllib.parse import urlsplit

from perfbench_api.sections import Target
from perfbench_operator.kube import NamespacedName

_PORTS = {"http": 80, "https": 443}
_DOMAIN = (".svc.cluster.local", ".svc")


def service_of(target: Target, namespace: str) -> NamespacedName | None:
    """The Service that a target is, by its own field or by the name of its host; None where it is none, or may be none."""
    if target.service:
        return target.service.namespace or namespace, target.service.name
    try:
        host = (urlsplit(target.url or "").hostname or "").rstrip(".")
    except ValueError:  # brackets of no address
        return None
    labels = host.removesuffix(".cluster.local").removesuffix(".svc").split(".")
    if not host or not all(labels) or labels[-1].isdigit() or ":" in host or len(labels) > 2 or host == "localhost":
        return None
    return (labels[1], labels[0]) if len(labels) == 2 else (namespace, labels[0])


def address(target: Target, namespace: str) -> str | None:
    """Host and port of a target: of a Service always as name.namespace:port, however it is written; None for what
    only this run can reach: a mock, or its own pod."""
    if target.service:
        service = target.service
        return f"{service.name}.{service.namespace or namespace}:{service.port}"
    if not target.url:
        return None
    try:
        parts = urlsplit(target.url)
        port = parts.port or _PORTS.get(parts.scheme.lower(), 0)
    except ValueError:  # no number
        return target.url
    host = (parts.hostname or "").rstrip(".")
    if host in ("localhost", "::1") or host.startswith("127."):
        return None  # in the runner's own pod
    for ending in _DOMAIN:
        if host.endswith(ending):
            host = host.removesuffix(ending)
            break
    is_short = bool(host) and "." not in host and ":" not in host
    return f"{host}.{namespace}:{port}" if is_short else f"{host}:{port}"
