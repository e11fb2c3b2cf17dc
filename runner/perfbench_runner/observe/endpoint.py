"""What a runner serves: /healthz, /progress and /metrics while it runs, and /outcome when its files are written.

It lives in the control process, so a scrape never touches a measuring loop. aiohttp is imported only where an endpoint
is asked for: a run on a laptop needs none.
"""

import asyncio
import socket
from time import monotonic

from aiohttp import web

from perfbench_api.outcome import Outcome, Progress
from perfbench_runner.listening import server_socket
from perfbench_runner.observe.observer import Observer, RunView
from perfbench_runner.observe.prometheus import Metrics

STUCK_S = 30.0
"""Without a tick for this long the control process is stuck, and /healthz goes red."""
HANDOVER_S = 10.0
"""So long an outcome that does not fit a termination message waits to be asked for: operators ask every few seconds."""
SHUTDOWN_S = 1.0
"""So long may a request under way take at the end: a client that reads nothing must not hold the process."""


def _bound(listen: str) -> socket.socket:
    host, _, port = listen.rpartition(":")
    if not port.isdigit():
        raise ValueError(f"--listen {listen!r}: write it as HOST:PORT")
    try:
        return server_socket(host.strip("[]"), int(port))
    except (OSError, OverflowError) as error:
        reason = error.strerror.lower() if isinstance(error, OSError) and error.strerror else str(error)
        raise ValueError(f"--listen {listen}: cannot listen there: {reason}") from None


class Endpoint(Observer):
    """Serves a run on HOST:PORT. `linger_s`: how long /metrics stays after the run, for a last scrape. `handover_s`: how
    long /outcome stays at most, where it has more than the termination message, until somebody has asked for it.

    Without HOST, or with [::], it listens on all addresses, of IPv4 and of IPv6: a pod may have either or both.
    The address is taken at once, so that one that cannot be had is told before there is any load: ValueError.
    The metrics are an observer of their own: whoever makes both gives both to the run.
    """

    def __init__(self, listen: str, metrics: Metrics, linger_s: float = 0.0, handover_s: float = 0.0) -> None:
        self._socket = _bound(listen)
        self.metrics, self.linger_s, self.handover_s = metrics, linger_s, handover_s
        self._progress = Progress()
        self._outcome: Outcome | None = None
        self._has_been_told = asyncio.Event()
        self._interrupted = asyncio.Event()
        self._ticked_s = monotonic()
        self._runner: web.AppRunner | None = None

    async def open(self, run: RunView) -> None:
        """Start serving."""
        self._interrupted = run.interrupted
        app = web.Application()
        app.router.add_get("/healthz", self._healthz)
        app.router.add_get("/progress", self._on_progress)
        app.router.add_get("/outcome", self._on_outcome)
        app.router.add_get("/metrics", self._on_metrics)
        self._runner = web.AppRunner(app, access_log=None, shutdown_timeout=SHUTDOWN_S)
        await self._runner.setup()
        await web.SockSite(self._runner, self._socket).start()

    def tick(self, run: RunView) -> None:
        """Remember how far the run is."""
        self._ticked_s = monotonic()
        self._progress = run.progress()

    async def close(self, outcome: Outcome) -> None:
        """Serve a little longer if asked to and not told to stop, then end."""
        self._outcome = outcome
        self._progress = self._progress.model_copy(
            update={"phase": "done", "percent": 100.0, "message": outcome.message}
        )
        if self._runner is None:
            return
        await asyncio.gather(
            _either(self.linger_s, self._interrupted),
            _either(self.handover_s if outcome.is_cut else 0.0, self._interrupted, self._has_been_told),
        )
        await self._runner.cleanup()

    async def _healthz(self, request: web.Request) -> web.Response:
        age_s = monotonic() - self._ticked_s
        is_stuck = self._progress.phase not in ("storing", "done") and age_s > STUCK_S
        return web.Response(
            text=f"no progress for {age_s:.0f} s\n" if is_stuck else "ok\n", status=503 if is_stuck else 200
        )

    async def _on_progress(self, request: web.Request) -> web.Response:
        return web.json_response(text=self._progress.model_dump_json())

    async def _on_outcome(self, request: web.Request) -> web.StreamResponse:
        if self._outcome is None:
            raise web.HTTPNotFound(text="the run is not over\n")
        response = web.json_response(text=self._outcome.model_dump_json(exclude_none=True))
        await response.prepare(request)
        await response.write_eof()
        self._has_been_told.set()
        return response

    async def _on_metrics(self, request: web.Request) -> web.Response:
        body, content_type = self.metrics.render(request.headers.get("Accept", ""))
        return web.Response(body=body, headers={"Content-Type": content_type})


async def _either(timeout_s: float, *events: asyncio.Event) -> None:
    """Wait for the first of some events, but not longer than `timeout_s`."""
    waiting = [asyncio.create_task(event.wait()) for event in events]
    await asyncio.wait(waiting, timeout=timeout_s, return_when=asyncio.FIRST_COMPLETED)
    for task in waiting:
        task.cancel()
