"""The operator as kopf runs it: `kopf run --module perfbench_operator.handlers --standalone`.

Handlers only pass on what the watches report; controller.py decides what to do. They are `on.event` handlers, which never
write to what they watch: no finalizer that blocks a deletion while the operator is away, no annotations, no right to patch
benchmarks.
"""

import logging
import socket
from time import monotonic
from typing import Any
from wsgiref.simple_server import WSGIServer

import kopf
from prometheus_client import CollectorRegistry, start_http_server

from perfbench_api import GROUP, PLURAL, VERSION
from perfbench_operator.cluster import Cluster
from perfbench_operator.controller import Controller
from perfbench_operator.objects.identity import SELECTOR
from perfbench_operator.settings import Settings, SettingsError

_NOISY_LOGGERS = ("kopf.objects", "kopf.activities.probe", "aiohttp.access")
"""They log a line for every event and every probe."""


@kopf.on.login()
def login(**options: Any) -> Any:
    """Log in for kopf's own connection, without loading a second Kubernetes client."""
    return kopf.login_with_service_account(**options) or kopf.login_with_kubeconfig(**options)


@kopf.on.startup()
async def startup(settings: kopf.OperatorSettings, memo: kopf.Memo, **_: Any) -> None:
    """Configure kopf and start the controller."""
    try:
        own = Settings.read()
    except SettingsError as error:
        raise kopf.PermanentError(str(error)) from None
    _configure(settings)
    for noisy in _NOISY_LOGGERS:
        logging.getLogger(noisy).setLevel(logging.WARNING)
    memo.controller = Controller(own, await Cluster.connect())
    if own.metrics_port:
        serve_metrics(own.metrics_port, memo.controller.metrics.registry)
    memo.controller.start()


def serve_metrics(port: int, registry: CollectorRegistry) -> WSGIServer:
    """Serve metrics on all addresses, in a separate thread: a pod may have IPv4, IPv6 or both."""
    # On Linux, "::" accepts connections of both families.
    address = "::" if socket.has_dualstack_ipv6() else "0.0.0.0"  # noqa: S104
    return start_http_server(port, address, registry)[0]


def _configure(settings: kopf.OperatorSettings) -> None:
    for resource in (("batch", "jobs"), ("", "pods")):
        settings.watching.label_selectors[resource] = SELECTOR
    settings.watching.server_timeout = 270  # the API server then ends a watch, and kopf starts the next
    settings.watching.client_timeout = 300
    settings.watching.connect_timeout = 10
    settings.networking.request_timeout = 30
    settings.networking.connect_timeout = 10
    settings.scanning.disabled = True  # so that no right to list namespaces or CRDs is needed
    settings.posting.enabled = False  # the reconciler writes Events itself, each only once
    settings.execution.default_backoff = 5
    # Unused while there are only on.event handlers; if that changes, these are ours and not kopf's defaults.
    settings.persistence.finalizer = f"{GROUP}/operator"
    settings.persistence.progress_storage = kopf.AnnotationsProgressStorage(prefix=GROUP)
    settings.persistence.diffbase_storage = kopf.AnnotationsDiffBaseStorage(prefix=GROUP)


@kopf.on.cleanup()
async def cleanup(memo: kopf.Memo, **_: Any) -> None:
    """Stop the controller."""
    if "controller" in memo:
        await memo.controller.stop()


@kopf.on.probe(id="health", errors=kopf.ErrorsMode.PERMANENT)
async def probe(memo: kopf.Memo, **_: Any) -> str:
    """Make --liveness answer HTTP 500 when a restart would help."""
    problem = memo.controller.health.problem(monotonic())
    if problem:
        raise kopf.PermanentError(problem)
    return "ok"


@kopf.on.event(GROUP, VERSION, PLURAL)
async def on_benchmark(body: kopf.Body, type: str | None, memo: kopf.Memo, **_: Any) -> None:  # noqa: A002
    """A benchmark was created, changed or deleted."""
    memo.controller.metrics.watch_events.labels(PLURAL).inc()
    memo.controller.saw_benchmark(dict(body), is_gone=type == "DELETED")


@kopf.on.event("batch", "v1", "jobs")
async def on_job(body: kopf.Body, memo: kopf.Memo, **_: Any) -> None:
    """A runner's Job has changed."""
    memo.controller.metrics.watch_events.labels("jobs").inc()
    memo.controller.saw_child(dict(body))


@kopf.on.event("", "v1", "pods")
async def on_pod(body: kopf.Body, memo: kopf.Memo, **_: Any) -> None:
    """A runner's pod has changed."""
    memo.controller.metrics.watch_events.labels("pods").inc()
    pod = dict(body)
    memo.controller.reconciler.saw_pod(pod)
    memo.controller.saw_child(pod)
