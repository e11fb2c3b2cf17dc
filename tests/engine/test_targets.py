"""Several targets in one run: each gets its own requests in its share, the same prompts in the same order."""

from pathlib import Path
from typing import Any

import pytest


@pytest.mark.parametrize("workers", [1, 3])
def test_each_target_gets_the_same_prompts_in_its_share(mock: Any, perfbench: Any, spec_for: Any, workers: int) -> None:
    fast, slow = mock(output_tokens=4, ttft_s=0.005), mock(output_tokens=4, ttft_s=0.06)
    targets = [{"name": "fast", "url": fast.base_url}, {"name": "slow", "url": slow.base_url, "keepAlive": False}]
    stages = [{"rate": 100, "requests": 60}, {"concurrency": 6, "requests": 40}]
    spec = spec_for(fast, *stages, targets=targets, runner={"workers": workers})
    run = perfbench(spec)
    assert run.wait() == 0, run.stderr
    rows = run.query(
        "SELECT stage, target, count(*), sum(success), min(first_chunk_latency) > 0.05 FROM requests GROUP BY 1, 2"
    )
    assert rows == [(0, "fast", 30, 30, 0), (0, "slow", 30, 30, 1), (1, "fast", 20, 20, 0), (1, "slow", 20, 20, 1)]
    sent = {
        name: run.query(f"SELECT stage, entry, prompt_id FROM requests WHERE target = '{name}' ORDER BY stage, entry")
        for name in ("fast", "slow")
    }
    assert sent["fast"] == sent["slow"]
    assert run.query("SELECT value FROM run WHERE key = 'url'")[0][0].count("/v1/chat/completions") == 2


@pytest.mark.parametrize("runner", [{"workers": 1}, {"workers": 2}, {"workers": 1, "replicas": 2}])
def test_side_by_side_both_get_one_prompt_at_one_time(
    mock: Any, perfbench: Any, spec_for: Any, runner: dict[str, int]
) -> None:
    targets = [{"name": name, "url": mock(output_tokens=2).base_url} for name in ("one", "other")]
    stages = [{"rate": 60, "requests": 31}, {"rate": 80, "arrival": "constant", "duration": "500ms"}]
    spec = spec_for("http://127.0.0.1:9", *stages, targets=targets, runner=runner, load={"split": "sideBySide"})
    run = perfbench(spec)
    assert run.wait(60) == 0, run.stderr
    rounds = run.query(
        "SELECT stage, count(*), count(DISTINCT target), count(DISTINCT prompt_id), max(scheduled_time) - min(scheduled_time)"
        " FROM requests GROUP BY stage, entry ORDER BY stage, min(scheduled_time)"
    )
    single = [each for each in rounds if each[1:4] == (1, 1, 1)]
    assert [each[0] for each in single] == [0]  # of an odd number of requests the last one
    pairs = [each for each in rounds if each not in single]
    assert [each[:4] for each in pairs] == [(0, 2, 2, 1)] * 15 + [(1, 2, 2, 1)] * 20
    assert max(each[4] for each in pairs) < (0.01 if "replicas" in runner else 1e-6)  # clocks of two runners
    assert "Poisson arrivals of 2 requests together, 60 requests/s" in run.summary["stages"][0]["load"]
    assert run.summary["stages"][0]["offered_rate_rps"] == 60


def test_a_target_that_does_not_answer_is_named(mock: Any, perfbench: Any, spec_for: Any) -> None:
    targets = [{"name": "up"}, {"name": "down", "url": "http://127.0.0.1:9"}]
    run = perfbench(spec_for(mock(), targets=targets))
    assert run.wait() == 1
    assert "target down: " in run.stderr
    assert "127.0.0.1:9" in run.stderr
    assert run.count() == 0


def test_the_example_says_which_of_two_engines_is_faster(perfbench: Any) -> None:
    run = perfbench(None, str(Path(__file__).parents[2] / "examples" / "which-of-two-engines.yaml"))
    assert run.wait(90) == 0, run.stderr
    (stage,) = run.summary["stages"]
    assert [each["name"] for each in stage["targets"]] == ["old", "new"]
    assert stage["prompts"]["repeated"] == 0
    (comparison,) = stage["comparisons"]
    found = {(each["metric"], each["statistic"]): each for each in comparison["differences"]}
    assert (found["ttft", "p99"]["is_seen"], found["ttft", "p99"]["difference"]) == (None, None)  # too few for that
    assert "TTFT p99 of new and old cannot be compared: too few requests" in run.stdout
    ttft = found["ttft", "p50"]
    if run.summary["client"]["state"] != "invalid":  # as on a busy machine
        assert ttft["is_seen"], ttft
        assert ttft["low"] < -0.02 < ttft["high"], ttft
        assert "lower than that of old" in run.stdout
