"""A stage that ends when a figure is known well enough: it does, the next one runs, and the figures are whole."""

from typing import Any

import pytest

from perfbench_runner.results.precision import in_words, known

UNTIL = {"metric": "ttft", "statistic": "p50", "within": "20%"}


@pytest.mark.alone
@pytest.mark.parametrize(
    ("workers", "load"),
    [
        (1, {"concurrency": 8, "requests": 20_000}),
        (3, {"concurrency": 8, "duration": "120s"}),
        (2, {"rate": 100, "duration": "120s"}),
        (3, {"rate": 100, "requests": 20_000}),
    ],
)
def test_a_stage_ends_by_precision_and_the_run_goes_on(
    mock: Any, perfbench: Any, spec_for: Any, workers: int, load: dict[str, Any]
) -> None:
    server = mock(ttft_s=0.02, ttft_jitter_s=0.01, itl_s=0.0, output_tokens=1)
    after = {"name": "after", "concurrency": 2, "requests": 20}
    run = perfbench(spec_for(server, load | {"until": UNTIL}, after, runner={"workers": workers}))
    assert run.wait(90) == 0
    first, second = run.summary["stages"]
    assert 230 <= first["requests"]["total"] < 3000
    assert first["requests"]["failed"] == first["requests"]["unfinished"] == first["requests"]["unsent"] == 0
    (note,) = [note for note in first["notes"] if note.startswith("ended since")]
    assert "ttft p50 is known to ±" in note
    assert "until ttft p50 is known to ±20.0%, at most" in first["load"]
    assert first["window"]["kind"] != "overall"
    assert first["request_throughput_rps"] > 0
    assert first["client"]["load"] != "invalid"
    assert second["requests"]["total"] == 20
    assert run.summary["state"] == "complete"


def test_a_stage_that_comes_to_its_limit_says_what_is_not_known(mock: Any, perfbench: Any, spec_for: Any) -> None:
    stage = {"concurrency": 4, "requests": 60, "until": {"metric": "ttft", "statistic": "p99", "within": 0.01}}
    run = perfbench(spec_for(mock(), stage))
    assert run.wait() == 0
    assert run.stage["requests"]["total"] == 60
    assert "too few requests to say how well ttft p99 is known (until: ±1.0%)" in run.stage["notes"]


@pytest.mark.parametrize("runner", [{"workers": 1}, {"workers": 2}, {"workers": 5}, {"replicas": 2}, {"replicas": 3}])
def test_how_well_a_figure_was_known_is_told_of_all_requests(
    mock: Any, perfbench: Any, spec_for: Any, runner: dict[str, int]
) -> None:
    """Also of those after the last look of the run; several runners look only at sketches of what they have."""
    server = mock(ttft_s=0.004, ttft_jitter_s=0.004, itl_s=0.0, output_tokens=1)
    until = {"metric": "ttft", "statistic": "p50", "within": "0.2%"}
    run = perfbench(spec_for(server, {"concurrency": 10, "requests": 333, "until": until}, runner=runner))
    assert run.wait(60) == 0, run.stderr
    rows = run.query("SELECT first_chunk_latency FROM requests ORDER BY start_time, id")
    assert len(rows) == 333
    (note,) = [note for note in run.stage["notes"] if "until" in note]
    assert note == (
        "ended before ttft p50 was known to what was asked (until: ±0.2%):"
        f" {in_words(known([value for (value,) in rows], 0.5), 333, 'ttft p50')}"
    )
