"""The load is the one that was asked for, whatever the client's own shape; nothing of it is hidden.

Shapes: 1, 2, 3, 5, 8 and 16 workers for 8 and 20 lanes, even and uneven shares, by count and by duration; answers longer
than the stage; limits on an open loop; conversations; short and long requests side by side. Figures are compared with
each other, not with a clock: L = X W (Little) holds on a busy machine, too.
"""

import json
import signal
import sqlite3
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

COMMAND = [str(Path(sys.executable).parent / "perfbench")]


def in_flight(run: Any, stage: int = 0) -> list[tuple[float, int]]:
    """How many requests were under way from each moment on."""
    rows = run.query(f"SELECT start_time, completed_time FROM requests WHERE stage = {stage}")
    changes = sorted([(start, 1) for start, _ in rows] + [(end, -1) for _, end in rows])
    found, count = [], 0
    for at_s, change in changes:
        count += change
        found.append((at_s, count))
    return found


def mean_in_flight(run: Any, begin_s: float, end_s: float) -> float:
    """Requests under way, averaged over an interval."""
    steps = [(max(at_s, begin_s), count) for at_s, count in in_flight(run) if at_s < end_s]
    area = sum(
        count * (later - at_s) for (at_s, count), (later, _) in zip(steps, [*steps[1:], (end_s, 0)], strict=True)
    )
    return area / (end_s - begin_s)


@pytest.mark.alone
@pytest.mark.parametrize(
    ("workers", "stage"),
    [
        (1, {"concurrency": 8, "requests": 200}),
        (3, {"concurrency": 8, "requests": 200}),
        (5, {"concurrency": 8, "duration": "4s"}),
        (16, {"concurrency": 8, "requests": 200}),
        (2, {"concurrency": 20, "duration": "4s"}),
        (8, {"concurrency": 20, "requests": 300}),
    ],
)
def test_throughput_does_not_depend_on_the_number_of_workers(
    mock: Any, perfbench: Any, spec_for: Any, workers: int, stage: dict[str, Any]
) -> None:
    server = mock(ttft_s=0.06, itl_s=0.003, output_tokens=16)
    run = perfbench(spec_for(server, stage, request={"maxTokens": 16}, runner={"workers": workers}))
    assert run.wait() == 0
    found, lanes = run.stage, stage["concurrency"]
    assert found["requests"]["failed"] == found["requests"]["unfinished"] == 0
    assert max(count for _, count in in_flight(run)) == lanes
    window, (begin_s,) = found["window"], run.query("SELECT begin_time FROM stage")[0]
    begin_s, end_s = begin_s + window["start_s"], begin_s + window["end_s"]
    # Little's law: what is under way is throughput times latency. Tokens are counted chunk by chunk, requests by waves.
    within = f"completed_time BETWEEN {begin_s} AND {end_s}"
    (latency_s,) = run.query(f"SELECT avg(completed_time - scheduled_time) FROM requests WHERE {within}")[0]
    assert found["output_token_throughput_tps"] / 16 * latency_s == pytest.approx(lanes, rel=0.08)
    busy = mean_in_flight(run, begin_s, end_s)
    # By the kernel's stamps a lane is free as soon as its answer is there: on a busy machine the client's lag is not hidden.
    assert busy == pytest.approx(lanes, rel=0.08), "a lane that has nothing to do while requests wait"
    if "requests" in stage:
        assert found["requests"]["total"] == stage["requests"]
        assert sorted(row[0] for row in run.query("SELECT entry FROM requests")) == list(range(stage["requests"]))


def lengths_file(folder: Path, lengths: list[int]) -> str:
    """A prompt for each length of an answer."""
    path = folder / "lengths.jsonl"
    path.write_text("".join(json.dumps({"prompt": f"p{n}", "max": length}) + "\n" for n, length in enumerate(lengths)))
    return str(path)


