"""Loads that change over time, in whole runs: what was asked for is what the server saw, and ramps are in no figure.

Shapes: 1, 3, 5 and 16 workers. Times are compared with the schedule, which a busy machine does not change.
"""

import json
from pathlib import Path
from typing import Any

import pytest


def offsets(run: Any, stage: int = 0) -> list[float]:
    """When requests were due, from the beginning of the stage."""
    (begin_s,) = run.query(f"SELECT begin_time FROM stage WHERE stage = {stage}")[0]
    found = run.query(f"SELECT scheduled_time FROM requests WHERE stage = {stage} ORDER BY scheduled_time")
    return [at_s - begin_s for (at_s,) in found]


def plan(run: Any, stage: int = 0) -> dict[str, Any]:
    found: dict[str, Any] = json.loads(run.query(f"SELECT plan FROM stage WHERE stage = {stage}")[0][0])
    return found


@pytest.mark.parametrize("workers", [1, 3, 5, 16])
def test_a_rate_is_ramped_and_its_ramps_are_stored_and_in_no_figure(
    mock: Any, perfbench: Any, spec_for: Any, workers: int
) -> None:
    stage = {"rate": 40, "arrival": "constant", "rampUp": "1s", "rampDown": "1s", "duration": "4s"}
    run = perfbench(spec_for(mock(), stage, runner={"workers": workers}))
    assert run.wait() == 0
    counts, due = run.stage["requests"], offsets(run)
    assert len(due) in (119, 120, 121), "20 in each ramp, 80 between them"
    assert counts["total"] == sum(1 <= at_s < 3 for at_s in due)
    assert counts["total"] + counts["excluded"] == len(due) == run.count()
    assert dict(run.query("SELECT coalesce(excluded, '-'), count(*) FROM requests GROUP BY excluded")) == {
        "ramp_up": sum(at_s < 1 for at_s in due),
        "ramp_down": sum(at_s >= 3 for at_s in due),
        "-": counts["total"],
    }
    assert run.stage["ttft_s"]["count"] == run.stage["e2e_latency_s"]["count"] == counts["total"]
    assert run.stage["itl_s"]["count"] == 3 * counts["total"]
    window = run.stage["window"]
    assert (window["start_s"], window["end_s"]) == pytest.approx((1, 3))
    # What a busy machine makes of it: what was due in a ramp is sent, and ends, between them.
    assert run.stage["request_throughput_rps"] == pytest.approx(40, rel=0.25)
    assert run.stage["sent_rate_rps"] == pytest.approx(40, rel=0.25)
    assert any("ramped up or down: they are stored, and in no figure" in note for note in run.stage["notes"])


@pytest.mark.parametrize("workers", [1, 3, 5])
def test_lanes_come_one_after_the_other_and_go_again(mock: Any, perfbench: Any, spec_for: Any, workers: int) -> None:
    stage = {"concurrency": 10, "rampUp": "2s", "rampDown": "2s", "duration": "5s"}
    server = mock(ttft_s=0.05, itl_s=0.0, output_tokens=1)
    run = perfbench(spec_for(server, stage, runner={"workers": workers}))
    assert run.wait() == 0
    rows = run.query("SELECT scheduled_time, completed_time FROM requests")
    (begin_s,) = run.query("SELECT begin_time FROM stage")[0]
    at = {at_s: sum(due - begin_s <= at_s < end - begin_s for due, end in rows) for at_s in (0.1, 0.5, 1.1, 2.5, 4.5)}
    assert at[0.1] == 1, "one lane at first"
    assert 2 <= at[0.5] <= 4
    assert 5 <= at[1.1] <= 7
    assert 9 <= at[2.5] <= 11
    assert 1 <= at[4.5] <= 4
    counts = run.stage["requests"]
    due = offsets(run)
    assert counts["total"] == sum(2 <= at_s < 3 for at_s in due)
    assert counts["excluded"] == len(due) - counts["total"] > 0
    assert counts["failed"] == counts["unfinished"] == 0
    # Little's law between the ramps: ten lanes, whatever the machine makes of an answer's time.
    assert run.stage["request_throughput_rps"] * run.stage["scheduled_latency_s"]["mean"] == pytest.approx(10, rel=0.15)


