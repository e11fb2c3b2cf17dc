"""Results files of several runners become one: it says exactly what the file of one runner says."""

import json
import sqlite3
from contextlib import closing
from dataclasses import replace
from pathlib import Path
from random import Random
from typing import Any

import pytest

from perfbench_plugins.benchmark_data import BenchmarkData
from perfbench_runner.results import client_health as health
from perfbench_runner.results.client_figures import runners_of
from perfbench_runner.results.figures import summarise
from perfbench_runner.results.merge import Counts, RunnerFacts, add_leader, add_runner, merge
from perfbench_runner.results.result import Result
from perfbench_runner.results.store import Store
from perfbench_runner.results.writer import StoreError
from perfbench_runner.run.conclude import recover
from perfbench_runner.runners.clocks import ClockLine
from perfbench_runner.runners.handover import Inbox, digest_of
from perfbench_runner.runners.messages import Delivered, FileDone

LANES, REQUESTS, STAGES = 16, 200, 2
MANIFEST = """
apiVersion: perfbench.io/v1alpha1
kind: PerfBenchmark
metadata: {name: x}
spec:
  target: {url: "http://127.0.0.1:9/v1/chat/completions", model: m}
  load: {stages: [{name: s0, concurrency: 16, requests: 200}, {name: s1, concurrency: 16, requests: 200}]}
  runner: {replicas: 4}
"""
ZERO_S = 1000.0


def results_of_a_run() -> list[Result]:
    """Two stages of a closed loop; some fail, some are cut off, some are conversations."""
    random, found = Random(5), []
    for stage in range(STAGES):
        free_s = [ZERO_S + 100 * stage] * LANES
        for number in range(REQUESTS):
            lane = free_s.index(min(free_s))
            start_s = free_s[lane] + 0.001
            gaps_s = [random.uniform(0.005, 0.03) for _ in range(random.randrange(0, 20))]
            ttft_s = random.expovariate(10)
            end_s = start_s + ttft_s + sum(gaps_s)
            kind = random.choice([*[""] * 8, "timeout", "unfinished"])
            data = BenchmarkData(
                success=not kind,
                failure=kind,
                is_stream=True,
                start_time=start_s,
                completed_time=end_s,
                query_latency=end_s - start_s,
                first_chunk_latency=ttft_s,
                inter_chunk_latency=gaps_s,
                time_per_output_token=0.02,
                prompt_tokens=random.randrange(5, 50),
                completion_tokens=len(gaps_s) + 1,
                token_source="usage",
                status_code=200,
                request='{"n": 1}',
            )
            data.tidy()
            free_s[lane] = end_s
            entry = stage * REQUESTS + number
            found.append(
                Result(stage=stage, seq=entry, shard=number % 2, scheduled_s=free_s[lane] - (end_s - start_s) - 0.001,
                       data=data, entry=entry, prompt_id=1 + entry % 150, stamps="kernel", merged_segments=0)
            )  # fmt: skip
    return found


def shifted(result: Result, seconds: float) -> Result:
    """The same as another clock would have it."""
    data = replace(result.data)
    data.start_time, data.completed_time = data.start_time - seconds, data.completed_time - seconds
    return replace(result, data=data, scheduled_s=result.scheduled_s - seconds)


def stored(folder: Path, results: list[Result], behind_s: float = 0.0, is_finished: bool = True) -> Store:
    """A runner's file, whose clock is so far behind the leader's."""
    folder.mkdir()
    store = Store(folder)
    store.set_run(name="x", workers="2", manifest="spec: {target: {model: m}}")
    for stage in range(STAGES):
        begin_s = ZERO_S + 100 * stage - behind_s
        store.set_stage(stage, f"s{stage}", {"concurrency": LANES, "requests": REQUESTS})
        store.begin_stage(stage, begin_s, None)
        store.end_stage(stage, begin_s + 20.0, 0.5)
        for number in range(3):
            sample = dict.fromkeys(health.COLUMNS, 0) | {"at_s": begin_s + number, "stage": stage, "interval_s": 0.5}
            store.add_sample(health.Sample(**sample))
    for result in results:
        store.add(shifted(result, behind_s))
    store.add_warmup_prompt(7)
    store.commit()
    return store


def facts(runner: int, behind_s: float = 0.0, **more: Any) -> RunnerFacts:
    """A runner's facts."""
    clock = ClockLine(offset_s=behind_s, at_s=ZERO_S - behind_s, bound_s=0.001)
    return RunnerFacts(runner, f"pod-{runner}", f"node-{runner}", "merged", "", 2, clock)._replace(**more)


