"""Objectives and goodput of real runs: what the file says, by hand, is what summary, table and Prometheus say."""

from pathlib import Path
from typing import Any

EXAMPLES = Path(__file__).parents[2] / "examples"
GOOD = "success = 1 AND first_chunk_latency <= 0.5 AND coalesce(time_per_output_token, 0) <= 0.04 AND stage = {stage}"


def test_the_example_of_goodput_is_judged_by_its_requests(perfbench: Any) -> None:
    run = perfbench(None, str(EXAMPLES / "goodput.yaml"), "--no-fail")
    assert run.wait(90) == 0
    stages = run.summary["stages"]
    assert [stage["name"] for stage in stages] == ["quiet", "busy"]
    for number, stage in enumerate(stages):
        goodput, requests = stage["goodput"], stage["requests"]
        assert goodput["good"] == run.count(GOOD.format(stage=number))
        assert goodput["share"] == goodput["good"] / (requests["total"] + requests["unsent"])
        assert goodput["rate_rps"] <= stage["request_throughput_rps"]
        assert goodput["limits_s"] == {"ttft": 0.5, "tpot": 0.04}
    found = {(each["metric"], each["stage"]): each for each in run.summary["objectives"]}
    assert len(found) == 9
    assert found["goodput_share", "quiet"]["value"] == stages[0]["goodput"]["share"]
    assert found["goodput_rate", "busy"]["value"] == stages[1]["goodput"]["rate_rps"]
    assert found["failed_share", "busy"] == found["failed_share", "busy"] | {"kept": True, "confidence": None}
    for each in found.values():
        assert each["kept"] is not None or each["reason"]
        if each["low"] is not None and each["high"] is not None:
            assert each["low"] <= each["value"] <= each["high"]
    if run.summary["client"]["state"] != "invalid":  # as on a busy machine
        assert found["ttft", "quiet"]["kept"] is True, found["ttft", "quiet"]
        assert found["itl", "busy"]["kept"] is True, found["itl", "busy"]
        assert run.summary["verdict"] in ("Passed", "Inconclusive"), run.summary["verdict_reasons"]
    assert "good" in run.stdout
    assert "with 95 %" in run.stdout
