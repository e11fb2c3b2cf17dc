"""The operator's process: `python -m perfbench_operator.main`, configured by environment variables alone."""

import asyncio
import json
import logging
import signal
import socket
import sys
from collections.abc import Callable
from datetime import UTC, datetime
from time import monotonic
from wsgiref.simple_server import WSGIServer

from aiohttp import web
from prometheus_client import CollectorRegistry, start_http_server

from perfbench_operator.api import Api
from perfbench_operator.cluster import Cluster
from perfbench_operator.controller import Controller
from perfbench_operator.runners import Runners
from perfbench_operator.settings import Settings, SettingsError

ANY_IPV4 = "0.0.0.0"  # noqa: S104 - in a pod


def main() -> int:
    """Run until told to stop; the exit status is 2 where the settings are wrong."""
    try:
        settings = Settings.read()
    except SettingsError as error:
        sys.stderr.write(f"{error}\n")
        return 2
    _log(settings.log_format)
    asyncio.run(run(settings))
    return 0


async def run(settings: Settings) -> None:
    """Work until SIGTERM or SIGINT."""
    stopped = asyncio.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        asyncio.get_running_loop().add_signal_handler(number, stopped.set)
    controller = Controller(settings, Cluster(await Api.connect()), Runners())
    if settings.metrics_port:
        serve_metrics(settings.metrics_port, controller.metrics.registry)
    health = await serve_health(settings.health_port, lambda: controller.watching.health.problem(monotonic()))
    controller.start()
    stopping = asyncio.create_task(stopped.wait())
    ended, _ = await asyncio.wait([stopping, *controller.tasks], return_when=asyncio.FIRST_COMPLETED)
    await controller.stop()
    await health.cleanup()
    for task in ended - {stopping}:
        task.result()  # nothing else ends by itself: raise why


async def serve_health(port: int, problem: Callable[[], str | None]) -> web.AppRunner:
    """Serve /healthz: HTTP 500, with the reason, when a restart would help."""

    async def answer(_: web.Request) -> web.Response:
        text = problem()
        return web.Response(text=f"{text or 'ok'}\n", status=500 if text else 200)

    app = web.Application()
    app.router.add_get("/healthz", answer)
    runner = web.AppRunner(app, access_log=None)
    await runner.setup()
    host, family = ("::", socket.AF_INET6) if socket.has_dualstack_ipv6() else (ANY_IPV4, socket.AF_INET)
    listening = socket.create_server((host, port), family=family, dualstack_ipv6=family == socket.AF_INET6)
    await web.SockSite(runner, listening).start()
    return runner


def serve_metrics(port: int, registry: CollectorRegistry) -> WSGIServer:
    """Serve metrics on all addresses, in a separate thread: a pod may have IPv4, IPv6 or both."""
    # On Linux, "::" accepts connections of both families.
    return start_http_server(port, "::" if socket.has_dualstack_ipv6() else ANY_IPV4, registry)[0]


class JsonLines(logging.Formatter):
    """One JSON object for each record."""

    def format(self, record: logging.LogRecord) -> str:
        """Time, severity and message."""
        when = datetime.fromtimestamp(record.created, UTC).isoformat()
        data = {"timestamp": when, "severity": record.levelname.lower(), "message": record.getMessage()}
        if record.exc_info:
            data["exc_info"] = self.formatException(record.exc_info)
        return json.dumps(data, ensure_ascii=False)


def _log(kind: str) -> None:
    handler = logging.StreamHandler()
    handler.setFormatter(JsonLines() if kind == "json" else logging.Formatter("%(asctime)s %(levelname)s %(message)s"))
    logging.basicConfig(level=logging.INFO, handlers=[handler])
    logging.getLogger("kopf").setLevel(logging.ERROR)  # else it tells of each start, and that it leaves signals to us


if __name__ == "__main__":
    sys.exit(main())
