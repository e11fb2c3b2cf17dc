"""Several runners on one machine, by the command: together they make the load of one, and a lost one is told of.

Counts and prompts are compared with those of one runner; times with each other, since the machine may be busy.
"""

import json
import os
import signal
import sqlite3
import time
from contextlib import closing, suppress
from pathlib import Path
from typing import Any

import pytest

from perfbench_runner.run.conclude import recover

SEED = 11


def runners_of(run: Any) -> list[tuple[int, str, int]]:
    return [tuple(row) for row in run.query("SELECT runner, state, requests FROM runner ORDER BY runner")]


def pids_of_workers(run: Any) -> list[int]:
    """Workers under way, by number."""
    children = [path.read_text() for path in Path(f"/proc/{run.process.pid}/task").glob("*/children")]
    return sorted(
        int(pid)
        for pid in " ".join(children).split()
        if b"-P\0-m\0perfbench_runner\0run" in Path(f"/proc/{pid}/cmdline").read_bytes()
    )


def starts_of(run: Any) -> list[float]:
    """When each runner's load was to begin, on the leader's clock."""
    return [begin for (begin,) in run.query("SELECT begin_time FROM runner_stage WHERE stage = 0 ORDER BY runner")]


@pytest.mark.parametrize(
    ("replicas", "stage"),
    [
        (2, {"concurrency": 8, "requests": 150}),
        (3, {"rate": 60, "requests": 150}),
        (5, {"concurrency": 7, "requests": 101}),
    ],
)
def test_runners_together_send_exactly_what_one_sends(
    mock: Any, perfbench: Any, spec_for: Any, replicas: int, stage: dict[str, Any]
) -> None:
    server = mock(ttft_s=0.03)
    spec = spec_for(server, stage, dataset={"name": "random", "minPromptLength": 5, "maxPromptLength": 9})
    spec["load"] |= {"randomSeed": SEED, "warmup": {"requests": 4}}
    one = perfbench(spec, name="one")
    assert one.wait(120) == 0
    many = perfbench(spec, "--replicas", str(replicas), name="many")
    assert many.wait(170) == 0, many.stderr
    assert many.count() == stage["requests"]
    wanted = "SELECT entry, prompt_id FROM requests ORDER BY entry"
    assert many.query(wanted) == one.query(wanted)
    (distinct,) = many.query("SELECT count(DISTINCT seq) FROM requests")[0]
    assert distinct == stage["requests"]
    assert [(number, state) for number, state, _ in runners_of(many)] == [(n, "merged") for n in range(replicas)]
    assert sum(requests for _, _, requests in runners_of(many)) == stage["requests"]
    assert min(requests for _, _, requests in runners_of(many)) > 0
    assert max(starts_of(many)) - min(starts_of(many)) < 0.005
    assert many.stage["requests"]["total"] == many.stage["requests"]["succeeded"] == stage["requests"]
    assert many.summary["unmeasured_requests"]["warmup"] == 4
    assert many.query("SELECT count(*) FROM warmup_prompt") == [(4,)]
    listed = many.summary["runners"]
    assert [(each["runner"], each["state"], each["requests"]) for each in listed] == [
        (number, "merged", requests) for number, _, requests in runners_of(many)
    ]
    assert all(each["name"] and abs(each["clock_offset_s"]) <= each["clock_bound_s"] + 0.001 for each in listed)
    assert [part["requests"] for part in many.stage["runners"]] == [each["requests"] for each in listed]
    assert max(abs(part["begin_s"]) for part in many.stage["runners"]) < 0.005
    assert one.summary["runners"] == []
    assert sorted(path.name for path in many.folder.iterdir()) == ["manifest.yaml", "results.sqlite", "summary.json"]
    if "rate" in stage:
        due = "SELECT scheduled_time - (SELECT begin_time FROM stage) FROM requests ORDER BY entry"
        pairs = zip(many.query(due), one.query(due), strict=True)
        assert all(abs(ours - theirs) < 0.005 for (ours,), (theirs,) in pairs), "one schedule of one seed"


