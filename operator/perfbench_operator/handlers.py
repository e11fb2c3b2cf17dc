"""The operator as kopf runs it: `kopf run --module perfbench_operator.handlers --standalone`.

Handlers only say which benchmark to look at; reconciler.py looks. They are `on.event` handlers, which never write to what
they watch: no finalizer that blocks a deletion when the operator is gone, no annotations, no right to patch benchmarks.
"""

import asyncio
import logging
import socket
from dataclasses import dataclass, field
from time import monotonic, time
from typing import Any
from wsgiref.simple_server import WSGIServer

import kopf
from prometheus_client import CollectorRegistry, start_http_server

from perfbench_api import GROUP, PLURAL, VERSION
from perfbench_operator import objects, state
from perfbench_operator.cluster import Cluster, ConflictError
from perfbench_operator.health import Health
from perfbench_operator.metrics import Metrics
from perfbench_operator.reconciler import Key, Reconciler
from perfbench_operator.settings import Settings, SettingsError
from perfbench_operator.workqueue import WorkQueue

logger = logging.getLogger(__name__)
WORKERS = 8
"""Benchmarks that are looked at at the same time: a look is nearly all waiting."""
RETRY_S = (1.0, 2.0, 5.0, 10.0, 30.0)
"""Waits after errors of one benchmark, the last one for ever."""


@dataclass
class Operator:
    """The running operator: a queue, its workers and the backstop."""

    settings: Settings
    cluster: Cluster
    metrics: Metrics = field(default_factory=Metrics)
    queue: WorkQueue[Key] = field(init=False)
    health: Health = field(default_factory=lambda: Health(monotonic()))
    failures: dict[Key, int] = field(default_factory=dict)
    told: dict[str, dict[str, Any] | None] = field(default_factory=dict)
    """Benchmarks that the watch told of since the last list began, by uid; None for one that is gone."""
    tasks: list[asyncio.Task[None]] = field(default_factory=list)

    def __post_init__(self) -> None:
        self.reconciler = Reconciler(self.cluster, self.settings)
        self.queue = WorkQueue(self.metrics.queue_wait_seconds.observe)
        self.metrics.queue_depth.set_function(lambda: len(self.queue))
        self.metrics.queue_delayed.set_function(lambda: self.queue.delayed)

    def start(self) -> None:
        """Begin to work."""
        self.tasks = [asyncio.create_task(self._work()) for _ in range(WORKERS)]
        self.tasks.append(asyncio.create_task(self._backstop()))

    async def stop(self) -> None:
        """End the work; what is half done the next operator goes on with."""
        self.queue.close()
        for task in self.tasks:
            task.cancel()
        await asyncio.gather(*self.tasks, return_exceptions=True)
        await self.cluster.close()

    async def _work(self) -> None:
        while True:
            key = await self.queue.get()
            try:
                await self._look(key)
            finally:
                self.queue.done(key)

    async def _look(self, key: Key) -> None:
        began_s = monotonic()
        outcome = "ok"
        try:
            again_s = await self.reconciler.look(key)
            self.failures.pop(key, None)
        except ConflictError:  # it has changed since it was read
            outcome, again_s = "conflict", 0.2
        # A benchmark that cannot be looked at must not stop the others; it is tried again and told of in log and metrics.
        except Exception as error:  # noqa: BLE001
            outcome, again_s = "error", self._failed(key, error)
        self.metrics.reconciles.labels(outcome).inc()
        self.metrics.reconcile_seconds.observe(monotonic() - began_s)
        if again_s is not None:
            self.queue.add_after(key, again_s)

    def _failed(self, key: Key, error: Exception) -> float:
        count = self.failures.get(key, 0)
        self.failures[key] = count + 1
        self.metrics.errors.labels(type(error).__name__).inc()
        again_s = RETRY_S[min(count, len(RETRY_S) - 1)]
        logger.error("%s/%s: %s; trying again in %.0f s", *key, error or type(error).__name__, again_s, exc_info=error)
        return again_s

    async def _backstop(self) -> None:
        """List all benchmarks now and then: what the watches missed is found, and that they missed it."""
        while True:
            try:
                await self._list()
            # Whatever the API server does, the next round tries again; health turns red when it lasts.
            except Exception as error:  # noqa: BLE001
                self.health.tried(monotonic())
                self.metrics.errors.labels(type(error).__name__).inc()
                logger.warning("benchmarks cannot be listed: %s", error or type(error).__name__)
            await asyncio.sleep(self.settings.relist_interval_s)

    async def _list(self) -> None:
        self.told.clear()
        found = [await self.cluster.benchmarks(namespace) for namespace in self.settings.namespaces or (None,)]
        listed = {body["metadata"]["uid"]: body for bodies in found for body in bodies}
        # The list may be older than what the watch told while it was fetched: what is gone must not come back by it.
        known: dict[str, Any] = {uid: body for uid, body in {**listed, **self.told}.items() if body is not None}
        now_s = monotonic()
        self.health.listed(known.values(), now_s)
        self.metrics.benchmarks.known = known
        self.metrics.benchmarks.watch_lag_s = self.health.watch_lag_s(now_s)
        self.metrics.benchmarks.listed_at_s = time()
        for body in known.values():
            if not state.is_final(body) or body["spec"].get("ttlSecondsAfterFinished") is not None:
                self.queue.add(_key(body))

    def saw_benchmark(self, body: dict[str, Any], is_gone: bool) -> None:
        """A watch told of a benchmark. Changes of its status are our own and need no look."""
        uid = body["metadata"]["uid"]
        is_new = uid not in self.health.told
        self.health.tell(body, is_gone)
        self.told[uid] = None if is_gone else body
        if is_gone:
            self.metrics.benchmarks.known.pop(uid, None)
            return
        self.metrics.benchmarks.known[uid] = body
        observed = (body.get("status") or {}).get("observedGeneration")
        if is_new or observed != body["metadata"].get("generation"):
            self.queue.add(_key(body))

    def saw_child(self, body: dict[str, Any]) -> None:
        """A watch told of a Job or pod."""
        name = body["metadata"].get("labels", {}).get(objects.NAME_LABEL)
        if name:
            self.queue.add((body["metadata"]["namespace"], name))