@pytest.mark.parametrize("workers", [1, 3])
def test_a_burst_is_sent_when_it_is_due_and_draws_again_from_its_seed(
    mock: Any, perfbench: Any, spec_for: Any, workers: int
) -> None:
    burst = {"base": 10, "peak": 100, "at": "1s", "for": "1s"}
    stage = {"profile": {"burst": burst}, "duration": "3s"}
    spec = spec_for(mock(), stage, runner={"workers": workers}, load={"randomSeed": 7})
    run, again = perfbench(spec), perfbench(spec, name="again")
    assert run.wait() == again.wait() == 0
    due = offsets(run)
    assert due == pytest.approx(offsets(again), abs=1e-6), "one seed is one schedule"
    assert 60 < sum(1 <= at_s < 2 for at_s in due) < 140
    assert sum(at_s < 1 for at_s in due) < 25
    assert plan(run)["profile"] == {"burst": burst | {"base": 10.0, "peak": 100.0, "at": "1s", "for": "1s"}}
    schedule = plan(run)["schedule"]
    assert schedule == {"process": "poisson", "seed": "7/arrivals/0", "expectedRequests": 120.0, "meanRate": 40.0}
    assert run.stage["offered_rate_rps"] == 40
    assert run.stage["load"] == (
        "open loop, Poisson arrivals, 10 requests/s with bursts of 100 for 1s, first at 1s, 3s; seed 7/arrivals/0"
    )
    assert "bursts of 100 for 1s" in run.stdout, "it is shown"


def test_gamma_arrivals_come_in_clumps(mock: Any, perfbench: Any, spec_for: Any) -> None:
    stage = {"rate": 100, "arrival": "gamma", "cv": 3, "requests": 300}
    run = perfbench(spec_for(mock(), stage, load={"randomSeed": 7}))
    assert run.wait() == 0
    due = offsets(run)
    gaps = [after - before for before, after in zip([0.0, *due], due, strict=False)]
    mean = sum(gaps) / len(gaps)
    spread = (sum((gap - mean) ** 2 for gap in gaps) / len(gaps)) ** 0.5
    assert 2 < spread / mean < 4
    assert "gamma (cv 3) arrivals" in run.stage["load"]


@pytest.mark.parametrize("workers", [1, 3])
def test_times_of_a_file_are_played_and_end_the_stage(
    mock: Any, perfbench: Any, spec_for: Any, tmp_path: Path, workers: int
) -> None:
    times = [0.0, 0.1, 0.1, 0.4, 0.9, 1.2]
    path = tmp_path / "times.csv"
    path.write_text("at\n" + "".join(f"{1e9 + at_s * 2}\n" for at_s in times))
    stage = {"timestamps": {"path": str(path), "column": "at", "speed": 2}}
    run = perfbench(spec_for(mock(), stage, runner={"workers": workers}))
    assert run.wait() == 0
    assert offsets(run) == pytest.approx(times, abs=1e-6)
    assert run.stage["requests"]["total"] == 6
    assert run.stage["offered_rate_rps"] == pytest.approx(5 / 1.2)


def test_a_file_without_times_is_refused_before_any_load(
    mock: Any, perfbench: Any, spec_for: Any, tmp_path: Path
) -> None:
    path = tmp_path / "times.csv"
    path.write_text("when\n1\n")
    run = perfbench(spec_for(mock(), {"timestamps": {"path": str(path)}}))
    assert run.wait() != 0
    assert "has no column 'timestamp'; there are when" in run.stderr
    assert not run.database.exists()


def test_a_rate_that_falls_to_nothing_ends_the_stage_by_its_duration(mock: Any, perfbench: Any, spec_for: Any) -> None:
    points = [{"at": "0s", "rate": 20}, {"at": "1s", "rate": 20}, {"at": "1s", "rate": 0}]
    stage = {"profile": {"points": points}, "arrival": "constant", "duration": "2s"}
    run = perfbench(spec_for(mock(), stage))
    assert run.wait() == 0
    assert offsets(run) == pytest.approx([number / 20 for number in range(20)], abs=1e-6)
    assert run.stage["requests"]["unsent"] == 0


@pytest.mark.parametrize("workers", [1, 3])
def test_a_warmup_by_time_ends_and_is_in_no_figure(mock: Any, perfbench: Any, spec_for: Any, workers: int) -> None:
    load = {"warmup": {"duration": "1s", "concurrency": 4}}
    stage = {"concurrency": 2, "requests": 20}
    run = perfbench(spec_for(mock(ttft_s=0.05), stage, load=load, runner={"workers": workers}))
    assert run.wait() == 0
    warmed = run.summary["unmeasured_requests"]["warmup"]
    assert 8 <= warmed <= 80, "four lanes for a second, a twentieth of one each"
    assert run.stage["requests"]["total"] == run.count() == 20
    entries = [entry for (entry,) in run.query("SELECT entry FROM requests ORDER BY entry")]
    assert entries == list(range(4, 24)), "entries that the warm-up may use are not used again: four a second"
