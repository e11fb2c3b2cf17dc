"""What plugins leave in a result, and what the rest may rely on."""

from typing import Any

import numpy as np
import pytest

from perfbench_plugins.benchmark_data import BenchmarkData


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
