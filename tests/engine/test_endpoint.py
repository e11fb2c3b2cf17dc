"""What a runner serves while it runs and lingers, and what it leaves for the operator."""

import asyncio
import json
import signal
import socket
import time
import urllib.error
import urllib.request
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from asking import get

from perfbench_api.outcome import Outcome
from perfbench_runner.observe.endpoint import Endpoint

Start = Callable[..., Any]
SHORT = {"concurrency": 2, "requests": 6}
LONG = {"concurrency": 2, "requests": 100_000}


def test_a_run_can_be_watched(mock: Start, perfbench: Start, spec_for: Start, listen: str) -> None:
    run = perfbench(spec_for(mock(), LONG), "--listen", listen)
    run.until(lambda: 'perfbench_requests_total{benchmark="run"' in get(listen, "/metrics"))
    run.until(lambda: json.loads(get(listen, "/progress"))["phase"] == "running")
    assert json.loads(get(listen, "/progress"))["stage"] == "c2"
    assert get(listen, "/healthz") == "ok\n"
    with pytest.raises(urllib.error.HTTPError, match="404"):
        urllib.request.urlopen(f"http://{listen}/", timeout=5)
    run.signal(signal.SIGTERM)
    assert run.wait(20) == 130


def test_metrics_stay_as_long_as_the_run_lingers(
    mock: Start, perfbench: Start, spec_for: Start, listen: str, tmp_path: Path
) -> None:
    word = tmp_path / "word"
    spec = spec_for(mock(), SHORT, runner={"linger": "2s"})
    run = perfbench(spec, "--listen", listen, "--termination-message", str(word))
    run.until(lambda: '_phase{benchmark="run",model="m",namespace="",phase="done",workload="openqa"} 1.0'
              in get(listen, "/metrics"))  # fmt: skip
    assert json.loads(get(listen, "/progress"))["phase"] == "done"
    assert json.loads(word.read_text())["outcome"] == "succeeded", "before it lingers: the pod may be killed then"
    assert run.process.poll() is None
    assert run.wait(10) == 0


def test_a_signal_ends_the_lingering_at_once_and_changes_nothing_of_the_run(
    mock: Start, perfbench: Start, spec_for: Start, listen: str, tmp_path: Path
) -> None:
    word = tmp_path / "word"
    spec = spec_for(mock(), SHORT, runner={"linger": "1h"})
    run = perfbench(spec, "--listen", listen, "--termination-message", str(word))
    run.until(word.exists)
    run.until(lambda: bool(word.read_text()))
    began_s = time.monotonic()
    run.signal(signal.SIGTERM)
    assert run.wait(10) == 0
    assert time.monotonic() - began_s < 5
    assert run.summary["state"] == "complete"


def test_an_address_that_is_taken_is_told_before_any_load(
    mock: Start, perfbench: Start, spec_for: Start, tmp_path: Path
) -> None:
    server, word = mock(), tmp_path / "word"
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        listen = f"127.0.0.1:{taken.getsockname()[1]}"
        run = perfbench(spec_for(server), "--listen", listen, "--termination-message", str(word))
        assert run.wait(20) == 2
    assert f"--listen {listen}" in run.stderr
    assert "address already in use" in run.stderr
    assert json.loads(word.read_text())["reason"] == "InvalidSpec"
    assert server.stats()["started"] == 0


@pytest.mark.parametrize("listen", ["nonsense", "127.0.0.1:", "127.0.0.1:http"])
def test_an_address_that_is_none_is_bad_input(mock: Start, perfbench: Start, spec_for: Start, listen: str) -> None:
    run = perfbench(spec_for(mock()), "--listen", listen)
    assert run.wait(20) == 2
    assert "write it as HOST:PORT" in run.stderr


class Metrics:
    """A page that is larger than what the kernel holds for a client."""

    def render(self, accept: str) -> tuple[bytes, str]:
        return b"x" * 8_000_000, "text/plain"


async def opened(listen: str, handover_s: float = 0.0) -> tuple[Endpoint, int]:
    """An endpoint that serves, and its port."""
    endpoint = Endpoint(listen, Metrics(), handover_s=handover_s)  # type: ignore[arg-type]
    await endpoint.open(SimpleNamespace(interrupted=asyncio.Event()))  # type: ignore[arg-type]
    return endpoint, endpoint._socket.getsockname()[1]