@pytest.fixture(scope="module")
def results() -> list[Result]:
    return results_of_a_run()


def rounded(value: Any) -> Any:
    """Sums of the same numbers in another order, and times that were shifted and shifted back, differ in their last digits."""
    if isinstance(value, float):
        return float(f"{value:.7g}")
    if isinstance(value, dict):
        return {name: rounded(inner) for name, inner in value.items()}
    return [rounded(inner) for inner in value] if isinstance(value, list) else value


def summary_of(store: Store) -> list[dict[str, Any]]:
    found = [rounded(stage.model_dump(mode="json")) for stage in summarise(store.db)]
    for stage in found:
        del stage["client"]["figures"], stage["runners"]  # of processes, of which there are more
    return found


@pytest.mark.parametrize("runners", [1, 2, 3, 5, 16])
def test_the_same_rows_from_any_number_of_runners_have_the_same_summary(
    results: list[Result], tmp_path: Path, runners: int
) -> None:
    whole = stored(tmp_path / "whole", results)
    leader = stored(tmp_path / "leader", results[::runners])
    add_leader(leader.db, facts(0, clock=None))
    for runner in range(1, runners):
        behind_s = 37.5 * runner
        path = stored(tmp_path / f"{runner}", results[runner::runners], behind_s).close()
        found = merge(leader.db, path, facts(runner, behind_s))
        assert found.requests == len(results[runner::runners])
    assert summary_of(leader) == summary_of(whole)
    (count,) = leader.db.execute("SELECT sum(requests) FROM runner").fetchone()
    assert count == len(results) == leader.db.execute("SELECT count(*) FROM requests").fetchone()[0]
    assert leader.db.execute("SELECT count(DISTINCT coalesce(runner, 0)) FROM requests").fetchone() == (runners,)
    assert leader.db.execute(
        "SELECT count(*) FROM result WHERE json_array_length(inter_token_latencies) > 0"
    ).fetchone() == (whole.db.execute("SELECT count(*) FROM gaps").fetchone())
    path = leader.close()
    with closing(sqlite3.connect(path)) as db:
        assert db.execute("PRAGMA integrity_check").fetchone() == ("ok",)
    whole.db.close()


def test_times_are_shifted_and_durations_are_untouched(results: list[Result], tmp_path: Path) -> None:
    own = shifted(results[3], 50.0)
    path = stored(tmp_path / "w", results[3:4], 50.0).close()
    leader = stored(tmp_path / "l", [])
    clock = ClockLine(offset_s=50.0, drift=1e-3, at_s=ZERO_S - 50.0)
    merge(leader.db, path, facts(1, clock=clock))
    names = "start_time, completed_time, scheduled_time, latency, first_chunk_latency, dispatch_lag, runner"
    start_s, end_s, due_s, latency_s, ttft_s, lag_s, runner = leader.db.execute(
        f"SELECT {names} FROM requests"
    ).fetchone()
    assert start_s == pytest.approx(own.data.start_time + clock.shift_s(own.data.start_time), abs=1e-9)
    assert end_s - start_s == pytest.approx(own.data.completed_time - own.data.start_time, abs=1e-9)
    assert start_s - due_s == pytest.approx(own.data.start_time - own.scheduled_s, abs=1e-9)
    assert (latency_s, ttft_s) == (own.data.query_latency, own.data.first_chunk_latency)
    assert lag_s == pytest.approx(own.dispatch_lag_s)
    assert runner == 1
    leader.db.close()


def test_what_is_known_of_runners_is_kept(results: list[Result], tmp_path: Path) -> None:
    leader = stored(tmp_path / "l", results[::2])
    add_leader(leader.db, facts(0, clock=None))
    path = stored(tmp_path / "w", results[1::2], 8.0).close()
    merge(leader.db, path, facts(1, 8.0))
    rows = leader.db.execute("SELECT runner, name, node, state, workers, bound, requests FROM runner").fetchall()
    assert rows == [(0, "pod-0", "node-0", "merged", 2, None, 200), (1, "pod-1", "node-1", "merged", 2, 0.001, 200)]
    begins = leader.db.execute("SELECT begin_time FROM runner_stage WHERE stage = 1").fetchall()
    assert [begin for (begin,) in begins] == pytest.approx([ZERO_S + 100] * 2)
    (first,) = leader.db.execute("SELECT first_sent_time FROM runner_stage WHERE runner = 1 AND stage = 0").fetchone()
    assert first == pytest.approx(results[1].data.start_time)
    leader.db.close()


