"""What plugins leave in a result, and what the rest may rely on."""

from typing import Any

import numpy as np
import pytest

from perfbench_plugins.benchmark_data import BenchmarkData
from perfbench_plugins.evalscope.benchmark_util import MetricsAccumulator


@pytest.mark.parametrize(
    ("field", "left", "found"),
    [
        ("prompt_tokens", "7", 7),
        ("prompt_tokens", 7.0, 7),
        ("completion_tokens", np.int64(3), 3),
        ("completion_tokens", float("nan"), None),
        ("completion_tokens", "many", None),
        ("cached_tokens", [1], None),
        ("query_latency", 2, 2.0),
        ("query_latency", np.float32(0.5), 0.5),
        ("first_chunk_latency", np.array([1.0, 2.0]), None),
        ("first_chunk_latency", "0.25", 0.25),
        ("start_time", None, 0.0),
        ("inter_chunk_latency", np.array([0.1, 0.2]), [0.1, 0.2]),
        ("inter_chunk_latency", [0.1, "0.2", None, "x", 1], [0.1, 0.2, 1.0]),
        ("inter_chunk_latency", 0.1, []),
        ("inter_chunk_latency", None, []),
        ("failure", 503, "503"),
        ("failure", None, ""),
    ],
)
def test_whatever_a_plugin_left_becomes_what_the_field_says(field: str, left: Any, found: Any) -> None:
    data = BenchmarkData(success=True)
    setattr(data, field, left)
    data.tidy()
    assert getattr(data, field) == found
    assert type(getattr(data, field)) is type(found)


class Counting:
    """A plugin that counts."""

    def parse_responses(self, responses: Any, request: Any = None) -> tuple[int, int]:
        return 7, 5


def test_durations_begin_at_zero_and_unset_ones_are_none_in_the_end() -> None:
    data = BenchmarkData()
    assert (data.query_latency, data.first_chunk_latency, data.time_per_output_token) == (0.0, 0.0, 0.0)
    data.own = "anything"  # type: ignore[attr-defined]
    data.tidy()
    assert (data.first_chunk_latency, data.time_per_output_token) == (None, None)


def test_what_follows_from_the_rest_is_filled_in() -> None:
    data = BenchmarkData(
        success=True,
        is_stream=True,
        start_time=1.0,
        completed_time=1.9,
        first_chunk_latency=0.1,
        chunk_times=[1.1, 1.3, 1.4],
        real_cached_tokens=3,
    )
    data.finalize(Counting(), enable_pd_metrics=True)
    assert (data.prompt_tokens, data.completion_tokens, data.token_source) == (7, 5, "plugin")
    assert data.query_latency == pytest.approx(0.9)
    assert data.inter_chunk_latency == pytest.approx([0.2, 0.1])
    assert data.time_per_output_token == pytest.approx(0.8 / 4)
    assert data.decoded_tokens_per_iter == 4 / 2
    assert data.cached_tokens == 3
    assert (data.pd_handoff_latency, data.pd_handoff_overhead) == pytest.approx((0.2, 0.1))


def test_a_whole_answer_has_no_first_token() -> None:
    data = BenchmarkData(success=True, completed_time=2.0, start_time=1.0, query_latency=1.0, first_chunk_latency=1.0)
    data.finalize(Counting())
    data.tidy()
    assert (data.query_latency, data.first_chunk_latency, data.time_per_output_token) == (1.0, None, None)


def test_figures_are_summed_up_as_evalscope_does() -> None:
    total = MetricsAccumulator(concurrency=2, rate=-1)
    streamed = {"success": True, "is_stream": True, "first_chunk_latency": 0.1, "inter_chunk_latency": [0.1, 0.3]}
    tokens = {"prompt_tokens": 10, "completion_tokens": 3}
    total.update(BenchmarkData(start_time=1.0, completed_time=1.5, query_latency=0.5, **streamed, **tokens), Counting())
    total.update(BenchmarkData(start_time=1.2, completed_time=3.0, query_latency=1.8, **streamed, **tokens), Counting())
    total.update(BenchmarkData(start_time=1.0, completed_time=9.0, is_warmup=True), Counting())
    total.update(BenchmarkData(start_time=1.0, completed_time=2.0, error="no"), Counting())
    message = total.to_result().create_message()
    assert (message["Total Requests"], message["Failed Requests"]) == (3, 1)
    assert message["Test Duration (s)"] == 2.0
    assert message["Req Throughput (req/s)"] == 1.0
    assert message["Avg TTFT (ms)"] == 100.0
    assert message["Avg ITL (ms)"] == 200.0
    assert message["Avg TPOT (ms)"] == round(1000 * (0.2 + 0.85) / 2, 2)
    assert message["Output Throughput (tok/s)"] == 3.0
    assert MetricsAccumulator().to_result().create_message()["Avg Latency (s)"] == -1
