"""Several runners while they run: what the leader serves speaks for all of them."""

import json
import signal
from collections.abc import Callable
from typing import Any

import pytest
from asking import get
from prometheus_client.parser import text_string_to_metric_families

Start = Callable[..., Any]


def samples(listen: str) -> dict[tuple[str, ...], float]:
    """Of /metrics by name, stage and outcome."""
    return {
        (one.name, *(one.labels[name] for name in ("stage", "outcome", "state") if name in one.labels)): one.value
        for family in text_string_to_metric_families(get(listen, "/metrics"))
        for one in family.samples
        if "le" not in one.labels
    }


def test_the_leader_speaks_for_all_while_they_run_and_at_the_end(
    mock: Start, perfbench: Start, spec_for: Start, listen: str
) -> None:
    server = mock(ttft_s=0.05, itl_s=0.02, output_tokens=4)
    stages = [{"concurrency": 7, "duration": "4s"}, {"rate": 30, "requests": 40}]
    run = perfbench(spec_for(server, *stages, runner={"replicas": 3, "linger": "60s"}), "--listen", listen)
    seen: list[dict[str, Any]] = []

    def is_known() -> bool:
        seen.append(json.loads(get(listen, "/progress") or "{}"))
        return bool(seen[-1].get("in_flight") == 7 and seen[-1].get("requests", 0) > 20)

    run.until(is_known, 60)
    assert seen[-1]["ttft_p50_s"] > 0.04
    assert 0.01 < seen[-1]["itl_p50_s"] <= seen[-1]["itl_p99_s"]
    run.until(lambda: json.loads(get(listen, "/progress") or "{}").get("phase") == "done", 90)
    found = samples(listen)
    run.signal(signal.SIGINT)  # it lingers no longer
    assert run.wait(60) == 0
    for stage in run.summary["stages"]:
        name, total = stage["name"], stage["requests"]["total"]
        assert found["perfbench_requests_total", name, "success"] == stage["requests"]["succeeded"]
        assert found["perfbench_requests_sent_total", name] == total
        assert found["perfbench_ttft_seconds_count", name] == total
        assert found["perfbench_itl_seconds_count", name] == stage["itl_s"]["count"]
        assert found["perfbench_ttft_seconds_sum", name] == pytest.approx(stage["ttft_s"]["mean"] * total, rel=1e-3)
        assert found["perfbench_output_tokens_total", name] == pytest.approx(4 * total)
    assert found["perfbench_requests_scheduled_total", "r30"] == 40
