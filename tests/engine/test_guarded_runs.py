"""Runs that a guard ends: what was measured is kept, and the reason is told."""

from typing import Any

import pytest


@pytest.mark.parametrize("workers", [1, 3])
def test_a_budget_of_requests_ends_the_run_and_keeps_what_was_measured(
    mock: Any, perfbench: Any, spec_for: Any, workers: int
) -> None:
    load = {"guards": {"budget": {"requests": 50}}}
    run = perfbench(spec_for(mock(), {"concurrency": 4, "requests": 5000}, load=load, runner={"workers": workers}))
    assert run.wait() == 1
    assert 50 <= run.stage["requests"]["total"] < 500
    assert run.stage["requests"]["failed"] == run.stage["requests"]["unfinished"] == 0
    assert run.summary["state"] == "failed"
    assert "load.guards.budget.requests: 50 of 50 are used" in run.summary["message"]


def test_failures_beyond_doubt_end_the_run(mock: Any, perfbench: Any, spec_for: Any) -> None:
    load = {"guards": {"failedShare": "30%"}, "maxFailedShare": 1}
    target = {"connectionTest": False}
    run = perfbench(spec_for(mock(error_rate=0.7), {"concurrency": 4, "requests": 5000}, load=load, target=target))
    assert run.wait() == 1
    assert run.stage["requests"]["total"] < 1000
    assert "surely more than load.guards.failedShare 0.3 allows" in run.summary["message"]


@pytest.mark.parametrize("workers", [1, 2])
def test_a_stage_whose_queue_grows_ends_and_the_next_one_runs(
    mock: Any, perfbench: Any, spec_for: Any, workers: int
) -> None:
    """Eight places at a fifth of a second each carry 40 a second; 60 come."""
    server = mock(ttft_s=0.2, itl_s=0.0, output_tokens=1)
    stages = [
        {"name": "much", "rate": 60, "maxConcurrency": 8, "duration": "120s"},
        {"name": "little", "rate": 5, "duration": "2s"},
    ]
    load = {"guards": {"overSaturation": True}}
    run = perfbench(spec_for(server, *stages, load=load, runner={"workers": workers}))
    assert run.wait(140) in (0, 1)
    much, little = run.summary["stages"]
    assert any("ended since the endpoint is over-saturated" in note for note in much["notes"])
    assert 20 < much["window"]["end_s"] < 100, "and not its whole 120 s"
    assert little["requests"]["total"] > 0
    assert run.summary["state"] == "complete"
