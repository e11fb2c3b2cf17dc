"""Guards and `until` of several runners: the leader decides for the whole, and all end at one time."""

from typing import Any

import pytest


def stops_of(run: Any, stage: int = 0) -> list[float]:
    """When each runner's part of a stage was told to end, on the leader's clock."""
    found = run.query(f"SELECT stop_time FROM runner_stage WHERE stage = {stage} ORDER BY runner")
    return [stop for (stop,) in found]


@pytest.mark.parametrize(
    ("replicas", "load"),
    [(2, {"rate": 100, "duration": "120s"}), (3, {"concurrency": 8, "requests": 20_000})],
)
def test_a_stage_ends_for_all_when_all_know_its_figure(
    mock: Any, perfbench: Any, spec_for: Any, replicas: int, load: dict[str, Any]
) -> None:
    server = mock(ttft_s=0.02, ttft_jitter_s=0.01, itl_s=0.0, output_tokens=1)
    until = {"metric": "ttft", "statistic": "p50", "within": "20%"}
    after = {"name": "after", "concurrency": replicas, "requests": 2 * replicas}
    run = perfbench(spec_for(server, load | {"until": until}, after, runner={"replicas": replicas}))
    assert run.wait(150) == 0, run.stderr
    first, second = run.summary["stages"]
    assert 230 <= first["requests"]["total"] < 4000
    assert first["requests"]["failed"] == first["requests"]["unfinished"] == first["requests"]["unsent"] == 0
    (note,) = [note for note in first["notes"] if note.startswith("ended since")]
    assert "ttft p50 is known to ±" in note
    assert max(stops_of(run)) - min(stops_of(run)) < 0.005
    assert all(part["requests"] > 0 for part in first["runners"])
    assert second["requests"]["total"] == 2 * replicas
    assert run.query("SELECT count(*), count(DISTINCT seq) FROM requests WHERE stage = 0") == [
        (first["requests"]["total"],) * 2
    ]


def test_a_budget_is_of_all_runners_together(mock: Any, perfbench: Any, spec_for: Any) -> None:
    load = {"guards": {"budget": {"requests": 150}}}
    stage = {"concurrency": 6, "requests": 50_000}
    run = perfbench(spec_for(mock(ttft_s=0.1), stage, load=load, runner={"replicas": 3}))
    assert run.wait(120) == 1
    assert 150 <= run.stage["requests"]["total"] < 400, "no more than what is sent in about a second"
    assert run.stage["requests"]["failed"] == run.stage["requests"]["unfinished"] == 0
    assert "load.guards.budget.requests: " in run.summary["message"]
    assert run.query("SELECT value FROM run WHERE key = 'reason'") == [("BudgetSpent",)]
    assert [row["state"] for row in run.summary["runners"]] == ["merged"] * 3
