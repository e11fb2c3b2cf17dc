"""The mock as a process of its own: `serve` for people, `serve_for_parent` for MockProcess."""

import asyncio
import gc
import os
import sys
from collections.abc import Callable
from contextlib import suppress
from typing import TextIO

from perfbench_runner.event_loop import run_loop
from perfbench_runner.mock.server import MockServer
from perfbench_runner.mock.settings import MockSettings
from perfbench_runner.signals import Interrupts, kept

_PARENT_CHECK_S = 0.5


def serve(settings: MockSettings, out: TextIO | None = None) -> None:
    """Serve until SIGINT or SIGTERM. Prints the URL and an example. Raises OSError when the address cannot be had."""
    stream = out or sys.stdout

    def announce(mock: MockServer) -> None:
        print(_banner(mock), file=stream, flush=True)  # this is the command's output

    with kept() as interrupts:
        run_loop(_serve(settings, announce, interrupts, parent=None))


def serve_for_parent(settings: MockSettings, parent_pid: int) -> None:
    """Serve until stdin ends or the parent is gone; the port goes to stdout as one line."""

    def announce(mock: MockServer) -> None:
        print(mock.port, flush=True)  # noqa: T201  # MockProcess reads it

    with kept() as interrupts:
        run_loop(_serve(settings, announce, interrupts, parent=parent_pid))


async def _serve(
    settings: MockSettings, announce: Callable[[MockServer], None], interrupts: Interrupts, parent: int | None
) -> None:
    loop, stop = asyncio.get_running_loop(), asyncio.Event()

    def end(name: str) -> None:
        # A child's Ctrl-C is meant for its parent, which then ends it when it is done with it.
        if not (parent and name == "SIGINT"):
            with suppress(RuntimeError):  # the loop is closed
                loop.call_soon_threadsafe(stop.set)

    interrupts.listen(end)
    if parent:
        loop.add_reader(sys.stdin.fileno(), stop.set)
        # Another process may hold a copy of stdin's other end, so that it does not end with the parent.
        watch = loop.create_task(_watch_parent(parent, stop))
    async with MockServer(settings) as mock:
        _quieten_gc()
        announce(mock)
        await stop.wait()
    if parent:
        watch.cancel()
        loop.remove_reader(sys.stdin.fileno())


async def _watch_parent(parent: int, stop: asyncio.Event) -> None:
    while os.getppid() == parent:  # noqa: ASYNC110  # nothing in this process hears of it
        await asyncio.sleep(_PARENT_CHECK_S)
    stop.set()


def _quieten_gc() -> None:
    """Few cycles are made, and a collection of everything is a pause: do it seldom, and not over what stays anyway."""
    gc.collect()
    gc.freeze()
    gc.set_threshold(50_000, 20, 100)


def _banner(mock: MockServer) -> str:
    url = f"{mock.base_url}/v1/chat/completions"
    body = '{"messages": [{"role": "user", "content": "Hello"}], "max_tokens": 8, "stream": true}'
    key = " -H 'Authorization: Bearer …'" if mock.settings.api_key else ""
    return (
        f"mock endpoint: {url}\n"
        f"model {mock.settings.model}, truth at {mock.base_url}/stats; Ctrl-C ends it\n"
        f"try: curl -N {url}{key} -H 'Content-Type: application/json' -d '{body}'"
    )
