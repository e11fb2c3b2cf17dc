"""Whole runs by the command: nothing lost, nothing invented; the mock, the results file and the summary agree."""

import json
import pickle
from base64 import b64decode
from collections.abc import Callable
from itertools import pairwise
from statistics import fmean
from typing import Any

import pytest

Start = Callable[..., Any]


def agree(run: Any, mock: Any, total: int) -> None:
    """What three sides counted, each for itself."""
    stats, summary = mock.stats(), run.summary
    unmeasured = sum(summary["unmeasured_requests"].values())
    assert run.count() == total
    assert sum(stage["requests"]["total"] for stage in summary["stages"]) == total
    assert stats["started"] == total + unmeasured
    assert stats["in_flight"] == 0
    for index, stage in enumerate(summary["stages"]):
        counts = stage["requests"]
        assert counts["succeeded"] == run.count(f"stage = {index} AND success = 1")
        assert counts["failed"] == run.count(f"stage = {index} AND success = 0") == sum(stage["errors"].values())
    assert len(set(run.rows("seq"))) == total


def test_a_closed_loop(mock: Start, perfbench: Start, spec_for: Start) -> None:
    server = mock()
    run = perfbench(spec_for(server, {"concurrency": 8, "requests": 200}))
    assert run.wait() == 0, run.stderr
    agree(run, server, 200)
    assert run.stage["requests"].items() >= {"total": 200, "succeeded": 200, "failed": 0}.items()
    assert server.stats()["peak_in_flight"] <= 8
    assert run.query("PRAGMA integrity_check") == [("ok",)]
    assert sorted(path.name for path in run.folder.iterdir()) == ["manifest.yaml", "results.sqlite", "summary.json"]
    assert run.stage["ttft_s"]["p50"] == pytest.approx(0.005, abs=0.02)
    assert run.stage["output_tokens"]["mean"] == 4
    assert run.stage["token_sources"] == {"usage": 200}
    assert dict(run.query("SELECT key, value FROM run"))["state"] == "complete"


def test_warmup_is_sent_but_not_counted(mock: Start, perfbench: Start, spec_for: Start) -> None:
    server = mock()
    run = perfbench(spec_for(server, {"concurrency": 2, "requests": 20}, load={"warmup": {"requests": 7}}))
    assert run.wait() == 0
    agree(run, server, 20)
    assert run.summary["unmeasured_requests"] == {"connection_test": 1, "warmup": 7}


@pytest.mark.parametrize(("keep_alive", "connections"), [(True, 1), (False, 6)])
def test_each_request_has_a_connection_of_its_own_where_none_is_to_be_kept(
    mock: Start, perfbench: Start, spec_for: Start, keep_alive: bool, connections: int
) -> None:
    server = mock()
    target = {"keepAlive": keep_alive, "connectionTest": False, "metrics": "off"}
    before = server.stats()["connections"]
    run = perfbench(spec_for(server, {"concurrency": 1, "requests": 6}, target=target))
    assert run.wait() == 0, run.stderr
    assert server.stats()["connections"] - before == connections + 1, "and the one that asks for this"
    assert run.stage["connect_s"]["count"] == connections


def test_several_stages_are_apart(mock: Start, perfbench: Start, spec_for: Start) -> None:
    server = mock()
    stages = [
        {"concurrency": 1, "requests": 5},
        {"concurrency": 4, "requests": 12},
        {"rate": 100, "requests": 30, "arrival": "constant"},
    ]
    run = perfbench(spec_for(server, *stages, load={"pause": "100ms"}))
    assert run.wait() == 0
    agree(run, server, 47)
    assert [(stage["name"], stage["requests"]["total"]) for stage in run.summary["stages"]] == [
        ("c1", 5), ("c4", 12), ("r100", 30),
    ]  # fmt: skip
    bounds = run.query("SELECT min(start_time), max(completed_time) FROM result GROUP BY stage ORDER BY stage")
    for (_, end), (start, _) in pairwise(bounds):
        assert start - end >= 0.09


def test_a_closed_loop_by_duration(mock: Start, perfbench: Start, spec_for: Start) -> None:
    server = mock()
    run = perfbench(spec_for(server, {"concurrency": 2, "duration": "1s"}))
    assert run.wait() == 0
    agree(run, server, run.count())
    assert run.count() > 20
    assert 0.9 < run.stage["duration_s"] < 2


def test_the_first_end_of_two_is_the_end(mock: Start, perfbench: Start, spec_for: Start) -> None:
    server = mock()
    stages = [
        {"concurrency": 2, "requests": 10, "duration": "20s"},
        {"concurrency": 1, "requests": 9999, "duration": "500ms"},
    ]
    run = perfbench(spec_for(server, *stages))
    assert run.wait(15) == 0
    assert run.count("stage = 0") == 10
    assert 0 < run.count("stage = 1") < 9999


