"""The summary: figures recomputed by hand from the rows of a results file."""

import json
import sqlite3
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from perfbench_plugins.benchmark_data import BenchmarkData
from perfbench_runner.results import client_health as health
from perfbench_runner.results.figures import summarise, worst_client
from perfbench_runner.results.quantiles import distribution
from perfbench_runner.results.result import Result
from perfbench_runner.results.store import Store
from perfbench_runner.results.summary import Summary


@pytest.fixture
def results(tmp_path: Path) -> Iterator[Store]:
    made = Store(tmp_path)
    yield made
    made.db.close()


def add(store: Store, start: float, end: float, success: bool = True, stage: int = 0, **fields: Any) -> None:
    scheduled = fields.pop("scheduled", start)
    names = ("shard", "connect_s", "tls_s", "entry", "prompt_id", "resends")
    more = {"shard": 0, "seq": store.rows} | {name: fields.pop(name) for name in (*names, "seq") if name in fields}
    data = BenchmarkData(
        success=success,
        start_time=start,
        completed_time=end,
        query_latency=end - start,
        failure="" if success else fields.pop("failure", "timeout"),
        request="{}",
        **fields,
    )
    data.tidy()
    store.add(Result(stage=stage, scheduled_s=scheduled, data=data, **more))


def summed(store: Store) -> Any:
    store.commit()
    return summarise(store.db)


def test_quantiles_are_interpolated_between_values() -> None:
    found = distribution([4.0, 1.0, 3.0, 2.0])
    assert (found.mean, found.min, found.max, found.count) == (2.5, 1.0, 4.0, 4)
    assert found.std == pytest.approx(1.118033988)
    assert [found.p50, found.p90, found.p95] == pytest.approx([2.5, 3.7, 3.85])
    assert [found.p99, found.p99_9] == pytest.approx([3.97, 3.997])


def test_of_nothing_nothing_is_said() -> None:
    assert distribution([]).model_dump() == dict.fromkeys(
        ("mean", "std", "min", "p50", "p90", "p95", "p99", "p99_9", "max")
    ) | {"count": 0, "censored": 0, "lower_bounds": {}}


def test_figures_of_a_stage(results: Store) -> None:
    results.set_stage(0, "c2", {"concurrency": 2})
    tokens: dict[str, Any] = {"prompt_tokens": 10, "completion_tokens": 5, "token_source": "usage"}
    add(
        results,
        10.0,
        12.0,
        first_chunk_latency=0.5,
        inter_chunk_latency=[0.1, 0.3],
        scheduled=9.0,
        connect_s=0.2,
        **tokens,
    )
    add(results, 11.0, 14.0, first_chunk_latency=1.5, inter_chunk_latency=[0.2], time_per_output_token=0.4, **tokens)
    add(results, 9.5, 20.0, success=False, failure="timeout")
    add(results, 12.0, 12.5, success=False, failure="http_500")
    add(results, 12.0, 12.5, success=False, failure="http_500")
    (stage,) = summed(results)
    counts = {"total": 5, "succeeded": 2, "failed": 3, "unfinished": 0, "unsent": 0, "no_content": 0}
    counts |= {"resent": 0, "retried": 0, "excluded": 0}
    assert stage.requests.model_dump() == counts
    assert stage.duration_s == 10.5, "failures are part of the window: else throughput would be too high"
    assert stage.request_throughput_rps == pytest.approx(2 / 10.5)
    assert stage.output_token_throughput_tps == pytest.approx(10 / 10.5)
    assert stage.total_token_throughput_tps == pytest.approx(30 / 10.5)
    assert (stage.ttft_s.mean, stage.ttft_s.count) == (1.0, 2)
    assert (stage.itl_s.p50, stage.itl_s.count) == (pytest.approx(0.2), 3)
    assert (stage.tpot_s.mean, stage.tpot_s.count) == (0.4, 1), "undefined for the first: none was stored"
    assert (stage.e2e_latency_s.min, stage.e2e_latency_s.max) == (2.0, 3.0)
    assert stage.scheduled_latency_s.max == 3.0
    assert stage.dispatch_lag_s.max == pytest.approx(0.8), "connecting is not the client's delay"
    assert (stage.connect_s.mean, stage.connect_s.count) == (pytest.approx(0.2), 1)
    assert stage.errors == {"http_500": 2, "timeout": 1}
    assert next(iter(stage.errors)) == "http_500"
    assert stage.token_sources == {"usage": 2}
    assert (stage.offered_rate_rps, stage.sent_rate_rps, stage.cached_prompt_share) == (None, None, None)


