"""A search as a run: each point a stage, the answer in summary, file, table, exit code and termination message."""

import json
from pathlib import Path
from typing import Any

import pytest
import yaml

SEARCH = {"rate": {"from": 10, "to": 160}, "requests": 60, "precision": "25%", "maxRequests": 4000}
OBJECTIVE = {"metric": "ttft", "statistic": "p90", "max": "300ms"}


def spec(server: Any, search: dict[str, Any], objectives: list[dict[str, Any]], **more: Any) -> dict[str, Any]:
    return {
        "target": {"url": f"{server.base_url}/v1/chat/completions", "model": "mock"},
        "request": {"maxTokens": 4},
        "load": {"search": search, "gracePeriod": "1s"},
        "objectives": objectives,
        "results": {"messages": "none"},
        **more,
    }


def test_a_rate_is_found_and_each_point_is_a_stage(mock: Any, perfbench: Any) -> None:
    """Two slots of 50 ms: 40 requests a second at most."""
    server = mock(ttft_s=0.05, itl_s=0, slots=2)
    run = perfbench(spec(server, SEARCH, [OBJECTIVE]))
    assert run.wait(150) in (0, 3, 4), run.stderr
    summary, found = run.summary, run.summary["search"]
    assert (found["kind"], found["goal"]) == ("rate", "objectives")
    assert 20 <= found["low"] <= found["load"] <= 48
    assert [point["stage"] for point in found["points"]] == [stage["name"] for stage in summary["stages"]]
    assert [name for (name,) in run.query("SELECT name FROM stage ORDER BY stage")] == [
        point["stage"] for point in found["points"]
    ]
    for point, stage in zip(found["points"], summary["stages"], strict=True):
        assert point["settling"] == 12
        assert stage["requests"]["excluded"] == 12, "they let the queue settle"
    assert found["points"][-1]["role"] == "confirm"
    assert found["points"][-1]["load"] == pytest.approx(found["low"])
    assert found["requests"] == run.count() <= 4000
    assert {result["stage"] for result in summary["objectives"]} == {found["points"][-1]["stage"]}
    assert "carries at least" in run.stdout
    assert found["reason"] in run.stdout.replace("\n", " ")


def test_concurrency_is_found_as_the_knee_where_there_are_no_objectives(mock: Any, perfbench: Any) -> None:
    server = mock(ttft_s=0.03, itl_s=0, slots=4)
    search = {"concurrency": {"from": 1, "to": 32}, "requests": 40, "precision": "50%"}
    run = perfbench(spec(server, search, []))
    assert run.wait(120) == 0, run.stderr
    found = run.summary["search"]
    assert (found["kind"], found["goal"], found["confirmed"]) == ("concurrency", "knee", None)
    assert 2 <= found["load"] <= 8
    assert all(point["load"] == int(point["load"]) for point in found["points"])
    assert "the knee is at" in run.stdout


@pytest.mark.parametrize(
    ("bound", "search", "code", "text"),
    [
        ("1ms", {"requests": 20}, 3, "lowest load of the range"),
        ("30s", {"requests": 20}, 0, "highest load of the range"),
        ("300ms", {"requests": 60, "maxRequests": 300, "rate": {"from": 10, "to": 160}}, 4, "budget was used up"),
    ],
)
def test_what_is_not_in_the_range_or_not_paid_for_is_told(
    mock: Any, perfbench: Any, bound: str, search: dict[str, Any], code: int, text: str
) -> None:
    server = mock(ttft_s=0.02, itl_s=0, slots=2)
    run = perfbench(spec(server, {"rate": {"from": 10, "to": 30}, **search}, [{**OBJECTIVE, "max": bound}]))
    got = run.wait(120)
    assert text in run.summary["search"]["reason"]
    if run.summary["client"]["state"] != "invalid":
        assert got == code, run.stdout


def test_a_budget_for_no_point_is_refused_before_anything_is_sent(mock: Any, perfbench: Any) -> None:
    server = mock()
    search = {"rate": {"from": 10, "to": 30}, "maxRequests": 500}
    run = perfbench(spec(server, search, [{**OBJECTIVE, "statistic": "p99"}]))
    assert run.wait() == 2
    assert "a point and one that confirms it take 6,000 requests, 346 s, and 500 requests" in run.stderr
    assert server.stats()["started"] == 0


def test_the_example_runs(perfbench: Any) -> None:
    manifest = yaml.safe_load((Path(__file__).parents[2] / "examples/how-much-does-it-carry.yaml").read_text())
    manifest["spec"]["load"]["search"] |= {"requests": 120, "precision": "30%"}
    run = perfbench(manifest["spec"])
    assert run.wait(120) in (0, 3, 4), run.stderr
    found = run.summary["search"]
    assert 50 <= found["load"] <= 170  # its points are short, so that queues are, too
    assert json.loads(run.query("SELECT value FROM run WHERE key = 'search'")[0][0])["load"] == found["load"]