@pytest.mark.alone
@pytest.mark.parametrize("workers", [2, 3, 5])
def test_the_last_requests_are_not_stuck_behind_a_busy_shard(
    mock: Any, perfbench: Any, spec_for: Any, tmp_path: Path, workers: int
) -> None:
    """Every second answer is twenty times as long, so that one shard of two would have all the work."""
    path = lengths_file(tmp_path, [2, 60] * 40)
    dataset = {"name": "file", "path": path, "args": {"prompt": "prompt", "max_tokens": "max"}}
    server = mock(ttft_s=0.01, itl_s=0.01, output_tokens=2)
    spec = spec_for(server, {"concurrency": 4, "requests": 80}, dataset=dataset, runner={"workers": workers})
    run = perfbench(spec)
    assert run.wait() == 0
    sends = [row[0] for row in run.query("SELECT start_time FROM requests ORDER BY start_time")]
    assert mean_in_flight(run, sends[3], sends[-1]) > 3.3, (
        "a busy machine is late by some; stuck requests are half of the load and more"
    )
    assert max(count for _, count in in_flight(run)) == 4


@pytest.mark.parametrize("workers", [1, 3])
def test_answers_longer_than_the_stage_are_unfinished_and_no_failure(
    mock: Any, perfbench: Any, spec_for: Any, workers: int
) -> None:
    """Answers of 2 s, a stage of 2.5 s, a grace period of 0.5 s: the second wave is cut off, what it had given counts."""
    server = mock(ttft_s=0.2, itl_s=0.03, output_tokens=61)
    stage = {"concurrency": 8, "duration": "2.5s"}
    load = {"gracePeriod": "500ms"}
    run = perfbench(spec_for(server, stage, load=load, request={"maxTokens": 61}, runner={"workers": workers}))
    assert run.wait() == 0
    found = run.stage
    assert (found["requests"]["succeeded"], found["requests"]["unfinished"]) == (8, 8)
    assert found["requests"]["failed"] == 0
    assert found["errors"] == {}
    # 8 streams of 61 tokens within 2 s, then 8 that give one each 30 ms from 2.2 s on, until 2.5 s.
    assert found["output_token_throughput_tps"] == pytest.approx(8 * (61 + 10) / 2.5, rel=0.05)
    assert found["ttft_s"]["count"] == 16, "TTFT was seen of those that were cut off, too"
    assert found["e2e_latency_s"]["censored"] == 8
    assert found["e2e_latency_s"]["p99"] is None or found["e2e_latency_s"]["p99"] < 2.5
    rows = run.query("SELECT failure, first_chunk_latency, latency FROM requests WHERE success = 0")
    assert {row[0] for row in rows} == {"unfinished"}
    assert all(first is not None and latency is None for _, first, latency in rows)


@pytest.mark.parametrize("workers", [1, 3, 16])
def test_a_limit_holds_for_all_workers_together_and_what_it_held_is_counted(
    mock: Any, perfbench: Any, spec_for: Any, workers: int
) -> None:
    server = mock(ttft_s=0.25, itl_s=0.0, output_tokens=1)
    stage = {"rate": 100, "arrival": "constant", "maxConcurrency": 8, "duration": "2s"}
    run = perfbench(spec_for(server, stage, request={"maxTokens": 1}, runner={"workers": workers}))
    assert run.wait() == 0
    counts = run.stage["requests"]
    assert max(count for _, count in in_flight(run)) == 8
    assert counts["total"] + counts["unsent"] == 200, "every arrival is in some count"
    assert 48 <= counts["total"] <= 72, "8 places for 2 s, a quarter of a second each"
    assert run.stage["scheduled_latency_s"]["censored"] == counts["unsent"]
    waited = run.query("SELECT max(until_time - scheduled_time) FROM unsent")[0][0]
    assert waited < 2.0
    assert any("never sent" in note for note in run.stage["notes"])
    assert any("maxConcurrency held requests back" in reason for reason in run.stage["client"]["reasons"])


