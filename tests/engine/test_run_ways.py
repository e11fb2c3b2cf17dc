"""Whole runs on other ways than a TCP connection to the server: through a proxy, and over a Unix socket."""

import asyncio
import json
import threading
import urllib.request
from collections.abc import Awaitable, Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml
from relaying import relay_to

from perfbench_runner.listening import server_socket

Start = Callable[..., Any]
Opened = Callable[[str, int, str], int]
PASSWORD = "a-password-of-the-proxy"


@pytest.fixture
def relay() -> Iterator[Callable[..., int]]:
    """Pass on what comes to a Unix socket, or as an HTTP proxy to a free port, to a server's port; `heads` gets how it begins."""
    loop = asyncio.new_event_loop()
    thread = threading.Thread(target=loop.run_forever)
    thread.start()
    listeners: list[asyncio.Server] = []

    def start(to: int, path: Path | None = None, heads: list[bytes] | None = None) -> int:
        async def handle(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            first = await reader.read(2**16)
            if heads is not None:
                heads.append(first)
            await relay_to(to, reader, writer, first)

        opened: Awaitable[asyncio.Server] = (
            asyncio.start_unix_server(handle, path) if path else asyncio.start_server(handle, "127.0.0.1", 0)
        )
        listener = asyncio.run_coroutine_threadsafe(_awaited(opened), loop).result()
        listeners.append(listener)
        return 0 if path else int(listener.sockets[0].getsockname()[1])

    async def _awaited(opened: Awaitable[asyncio.Server]) -> asyncio.Server:
        return await opened

    yield start
    for listener in listeners:
        loop.call_soon_threadsafe(listener.close)
    loop.call_soon_threadsafe(lambda: loop.call_later(0.2, loop.stop))
    thread.join()
    loop.close()


def port_of(url: str) -> int:
    return int(url.rpartition(":")[2].partition("/")[0])


PLUGIN = """
from perfbench_plugins.api.openai_api import OpenaiPlugin
from perfbench_plugins.benchmark_data import BenchmarkData
from perfbench_plugins.registry import register_api

@register_api('by-itself')
class ByItself(OpenaiPlugin):
    async def process_request(self, client_session, url, headers, body):
        async with client_session.post(url, json=body, headers=headers) as response:
            text = await response.text()
        return BenchmarkData(success=response.status == 200, response_messages=[text], prompt_tokens=1, completion_tokens=1)
"""


@pytest.mark.parametrize("api", ["openai", "by-itself"])
def test_a_run_over_a_unix_socket(
    mock: Start, perfbench: Start, spec_for: Start, relay: Start, tmp_path: Path, api: str
) -> None:
    server, path = mock(), tmp_path / "vllm.sock"
    relay(port_of(server.base_url), path)
    (tmp_path / "plugin.py").write_text(PLUGIN)
    spec = spec_for(f"unix:{path}", {"concurrency": 3, "requests": 12}, target={"api": api})
    run = perfbench({**spec, "plugins": [{"file": "plugin.py"}]})
    assert run.wait() == 0, run.stderr
    assert run.stage["requests"]["succeeded"] == 12
    assert server.stats()["started"] == 13
    stored = yaml.safe_load((run.folder / "manifest.yaml").read_text())
    assert stored["spec"]["target"]["url"] == f"unix:{path}"


@pytest.mark.parametrize("api", ["openai", "by-itself"])
def test_a_run_through_a_proxy_leaves_no_password(
    mock: Start, perfbench: Start, spec_for: Start, relay: Start, tmp_path: Path, api: str
) -> None:
    """The mock answers as the proxy itself: it takes absolute URLs, and passes nothing on."""
    server, heads = mock(), list[bytes]()
    port = relay(port_of(server.base_url), heads=heads)
    (tmp_path / "plugin.py").write_text(PLUGIN)
    proxy = f"http://me:{PASSWORD}@127.0.0.1:{port}"
    spec = spec_for("http://endpoint.test:8000/v1/chat/completions", {"concurrency": 1, "requests": 3})
    spec["target"] |= {"api": api, "proxy": proxy}
    run = perfbench({**spec, "plugins": [{"file": "plugin.py"}]})
    run.wait()
    assert heads[0].startswith(b"POST http://endpoint.test:8000/v1/chat/completions HTTP/1.1\r\n")
    assert b"Proxy-Authorization: Basic bWU6YS1wYXNzd29yZC1vZi10aGUtcHJveHk=\r\n" in heads[0]
    left = b"".join(file.read_bytes() for file in run.folder.iterdir()) + (run.stdout + run.stderr).encode()
    assert PASSWORD.encode() not in left
    assert b"bWU6YS1wYXNz" not in left
    stored = yaml.safe_load((run.folder / "manifest.yaml").read_text())
    assert stored["spec"]["target"]["proxy"] == f"http://me:${{PERFBENCH_PROXY_PASSWORD}}@127.0.0.1:{port}"


@pytest.mark.parametrize("flags", [(), ("--proxy", "environment")])
def test_a_proxy_of_the_environment_is_used_on_request_and_told_otherwise(
    mock: Start, perfbench: Start, relay: Start, flags: tuple[str, ...]
) -> None:
    server, heads = mock(), list[bytes]()
    port = relay(port_of(server.base_url), heads=heads)
    env = {"http_proxy": f"http://127.0.0.1:{port}", "no_proxy": "", "NO_PROXY": ""}
    run = perfbench(None, *("--url", "http://endpoint.test/v1", "--model", "m", "-n", "2", *flags), env=env)
    run.wait()
    assert bool(heads) == bool(flags)
    assert ("http_proxy is set and not used" in run.stderr) != bool(flags)


def test_between_stages_nothing_is_shown_as_running(mock: Start, perfbench: Start, spec_for: Start) -> None:
    with server_socket("127.0.0.1", 0) as taken:
        port = taken.getsockname()[1]
    stages = [{"concurrency": 2, "requests": 4}, {"concurrency": 4, "requests": 4}]
    run = perfbench(spec_for(mock(), *stages, load={"pause": "60s"}), "--listen", f"127.0.0.1:{port}")
    run.wait_for_rows(4)

    def progress() -> dict[str, Any]:
        with urllib.request.urlopen(f"http://127.0.0.1:{port}/progress") as answer:
            found: dict[str, Any] = json.load(answer)
        return found

    run.until(lambda: progress()["phase"] == "pausing")
    now = progress()
    assert (now["stage"], now["percent"], now["eta_s"]) == (None, 50.0, None)
    run.signal(2)
    assert run.wait(20) == 130
    (stage,) = run.summary["stages"]
    assert stage["requests"]["succeeded"] == 4
    assert not any("generating requests" in reason for reason in run.summary["client"]["reasons"])
