"""Objectives and the verdict: what is kept, what is broken, and what cannot be said."""

from typing import Any

import pytest

from perfbench_api.sections import Objective
from perfbench_runner.results.objectives import evaluate, verdict
from perfbench_runner.results.quantiles import distribution
from perfbench_runner.results.summary import ClientHealth, PromptCache, Requests, StageSummary, Summary


def stage(name: str = "c1", values: list[float] | None = None, failed: int = 0, total: int = 200) -> StageSummary:
    figures = distribution([0.1] * total if values is None else values)
    return StageSummary(
        name=name,
        requests=Requests(total=total, succeeded=total - failed, failed=failed),
        duration_s=10,
        request_throughput_rps=20 if total else None,
        output_token_throughput_tps=100,
        total_token_throughput_tps=200,
        ttft_s=figures,
        itl_s=figures,
        tpot_s=figures,
        e2e_latency_s=figures,
        scheduled_latency_s=figures,
        dispatch_lag_s=figures,
        connect_s=figures,
        output_tokens=figures,
        prompt_tokens=figures,
        errors={},
    )


def summary(objectives: list[dict[str, Any]], stages: list[StageSummary], **more: Any) -> Summary:
    results = evaluate([Objective.model_validate(each) for each in objectives], stages)
    return Summary(name="a", verdict=None, objectives=results, stages=stages, **more)


@pytest.mark.parametrize(
    ("objective", "kept"),
    [
        ({"metric": "ttft", "max": "100ms"}, True),
        ({"metric": "ttft", "max": "99ms"}, False),
        ({"metric": "ttft", "min": "100ms"}, True),
        ({"metric": "ttft", "min": 0.2}, False),
        ({"metric": "ttft", "min": "50ms", "max": "150ms"}, True),
        ({"metric": "ttft", "statistic": "mean", "max": 0.1001}, True),
        ({"metric": "itl", "statistic": "p99_9", "max": "1s"}, None),
        ({"metric": "itl", "statistic": "p99_9", "max": "1ms"}, False),
        ({"metric": "failed_share", "max": "0%"}, True),
        ({"metric": "request_throughput", "min": 20}, True),
        ({"metric": "request_throughput", "min": 21}, False),
        ({"metric": "output_token_throughput", "min": 100}, True),
        ({"metric": "total_token_throughput", "max": 199}, False),
    ],
)
def test_a_bound_is_kept_broken_or_open(objective: dict[str, Any], kept: bool | None) -> None:
    assert [each.kept for each in summary([objective], [stage()]).objectives] == [kept]


@pytest.mark.parametrize(
    ("failed", "total", "bound", "kept"),
    [(1, 200, "1%", True), (3, 200, "1%", False), (2, 200, 0.01, True), (200, 200, 0.5, False), (0, 0, "1%", None)],
)
def test_failed_share_is_of_all_requests(failed: int, total: int, bound: Any, kept: bool | None) -> None:
    found = summary([{"metric": "failed_share", "max": bound}], [stage(failed=failed, total=total, values=[])])
    assert found.objectives[0].kept is kept


def test_an_objective_holds_for_all_stages_or_for_one() -> None:
    stages = [stage("c1"), stage("c2", values=[0.5] * 200)]
    everywhere = summary([{"metric": "ttft", "max": 0.2}], stages)
    assert [(each.stage, each.kept) for each in everywhere.objectives] == [("c1", True), ("c2", False)]
    assert verdict(everywhere)[0] == "Failed"
    one = summary([{"metric": "ttft", "max": 0.2, "stage": "c1"}], stages)
    assert verdict(one) == ("Passed", [])


THROUGHPUT, FAILED_SHARE = {"metric": "request_throughput", "min": 0.001}, {"metric": "failed_share", "max": "50%"}
UNTRUE = ClientHealth(state="invalid", latencies="invalid", reasons=["slow loop"])
LESS = ClientHealth(state="invalid", load="invalid", reasons=["late"])
KEPT, BROKEN = {"metric": "ttft", "max": 1}, {"metric": "ttft", "max": 0.01}


@pytest.mark.parametrize(
    ("objectives", "more", "expected", "words"),
    [
        ([], {}, None, ""),
        ([KEPT], {}, "Passed", ""),
        ([BROKEN], {}, "Failed", "ttft p99 is 100.0 ms in stage c1, not <= 10 ms"),
        ([KEPT, BROKEN], {}, "Failed", "ttft p99"),
        ([KEPT], {"state": "interrupted"}, "Inconclusive", "the run is interrupted"),
        ([KEPT], {"state": "failed"}, "Inconclusive", "the run is failed"),
        ([BROKEN], {"state": "interrupted"}, "Failed", "ttft"),
        ([KEPT], {"client": ClientHealth(state="degraded", reasons=["x"])}, "Passed", ""),
        ([KEPT], {"client": UNTRUE}, "Inconclusive", "slow loop"),
        ([BROKEN], {"client": UNTRUE}, "Inconclusive", "slow loop"),
        ([KEPT, THROUGHPUT], {"client": UNTRUE}, "Inconclusive", "slow loop"),
        ([THROUGHPUT], {"client": UNTRUE}, "Passed", ""),
        ([FAILED_SHARE], {"client": UNTRUE}, "Passed", ""),
        ([KEPT], {"client": LESS}, "Inconclusive", "late"),
        ([BROKEN], {"client": LESS}, "Inconclusive", "late"),
        ([THROUGHPUT], {"client": LESS}, "Inconclusive", "late"),
    ],
)
def test_the_verdict(objectives: list[Any], more: dict[str, Any], expected: str | None, words: str) -> None:
    found, reasons = verdict(summary(objectives, [stage()], **more))
    assert found == expected
    assert words in "; ".join(reasons)


def test_too_little_data_leaves_it_open() -> None:
    found, reasons = verdict(summary([KEPT], [stage(values=[0.1] * 50, total=50)]))
    assert (found, reasons) == ("Inconclusive", ["ttft p99 in stage c1: not enough data"])
    assert verdict(summary([KEPT], [stage(values=[])]))[0] == "Inconclusive"


@pytest.mark.parametrize(
    ("state", "is_intended", "is_told"),
    [("cold", False, False), ("partly_warm", False, True), ("warm", False, True), ("warm", True, False)],
)
def test_a_verdict_of_a_warm_cache_says_so(state: Any, is_intended: bool, is_told: bool) -> None:
    cache = PromptCache(state=state, source="usage", share=0.6, is_intended=is_intended)
    cached = stage().model_copy(update={"prompt_cache": cache})
    found = verdict(summary([{"metric": "ttft", "max": "100ms"}], [cached]))
    words = f"stage c1 measured a {state.replace('_', ' ')} prefix cache: 60% of prompt tokens were in it"
    assert found == ("Passed", [words] if is_told else [])