@pytest.mark.parametrize(
    "stage", [{"concurrency": 6, "duration": "2s"}, {"rate": 40, "duration": "2s", "arrival": "constant"}]
)
def test_a_stage_by_time_ends_for_all(mock: Any, perfbench: Any, spec_for: Any, stage: dict[str, Any]) -> None:
    server = mock(ttft_s=0.03)
    run = perfbench(spec_for(server, stage), "--replicas", "2")
    assert run.wait(120) == 0, run.stderr
    total = run.stage["requests"]["total"]
    assert total == run.count() > 10
    assert run.query("SELECT count(DISTINCT entry) FROM requests") == [(total,)] if "rate" in stage else True
    if "rate" in stage:
        assert total == 80
        assert sorted(entry for (entry,) in run.query("SELECT entry FROM requests")) == list(range(80))
    assert run.stage["window"]["duration_s"] == pytest.approx(2.0)


def test_more_runners_than_lanes_is_refused(perfbench: Any, spec_for: Any) -> None:
    run = perfbench(spec_for("http://127.0.0.1:9", {"concurrency": 2, "requests": 9}), "--replicas", "3")
    assert run.wait() == 2
    assert "3 runners for the 2 lanes of stage c2" in run.stderr
    assert not run.folder.exists()


def long_run(perfbench: Any, spec_for: Any, server: Any, silence_s: float = 3.0, **runner: Any) -> Any:
    """Three runners under way; the numbers of their workers' processes."""
    spec = spec_for(server, {"concurrency": 6, "duration": "60s"}, runner={"replicas": 3, **runner})
    run = perfbench(spec, env={"PERFBENCH_RUNNERS_SILENCE_S": str(silence_s)})
    run.wait_for_rows(10, 120)
    return run, pids_of_workers(run)


def gone(pid: int) -> bool:
    """Whether a process has ended."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] in "ZX"
    except OSError:
        return True


@pytest.mark.parametrize("number", [signal.SIGKILL, signal.SIGTERM])
def test_a_worker_that_is_ended_fails_the_run_and_is_named(
    mock: Any, perfbench: Any, spec_for: Any, number: signal.Signals
) -> None:
    run, (first, _) = long_run(perfbench, spec_for, mock(ttft_s=0.03))
    os.kill(first, number)
    assert run.wait(120) == 1
    assert "RunnerLost" in str(run.query("SELECT value FROM run WHERE key = 'reason'"))
    assert "runner 1" in run.stderr
    states = {runner: state for runner, state, _ in runners_of(run)}
    assert states == {0: "merged", 1: "lost" if number == signal.SIGKILL else "cut", 2: "merged"}
    assert run.query("SELECT count(*) FROM requests WHERE runner = 2")[0][0] > 0, "what others measured is kept"
    assert run.summary["state"] == "failed"


def test_a_worker_that_hangs_is_lost_and_ends_itself_when_it_wakes(mock: Any, perfbench: Any, spec_for: Any) -> None:
    run, (first, second) = long_run(perfbench, spec_for, mock(ttft_s=0.03))
    os.kill(first, signal.SIGSTOP)
    run.until(lambda: gone(second), 60)
    os.kill(first, signal.SIGCONT)
    assert run.wait(120) == 1
    assert "runner 1" in run.stderr
    assert "was not heard of for 3 s" in run.stderr
    run_states = {runner: state for runner, state, _ in runners_of(run)}
    assert run_states[1] == "lost"
    assert gone(first)


def test_a_run_may_go_on_without_a_lost_worker_and_says_so(mock: Any, perfbench: Any, spec_for: Any) -> None:
    spec = spec_for(
        mock(ttft_s=0.03),
        {"concurrency": 6, "duration": "8s"},
        runner={"replicas": 3, "onLoss": "continue"},
        objectives=[{"metric": "ttft", "statistic": "p50", "max": "10s"}],
    )
    run = perfbench(spec)
    run.wait_for_rows(10, 120)
    os.kill(pids_of_workers(run)[0], signal.SIGKILL)
    assert run.wait(120) == 4, "Inconclusive: less load than asked for is not the load asked for"
    assert "less load than asked for: runner 1" in run.summary["message"]
    client = run.stage["client"]
    assert client["load"] == "invalid"
    assert any("runner 1" in reason and "SIGKILL" in reason for reason in client["reasons"])


def test_workers_end_themselves_when_the_leader_is_killed(mock: Any, perfbench: Any, spec_for: Any) -> None:
    run, workers = long_run(perfbench, spec_for, mock(ttft_s=0.03))
    shards = [pid for pid in run.descendants() if pid not in workers]
    run.process.kill()
    run.process.wait()
    try:
        until_s = time.monotonic() + 60
        while not all(map(gone, [*workers, *shards])) and time.monotonic() < until_s:
            time.sleep(0.1)
        assert all(map(gone, [*workers, *shards]))
    finally:  # nothing outlives the test
        for pid in workers:
            with suppress(ProcessLookupError):
                os.killpg(pid, signal.SIGKILL)
    with closing(sqlite3.connect(run.folder / "runner-1" / "results.sqlite")) as db:
        assert db.execute("SELECT value FROM run WHERE key = 'reason'").fetchall() == [("LeaderLost",)]
        (rows,) = db.execute("SELECT count(*) FROM requests").fetchone()
    assert recover(run.folder).outcome.outcome == "interrupted"
    found = runners_of(run)
    assert [(number, state) for number, state, _ in found] == [(number, "cut") for number in range(3)]
    assert found[1][2] == rows
    assert sum(requests for *_, requests in found) == run.count()


def test_a_worker_that_never_comes_fails_the_run_and_is_named(mock: Any, perfbench: Any, spec_for: Any) -> None:
    """Nobody starts workers here: somebody else was to."""
    env = {"PERFBENCH_RUNNERS_LISTEN": "127.0.0.1:0", "PERFBENCH_RUN_TOKEN": "a-token-of-this-run"}
    spec = spec_for(mock(), runner={"replicas": 3, "startDeadline": "1s"})
    run = perfbench(spec, env=env)
    assert run.wait(90) == 1
    assert "runner 1, 2 did not report in within 1 s" in run.stderr
    assert run.query("SELECT value FROM run WHERE key = 'reason'") == [("RunnerMissing",)]


def test_ctrl_c_ends_all_and_keeps_what_all_have_measured(mock: Any, perfbench: Any, spec_for: Any) -> None:
    run, workers = long_run(perfbench, spec_for, mock(ttft_s=0.03))
    run.signal(signal.SIGINT)
    assert run.wait(120) == 130
    assert {state for _, state, _ in runners_of(run)} == {"merged"}
    assert run.query("SELECT count(DISTINCT coalesce(runner, 0)) FROM requests") == [(3,)]
    assert all(map(gone, workers))


BUG = """
import os
from perfbench_runner.runners.worker import Worker