@pytest.mark.parametrize(
    ("listen", "families"),
    [
        (":0", {"127.0.0.1", "::1"}),
        ("[::]:0", {"127.0.0.1", "::1"}),
        ("0.0.0.0:0", {"127.0.0.1"}),
        ("127.0.0.1:0", {"127.0.0.1"}),
        ("[::1]:0", {"::1"}),
    ],
)
async def test_all_addresses_are_those_of_both_families(listen: str, families: set[str], has_ipv6: bool) -> None:
    if "::1" in families and not has_ipv6:
        pytest.skip("this machine has no IPv6")
    endpoint, port = await opened(listen)
    answered = set()
    for host in ("127.0.0.1", "::1"):
        address = f"[{host}]" if ":" in host else host
        if await asyncio.to_thread(get, f"{address}:{port}", "/healthz") == "ok\n":
            answered.add(host)
    await endpoint.close(Outcome(outcome="succeeded"))
    assert answered == families


async def test_without_ipv6_all_addresses_are_those_of_ipv4(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(socket, "has_dualstack_ipv6", lambda: False)
    endpoint, port = await opened(":0")
    assert await asyncio.to_thread(get, f"127.0.0.1:{port}", "/healthz") == "ok\n"
    await endpoint.close(Outcome(outcome="succeeded"))


def outcome_of(stages: int) -> Outcome:
    counts = {"total": 2000, "succeeded": 1990, "failed": 10}
    return Outcome(outcome="succeeded", stages=[{"name": f"c{number}", "requests": counts} for number in range(stages)])


@pytest.mark.parametrize("stages", [100, 500])
async def test_an_outcome_that_the_termination_message_cuts_waits_until_it_has_been_asked_for(stages: int) -> None:
    endpoint, port = await opened("127.0.0.1:0", handover_s=60)
    address, outcome = f"127.0.0.1:{port}", outcome_of(stages)
    assert outcome.is_cut
    assert await asyncio.to_thread(get, address, "/outcome") == "", "the run is not over"
    closing = asyncio.create_task(endpoint.close(outcome))
    await asyncio.sleep(0.1)
    assert not closing.done()
    told = await asyncio.to_thread(get, address, "/outcome")
    assert Outcome.model_validate_json(told) == outcome
    await asyncio.wait_for(closing, 10)


@pytest.mark.parametrize(("stages", "handover_s"), [(3, 60.0), (500, 0.0), (500, 0.2)])
async def test_an_outcome_does_not_wait_where_it_fits_or_nobody_asks(stages: int, handover_s: float) -> None:
    endpoint, _ = await opened("127.0.0.1:0", handover_s)
    await asyncio.wait_for(endpoint.close(outcome_of(stages)), 10)


async def test_a_client_that_reads_nothing_does_not_hold_the_end() -> None:
    endpoint, port = await opened("127.0.0.1:0")
    _, writer = await asyncio.open_connection("127.0.0.1", port, limit=1)
    writer.write(b"GET /metrics HTTP/1.1\r\nHost: x\r\n\r\n" * 10)
    await asyncio.sleep(0.2)
    began_s = time.monotonic()
    await endpoint.close(Outcome(outcome="succeeded"))
    assert 0.5 < time.monotonic() - began_s < 5, "the client is given a moment"
    writer.close()


def test_server_metrics_that_cannot_be_had_hurt_no_run(
    mock: Start, perfbench: Start, spec_for: Start, listen: str, tmp_path: Path
) -> None:
    word = tmp_path / "word"
    pages = [
        {"url": "http://127.0.0.1:9/metrics"},
        {"url": "http://a..b/metrics"},
        {"url": f"http://{'x' * 70}.example/"},
    ]
    spec = spec_for(mock(), SHORT, target={"metrics": pages})
    run = perfbench(spec, "--listen", listen, "--termination-message", str(word))
    assert run.wait(30) == 0
    assert run.stderr.count("no server metrics from") == 3
    assert json.loads(word.read_text())["outcome"] == "succeeded"
    assert run.stage["requests"]["succeeded"] == 6


def test_a_run_without_a_place_for_its_results_says_so_in_its_last_word(
    mock: Start, perfbench: Start, spec_for: Start, tmp_path: Path
) -> None:
    word = tmp_path / "word"
    (tmp_path / "file").write_text("in the way")
    run = perfbench(spec_for(mock()), "--termination-message", str(word), name="file/run")
    assert run.wait(20) == 2
    assert "cannot write" in run.stderr
    assert json.loads(word.read_text())["reason"] == "CannotStore"


def test_a_last_word_that_cannot_be_written_changes_nothing(
    mock: Start, perfbench: Start, spec_for: Start, tmp_path: Path
) -> None:
    run = perfbench(spec_for(mock(), SHORT), "--termination-message", str(tmp_path / "no" / "word"))
    assert run.wait(20) == 0
    assert "cannot write the termination message" in run.stderr
    run = perfbench({"target": {}}, "--termination-message", str(tmp_path / "no" / "word"), name="bad")
    assert run.wait(20) == 2
