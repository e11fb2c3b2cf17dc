"""What a user can get wrong: one clear line that names the field and the way out, and nothing is sent."""

import asyncio
import socket
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

Start = Callable[..., Any]


def error_of(run: Any, code: int) -> str:
    assert run.wait(60) == code, run.stderr
    lines = [line for line in run.stderr.splitlines() if line]
    assert len(lines) == 1, run.stderr
    return str(lines[0])


@pytest.mark.parametrize(
    ("change", "field", "way_out"),
    [
        ({"laod": {}}, "spec.laod: unknown field", "did you mean 'load'?"),
        ({"target": {"model": None}}, "spec.target.model: missing", "GET /v1/models"),
        ({"target": {"url": "127.0.0.1:8000/v1"}}, "has no scheme", "write http://127.0.0.1:8000/v1"),
        ({"target": {"url": "http://[::1"}}, "spec.target.url: ", ""),
        ({"target": {"url": "http://x:99999/v1"}}, "spec.target.url: ", "0-65535"),
        ({"target": {"url": "http://me:pass@x/v1"}}, "spec.target.url: ", "Authorization"),
        ({"target": {"api": "openia"}}, "spec.target.api: ", "did you mean 'openai'?"),
        ({"target": {"service": {"name": "x"}, "url": None}}, "spec.target.service: works in a cluster only", "give"),
        ({"target": {"apiKey": {"env": "NOT_SET_HERE"}}}, "environment variable NOT_SET_HERE is not set", ".env"),
        ({"target": {"headers": [{"name": "X-A", "value": "\u20ac"}]}}, "spec.target.headers", "cannot carry"),
        ({"target": {"tls": {"ca": {"file": "nothing.pem"}}}}, "spec.target.tls", "No such file"),
        ({"dataset": {"name": "openqs"}}, "spec.dataset.name: ", "did you mean 'openqa'?"),
        (
            {"dataset": {"name": "line_by_line", "path": "nothing.txt"}},
            "dataset.path: cannot read 'nothing.txt'",
            "No such",
        ),
        ({"dataset": {"name": "line_by_line"}}, "dataset.path", ""),
        ({"dataset": {"args": {"nothing": 1}}}, "dataset.args.nothing: unknown field", ""),
        ({"dataset": {"offset": 10_000_000}}, "dataset.offset: 10000000 leaves nothing", "entries"),
        ({"dataset": {"maxPromptLength": 1}}, "yields nothing", "maxPromptLength"),
        ({"dataset": {"prompt": "@nothing.txt"}}, "dataset.prompt: cannot read 'nothing.txt'", "No such"),
        ({"load": {"stages": [{"requests": 5}]}}, "spec.load.stages[0]", "give exactly one of concurrency"),
        ({"load": {"stages": [{"rate": -1, "requests": 5}]}}, "spec.load.stages[0].rate", "greater than 0"),
        ({"cancel": True}, "spec.cancel: ends a run in a cluster", "leave it out"),
        ({"target": {"url": "http://127.0.0.1:0/v1"}}, "spec.target.url: ", "port 0 is no port"),
        ({"target": {"tls": {"ca": {"secretKeyRef": {"name": "a", "key": "b"}}}}}, "spec.target.tls.ca: ", "give file"),
        ({"plugins": [{"file": "nothing.py"}]}, "nothing.py", "does not exist"),
    ],
)
def test_a_wrong_manifest(
    mock: Start, perfbench: Start, spec_for: Start, change: dict[str, Any], field: str, way_out: str
) -> None:
    server = mock()
    spec = spec_for(server)
    for name, value in change.items():
        merged = {**spec.get(name, {}), **value} if isinstance(value, dict) else value
        spec[name] = (
            {key: each for key, each in merged.items() if each is not None} if isinstance(merged, dict) else merged
        )
    run = perfbench(spec)
    line = error_of(run, 2)
    assert field in line
    assert way_out in line
    assert server.stats()["started"] == 0
    assert not run.folder.exists()


@pytest.mark.parametrize(
    ("args", "words"),
    [
        ("", "nothing to run; give a manifest FILE, or --url and --model"),
        ("nothing.yaml", "nothing.yaml: cannot be read: No such file"),
        ("--url http://x", "spec.target.model: missing"),
        ("--url http://x --model m --parallel x", "--parallel: "),
        ("--url http://x --model m --max-tokens 0", "at least 1"),
        ("--url http://x --model m --rate 0", "rate: 0 starts nothing; give more than 0, or -1"),
        ("--url http://x --model m --rate 5 10", "rate: 2 values make stages with open_loop alone"),
        ("--url http://x --model m --arrival constant", "arrival: constant belongs to rate"),
        ("--url http://x --model m --connect-timeout 0", "greater than 0"),
        ("--url http://x --model m --open-loop", "dataset 'openqa' has no recorded times; give rate"),
        ("--url http://x --model m --sla-auto-tune", "--sla-auto-tune: perfbench does not tune the load"),
        ("--url http://x --model m --set spec.load.x=5", "spec.load.x: unknown field"),
    ],
)
def test_wrong_flags(perfbench: Start, args: str, words: str) -> None:
    assert words in error_of(perfbench(None, *args.split()), 2)