@pytest.mark.parametrize("arrival", ["constant", "poisson"])
def test_an_open_loop_by_count(mock: Start, perfbench: Start, spec_for: Start, arrival: str) -> None:
    server = mock(ttft_s=0.1)
    run = perfbench(spec_for(server, {"rate": 100, "requests": 150, "arrival": arrival}))
    assert run.wait() == 0
    agree(run, server, 150)
    times = [row[0] for row in run.rows("scheduled_time")]
    gaps = [after - before for before, after in pairwise(sorted(times))]
    assert fmean(gaps) == pytest.approx(0.01, rel=0.4)
    if arrival == "constant":
        assert max(abs(gap - 0.01) for gap in gaps) < 1e-6
    else:
        assert max(gaps) > 0.02
    assert all(sent >= scheduled for scheduled, sent in run.rows("scheduled_time, start_time"))
    assert run.stage["offered_rate_rps"] == 100


def test_an_open_loop_by_duration(mock: Start, perfbench: Start, spec_for: Start) -> None:
    server = mock()
    run = perfbench(spec_for(server, {"rate": 50, "duration": "2s", "arrival": "constant"}))
    assert run.wait() == 0
    agree(run, server, run.count())
    assert run.count() == pytest.approx(100, abs=2)


def test_an_open_loop_does_not_wait_for_slow_answers(mock: Start, perfbench: Start, spec_for: Start) -> None:
    server = mock(ttft_s=1.0)
    run = perfbench(spec_for(server, {"rate": 40, "requests": 40, "arrival": "constant"}))
    assert run.wait() == 0
    assert server.stats()["peak_in_flight"] >= 35
    assert run.stage["dispatch_lag_s"]["p50"] < 0.1


def test_beyond_max_concurrency_requests_wait_and_it_shows(mock: Start, perfbench: Start, spec_for: Start) -> None:
    server = mock(ttft_s=0.1, itl_s=0)
    run = perfbench(spec_for(server, {"rate": 200, "requests": 40, "arrival": "constant", "maxConcurrency": 4}))
    assert run.wait() == 0
    agree(run, server, 40)
    assert server.stats()["peak_in_flight"] <= 4
    stage = run.stage
    assert stage["dispatch_lag_s"]["max"] > 0.3
    assert stage["scheduled_latency_s"]["max"] > stage["e2e_latency_s"]["max"] + 0.3
    assert stage["client"]["state"] != "valid"
    assert any("maxConcurrency held requests back" in reason for reason in stage["client"]["reasons"])


def bodies(run: Any) -> list[str]:
    found = [json.dumps(pickle.loads(b64decode(row[0])), sort_keys=True) for row in run.rows("request")]
    return sorted(found)


@pytest.mark.parametrize(
    "stage", [{"concurrency": 4, "requests": 101}, {"rate": 100, "requests": 101}], ids=["closed", "open"]
)
def test_two_workers_make_the_run_that_one_makes(
    mock: Start, perfbench: Start, spec_for: Start, stage: dict[str, Any]
) -> None:
    arrivals, sent = [], []
    for workers in (1, 2):
        server = mock()
        request = {"maxTokens": [1, 9]}
        run = perfbench(
            spec_for(server, stage, runner={"workers": workers}, request=request, load={"randomSeed": 7}),
            name=f"w{workers}",
        )
        assert run.wait() == 0, run.stderr
        agree(run, server, 101)
        assert {row[0] for row in run.rows("DISTINCT shard")} == set(range(workers))
        if "concurrency" in stage:
            assert server.stats()["peak_in_flight"] <= 4
        times = sorted(row[0] for row in run.rows("scheduled_time"))
        arrivals.append([time - times[0] for time in times])
        sent.append(bodies(run))
    assert sent[0] == sent[1]
    if "rate" in stage:
        assert arrivals[0] == pytest.approx(arrivals[1], abs=1e-6)


@pytest.mark.parametrize("workers", [1, 2])
def test_counts_agree_when_everything_goes_wrong(mock: Start, perfbench: Start, spec_for: Start, workers: int) -> None:
    server = mock(
        error_rate=0.2, broken_rate=0.2, stall_rate=0.1, stall_s=0.05, stream_error_rate=0.1, truncate_rate=0.1
    )
    load = {"maxFailedShare": 1}
    spec = spec_for(server, {"concurrency": 8, "requests": 300}, load=load, runner={"workers": workers})
    spec["target"]["connectionTest"] = False
    run = perfbench(spec)
    assert run.wait() == 0, run.stderr
    agree(run, server, 300)
    stats, errors = server.stats(), run.stage["errors"]
    injected = stats["injected"]
    assert errors["http_500"] == injected["error"]
    assert errors["disconnected"] == injected["broken"]
    assert errors["in_stream"] == injected["stream_error"]
    assert errors["truncated"] == injected["truncated"]
    assert run.stage["requests"]["succeeded"] == stats["done"]
    assert run.count("error IS NULL AND success = 0") == 0


