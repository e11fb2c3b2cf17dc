"""Figures over the load that was asked for: windows, unfinished and unsent requests, repeats, choices."""

import json
import sqlite3
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from perfbench_plugins.benchmark_data import BenchmarkData
from perfbench_runner.results import client_health as health
from perfbench_runner.results.figures import summarise
from perfbench_runner.results.result import Result
from perfbench_runner.results.store import Store, StoreError


@pytest.fixture
def results(tmp_path: Path) -> Iterator[Store]:
    made = Store(tmp_path)
    yield made
    made.db.close()


def answer(start: float, tokens: int = 10, ttft: float = 1.0, itl: float = 1.0, **fields: Any) -> BenchmarkData:
    """A streamed answer, one token a chunk."""
    end = start + ttft + itl * (tokens - 1)
    given: dict[str, Any] = {
        "success": True,
        "is_stream": True,
        "start_time": start,
        "completed_time": end,
        "query_latency": end - start,
        "first_chunk_latency": ttft,
        "inter_chunk_latency": [itl] * (tokens - 1),
        "prompt_tokens": 100,
        "completion_tokens": tokens,
        "token_source": "usage",
        "time_per_output_token": itl,
    }
    return BenchmarkData(**given | fields)


def cut(
    start: float, end: float, ttft: float | None = 1.0, itl: float = 1.0, failure: str = "unfinished"
) -> BenchmarkData:
    """The same, cut off before its end."""
    chunks = 0 if ttft is None else int((end - start - ttft) / itl) + 1
    return BenchmarkData(
        success=False,
        is_stream=True,
        failure=failure,
        start_time=start,
        completed_time=end,
        first_chunk_latency=ttft,
        inter_chunk_latency=[itl] * max(0, chunks - 1),
    )


def add(store: Store, data: BenchmarkData, scheduled: float | None = None, stage: int = 0, **fields: Any) -> None:
    data.tidy()
    fields = {"seq": store.rows, "shard": 0} | fields
    store.add(Result(stage=stage, scheduled_s=data.start_time if scheduled is None else scheduled, data=data, **fields))


def stage(store: Store, plan: dict[str, Any], begin: float = 0.0, deadline: float | None = None, **more: Any) -> None:
    number = store.db.execute("SELECT count(*) FROM stage").fetchone()[0]
    store.set_stage(number, f"s{number}", plan)
    store.begin_stage(number, begin, deadline)
    store.end_stage(number, begin + 100, 0.0, **more)


def summed(store: Store) -> Any:
    store.commit()
    return summarise(store.db)


@pytest.mark.parametrize("shards", [1, 3, 8])
def test_long_answers_of_a_stage_by_duration_have_the_throughput_that_the_server_gave(
    results: Store, shards: int
) -> None:
    """Eight lanes, answers of 10 s, 12 s: the second answer of each lane is cut off at 15 s."""
    stage(results, {"concurrency": 8, "duration": "12s"}, deadline=12.0)
    for lane in range(8):
        add(results, answer(0.0, 200, 0.05, 0.05), shard=lane % shards)
        add(results, cut(10.0, 15.0, 0.05, 0.05), shard=lane % shards)
    (found,) = summed(results)
    assert (found.requests.succeeded, found.requests.unfinished, found.requests.failed) == (8, 8, 0)
    assert found.errors == {}
    assert (found.window.start_s, found.window.end_s, found.window.kind) == (0.0, 12.0, "duration")
    assert found.output_token_throughput_tps == pytest.approx(8 / 0.05, rel=0.005)
    assert found.request_throughput_rps == pytest.approx(8 / 12)
    assert found.overall.output_token_throughput_tps == pytest.approx(1600 / 15)
    assert (found.overall.duration_s, found.duration_s) == (15.0, 15.0)
    assert (found.e2e_latency_s.count, found.e2e_latency_s.censored) == (8, 8)
    assert any("8 requests were cut off unfinished" in note for note in found.notes)
    assert any("tokens of 8 requests that did not succeed" in note for note in found.notes)
    # Prompts of unfinished requests were processed, too; nobody counted them.
    assert found.input_token_throughput_tps == pytest.approx(16 * 100 / 12)


