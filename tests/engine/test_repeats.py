"""A list of stages that is run several times, in a whole run."""

from typing import Any


def test_the_list_of_stages_is_run_again_and_its_figures_are_compared(mock: Any, perfbench: Any, spec_for: Any) -> None:
    stages = [{"concurrency": 2, "requests": 30}, {"rate": 100, "requests": 30, "name": "open"}]
    objectives = [{"metric": "failed_share", "max": 0, "stage": "open"}]
    run = perfbench(spec_for(mock(), *stages, load={"repeat": 3}, objectives=objectives))
    assert run.wait() in (0, 4)  # a busy machine may leave the verdict open
    names = [f"{name}-{number}" for number in (1, 2, 3) for name in ("c2", "open")]
    assert [stage["name"] for stage in run.summary["stages"]] == names
    assert [result["stage"] for result in run.summary["objectives"]] == ["open-1", "open-2", "open-3"]
    closed, opened = run.summary["repeated"]
    assert (closed["name"], opened["name"]) == ("c2", "open")
    assert opened["stages"] == ["open-1", "open-2", "open-3"]
    assert len(opened["figures"]["ttft_s.p50"]["values"]) == 3
    assert "3 repeats of stage open" in run.stdout
    times = [first for (first,) in run.query("SELECT min(scheduled_time) FROM requests GROUP BY stage ORDER BY stage")]
    assert times == sorted(times)
    gaps = run.query("SELECT scheduled_time - (SELECT min(scheduled_time) FROM requests WHERE stage = r.stage)"
                     " FROM requests r WHERE stage IN (1, 3) ORDER BY stage, seq")  # fmt: skip
    assert gaps[:30] != gaps[30:]  # each draws arrivals of its own