def test_several_mistakes_are_a_line_each(perfbench: Start) -> None:
    run = perfbench({"target": {"url": "http://x", "modl": "m"}, "dataset": {"nam": "x"}})
    assert run.wait() == 2
    assert [line.split(": ")[0] for line in run.stderr.splitlines()] == ["error", "error"]


@pytest.fixture
def answering(served: Start) -> Callable[[str, bytes], str]:
    """A server that gives one answer to everything; its URL."""

    def start(status: str, body: bytes) -> str:
        async def handle(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            if not await reader.read(2**16):
                writer.close()
                return
            writer.write(
                f"HTTP/1.1 {status}\r\nContent-Length: {len(body)}\r\nConnection: close\r\n\r\n".encode() + body
            )
            await writer.drain()
            await asyncio.sleep(0.05)
            writer.close()

        return f"{served(handle)}/v1"

    return start


@pytest.mark.parametrize("test_first", [True, False], ids=["tested", "untested"])
@pytest.mark.parametrize(
    ("status", "words", "way_out"),
    [
        ("401 Unauthorized", "HTTP 401: no such key", "set PERFBENCH_API_KEY"),
        ("404 Not Found", "HTTP 404: no such key", "check target.url"),
        ("429 Too Many Requests", "HTTP 429: no such key", "lower the load"),
        ("301 Moved", "HTTP 301: no such key", "give that address as target.url"),
    ],
)
def test_an_endpoint_that_refuses_says_so_at_once(
    perfbench: Start, spec_for: Start, answering: Start, status: str, words: str, way_out: str, test_first: bool
) -> None:
    began_s = time.monotonic()
    target = {"connectionTest": test_first}
    run = perfbench(spec_for(answering(status, b"no such key"), {"concurrency": 2, "requests": 100_000}, target=target))
    assert run.wait(30) == 1
    assert time.monotonic() - began_s < 25, "100,000 requests take minutes"
    line = next(line for line in run.stderr.splitlines() if words in line)
    assert way_out in line
    assert run.summary["state"] == "failed"
    assert run.count() <= 200


@pytest.mark.parametrize("test_first", [True, False], ids=["tested", "untested"])
def test_an_endpoint_that_is_not_there_says_so_at_once(perfbench: Start, spec_for: Start, test_first: bool) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
    target = {"connectionTest": test_first}
    run = perfbench(spec_for(f"http://127.0.0.1:{port}", {"concurrency": 2, "requests": 100_000}, target=target))
    assert run.wait(20) == 1
    assert "connection refused; does the server run, and is the port right?" in run.stderr
    assert run.summary["state"] == "failed"


def test_an_unknown_host_says_so(perfbench: Start, spec_for: Start) -> None:
    run = perfbench(spec_for("http://nothing.invalid/v1"))
    assert run.wait(20) == 1
    assert "unknown host" in run.stderr


def test_a_target_that_starts_late_is_waited_for(perfbench: Start, spec_for: Start, mock: Start) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
    run = perfbench(spec_for(f"http://127.0.0.1:{port}", target={"waitFor": "30s"}))
    time.sleep(1.5)
    assert run.process.poll() is None
    mock(port=port)
    assert run.wait(30) == 0, run.stderr
    assert run.count() == 40


def test_a_dataset_that_fails_in_mid_run_is_named(
    mock: Start, perfbench: Start, spec_for: Start, tmp_path: Path
) -> None:
    (tmp_path / "mine.py").write_text(
        "from perfbench_plugins.datasets.base import DatasetPluginBase\n"
        "from perfbench_plugins.registry import register_dataset\n"
        "@register_dataset('mine')\n"
        "class Mine(DatasetPluginBase):\n"
        "    def build_messages(self):\n"
        "        for number in range(300):\n"
        "            yield [{'role': 'user', 'content': f'prompt {number}'}]\n"
        "        raise KeyError('oops')\n"
    )
    spec = spec_for(
        mock(), {"concurrency": 2, "requests": 1000}, plugins=[{"file": "mine.py"}], dataset={"name": "mine"}
    )
    run = perfbench(spec)
    assert run.wait(30) == 1
    assert "KeyError" in run.stderr
    assert "Mine" in run.stderr
    assert run.summary["state"] == "failed"
    assert run.count() == run.stage["requests"]["total"] > 0