def test_stages_are_apart_and_warmup_is_none(results: Store) -> None:
    for number, name in enumerate(("c1", "c2")):
        results.set_stage(number, name, {})
    add(results, 1, 2, stage=0)
    add(results, 3, 7, stage=1)
    add(results, 0, 9, stage=-1)
    assert [(stage.name, stage.requests.total, stage.duration_s) for stage in summed(results)] == [
        ("c1", 1, 1),
        ("c2", 1, 4),
    ]


def test_a_stage_without_results_has_no_figures(results: Store) -> None:
    results.set_stage(0, "c1", {"rate": 5})
    for stage in summed(results):
        assert stage.requests.total == 0
        assert stage.request_throughput_rps is None
        assert json.loads(stage.model_dump_json())["ttft_s"]["p99"] is None


def test_a_stage_of_failures_only(results: Store) -> None:
    results.set_stage(0, "c1", {})
    for _ in range(3):
        add(results, 1, 2, success=False, failure="connect")
    (stage,) = summed(results)
    assert (stage.requests.succeeded, stage.requests.failed, stage.errors) == (0, 3, {"connect": 3})
    assert (stage.ttft_s.count, stage.request_throughput_rps, stage.output_token_throughput_tps) == (0, 0, 0)


def test_answers_that_are_not_streamed_have_no_ttft(results: Store) -> None:
    results.set_stage(0, "c1", {})
    add(results, 1, 2, completion_tokens=5)
    (stage,) = summed(results)
    assert (stage.ttft_s.count, stage.itl_s.count, stage.e2e_latency_s.count) == (0, 0, 1)


def test_cached_share_is_of_requests_that_report_it(results: Store) -> None:
    results.set_stage(0, "c1", {})
    add(results, 1, 2, prompt_tokens=100, real_cached_tokens=50)
    add(results, 1, 2, prompt_tokens=100, real_cached_tokens=0)
    add(results, 1, 2, prompt_tokens=500)
    assert summed(results)[0].cached_prompt_share == 0.25


def test_a_server_that_says_nothing_of_what_it_had_not_cached_had_not_cached_it(results: Store) -> None:
    """As vLLM does it."""
    results.set_stage(0, "c1", {})
    add(results, 1, 2, prompt_tokens=100, real_cached_tokens=80)
    for _ in range(3):
        add(results, 1, 2, prompt_tokens=100)
    assert summed(results)[0].cached_prompt_share == 0.2


def test_a_rate_that_was_not_kept_is_told(results: Store) -> None:
    results.set_stage(0, "r10", {"rate": 10})
    for number in range(50):
        add(results, 1 + number * 0.2, 20, scheduled=1 + number * 0.1)
    (stage,) = summed(results)
    assert (stage.offered_rate_rps, stage.sent_rate_rps) == (10, pytest.approx(5))
    assert stage.client.state in ("degraded", "invalid")
    assert any("only 5.0 of 10.0 requests/s were sent" in reason for reason in stage.client.reasons)


def test_the_runs_client_is_as_bad_as_in_its_worst_stage(results: Store) -> None:
    for number, cpu in enumerate((0.1, 0.99)):
        results.set_stage(number, f"c{number}", {})
        add(results, 1, 2, stage=number)
        values: dict[str, Any] = dict.fromkeys(health.COLUMNS, 0) | {
            "stage": number,
            "interval_s": 0.5,
            "cpu_share": cpu,
        }
        results.add_sample(health.Sample(**values))
    stages = summed(results)
    assert [stage.client.state for stage in stages] == ["valid", "invalid"]
    client = worst_client(stages)
    assert client.state == "invalid"
    assert client.reasons[0].startswith("c1: ")


def test_the_summary_is_plain_json_without_nan(results: Store) -> None:
    results.set_stage(0, "c1", {})
    add(results, 1, 1, first_chunk_latency=0.0, completion_tokens=0)
    summary = Summary(name="a", verdict=None, stages=summed(results))
    text = summary.model_dump_json()
    assert "NaN" not in text
    assert "Infinity" not in text
    assert Summary.model_validate_json(text) == summary
    stage = json.loads(text)["stages"][0]
    wanted = (
        "name requests duration_s request_throughput_rps output_token_throughput_tps total_token_throughput_tps ttft_s "
        "itl_s tpot_s e2e_latency_s scheduled_latency_s output_tokens prompt_tokens errors"
    )
    assert set(wanted.split()) <= stage.keys()
    assert list(stage["ttft_s"]) == [
        "mean",
        "std",
        "min",
        "p50",
        "p90",
        "p95",
        "p99",
        "p99_9",
        "max",
        "count",
        "censored",
        "lower_bounds",
    ]


def test_a_closed_file_gives_the_same_summary(results: Store) -> None:
    results.set_stage(0, "c1", {})
    add(results, 1, 2)
    before = summed(results)
    db = sqlite3.connect(results.close())
    assert summarise(db) == before
    db.close()