@pytest.mark.alone
@pytest.mark.parametrize(("rate", "code"), [(0.2, 1), (0.01, 0)])
def test_too_many_failures_fail_the_run(mock: Start, perfbench: Start, spec_for: Start, rate: float, code: int) -> None:
    server = mock(error_rate=rate, ttft_s=0.05, itl_s=0.02)  # beside which the lag of a busy client is small
    objectives = [{"metric": "ttft", "statistic": "p50", "max": "10s"}]  # of 200 requests no p99 is known
    spec = spec_for(server, {"concurrency": 4, "requests": 200}, objectives=objectives)
    spec["target"]["connectionTest"] = False
    run = perfbench(spec)
    assert run.wait() == code
    agree(run, server, 200)
    if code:
        assert "of 200 requests of stage c4 failed (http_500" in run.stderr
        assert (run.summary["state"], run.summary["verdict"]) == ("failed", "Inconclusive")
    else:
        assert (run.summary["state"], run.summary["verdict"]) == ("complete", "Passed")


def test_no_two_runs_share_a_folder(mock: Start, perfbench: Start, spec_for: Start) -> None:
    server = mock()
    first = perfbench(spec_for(server))
    assert first.wait() == 0
    before = first.database.read_bytes()
    second = perfbench(spec_for(server))
    assert second.wait() == 2
    assert "already holds results.sqlite of another run; give another folder" in second.stderr
    assert first.database.read_bytes() == before


def test_the_key_is_in_no_file_and_on_no_screen(mock: Start, perfbench: Start, spec_for: Start) -> None:
    key, header = "sk-never-write-this", "also-never-this"
    server = mock(api_key=key)
    spec = spec_for(server, {"concurrency": 2, "requests": 10})
    spec["target"]["headers"] = [{"name": "X-Api-Key", "value": header}]
    good = perfbench(spec, env={"PERFBENCH_API_KEY": f"{key}\n"}, name="good")
    assert good.wait() == 0, good.stderr
    bad = perfbench(spec, env={"PERFBENCH_API_KEY": f"{key}-wrong"}, name="bad")
    assert bad.wait() == 1
    dry = perfbench(spec, "--dry-run", env={"PERFBENCH_API_KEY": key}, name="dry")
    assert dry.wait() == 0
    for run in (good, bad, dry):
        texts = [run.stdout.encode(), run.stderr.encode(), *(path.read_bytes() for path in run.folder.glob("*"))]
        for text in texts:
            assert key.encode() not in text
            assert header.encode() not in text
    assert good.count("success = 1") == 10


def test_a_dry_run_sends_nothing(mock: Start, perfbench: Start, spec_for: Start) -> None:
    server = mock()
    run = perfbench(spec_for(server), "--dry-run")
    assert run.wait() == 0
    assert server.stats()["started"] == 0
    assert "first request: POST http://127.0.0.1" in run.stderr
    assert not run.folder.exists()


def test_the_written_manifest_makes_the_same_run(mock: Start, perfbench: Start, spec_for: Start) -> None:
    server = mock()
    first = perfbench(spec_for(server, request={"temperature": None, "maxTokens": [1, 5]}), name="first")
    assert first.wait() == 0
    second = perfbench(None, str(first.folder / "manifest.yaml"), name="second")
    assert second.wait() == 0
    assert bodies(first) == bodies(second)
    assert (first.folder / "manifest.yaml").read_text() == (second.folder / "manifest.yaml").read_text()


def test_flags_and_manifest_make_the_same_run(mock: Start, perfbench: Start, spec_for: Start) -> None:
    server = mock()
    first = perfbench(spec_for(server, {"concurrency": 2, "requests": 15}, load={"randomSeed": 7}), name="first")
    assert first.wait() == 0
    args = f"--url {server.base_url} --model m --parallel 2 --number 15 --max-tokens 4 --random-seed 7"
    second = perfbench(None, *args.split(), name="second")
    assert second.wait() == 0
    assert bodies(first) == bodies(second)


def test_answers_that_are_not_streamed(mock: Start, perfbench: Start, spec_for: Start) -> None:
    server = mock()
    run = perfbench(spec_for(server, request={"stream": False}))
    assert run.wait() == 0
    agree(run, server, 40)
    assert (run.stage["ttft_s"]["count"], run.stage["e2e_latency_s"]["count"]) == (0, 40)