def test_the_summary_lists_all_runners_with_what_each_has_done(results: list[Result], tmp_path: Path) -> None:
    leader = stored(tmp_path / "l", results[::3])
    add_leader(leader.db, facts(0, clock=None))
    late = stored(tmp_path / "w", results[1::3], 8.0)
    late.db.execute("UPDATE client_health SET cpu_share = 0.97 WHERE stage = 1")
    late.db.execute("UPDATE stage SET begin_time = begin_time + 0.004 WHERE stage = 1")
    merge(leader.db, late.close(), facts(1, 8.0, clock=ClockLine(8.0, 1e-5, ZERO_S - 8.0, 0.001, 0.0002)))
    add_runner(leader.db, RunnerFacts(2, "pod-2", "node-2", "lost", "was killed", None, None), 0)
    stages = summarise(leader.db)
    first, second, lost = runners_of(leader.db, stages)
    sent = [len(results[part::3]) for part in (0, 1)]
    assert [first.requests, second.requests, lost.requests] == [*sent, 0]
    assert (second.name, second.node, second.state, second.workers) == ("pod-1", "node-1", "merged", 2)
    assert second.clock_offset_s == pytest.approx(8.0)
    assert (second.clock_bound_s, second.clock_residual_s) == (0.001, 0.0002)
    assert (first.client, second.client, lost.client) == ("valid", "degraded", "invalid")
    assert (lost.state, lost.reason, lost.clock_offset_s, lost.workers) == ("lost", "was killed", None, None)
    before, after, nothing = stages[1].runners
    assert before.begin_s == 0.0
    assert after.begin_s == pytest.approx(0.004 + 100e-5, abs=1e-6)
    assert before.first_sent_s == pytest.approx(0.001, abs=1e-6)
    assert after.requests == sum(result.stage == 1 for result in results[1::3])
    assert after.client.reasons[0].startswith("load: runner 1, pod-1 on node node-1: shard 0 of 2")
    assert (nothing.requests, nothing.begin_s, nothing.client.load) == (0, None, "invalid")
    leader.set_summaries([stage.model_dump(mode="json") for stage in stages])
    kept = leader.db.execute("SELECT requests, client, client_reasons FROM runner_stage WHERE runner = 1 AND stage = 1")
    requests, client, reasons = kept.fetchone()
    assert (requests, client, json.loads(reasons)) == (after.requests, "degraded", after.client.reasons)
    leader.db.close()


def test_a_run_of_one_runner_lists_none(results: list[Result], tmp_path: Path) -> None:
    only = stored(tmp_path / "l", results)
    stages = summarise(only.db)
    assert runners_of(only.db, stages) == []
    assert [stage.runners for stage in stages] == [[], []]
    only.db.close()


def test_a_client_that_is_late_is_named_with_its_pod_and_node(results: list[Result], tmp_path: Path) -> None:
    leader = stored(tmp_path / "l", results[::2])
    add_leader(leader.db, facts(0, clock=None))
    worker = stored(tmp_path / "w", results[1::2])
    worker.db.execute("UPDATE client_health SET cpu_share = 0.97 WHERE stage = 1")
    merge(leader.db, worker.close(), facts(1))
    first, second = summarise(leader.db)
    assert first.client.state == "valid"
    (reason,) = second.client.reasons
    assert reason.startswith("latencies and load: runner 1, pod-1 on node node-1: shard 0 of 2: uses 97 % of a CPU")
    leader.db.close()


def test_a_runner_that_was_lost_makes_the_load_invalid(results: list[Result], tmp_path: Path) -> None:
    leader = stored(tmp_path / "l", results[::2])
    add_leader(leader.db, facts(0, clock=None))
    worker = stored(tmp_path / "w", results[1::2])
    merge(leader.db, worker.close(), facts(1, state="cut", reason="was told to end (SIGTERM)"))
    (client, _) = (stage.client for stage in summarise(leader.db))
    assert (client.load, client.latencies) == ("invalid", "valid")
    assert client.reasons == ["load: runner 1, pod-1 on node node-1: was told to end (SIGTERM)"]
    leader.db.close()