def _key(body: dict[str, Any]) -> Key:
    return body["metadata"]["namespace"], body["metadata"]["name"]


# Kopf


@kopf.on.login()
def login(**options: Any) -> Any:
    """Kopf's own connection, without loading a second Kubernetes client."""
    return kopf.login_with_service_account(**options) or kopf.login_with_kubeconfig(**options)


@kopf.on.startup()
async def startup(settings: kopf.OperatorSettings, memo: kopf.Memo, **_: Any) -> None:
    """Settings of kopf, and the start of our own work."""
    try:
        own = Settings.read()
    except SettingsError as error:
        raise kopf.PermanentError(str(error)) from None
    _configure(settings)
    for noisy in (
        "kopf.objects",
        "kopf.activities.probe",
        "aiohttp.access",
    ):  # a line for every event, and for every probe
        logging.getLogger(noisy).setLevel(logging.WARNING)
    memo.operator = Operator(own, await Cluster.connect())
    if own.metrics_port:
        serve_metrics(own.metrics_port, memo.operator.metrics.registry)
    memo.operator.start()


def serve_metrics(port: int, registry: CollectorRegistry) -> WSGIServer:
    """Serve metrics on all addresses, in a thread of its own: a pod may have IPv4, IPv6 or both."""
    # Linux takes connections of both families on "::".
    address = "::" if socket.has_dualstack_ipv6() else "0.0.0.0"  # noqa: S104
    return start_http_server(port, address, registry)[0]


def _configure(settings: kopf.OperatorSettings) -> None:
    for resource in (("batch", "jobs"), ("", "pods")):
        settings.watching.label_selectors[resource] = objects.SELECTOR
    settings.watching.server_timeout = 270  # the API server ends a watch then, and kopf begins the next
    settings.watching.client_timeout = 300
    settings.watching.connect_timeout = 10
    settings.networking.request_timeout = 30
    settings.networking.connect_timeout = 10
    settings.scanning.disabled = True  # no right to list namespaces or CRDs is needed
    settings.posting.enabled = False  # events are written by reconciler.py, once each
    settings.execution.default_backoff = 5
    # Unused as long as there are only on.event handlers; ours and not kopf's default, should that change.
    settings.persistence.finalizer = f"{GROUP}/operator"
    settings.persistence.progress_storage = kopf.AnnotationsProgressStorage(prefix=GROUP)
    settings.persistence.diffbase_storage = kopf.AnnotationsDiffBaseStorage(prefix=GROUP)


@kopf.on.cleanup()
async def cleanup(memo: kopf.Memo, **_: Any) -> None:
    """End our own work."""
    if "operator" in memo:
        await memo.operator.stop()


@kopf.on.probe(id="health", errors=kopf.ErrorsMode.PERMANENT)
async def probe(memo: kopf.Memo, **_: Any) -> str:
    """Answer --liveness with HTTP 500 when a fresh start would help."""
    problem = memo.operator.health.problem(monotonic())
    if problem:
        raise kopf.PermanentError(problem)
    return "ok"


@kopf.on.event(GROUP, VERSION, PLURAL)
async def on_benchmark(body: kopf.Body, type: str | None, memo: kopf.Memo, **_: Any) -> None:  # noqa: A002
    """A benchmark is there, has changed, or is gone."""
    memo.operator.metrics.watch_events.labels(PLURAL).inc()
    memo.operator.saw_benchmark(_plain(body), is_gone=type == "DELETED")


@kopf.on.event("batch", "v1", "jobs")
async def on_job(body: kopf.Body, memo: kopf.Memo, **_: Any) -> None:
    """A Job of ours has changed."""
    memo.operator.metrics.watch_events.labels("jobs").inc()
    memo.operator.saw_child(_plain(body))


@kopf.on.event("", "v1", "pods")
async def on_pod(body: kopf.Body, memo: kopf.Memo, **_: Any) -> None:
    """A runner has changed."""
    memo.operator.metrics.watch_events.labels("pods").inc()
    pod = _plain(body)
    memo.operator.reconciler.saw_pod(pod)
    memo.operator.saw_child(pod)


def _plain(body: kopf.Body) -> dict[str, Any]:
    return dict(body)