@pytest.mark.parametrize("workers", [1, 2])
def test_turns_of_conversations_keep_to_the_limit(
    mock: Any, perfbench: Any, spec_for: Any, tmp_path: Path, workers: int
) -> None:
    turns = [{"role": role, "content": "x"} for _ in range(3) for role in ("user", "assistant")]
    (tmp_path / "chats.jsonl").write_text(json.dumps(turns) + "\n")
    dataset = {"name": "custom_multi_turn", "path": str(tmp_path / "chats.jsonl")}
    server = mock(ttft_s=0.1, itl_s=0.0, output_tokens=1)
    stage = {"rate": 40, "arrival": "constant", "maxConcurrency": 3, "duration": "1.5s"}
    run = perfbench(spec_for(server, stage, dataset=dataset, runner={"workers": workers}))
    assert run.wait() == 0
    assert max(count for _, count in in_flight(run)) == 3
    (sent,) = run.query("SELECT count(DISTINCT seq) FROM requests")[0]
    (held,) = run.query("SELECT count(DISTINCT seq) FROM unsent WHERE seq NOT IN (SELECT seq FROM requests)")[0]
    assert sent + held == 60, "every conversation that was due has begun, or is counted as unsent"


def first_prompts(run: Any, stage: int) -> list[int]:
    return [row[0] for row in run.query(f"SELECT prompt_id FROM requests WHERE stage = {stage} ORDER BY entry LIMIT 5")]


def test_later_stages_send_the_same_prompts_however_fast_the_endpoint_is(
    mock: Any, perfbench: Any, spec_for: Any
) -> None:
    stages = [
        {"concurrency": 4, "duration": "700ms"},
        {"name": "open", "rate": 30, "duration": "700ms"},
        {"concurrency": 2, "requests": 20},
    ]
    found = []
    for name, ttft_s in (("fast", 0.005), ("slow", 0.15)):
        server = mock(ttft_s=ttft_s)
        run = perfbench(
            spec_for(server, *stages, dataset={"name": "random", "args": {}}, load={"randomSeed": 7}), name=name
        )
        assert run.wait() == 0
        found.append([first_prompts(run, number) for number in range(3)])
        assert run.query("SELECT count(*) FROM requests WHERE stage = 2")[0][0] == 20
    assert found[0] == found[1]


def trace_file(folder: Path, times_s: list[float]) -> str:
    """A workload trace with recorded times."""
    path = folder / "trace.jsonl"
    body = {"model": "m", "messages": [{"role": "user", "content": "x"}], "max_tokens": 2, "stream": True}
    path.write_text("".join(json.dumps({"timestamp": at_s, "body": body}) + "\n" for at_s in times_s))
    return str(path)


TIMES = [0.0, 0.05, 0.3, 0.31, 0.32, 0.9]


@pytest.mark.parametrize("workers", [1, 3])
@pytest.mark.parametrize("how", ["nothing", "recorded", "rate"])
def test_recorded_times_are_played(
    mock: Any, perfbench: Any, spec_for: Any, tmp_path: Path, how: str, workers: int
) -> None:
    spec = spec_for(mock(), runner={"workers": workers})
    spec["dataset"] = {"name": "workload_trace", "path": trace_file(tmp_path, TIMES)}
    stages = {"nothing": None, "recorded": [{"arrival": "recorded"}], "rate": [{"rate": 1000, "requests": 6}]}[how]
    spec["load"] = {"warmup": {"requests": 3}, "gracePeriod": "5s"} | ({"stages": stages} if stages else {})
    run = perfbench(spec)
    assert run.wait() == 0, run.stderr
    begin_s = run.query("SELECT begin_time FROM stage")[0][0]
    due = [row[0] - begin_s for row in run.query("SELECT scheduled_time FROM requests ORDER BY entry")]
    assert due == pytest.approx(TIMES, abs=0.001), "the warm-up takes nothing away from the schedule"
    assert all(row[0] < 0.25 for row in run.query("SELECT dispatch_lag FROM requests"))
    assert any("rate 1000 is not used" in note for note in run.stage["notes"]) == (how == "rate")


