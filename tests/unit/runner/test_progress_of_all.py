"""How far a run is: of several runners what one would say that makes all of the load."""

from itertools import count
from random import Random

import pytest

from perfbench_api.outcome import Progress
from perfbench_api.sections import Load, Stage
from perfbench_plugins.benchmark_data import BenchmarkData
from perfbench_runner.engine.progress import live_quantiles, progress_of
from perfbench_runner.engine.state import RunState
from perfbench_runner.observe.live import Live
from perfbench_runner.observe.sketch import ERROR
from perfbench_runner.observe.told import ClientFigures, RunnerFigures
from perfbench_runner.results.client_health import State
from perfbench_runner.results.result import Result

REQUESTS = 400


def result(random: Random) -> Result:
    gaps_s = [random.uniform(0.01, 0.02) for _ in range(3)]
    data = BenchmarkData(success=random.random() > 0.1, first_chunk_latency=random.uniform(0.05, 0.2))
    data.inter_chunk_latency, data.completion_tokens = gaps_s, 4
    return Result(0, 0, 0, 0.0, data)


def told(live: Live, client: State) -> RunnerFigures:
    requests_rps, tokens_tps = live.rates()
    return RunnerFigures(
        requests=live.total,
        failed=live.failed,
        in_flight=3,
        requests_rps=requests_rps,
        tokens_tps=tokens_tps,
        ttft=live.ttft.counts(),
        itl=live.itl.counts(),
        client=ClientFigures(state=client),
    )


def progress(lives: list[Live], clients: list[State]) -> Progress:
    state, load = RunState(lambda: 8.0, phase="running"), Load(stages=[Stage(concurrency=9, requests=2 * REQUESTS)])
    others = [told(live, client) for live, client in zip(lives[1:], clients[1:], strict=True)]
    return progress_of(state, load, lives[0], clients[0], live_quantiles(lives[0], others), others)


@pytest.mark.parametrize("runners", [1, 2, 3, 5, 16])
def test_it_is_that_of_one_runner(runners: int) -> None:
    random, turn = Random(2), count()
    one, many = Live(lambda: 8.0), [Live(lambda: 8.0) for _ in range(runners)]
    for live in (one, *many):
        live.began_s = 3.0
    for _ in range(REQUESTS):
        measured = result(random)
        one.add(measured)
        many[next(turn) % runners].add(measured)
    found, wanted = progress(many, ["valid"] * runners), progress([one], ["valid"])
    assert (found.requests, found.failed, found.percent) == (wanted.requests, wanted.failed, 50.0)
    assert found.in_flight == 3 * (runners - 1), "its own is sampled elsewhere"
    for name in ("ttft_p50_s", "ttft_p99_s", "itl_p50_s", "itl_p99_s"):
        assert getattr(found, name) == getattr(wanted, name)
    assert found.ttft_p50_s == pytest.approx(0.125, rel=0.1 + ERROR)
    for name in ("request_throughput_rps", "output_token_throughput_tps", "eta_s"):
        assert getattr(found, name) == pytest.approx(getattr(wanted, name))


@pytest.mark.parametrize(
    ("clients", "worst"),
    [
        (["valid", "valid"], "valid"),
        (["valid", "degraded", "valid"], "degraded"),
        (["degraded", "valid", "invalid"], "invalid"),
    ],
)
def test_the_worst_client_of_all_counts(clients: list[State], worst: str) -> None:
    assert progress([Live(lambda: 8.0) for _ in clients], clients).client == worst
