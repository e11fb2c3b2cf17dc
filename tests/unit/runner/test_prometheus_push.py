"""Metrics pushed at the end of a run, to a server that speaks as a Pushgateway does."""

import logging

import pytest
from aiohttp import web

from perfbench_api.outcome import Outcome
from perfbench_api.resource import PerfBenchmark
from perfbench_runner.observe.prometheus import Metrics
from perfbench_runner.observe.push import Push


def metrics() -> Metrics:
    metadata = {"name": "llama", "namespace": "models"}
    return Metrics(PerfBenchmark.read({"metadata": metadata, "spec": {"target": {"mock": {}}}}), "m")


async def test_the_final_state_replaces_what_the_benchmark_s_group_holds() -> None:
    got = []

    async def take(request: web.Request) -> web.Response:
        got.append((request.method, request.path, await request.text()))
        return web.Response()

    app = web.Application()
    app.router.add_route("*", "/{any:.*}", take)
    runner = web.AppRunner(app)
    await runner.setup()
    await web.TCPSite(runner, "127.0.0.1", 0).start()
    pushed = metrics()
    await pushed.close(Outcome(outcome="succeeded"))
    await Push(f"http://127.0.0.1:{runner.addresses[0][1]}", pushed).close(Outcome(outcome="succeeded"))
    await runner.cleanup()
    [(method, path, text)] = got
    assert (method, path) == ("PUT", "/metrics/job/perfbench/benchmark/llama/namespace/models")
    assert 'perfbench_phase{benchmark="llama",model="m",namespace="models",phase="done",workload="openqa"} 1.0' in text


@pytest.mark.parametrize("url", ["http://127.0.0.1:1", "http://no-such-host.invalid:9091"])
async def test_a_gateway_that_is_not_there_fails_no_run(url: str, caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.WARNING):
        await Push(url, metrics()).close(Outcome(outcome="succeeded"))
    assert f"cannot push metrics to {url}: " in caplog.text