@pytest.mark.parametrize("per_chunk", [1, 3])
def test_tokens_count_when_their_chunks_arrive(results: Store, per_chunk: int) -> None:
    """One answer begins before the window, one outlives it, one fails late, one is not streamed."""
    stage(results, {"rate": 1, "duration": "10s"}, begin=10.0, deadline=20.0)
    tokens = 10 * per_chunk
    add(results, answer(5.5, completion_tokens=tokens))  # chunks at 6.5 … 15.5: six of ten from 10 on
    add(results, answer(15.5, completion_tokens=tokens))  # 16.5 … 25.5: four until 20
    add(results, cut(11.0, 14.5, failure="disconnected"))  # 12, 13, 14
    add(
        results,
        BenchmarkData(success=True, start_time=12.0, completed_time=13.0, query_latency=1.0, completion_tokens=7),
    )
    add(
        results,
        BenchmarkData(success=True, start_time=19.0, completed_time=21.0, query_latency=2.0, completion_tokens=7),
    )
    (found,) = summed(results)
    assert found.output_token_throughput_tps == pytest.approx(((6 + 4 + 3) * per_chunk + 7) / 10)
    assert found.request_throughput_rps == pytest.approx(2 / 10), "two ended in it"
    assert any(f"3 chunks x {per_chunk:.2f} tokens" in note for note in found.notes)


@pytest.mark.parametrize("workers", [1, 2, 3, 5, 8, 16])
@pytest.mark.parametrize(("lanes", "count"), [(8, 200), (20, 2000)])
def test_a_constant_server_has_its_true_rate_whatever_the_number_of_workers(
    results: Store, workers: int, lanes: int, count: int
) -> None:
    stage(results, {"concurrency": lanes, "requests": count})
    for number in range(count):
        start = number // lanes * 0.4605 + number % workers * 0.0001
        add(results, answer(start, 16, 0.31, 0.01), shard=number % workers)
    (found,) = summed(results)
    assert found.window.kind == "all_lanes_busy"
    assert found.request_throughput_rps == pytest.approx(lanes / 0.4605, rel=0.01)
    assert found.output_token_throughput_tps == pytest.approx(lanes * 16 / 0.4605, rel=0.01)
    assert found.input_token_throughput_tps == pytest.approx(lanes * 100 / 0.4605, rel=0.01)


