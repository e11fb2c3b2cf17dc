"""A search of several runners is that of one: points are made of the rows of all, and all have the same stages."""

from typing import Any

import pytest

OBJECTIVE = {"metric": "ttft", "statistic": "p90", "max": "300ms"}


def spec(server: Any, search: dict[str, Any], replicas: int) -> dict[str, Any]:
    return {
        "target": {"url": f"{server.base_url}/v1/chat/completions", "model": "mock"},
        "request": {"maxTokens": 4},
        "load": {"search": search, "gracePeriod": "1s"},
        "objectives": [OBJECTIVE],
        "results": {"messages": "none"},
        "runner": {"replicas": replicas},
    }


@pytest.mark.parametrize(
    ("replicas", "search"),
    [
        (2, {"rate": {"from": 20, "to": 30}, "requests": 20}),
        (3, {"concurrency": {"from": 2, "to": 5}, "requests": 20}),
    ],
    ids=["rate", "concurrency, at first fewer lanes than runners"],
)
def test_runners_search_together(mock: Any, perfbench: Any, replicas: int, search: dict[str, Any]) -> None:
    """The highest load of the range is carried: few points, each with all of its requests, by all who have a lane."""
    run = perfbench(spec(mock(ttft_s=0.02, itl_s=0), search, replicas))
    assert run.wait(150) in (0, 4), run.stderr
    found, stages = run.summary["search"], run.summary["stages"]
    high = next(iter(search.values()))["to"]  # type: ignore[call-overload]
    assert found["low"] == high, found["reason"]
    assert found["points"][-1]["stage"] == stages[-1]["name"]
    assert [point["stage"] for point in found["points"]] == [stage["name"] for stage in stages]
    counts = [stage["requests"] for stage in stages]
    assert found["requests"] == run.count() == sum(each["total"] + each["excluded"] for each in counts)
    assert [each["excluded"] for each in counts] == [point["settling"] for point in found["points"]]
    for point, stage in zip(found["points"], stages, strict=True):
        assert point["requests"] == 20
        assert stage["requests"]["total"] == 20, "and a fifth as many settle"
        runners = [part["requests"] for part in stage["runners"]]
        assert sum(runners) == 24
        assert sum(count > 0 for count in runners) == min(replicas, int(point["load"]))
    assert run.query("SELECT count(DISTINCT entry), count(*) FROM requests GROUP BY stage") == [(24, 24)] * len(stages)
    assert [row["state"] for row in run.summary["runners"]] == ["merged"] * replicas


def test_a_search_needs_all_of_its_runners(mock: Any, perfbench: Any) -> None:
    manifest = spec(mock(), {"rate": {"from": 20, "to": 30}}, 2)
    manifest["runner"]["onLoss"] = "continue"
    run = perfbench(manifest)
    assert run.wait() == 2
    assert "set runner.onLoss to fail" in run.stderr
