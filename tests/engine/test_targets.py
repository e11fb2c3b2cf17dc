"""Several targets in one run: each gets its own requests in its share, the same prompts in the same order."""

from pathlib import Path
from typing import Any

import pytest
import yaml

EXAMPLE = Path(__file__).parents[2] / "examples" / "which-of-two-engines.yaml"


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


@pytest.mark.parametrize("runner", [{"workers": 1}, {"workers": 3}, {"workers": 1, "replicas": 2}])
def test_in_a_closed_loop_side_by_side_each_target_has_all_lanes_for_itself(
    mock: Any, perfbench: Any, spec_for: Any, runner: dict[str, int]
) -> None:
    speeds = {"fast": 0.01, "slow": 0.1, "middle": 0.03}
    targets = [
        {"name": name, "url": mock(output_tokens=2, ttft_s=ttft_s, itl_s=0.001).base_url}
        for name, ttft_s in speeds.items()
    ]
    stages = [{"concurrency": 2, "duration": "1500ms"}, {"concurrency": 3, "duration": "1s", "rampUp": "200ms"}]
    load = {"split": "sideBySide", "warmup": {"requests": 6}}
    run = perfbench(spec_for("http://127.0.0.1:9", *stages, targets=targets, runner=runner, load=load))
    assert run.wait(60) == 0, run.stderr
    spans = run.query(
        "SELECT stage, target, start_time, completed_time FROM requests WHERE success ORDER BY stage, start_time"
    )
    for number, lanes in ((0, 2), (1, 3)):
        for name in speeds:
            own = [each[2:] for each in spans if each[:2] == (number, name)]
            at_once = [sum(begin <= at < end for begin, end in own) for at, _ in own]
            assert max(at_once) == lanes, (number, name)
    repeated = run.query("SELECT stage, target, entry FROM requests GROUP BY stage, target, entry HAVING count(*) > 1")
    assert repeated == []
    firsts = run.query(
        "SELECT stage, count(DISTINCT first) FROM"
        " (SELECT stage, target, min(entry) AS first FROM requests GROUP BY stage, target) GROUP BY stage"
    )
    assert firsts == [(0, 1), (1, 1)]  # all begin with the same one
    counts = {name: sum(each[1] == name for each in spans) for name in speeds}
    assert counts["fast"] > counts["middle"] > counts["slow"] > 0, counts
    assert run.summary["stages"][0]["load"] == "closed loop of 2 lanes at each of 3 targets, 1500ms"
    assert run.summary["stages"][0]["window"]["kind"] == "duration"


def test_a_target_that_does_not_answer_is_named(mock: Any, perfbench: Any, spec_for: Any) -> None:
    targets = [{"name": "up"}, {"name": "down", "url": "http://127.0.0.1:9"}]
    run = perfbench(spec_for(mock(), targets=targets))
    assert run.wait() == 1
    assert "target down: " in run.stderr
    assert "127.0.0.1:9" in run.stderr
    assert run.count() == 0


def test_the_example_says_which_of_two_engines_is_faster(perfbench: Any) -> None:
    run = perfbench(None, str(EXAMPLE))
    assert run.wait(90) == 0, run.stderr
    (stage,) = run.summary["stages"]
    assert [each["name"] for each in stage["targets"]] == ["old", "new"]
    assert stage["prompts"]["repeated"] == 0
    (comparison,) = stage["comparisons"]
    found = {(each["metric"], each["statistic"]): each for each in comparison["differences"]}
    assert (found["ttft", "p99"]["is_seen"], found["ttft", "p99"]["difference"]) == (None, None)  # too few for that
    assert "TTFT p99 and E2E p99 of new and old cannot be compared: too few requests" in run.stdout
    ttft = found["ttft", "p50"]
    if run.summary["client"]["state"] != "invalid":  # as on a busy machine
        assert ttft["is_seen"], ttft
        assert ttft["low"] < -0.02 < ttft["high"], ttft
        assert "lower than that of old" in run.stdout


def test_of_two_equal_engines_no_difference_is_claimed(perfbench: Any) -> None:
    """The example with the same mock twice, at a confidence at which chance finds a difference in a run of a thousand."""
    manifest = yaml.safe_load(EXAMPLE.read_text())
    manifest["spec"]["targets"] = [manifest["spec"]["targets"][0] | {"name": name} for name in ("one", "other")]
    run = perfbench(manifest["spec"] | {"confidence": 0.999})
    assert run.wait(90) == 0, run.stderr
    (comparison,) = run.summary["stages"][0]["comparisons"]
    found = {(each["metric"], each["statistic"]): each["is_seen"] for each in comparison["differences"]}
    assert found["ttft", "p50"] is False
    assert True not in found.values()
    assert "no difference seen between other and one in TTFT p50" in run.stdout


@pytest.mark.parametrize("runner", [{"workers": 5}, {"workers": 2, "replicas": 2}])
def test_weights_are_kept_in_short_stages_however_fast_each_target_answers(
    mock: Any, perfbench: Any, spec_for: Any, runner: dict[str, int]
) -> None:
    weights, speeds = {"fast": 5, "slow": 2, "third": 1}, {"fast": 0.03, "slow": 0.3, "third": 0.1}
    targets = [
        {"name": name, "weight": weights[name], "url": mock(output_tokens=2, ttft_s=ttft_s, itl_s=0.001).base_url}
        for name, ttft_s in speeds.items()
    ]
    loads: list[dict[str, Any]] = [{"concurrency": 5}, {"rate": 25, "arrival": "constant"}]
    stages = [{"name": f"s{number}", "duration": "200ms", **loads[number % 2]} for number in range(12)]
    run = perfbench(spec_for("http://127.0.0.1:9", *stages, targets=targets, runner=runner))
    assert run.wait(60) == 0, run.stderr
    runners = runner.get("replicas", 1)
    # One runner has one order for all of them; of several each has an order of its own in closed loops.
    for which, most in [("stage >= 0", 1)] if runners == 1 else [("stage % 2 = 1", 1), ("stage % 2 = 0", runners)]:
        sent = dict(run.query(f"SELECT target, count(*) FROM requests WHERE {which} GROUP BY target"))
        for name, weight in weights.items():
            assert abs(sent[name] - sum(sent.values()) * weight / 8) < most, (which, sent)
    for counts in (stage["targets"] for stage in run.summary["stages"]):
        total = sum(each["requests"]["total"] for each in counts)
        for each in counts:
            assert abs(each["requests"]["total"] - total * weights[each["name"]] / 8) < 2 * runner.get("replicas", 1)
