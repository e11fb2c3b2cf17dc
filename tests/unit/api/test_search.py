"""`load.search` in place of stages: what it means in the manifest, and which mistakes are named."""

from typing import Any

import pytest

from perfbench_api.resource import PerfBenchmark, SpecError

TTFT = {"metric": "ttft", "statistic": "p90", "max": "1s"}


def read(load: dict[str, Any], objectives: list[dict[str, Any]] | None = None) -> PerfBenchmark:
    spec = {"target": {"mock": {}}, "load": load, "objectives": [TTFT] if objectives is None else objectives}
    return PerfBenchmark.read({"metadata": {"name": "a"}, "spec": spec})


def test_a_search_says_where_and_how_well() -> None:
    search = read({"search": {"rate": {"from": 1, "to": 64}, "precision": "10%"}}).spec.load.search
    assert search is not None
    assert (search.kind, search.ends, search.precision) == ("rate", (1, 64), 0.1)
    assert (search.max_requests, search.max_duration) == (100_000, 3600)


@pytest.mark.parametrize("load", [{"rate": {"from": 1, "to": 64}}, {"concurrency": {"from": 2, "to": 32}}])
def test_a_manifest_that_is_kept_can_be_run_again(load: dict[str, Any]) -> None:
    once = read({"search": load})
    assert len(once.spec.load.stages) == 1
    assert PerfBenchmark.read(once.dump()).spec == once.spec


def test_kubernetes_own_default_of_stages_is_none_that_anybody_gave() -> None:
    given = {"search": {"rate": {"from": 1, "to": 4}}}
    stages = [{"concurrency": 1, "arrival": "poisson", "requests": 1000}]
    assert read(given | {"stages": stages}).spec == read(given).spec


RATE = {"from": 1, "to": 4}


@pytest.mark.parametrize(
    ("load", "message"),
    [
        ({"search": {}}, "give exactly one of rate"),
        ({"search": {"rate": RATE, "concurrency": RATE}}, "give exactly one of rate"),
        ({"search": {"rate": {"from": 4, "to": 4}}}, "from 4 is not below to 4"),
        ({"search": {"concurrency": {"from": 5, "to": 4}}}, "from 5 is not below to 4"),
        ({"search": {"rate": RATE, "precision": "5s"}}, "'5s' is not a share; write it as 5% or 0.05"),
        ({"search": {"rate": RATE, "precision": 5}}, "5 is not from 0.1% to 50%"),
        ({"search": {"concurrency": RATE, "maxConcurrency": 4}}, "belong to rate"),
        ({"search": {"rate": RATE}, "stages": [{"rate": 1, "requests": 4}]}, "stages and search exclude each other"),
    ],
)
def test_mistakes_are_named(load: dict[str, Any], message: str) -> None:
    with pytest.raises(SpecError, match=message):
        read(load)


@pytest.mark.parametrize(
    "objective",
    [
        {"metric": "ttft", "statistic": "mean", "max": "1s"},
        {"metric": "ttft", "statistic": "p99", "min": "1s"},
        {"metric": "request_throughput", "min": 5},
        {**TTFT, "stage": "search"},
        {"metric": "goodput_share", "max": "95%"},
        {"metric": "goodput_share", "min": "90%", "max": "95%"},
    ],
)
def test_objectives_that_cannot_steer_a_search_are_refused(objective: dict[str, Any]) -> None:
    with pytest.raises(SpecError, match=r"objectives\[0\]"):
        read({"search": {"rate": RATE}}, [objective])


@pytest.mark.parametrize(("statistic", "share"), [("p50", 0.5), ("p99", 0.99), ("p99_9", 0.999), ("mean", None)])
def test_a_percentile_is_a_share_of_requests(statistic: str, share: float | None) -> None:
    objective = read({}, [{**TTFT, "statistic": statistic}]).spec.objectives[0]
    assert objective.share == (share if share is None else pytest.approx(share))