def test_a_closed_loop_says_that_it_plays_no_recorded_times(
    mock: Any, perfbench: Any, spec_for: Any, tmp_path: Path
) -> None:
    spec = spec_for(mock(), {"concurrency": 2, "requests": 6})
    spec["dataset"] = {"name": "workload_trace", "path": trace_file(tmp_path, TIMES)}
    run = perfbench(spec)
    assert run.wait() == 0
    assert any("recorded times are not played" in note for note in run.stage["notes"])


def test_recorded_times_of_a_dataset_that_has_none_are_an_error(perfbench: Any, spec_for: Any) -> None:
    run = perfbench(spec_for("http://127.0.0.1:1", {"arrival": "recorded"}))
    assert run.wait() == 2
    assert "spec.load.stages[0].arrival: dataset 'openqa' has no recorded times" in run.stderr


def test_the_control_process_is_sampled_too(mock: Any, perfbench: Any, spec_for: Any) -> None:
    run = perfbench(spec_for(mock(), {"concurrency": 4, "duration": "1.2s"}, runner={"workers": 2}))
    assert run.wait() == 0
    shards = {row[0] for row in run.query("SELECT DISTINCT shard FROM client_health")}
    assert shards == {-1, 0, 1}


def test_file_summary_and_exit_code_tell_one_truth_of_too_many_failures(
    mock: Any, perfbench: Any, spec_for: Any
) -> None:
    run = perfbench(spec_for(mock(error_rate=0.5), target={"connectionTest": False}))
    assert run.wait() == 1
    facts = dict(run.query("SELECT key, value FROM run"))
    assert facts["state"] == run.summary["state"] == "failed"
    assert facts["message"] == run.summary["message"] != ""
    assert facts["message"] in run.stderr


@pytest.mark.parametrize("flags", [[], ["--no-fail"]])
@pytest.mark.parametrize("bound", ["10s", "1ms"])
def test_the_verdict_has_exit_codes_of_its_own(
    mock: Any, perfbench: Any, spec_for: Any, bound: str, flags: list[str]
) -> None:
    """A machine that is too busy leaves the verdict open, which has its own code, too."""
    spec = spec_for(mock(), objectives=[{"metric": "ttft", "statistic": "mean", "max": bound}])
    run = perfbench(spec, *flags)
    code, verdict = run.wait(), run.summary["verdict"]
    if run.summary["client"]["state"] == "invalid":
        assert verdict == "Inconclusive"
    else:
        assert verdict == ("Passed" if bound == "10s" else "Failed")
    assert code == (0 if flags else {"Passed": 0, "Failed": 3, "Inconclusive": 4}[verdict])


def test_too_few_values_leave_the_verdict_open_and_say_so_by_exit_code(
    mock: Any, perfbench: Any, spec_for: Any
) -> None:
    run = perfbench(spec_for(mock(), objectives=[{"metric": "ttft", "statistic": "p99", "max": "10s"}]))
    assert run.wait() == 4
    assert run.summary["verdict"] == "Inconclusive"


def test_a_file_that_cannot_be_summarised_is_told_in_words(mock: Any, perfbench: Any, spec_for: Any) -> None:
    """Somebody drops a table while the run goes on: no traceback, exit code 1."""
    run = perfbench(spec_for(mock(), {"concurrency": 2, "duration": "60s"}))
    run.wait_for_rows(5)
    db = sqlite3.connect(run.database, timeout=10)
    db.execute("DROP TABLE client_health")
    db.commit()
    db.close()
    run.signal(signal.SIGINT)  # the run ends only now, however long the lines above took
    assert run.wait() == 1
    assert "Traceback" not in run.stderr
    assert "client_health" in run.stderr


SLOW = """
import time
from perfbench_plugins.datasets.base import DatasetPluginBase
from perfbench_plugins.registry import register_dataset

@register_dataset("slow")
class Slow(DatasetPluginBase):
    def build_messages(self):
        while True:
            time.sleep(0.1)
            yield [{"role": "user", "content": "x"}]
"""


