"""The runners of a run, as they are shown: all of a few, of many those that something is to be said of."""

import io
from typing import Any

import pytest
from rich.console import Console

from perfbench_runner.cli.runners_table import MOST, show_runners
from perfbench_runner.results.client_summary import RunnerSummary, StageRunner
from perfbench_runner.results.measured import Distribution, Requests
from perfbench_runner.results.summary import StageSummary, Summary


def shown(runners: list[RunnerSummary], begins: dict[int, float]) -> str:
    nothing = dict.fromkeys(("ttft_s", "itl_s", "tpot_s", "e2e_latency_s", "scheduled_latency_s"), Distribution())
    more: dict[str, Any] = dict.fromkeys(
        ("dispatch_lag_s", "connect_s", "output_tokens", "prompt_tokens"), Distribution()
    )
    rates = dict.fromkeys(("request_throughput_rps", "output_token_throughput_tps", "total_token_throughput_tps"), None)
    stage = StageSummary(
        name="c8",
        requests=Requests(total=0, succeeded=0, failed=0),
        duration_s=1.0,
        errors={},
        runners=[StageRunner(runner=number, requests=1, begin_s=begin_s) for number, begin_s in begins.items()],
        **nothing,
        **more,
        **rates,
    )
    stream = io.StringIO()
    show_runners(
        Console(file=stream, width=120), Summary(name="x", verdict=None, stages=[stage, stage], runners=runners)
    )
    return stream.getvalue()


def test_each_runner_has_a_line() -> None:
    runners = [
        RunnerSummary(runner=0, name="pod-0", node="node-a", state="merged", requests=1200),
        RunnerSummary(runner=1, name="pod-1", node="node-b", state="merged", requests=1300, clock_bound_s=0.0004),
        RunnerSummary(runner=2, name="pod-2", state="lost", client="invalid"),
    ]
    text = shown(runners, {0: 0.0, 1: -0.0021})
    lines = [line.split() for line in text.splitlines() if "pod-" in line]
    assert lines[0] == ["0", "pod-0", "node-a", "1,200", "0.000", "ms", "-", "merged", "valid"]
    assert lines[1] == ["1", "pod-1", "node-b", "1,300", "2.100", "ms", "400.0", "µs", "merged", "valid"]
    assert lines[2] == ["2", "pod-2", "-", "0", "-", "-", "lost", "invalid"]


def test_one_runner_needs_no_table() -> None:
    assert shown([], {}) == ""


@pytest.mark.parametrize("runners", [MOST, MOST + 1, 200])
def test_of_many_runners_those_in_trouble_are_shown(runners: int) -> None:
    many = [RunnerSummary(runner=number, name=f"pod-{number}", state="merged") for number in range(runners)]
    many[-1] = many[-1].model_copy(update={"client": "degraded"})
    many[-2] = many[-2].model_copy(update={"state": "lost", "client": "invalid"})
    text = shown(many, {})
    assert text.count("pod-") == MOST
    assert "degraded" in text
    assert "lost" in text
    assert (f"{runners - MOST} more runners" in text) == (runners > MOST)
