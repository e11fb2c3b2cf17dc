"""Requests that a target refuses for now, in whole runs: sent again only if asked, counted apart, hidden nowhere."""

import json
import signal
from typing import Any

import pytest
from asking import get
from prometheus_client.parser import text_string_to_metric_families

NO_TEST = {"connectionTest": False}


@pytest.mark.parametrize(
    "stage", [{"concurrency": 4, "requests": 60}, {"rate": 100, "requests": 60, "maxConcurrency": 3}]
)
def test_refused_requests_are_sent_again_if_asked(
    mock: Any, perfbench: Any, spec_for: Any, listen: str, stage: Any
) -> None:
    server = mock(error_rate=0.4, error_status=503)
    load = {"retry": {"times": 20, "wait": "20ms", "maxWait": "40ms"}}
    runner = {"workers": 2, "linger": "60s"}
    run = perfbench(spec_for(server, stage, load=load, target=NO_TEST, runner=runner), "--listen", listen)
    run.until(lambda: json.loads(get(listen, "/progress") or "{}").get("phase") == "done", 60)
    live = {
        one.labels["reason"]: one.value
        for family in text_string_to_metric_families(get(listen, "/metrics"))
        for one in family.samples
        if one.name == "perfbench_retries_total"
    }
    run.signal(signal.SIGINT)  # it lingers no longer
    assert run.wait() == 0
    assert (run.stage["requests"]["total"], run.stage["requests"]["failed"]) == (60, 0)
    again = run.rows("retries, retry_time, first_chunk_latency", "retries > 0")
    found = run.stage["retries"]
    assert found["requests"] == found["succeeded"] == run.stage["requests"]["retried"] == len(again) > 5
    assert found["attempts"] == 60 + sum(retries for retries, *_ in again)
    assert server.stats()["by_status"]["503"] == found["attempts"] - 60
    assert live == {"http_429": 0, "http_503": found["attempts"] - 60}
    assert found["gave_up"] == 0
    assert all(first_s >= retry_s >= 0.02 * min(2, retries) for retries, retry_s, first_s in again)
    assert found["wait_s"]["count"] == len(again)
    assert found["attempt_ttft_s"]["mean"] < run.stage["ttft_s"]["mean"]
    (note,) = (note for note in run.stage["notes"] if "sent again" in note)
    assert "latencies are from the first sending" in note


def test_the_wait_is_what_the_answer_says_and_whoever_asks_for_too_much_is_given_up(
    mock: Any, perfbench: Any, spec_for: Any
) -> None:
    """The mock asks for one second."""
    server = mock(rate_limit=1, ttft_s=0.1)
    burst = {"concurrency": 3, "requests": 3}
    load = {"retry": {"times": 5, "wait": "1ms", "maxWait": "1s"}}
    waited = perfbench(spec_for(server, burst, load=load, target=NO_TEST), name="waited")
    given_up = {"retry": {"times": 5, "wait": "1ms", "maxWait": "900ms"}, "maxFailedShare": 1}
    short = perfbench(spec_for(mock(rate_limit=1, ttft_s=0.1), burst, load=given_up, target=NO_TEST), name="short")
    assert waited.wait() == 0
    assert waited.stage["retries"]["requests"] >= 1
    assert waited.stage["retries"]["wait_s"]["min"] >= 1.0
    assert short.wait() == 0
    assert short.stage["retries"]["gave_up"] == short.stage["errors"]["http_429"] >= 1
    assert short.stage["retries"]["requests"] == 0
    [said] = {error for (error,) in short.query("SELECT error FROM requests WHERE NOT success")}
    assert said.endswith("(given up: it asks to wait 1 s, and load.retry.maxWait is 0.9 s)")


def test_they_are_not_sent_again_unasked(mock: Any, perfbench: Any, spec_for: Any) -> None:
    server = mock(error_rate=0.4, error_status=503)
    spec = spec_for(server, {"concurrency": 4, "requests": 40}, load={"maxFailedShare": 1}, target=NO_TEST)
    run = perfbench(spec)
    assert run.wait() == 0
    assert run.stage["retries"] is None
    assert sum(server.stats()["by_status"].values()) == 40
    assert run.stage["requests"]["failed"] > 5