def test_arrivals_for_which_a_slow_dataset_had_nothing_are_counted(
    mock: Any, perfbench: Any, spec_for: Any, tmp_path: Path
) -> None:
    (tmp_path / "slow.py").write_text(SLOW)
    stage = {"rate": 50, "arrival": "constant", "duration": "2s"}
    sections = {"dataset": {"name": "slow"}, "plugins": [{"file": str(tmp_path / "slow.py")}]}
    run = perfbench(spec_for(mock(), stage, **sections))
    assert run.wait() == 0
    counts = run.stage["requests"]
    assert counts["total"] + counts["unsent"] == 100
    assert counts["unsent"] > 50
    assert run.query("SELECT count(*), count(DISTINCT seq) FROM unsent")[0] == (counts["unsent"],) * 2


@pytest.mark.parametrize("workers", [1, 3])
def test_how_often_the_dataset_was_gone_through_is_told(
    mock: Any, perfbench: Any, spec_for: Any, tmp_path: Path, workers: int
) -> None:
    (tmp_path / "ten.txt").write_text("".join(f"line {number}\n" for number in range(10)))
    dataset = {"name": "line_by_line", "path": str(tmp_path / "ten.txt")}
    spec = spec_for(mock(), {"concurrency": 3, "requests": 25}, dataset=dataset, runner={"workers": workers})
    run = perfbench(spec)
    assert run.wait() == 0
    assert run.stage["prompts"] == {"distinct": 10, "repeated": 15, "dataset_passes": 2.5}


def test_a_turn_that_was_due_after_the_stage_is_not_unsent(
    mock: Any, perfbench: Any, spec_for: Any, tmp_path: Path
) -> None:
    turns = [{"role": role, "content": "x"} for _ in range(4) for role in ("user", "assistant")]
    (tmp_path / "chats.jsonl").write_text(json.dumps(turns) + "\n")
    args = {"think_time": 0.4}
    dataset = {"name": "custom_multi_turn", "path": str(tmp_path / "chats.jsonl"), "args": args}
    stages = [{"name": str(number), "concurrency": 7, "duration": "700ms"} for number in range(3)]
    run = perfbench(spec_for(mock(), *stages, dataset=dataset, load={"gracePeriod": "0s"}, runner={"workers": 3}))
    assert run.wait() == 0
    late = "SELECT count(*) FROM unsent JOIN stage USING (stage) WHERE scheduled_time >= deadline_time"
    assert run.query(late)[0][0] == 0


def test_a_killed_stage_is_judged_until_it_was_last_heard_of(mock: Any, perfbench: Any, spec_for: Any) -> None:
    """A stage of a minute is killed after two seconds: its throughput is of those two."""
    server = mock(ttft_s=0.05)
    run = perfbench(spec_for(server, {"concurrency": 4, "duration": "60s"}, runner={"workers": 2}))
    run.wait_for_rows(100)
    run.signal(signal.SIGKILL)
    run.process.communicate()
    recovered = subprocess.run([*COMMAND, "recover", str(run.folder)], capture_output=True, text=True, timeout=60)
    assert recovered.returncode == 0, recovered.stderr
    window = run.stage["window"]
    assert window["duration_s"] < 20
    latency_s = run.stage["scheduled_latency_s"]["mean"]
    assert run.stage["request_throughput_rps"] * latency_s == pytest.approx(4, rel=0.25)
    assert "the run was killed, or could no longer store, in this stage" in run.stage["notes"][0]
    assert run.summary["unmeasured_requests"] == {"connection_test": 1, "warmup": 0}


@pytest.mark.parametrize("share", [0.2, 1.0])
def test_a_stage_in_which_nothing_succeeded_has_failed_and_says_so(
    mock: Any, perfbench: Any, spec_for: Any, share: float
) -> None:
    spec = spec_for(mock(error_rate=1.0), target={"connectionTest": False}, load={"maxFailedShare": share})
    run = perfbench(spec)
    assert run.wait() == 1
    assert ("none of 40 requests" in run.stderr) == (share == 1.0)
    assert ("maxFailedShare 0.2 allows" in run.stderr) == (share != 1.0)