if os.environ.get("PERFBENCH_LEADER"):
    async def broken(worker, *_):
        while worker._stage < 0:
            await asyncio.sleep(0.05)
        await asyncio.sleep(1.5)
        raise KeyError("a bug that was planted")

    import asyncio
    Worker.{method} = broken
"""


@pytest.mark.parametrize("method", ["_beat", "lease"])
def test_a_worker_that_a_bug_breaks_says_why_to_its_leader_and_to_its_pod(
    mock: Any, perfbench: Any, spec_for: Any, listen: str, tmp_path: Path, method: str
) -> None:
    """Of a task beside its load, and of the load itself."""
    (tmp_path / "bug.py").write_text(BUG.replace("{method}", method))
    spec = spec_for(mock(ttft_s=0.03), {"concurrency": 4, "requests": 100_000}, runner={"replicas": 2})
    token = {"PERFBENCH_RUN_TOKEN": "a-token-of-this-run"}
    leader = perfbench(spec, name="leader", env={"PERFBENCH_RUNNERS_LISTEN": listen, **token})
    env = {"PERFBENCH_LEADER": f"http://{listen}", "PERFBENCH_RUNNER": "1", **token}
    told = tmp_path / "termination-log"
    worker = perfbench(
        spec, "--plugin", str(tmp_path / "bug.py"), "--termination-message", str(told), name="1", env=env
    )
    assert worker.process.wait(60) == 1
    assert leader.wait(60) == 1
    words = "broken by a bug: KeyError: 'a bug that was planted'"
    assert leader.query("SELECT value FROM run WHERE key = 'reason'") == [("RunnerBroken",)]
    assert words in leader.summary["message"]
    assert [(state, words in reason) for state, reason in leader.query("SELECT state, reason FROM runner")] == [
        ("merged", False),
        ("cut", True),
    ]
    assert leader.query("SELECT count(*) > 0 FROM requests WHERE runner = 1") == [(1,)], "kept"
    outcome = json.loads(told.read_text())
    assert (outcome["reason"], words in outcome["message"]) == ("RunnerBroken", True)
    assert "Traceback" in worker.process.stderr.read()