@pytest.mark.parametrize("has_merged", [False, True], ids=["killed before it put rows in", "killed while it did"])
def test_a_killed_leader_leaves_what_workers_had_handed_over(
    results: list[Result], tmp_path: Path, has_merged: bool
) -> None:
    folder = tmp_path / "run"
    leader = stored(folder, results[::4])
    (folder / "manifest.yaml").write_text(MANIFEST)
    inbox = Inbox(folder)
    for number in (1, 2):
        path = stored(tmp_path / f"{number}", results[number::4], 8.0).close()
        data = path.read_bytes()
        inbox.append(number, 0, data)
        done = FileDone(
            instance="x", size=len(data), sha256=digest_of(path), workers=2, state="merged",
            offset_s=8.0, drift=0.0, at_s=ZERO_S, bound_s=0.001, residual_s=0.0,
        )  # fmt: skip
        said = Delivered(name=f"pod-{number}", node="n", why="was told to end" if number == 2 else "", done=done)
        whole = inbox.finish(number, said)
        assert inbox.finish(number, said) == whole, "said once more, because the answer was lost"
    inbox.append(3, 0, b"the beginning of a file")
    if has_merged:
        add_leader(leader.db, facts(0, clock=None))
        merge(leader.db, folder / "runner-1.sqlite", facts(1, 8.0))
    leader.db.close()
    finished = recover(folder)
    assert finished.end.state == "interrupted"
    with closing(sqlite3.connect(finished.results)) as db:
        rows = db.execute("SELECT runner, state, requests FROM runner ORDER BY runner").fetchall()
        begins = db.execute("SELECT DISTINCT round(begin_time, 3) FROM runner_stage WHERE stage = 1").fetchall()
        total = db.execute("SELECT count(*) FROM requests").fetchone()[0]
    states = ["merged" if has_merged else "cut", "merged", "cut", "lost"]
    assert rows == [(number, states[number], 0 if number == 3 else 100) for number in range(4)]
    assert total == sum(stage.requests.total for stage in finished.summary.stages) == 300
    assert begins == [(ZERO_S + 100,)]
    assert any("runner 3" in reason for stage in finished.summary.stages for reason in stage.client.reasons)
    assert not [path for path in folder.glob("runner-*") if path.name != "runner-3.sqlite.partial"]


def test_requests_that_were_never_sent_come_along(tmp_path: Path) -> None:
    worker = stored(tmp_path / "w", [])
    worker.add_unsent(0, 5, 10.0, 12.0, "chat")
    worker.commit()
    leader = stored(tmp_path / "l", [])
    found = merge(leader.db, worker.close(), facts(1, 100.0))
    assert found == Counts(0, 0, 0, 1, 6)
    unsent = leader.db.execute("SELECT scheduled_time, until_time, runner, workload FROM unsent").fetchall()
    assert unsent == [(110.0, 112.0, 1, "chat")]
    leader.db.close()


def test_what_runners_count_for_themselves_is_added(tmp_path: Path) -> None:
    leader, worker = stored(tmp_path / "l", []), stored(tmp_path / "w", [])
    leader.set_run(unmeasured_requests={"warmup": 3, "connection_test": 1})
    worker.set_run(unmeasured_requests={"warmup": 2, "connection_test": 1}, dataset_entries=50, name="of the worker")
    leader.commit()
    merge(leader.db, worker.close(), facts(1))
    found = dict(leader.db.execute("SELECT key, value FROM run"))
    assert json.loads(found["unmeasured_requests"]) == {"warmup": 5, "connection_test": 2}
    assert (found["dataset_entries"], found["name"]) == ("50", "x")
    leader.db.close()


def test_a_stage_is_over_when_it_is_over_for_all(tmp_path: Path) -> None:
    leader, worker = stored(tmp_path / "l", []), stored(tmp_path / "w", [])
    worker.end_stage(0, ZERO_S + 31.0, 0.5, ZERO_S + 25.0)
    add_leader(leader.db, facts(0, clock=None))
    merge(leader.db, worker.close(), facts(1))
    ends = leader.db.execute("SELECT end_time, stop_time FROM stage ORDER BY stage").fetchall()
    assert ends == [(ZERO_S + 31.0, ZERO_S + 25.0), (ZERO_S + 120.0, None)]
    leader.db.close()


def test_what_cannot_be_merged_is_refused_and_nothing_of_it_put_in(results: list[Result], tmp_path: Path) -> None:
    leader = stored(tmp_path / "l", results[:3])
    path = stored(tmp_path / "w", results[3:9]).close()
    with pytest.raises(StoreError, match="never compared"):
        merge(leader.db, path, facts(1, clock=None))
    with closing(sqlite3.connect(path)) as db, db:
        db.execute("DELETE FROM migration WHERE name = 'm008_runners'")
    with pytest.raises(StoreError, match="another version"):
        merge(leader.db, path, facts(1))
    broken = tmp_path / "broken.sqlite"
    broken.write_bytes(path.read_bytes()[: path.stat().st_size // 2])
    with pytest.raises(StoreError):
        merge(leader.db, broken, facts(1))
    assert leader.db.execute("SELECT count(*) FROM requests").fetchone() == (3,)
    assert not leader.db.in_transaction
    leader.set_run(note=json.dumps("it can still be written to"))
    leader.close()