def test_requests_held_by_a_limit_until_the_end_are_in_the_latencies(results: Store) -> None:
    """Rate 100, limit 8, a second of service, 60 s: of 6,000 arrivals some 480 are served."""
    stage(results, {"rate": 100, "duration": "60s", "maxConcurrency": 8}, deadline=60.0)
    served = [(number * 0.01, float(number // 8)) for number in range(480)]
    for scheduled, start in served:
        add(results, answer(max(scheduled, start), 2, 0.5, 0.5), scheduled=scheduled)
    for number in range(480, 6000):
        results.add_unsent(0, number, number * 0.01, 60.0)
    (found,) = summed(results)
    assert (found.requests.total, found.requests.unsent, found.requests.failed) == (480, 5520, 0)
    late = found.scheduled_latency_s
    assert (late.count, late.censored) == (480, 5520)
    assert late.p50 > 50
    assert late.mean > 50
    assert (found.e2e_latency_s.count, found.e2e_latency_s.censored) == (480, 0), "from sending, they are outside"
    assert any("5520 that were due were never sent" in note for note in found.notes)
    assert found.client.state == "degraded", "the load was not as asked, but the client itself was not late"
    assert len(found.client.reasons) == 1
    assert found.client.reasons[0].startswith("load: only 8.")
    assert "maxConcurrency held requests back" in found.client.reasons[0]


def test_a_first_token_that_was_seen_counts_and_one_that_was_not_is_bounded(results: Store) -> None:
    stage(results, {"concurrency": 4, "duration": "10s"}, deadline=10.0)
    for ttft in (1.0, 2.0):
        add(results, answer(0.0, ttft=ttft))
    add(results, cut(5.0, 13.0, ttft=3.0))
    add(results, cut(5.0, 13.0, ttft=None))
    (found,) = summed(results)
    assert (found.ttft_s.count, found.ttft_s.censored) == (3, 1)
    assert (found.ttft_s.p50, found.ttft_s.p99, found.ttft_s.lower_bounds["p99"]) == (pytest.approx(2.5), None, 8.0)
    assert found.itl_s.count == 9 + 9 + 5


def test_failures_are_not_censoring_and_their_tokens_are_in_no_latency(results: Store) -> None:
    stage(results, {"concurrency": 1, "requests": 2})
    add(results, answer(0.0))
    add(results, cut(10.0, 14.0, failure="truncated"))
    (found,) = summed(results)
    assert (found.requests.failed, found.errors) == (1, {"truncated": 1})
    assert (found.ttft_s.count, found.e2e_latency_s.censored, found.itl_s.count) == (1, 0, 9)


def test_a_stage_that_was_stopped_early_ends_there(results: Store) -> None:
    stage(results, {"rate": 1, "duration": "60s"}, begin=10.0, deadline=70.0, stop_s=20.0)
    for number in range(12):
        add(results, answer(10.0 + number, 2, 0.5, 0.1))
    (found,) = summed(results)
    assert (found.window.start_s, found.window.end_s) == (0.0, 10.0)
    assert found.request_throughput_rps == pytest.approx(10 / 10)


def test_where_there_is_no_window_the_overall_figures_are_taken_and_it_is_said(results: Store) -> None:
    stage(results, {"concurrency": 8, "requests": 3})
    for _ in range(3):
        add(results, answer(0.0))
    (found,) = summed(results)
    assert (found.window.kind, found.window.start_s, found.window.end_s) == ("overall", 0.0, 10.0)
    assert found.request_throughput_rps == found.overall.request_throughput_rps == 0.3
    assert found.window.reason == "3 requests are too few to see 8 lanes busy all the time"
    assert found.notes[0].endswith(found.window.reason)


def test_a_conversation_takes_a_lane_from_its_first_turn_to_its_last_end(results: Store) -> None:
    """Two lanes, three turns with a pause each: between turns the lane is not free."""
    stage(results, {"concurrency": 2, "requests": 20})
    for number in range(20):
        for turn in range(3):
            data = answer(number // 2 * 6.0 + turn * 2, 2, 0.5, 0.5, input_num_turns=turn + 1, is_last_turn=turn == 2)
            add(results, data, seq=number)
    (found,) = summed(results)
    assert found.window.kind == "all_lanes_busy"
    assert found.request_throughput_rps == pytest.approx(1.0, rel=0.01)
    conversations = found.conversations
    assert (conversations.total, conversations.completed, conversations.turns.mean) == (20, 20, 3.0)
    assert conversations.duration_s.p50 == 5.0
    assert (conversations.first_turn_ttft_s.count, conversations.later_turn_ttft_s.count) == (20, 40)


def test_repeated_prompts_are_told(results: Store) -> None:
    """Warm-up sends prompts 0 and 1; 64 prompts for 200 requests; the next stage has the same."""
    results.set_run(dataset_entries=64)
    for prompt_id in (1, 2):
        results.add_warmup_prompt(prompt_id)
    for number in range(2):
        stage(results, {"concurrency": 1, "requests": 200})
        for entry in range(200):
            add(results, answer(entry * 10.0), stage=number, entry=entry, prompt_id=entry % 64 + 1)
    first, second = summed(results)
    assert first.prompts.model_dump() == {"distinct": 64, "repeated": 138, "dataset_passes": 3.125}
    assert second.prompts.model_dump() == {"distinct": 64, "repeated": 200, "dataset_passes": 3.125}
    assert any(
        note.startswith("138 of 200 requests had a prompt that this run had sent before: a prefix cache may explain")
        for note in first.notes
    )


def test_a_dataset_that_did_not_end_has_no_passes_and_new_prompts_no_note(results: Store) -> None:
    stage(results, {"concurrency": 1, "requests": 30})
    for entry in range(30):
        add(results, answer(entry * 10.0), entry=entry, prompt_id=-entry - 1)
    (found,) = summed(results)
    assert found.prompts.model_dump() == {"distinct": 30, "repeated": 0, "dataset_passes": None}
    assert found.notes == []


@pytest.mark.parametrize(
    ("cached", "state", "hits"),
    [([0, 0, 0], "cold", 0), ([5, 5, 5], "cold", 0), ([0, 0, 90], "partly_warm", 1), ([99, 98, 50], "warm", 3)],
)
def test_what_a_server_had_in_its_cache_is_told_and_hits_are_apart(
    results: Store, cached: list[int], state: str, hits: int
) -> None:
    stage(results, {"concurrency": 1, "requests": 3})
    for number, count in enumerate(cached):
        ttft = 0.01 if count >= 50 else 1.0
        add(results, answer(number * 10.0, ttft=ttft, real_cached_tokens=count), prompt_id=number + 1)
    (found,) = summed(results)
    cache = found.prompt_cache
    assert (cache.state, cache.source, cache.share) == (state, "usage", pytest.approx(sum(cached) / 300))
    assert (cache.hits, cache.misses, cache.hit_ttft_s.count, cache.miss_ttft_s.count) == (
        hits,
        3 - hits,
        hits,
        3 - hits,
    )
    assert cache.hit_ttft_s.max == (0.01 if hits else None)
    told = [note for note in found.notes if "in its cache" in note]
    assert bool(told) == (state != "cold")
    for note in told:
        assert f"latencies of a {state.replace('_', ' ')} prefix cache" in note
        assert "no prompt was sent twice in this run" in note


def test_a_cache_that_is_to_be_measured_is_no_reason_to_warn(results: Store) -> None:
    results.set_run(manifest="spec: {dataset: {measureCache: true}}")
    stage(results, {"concurrency": 1, "requests": 3})
    for number in range(3):
        add(results, answer(number * 10.0, real_cached_tokens=90))
    (found,) = summed(results)
    assert (found.prompt_cache.state, found.prompt_cache.is_intended, found.notes) == ("warm", True, [])


def test_where_answers_say_nothing_of_a_cache_the_server_s_metrics_do(results: Store) -> None:
    stage(results, {"concurrency": 1, "requests": 3})
    for number in range(3):
        add(results, answer(number * 10.0))
    results.commit()
    (unknown,) = summarise(results.db)
    assert (unknown.prompt_cache.state, unknown.prompt_cache.share) == ("unknown", None)
    (known,) = summarise(results.db, lambda db, start_s, end_s: {"prefix_cache_hit_ratio": {"value": 0.75}})
    assert (known.prompt_cache.state, known.prompt_cache.source) == ("warm", "server_metrics")


@pytest.mark.parametrize(
    ("asked", "answered", "is_told"),
    [
        ("tiny", "tiny", False),
        ("Qwen/Qwen3-8B", "qwen3-8b", False),
        ("gpt-4o", "gpt-4o-2024-08-06", False),
        ("llama3", "llama3:latest", False),
        ("nope", "tiny", True),
        ("llama3", "llama33", True),
        ("gpt-4o-mini", "gpt-4o", False),
    ],
)
def test_answers_of_another_model_are_told(results: Store, asked: str, answered: str, is_told: bool) -> None:
    results.set_run(manifest=f"spec: {{target: {{model: {asked}}}}}")
    stage(results, {"concurrency": 1, "requests": 3})
    for number in range(3):
        add(results, answer(number * 10.0, model=answered))
    (found,) = summed(results)
    assert found.answers.models == {answered: 3}
    assert found.answers.other_model == 3 * is_told
    assert any(f"3 answers are of model '{answered}', not of '{asked}'" in note for note in found.notes) == is_told


@pytest.mark.parametrize(
    ("asked", "reported", "tokenizer", "cut", "longer"),
    [
        (3000, 2048, "", 3, 0),
        (3000, 2860, "", 0, 0),
        (3000, 4000, "", 0, 0),  # words: there are more tokens
        (3000, 4000, "./tokenizer", 0, 3),
        (3000, 3100, "./tokenizer", 0, 0),
        (10, 5, "./tokenizer", 0, 0),
    ],
)
def test_prompts_that_a_server_cuts_are_told(
    results: Store, asked: int, reported: int, tokenizer: str, cut: int, longer: int
) -> None:
    results.set_run(manifest=f"spec: {{dataset: {{tokenizerPath: '{tokenizer}'}}}}")
    stage(results, {"concurrency": 1, "requests": 4})
    for number in range(3):
        add(results, answer(number * 10.0, asked_tokens=asked, prompt_tokens=reported))
    add(results, answer(50.0, prompt_tokens=reported))
    (found,) = summed(results)
    assert (found.answers.prompts_cut, found.answers.prompts_longer) == (cut, longer)
    unit = "tokens" if tokenizer else "words"
    expected = f"the server has cut 3 of 3 prompts (3,000 {unit} were asked for, {reported:,} reported on average)"
    assert any(expected in note for note in found.notes) == bool(cut)


def test_answers_shorter_than_asked_are_told(results: Store) -> None:
    results.set_run(manifest="spec: {request: {minTokens: 16}}")
    stage(results, {"concurrency": 1, "requests": 5})
    for number, tokens in enumerate((16, 15, 1, 30, 16)):
        add(results, answer(number * 100.0, tokens))
    (found,) = summed(results)
    assert found.answers.too_short == 2
    assert "2 answers have fewer than 16 tokens (request.minTokens)" in found.notes


def test_answers_of_hidden_tokens_are_successes_without_a_first_token(results: Store) -> None:
    stage(results, {"concurrency": 1, "requests": 5})
    for number in range(5):
        hidden: dict[str, Any] = {"first_chunk_latency": None, "no_content": True} if number % 2 else {}
        add(results, answer(number * 10.0, 1, **hidden))
    (found,) = summed(results)
    assert (found.requests.succeeded, found.requests.no_content, found.ttft_s.count) == (5, 2, 3)
    assert found.output_tokens.count == 5
    assert any(note.startswith("2 answers have tokens and no content") for note in found.notes)


def test_a_gap_is_spread_over_the_tokens_that_came_after_it(results: Store) -> None:
    """Speculative decoding: three tokens at once, then nothing for a while."""
    stage(results, {"concurrency": 1, "requests": 2})
    gaps = {"inter_chunk_latency": [0.0, 0.03, 0.03], "gap_tokens": [1, 3, 2]}
    add(results, answer(0.0, 7, **gaps))
    add(results, answer(10.0, 4))
    (found,) = summed(results)
    assert (found.itl_s.count, found.token_gap_s.count) == (6, 6)
    assert found.token_gap_s.mean == pytest.approx(0.01)
    assert found.token_gap_s.max == pytest.approx(0.015)


def test_figures_that_were_counted_here_are_marked(results: Store) -> None:
    stage(results, {"concurrency": 1, "requests": 3})
    for number, who in enumerate(("chunks", "usage", "chunks")):
        add(results, answer(number * 10.0, token_source=who))
    (found,) = summed(results)
    assert any(
        note.startswith("output tokens are counted here: 2 answers as one for each chunk") for note in found.notes
    )


def test_requests_that_were_sent_again_are_counted(results: Store) -> None:
    stage(results, {"concurrency": 1, "requests": 3})
    for number in range(3):
        add(results, answer(number * 10.0), resends=int(number == 1))
    (found,) = summed(results)
    assert found.requests.resent == 1
    assert any(note.startswith("1 requests were sent again") for note in found.notes)


def test_refused_requests_that_were_sent_again_are_told_apart_from_what_the_target_does(results: Store) -> None:
    """Three requests: one at once, one after waits of 4 s, one that was refused to the last."""
    results.set_run(manifest="spec: {load: {retry: {times: 2}}}")
    stage(results, {"concurrency": 1, "requests": 3})
    add(results, answer(0.0, ttft=1.0))
    add(results, answer(20.0, ttft=5.0), retries=2, retry_s=4.0)
    add(results, cut(40.0, 43.0, None, failure="http_429"), retries=2, retry_s=2.0)
    (found,) = summed(results)
    assert (found.requests.retried, found.ttft_s.max) == (2, 5.0)
    told = found.retries
    assert (told.requests, told.attempts, told.succeeded, told.gave_up) == (2, 7, 1, 1)
    assert (told.wait_s.min, told.wait_s.max) == (2.0, 4.0)
    assert (told.attempt_ttft_s.min, told.attempt_ttft_s.max) == (1.0, 1.0)
    assert told.attempt_e2e_latency_s.max == found.e2e_latency_s.min
    assert any(note.startswith("2 requests were refused with 429 or 503 and sent again") for note in found.notes)


def test_where_retries_were_not_asked_for_nothing_is_said_of_them(results: Store) -> None:
    stage(results, {"concurrency": 1, "requests": 1})
    add(results, answer(0.0))
    (found,) = summed(results)
    assert (found.retries, found.requests.retried) == (None, 0)


def test_of_several_answers_each_has_a_part_of_the_tokens(results: Store) -> None:
    results.set_run(manifest="spec: {request: {nChoices: 4}}")
    stage(results, {"concurrency": 1, "requests": 3})
    for number in range(3):
        add(results, answer(number * 10.0, 10, 1.0, 1.0, completion_tokens=40, time_per_output_token=9 / 39))
    (found,) = summed(results)
    assert found.tpot_s.p50 == pytest.approx(1.0)
    assert any("asked for 4 answers" in note for note in found.notes)


def test_one_slow_shard_of_many_is_not_averaged_away(results: Store) -> None:
    results.set_run(workers="16")
    stage(results, {"concurrency": 16, "requests": 1600})
    for number in range(1600):
        shard = number % 16
        add(
            results,
            answer(number * 1.0),
            scheduled=number - (9.0 if shard == 3 and number % 32 == 3 else 0.0),
            shard=shard,
        )
    values: dict[str, Any] = dict.fromkeys(health.COLUMNS, 0) | {"stage": 0, "interval_s": 0.5}
    for shard in range(16):
        results.add_sample(health.Sample(**values | {"shard": shard}))
    (found,) = summed(results)
    assert found.client.state == "invalid"
    assert all(reason.startswith("load: shard 3 of 16: ") for reason in found.client.reasons)
    assert found.client.figures["idle_share"] == pytest.approx(4.5 / 14.5)


def test_progress_is_told_to_the_end(results: Store) -> None:
    stage(results, {"concurrency": 1, "requests": 50})
    for number in range(50):
        add(results, answer(number * 10.0))
    results.commit()
    told: list[tuple[int, int]] = []
    summarise(results.db, tell=lambda done, total: told.append((done, total)))
    assert told[-1] == (100, 100)


def test_a_file_that_cannot_be_read_is_a_store_error(results: Store) -> None:
    stage(results, {"concurrency": 1})
    results.commit()
    results.db.execute("DROP TABLE client_health")
    with pytest.raises(StoreError, match="cannot read the results to summarise them: no such table"):
        summarise(results.db)


def test_the_seeds_script_reads_what_was_measured(results: Store) -> None:
    stage(results, {"concurrency": 1, "requests": 30})
    messages = [json.dumps({"id": f"chatcmpl-{number}"}) for number in range(20)]
    for number in range(30):
        add(results, answer(number * 10.0, request='{"a": 1}', response_messages=messages, ttft=1.5))
    path = results.close()
    seed = (Path(__file__).parents[2] / "data" / "seed" / "analysis.py").read_text()
    names: dict[str, Any] = {}
    exec(seed.replace("your db path", str(path)), names)
    names["conn"].close()
    assert len(names["rows"]) == 30
    assert names["row_dict"]["request"] == {"a": 1}
    assert names["row_dict"]["response_messages"] == messages


def test_sqlite_alone_reads_gaps(results: Store) -> None:
    stage(results, {"concurrency": 1, "requests": 1})
    add(results, answer(0.0, 4, 1.0, 0.25))
    with sqlite3.connect(results.close()) as db:
        assert db.execute("SELECT inter_token_latencies FROM result").fetchone() == ("[0.25,0.25,0.25]",)
    db.close()
