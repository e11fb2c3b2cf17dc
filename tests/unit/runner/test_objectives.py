"""Objectives and the verdict: what is kept, what is broken, and what cannot be said, from results files."""

import json
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from perfbench_api.sections import Objective
from perfbench_plugins.benchmark_data import BenchmarkData
from perfbench_runner.results.figures import summarise
from perfbench_runner.results.measured import PromptCache
from perfbench_runner.results.objectives import Judging, interval_in_words, verdict
from perfbench_runner.results.result import Result
from perfbench_runner.results.store import Store
from perfbench_runner.results.summary import ClientHealth, ObjectiveResult, StageSummary, Summary

Stages = Callable[..., Summary]
"""Makes a results file of stages, and judges it."""
ITL_S = 0.01


def answers(
    ttfts_s: Sequence[float], failed: Sequence[int] = (), cut: Sequence[int] = (), tokens: int = 5, each_s: float = 0.05
) -> list[BenchmarkData]:
    """Streamed answers, sent one after the other; of some the numbers are given that failed, or were cut off waiting."""
    made = []
    for number, ttft_s in enumerate(ttfts_s):
        start_s, ok = 1.0 + number * each_s, number not in (*failed, *cut)
        decoding_s = (tokens - 1) * ITL_S if ok else 0.0
        data = BenchmarkData(
            success=ok,
            is_stream=True,
            failure="" if ok else "unfinished" if number in cut else "timeout",
            start_time=start_s,
            completed_time=start_s + ttft_s + decoding_s,
            query_latency=ttft_s + decoding_s,
            first_chunk_latency=ttft_s if ok else None,
            inter_chunk_latency=[ITL_S] * (tokens - 1) if ok else [],
            time_per_output_token=ITL_S if ok else None,
            prompt_tokens=10 if ok else None,
            completion_tokens=tokens if ok else None,
            token_source="usage",
            status_code=200,
        )
        data.tidy()
        made.append(data)
    return made


@pytest.fixture
def judged(tmp_path: Path) -> Iterator[Stages]:
    made: list[Store] = []

    def judged(objectives: list[dict[str, Any]], *stages: list[BenchmarkData], **more: Any) -> Summary:
        folder = tmp_path / str(len(made))
        folder.mkdir()
        store = Store(folder)
        made.append(store)
        confidence = more.pop("confidence", 0.95)
        for number, answered in enumerate(stages):
            rate = {"rate": 20, "requests": max(1, len(answered))}
            store.set_stage(number, f"c{number + 1}", rate)
            store.begin_stage(number, 1.0, None)
            for seq, data in enumerate(answered):
                store.add(Result(stage=number, seq=seq, shard=0, scheduled_s=data.start_time, data=data))
            store.end_stage(number, 1000.0, 0.0)
        store.commit()
        judging = Judging([Objective.model_validate(each) for each in objectives], confidence)
        summaries = summarise(store.db, judge=judging)
        return Summary(name="a", verdict=None, objectives=judging.results, stages=summaries, **more)

    yield judged
    for store in made:
        store.db.close()


def jittered(count: int, ttft_s: float = 0.1, seed: int = 1) -> list[float]:
    """Times within 10 % of one."""
    drawn = np.random.default_rng(seed).uniform(0.9, 1.1, count) * ttft_s
    return [float(value) for value in drawn]


def only(summary: Summary) -> ObjectiveResult:
    (found,) = summary.objectives
    return found


@pytest.mark.parametrize(
    ("objective", "kept"),
    [
        ({"metric": "ttft", "statistic": "p90", "max": "120ms"}, True),
        ({"metric": "ttft", "statistic": "p90", "max": "90ms"}, False),
        ({"metric": "ttft", "statistic": "p90", "min": "90ms"}, True),
        ({"metric": "ttft", "statistic": "p90", "min": 0.2}, False),
        ({"metric": "ttft", "statistic": "p90", "min": "50ms", "max": "150ms"}, True),
        ({"metric": "ttft", "statistic": "p50", "max": "100ms"}, None),
        ({"metric": "ttft", "statistic": "mean", "max": "102ms"}, True),
        ({"metric": "ttft", "statistic": "std", "max": "10ms"}, True),
        ({"metric": "ttft", "statistic": "std", "max": "1ms"}, False),
        ({"metric": "ttft", "statistic": "max", "max": "110ms"}, True),
        ({"metric": "ttft", "statistic": "max", "max": "100ms"}, False),
        ({"metric": "ttft", "statistic": "min", "min": "90ms"}, True),
        ({"metric": "itl", "statistic": "p99", "max": "15ms"}, True),
        ({"metric": "itl", "statistic": "p95", "max": "1ms"}, False),
        ({"metric": "itl", "statistic": "mean", "max": "11ms"}, True),
        ({"metric": "tpot", "statistic": "p50", "max": "15ms"}, True),
        ({"metric": "e2e_latency", "statistic": "p90", "max": "1s"}, True),
        ({"metric": "scheduled_latency", "statistic": "p90", "max": "1s"}, True),
        ({"metric": "output_tokens", "statistic": "p50", "min": 4}, True),
        ({"metric": "prompt_tokens", "statistic": "mean", "max": 9}, False),
        ({"metric": "failed_share", "max": "0%"}, True),
        ({"metric": "failed_share", "max": "5%"}, True),
        ({"metric": "failed_share", "max": "1%"}, None),
        ({"metric": "request_throughput", "min": 15}, True),
        ({"metric": "request_throughput", "min": 25}, False),
        ({"metric": "output_token_throughput", "min": 80}, True),
        ({"metric": "input_token_throughput", "min": 150}, True),
        ({"metric": "total_token_throughput", "max": 200}, False),
    ],
)
def test_a_bound_is_kept_broken_or_open(judged: Stages, objective: dict[str, Any], kept: bool | None) -> None:
    """400 requests, 20 a second."""
    found = only(judged([objective], answers(jittered(400))))
    assert found.kept is kept, found
    assert found.value is not None
    is_of_this_run = (
        objective.get("statistic") in ("min", "max") or objective["max" if "max" in objective else "min"] == "0%"
    )
    assert (found.confidence is None) == is_of_this_run
    for end, is_beyond in ((found.low, found.value), (found.high, found.value)):
        assert is_of_this_run == (end is None) or end == pytest.approx(is_beyond, rel=0.5), found


@pytest.mark.parametrize("statistic", ["p50", "p90", "p99"])
def test_the_value_is_that_of_the_summary(judged: Stages, statistic: str) -> None:
    summary = judged([{"metric": "ttft", "statistic": statistic, "max": 1}], answers(jittered(300)))
    assert only(summary).value == getattr(summary.stages[0].ttft_s, statistic)


@pytest.mark.parametrize(
    ("failed", "total", "bound", "kept"),
    [(1, 50, "1%", None), (40, 400, "1%", False), (400, 400, 0.5, False), (0, 0, "1%", None), (0, 400, "1%", None)],
)
def test_failed_share_is_of_all_requests(
    judged: Stages, failed: int, total: int, bound: Any, kept: bool | None
) -> None:
    spread = [number * total // failed for number in range(failed)]
    found = only(judged([{"metric": "failed_share", "max": bound}], answers(jittered(total), failed=spread)))
    assert found.kept is kept
    assert found.value == (failed / total if total else None)


def test_one_bad_request_in_fifty_breaks_no_p99(judged: Stages) -> None:
    found = judged([{"metric": "ttft", "max": "500ms"}], answers([*jittered(49), 3.0]))
    assert verdict(found)[0] == "Inconclusive"


@pytest.mark.parametrize("kind", ["failed", "cut"])
@pytest.mark.parametrize(("share", "kept"), [(0.005, True), (0.3, False)])
def test_failed_and_cut_off_requests_count_as_slow(judged: Stages, kind: str, share: float, kept: bool) -> None:
    """Those that were cut off had waited for 2 s by then."""
    numbers = list(range(0, 1000, int(1 / share)))
    times = jittered(1000)
    for number in numbers if kind == "cut" else ():
        times[number] = 2.0
    summary = judged([{"metric": "ttft", "statistic": "p90", "max": "1s"}], answers(times, **{kind: numbers}))
    found = only(summary)
    assert found.kept is kept
    assert (found.value is None) == (not kept)
    if not kept:
        words = "334 of 1000 requests failed" if kind == "failed" else "requests were cut off"
        assert words in verdict(summary)[1][0]


def test_the_slowest_of_some_that_failed_is_not_known(judged: Stages) -> None:
    summary = judged([{"metric": "ttft", "statistic": "max", "max": "10s"}], answers(jittered(50), failed=[7]))
    assert verdict(summary)[0] == "Failed"
    assert "1 of 50 requests failed, which is slower than any bound" in verdict(summary)[1][0]


def test_an_objective_holds_for_all_stages_or_for_one(judged: Stages) -> None:
    stages = answers(jittered(400)), answers(jittered(400, 0.5))
    objective = {"metric": "ttft", "statistic": "p90", "max": 0.2}
    everywhere = judged([objective], *stages)
    assert [(each.stage, each.kept) for each in everywhere.objectives] == [("c1", True), ("c2", False)]
    assert verdict(everywhere)[0] == "Failed"
    assert verdict(judged([objective | {"stage": "c1"}], *stages)) == ("Passed", [])


def test_results_are_by_objective_then_by_stage(judged: Stages) -> None:
    objectives = [
        {"metric": "ttft", "max": 1},
        {"metric": "failed_share", "max": 0.5},
        {"metric": "itl", "max": 1, "stage": "c2"},
    ]
    found = judged(objectives, answers(jittered(5)), answers(jittered(5)))
    assert [(each.metric, each.stage) for each in found.objectives] == [
        ("ttft", "c1"),
        ("ttft", "c2"),
        ("failed_share", "c1"),
        ("failed_share", "c2"),
        ("itl", "c2"),
    ]


def test_more_confidence_makes_wider_intervals(judged: Stages) -> None:
    objective = {"metric": "ttft", "statistic": "p90", "max": 1}
    wide, narrow = (only(judged([objective], answers(jittered(400)), confidence=each)) for each in (0.99, 0.8))
    assert wide.low < narrow.low < narrow.high < wide.high
    assert (wide.confidence, narrow.confidence) == (0.99, 0.8)


P90, THROUGHPUT = {"metric": "ttft", "statistic": "p90"}, {"metric": "request_throughput", "min": 0.001}
FAILED_SHARE = {"metric": "failed_share", "max": "50%"}
UNTRUE = ClientHealth(state="invalid", latencies="invalid", reasons=["slow loop"])
LESS = ClientHealth(state="invalid", load="invalid", reasons=["late"])
KEPT, BROKEN = P90 | {"max": 1}, P90 | {"max": 0.01}


@pytest.mark.parametrize(
    ("objectives", "more", "expected", "words"),
    [
        ([], {}, None, ""),
        ([KEPT], {}, "Passed", ""),
        ([BROKEN], {}, "Failed", "ttft p90 is 100.0 ms (100.0 to 100.0 ms) in stage c1, not <= 10 ms"),
        ([KEPT, BROKEN], {}, "Failed", "ttft p90"),
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
def test_the_verdict(
    judged: Stages, objectives: list[Any], more: dict[str, Any], expected: str | None, words: str
) -> None:
    found, reasons = verdict(judged(objectives, answers([0.1] * 200), **more))
    assert found == expected
    assert words in "; ".join(reasons)


def test_too_little_data_leaves_it_open_and_says_how_much_more_would_do(judged: Stages) -> None:
    summary = judged([{"metric": "ttft", "max": "1s"}], answers([0.1] * 50))
    assert verdict(summary) == (
        "Inconclusive",
        [
            "ttft p99 in stage c1 is open: 100.0 ms (at least 100.0 ms) for <= 1 s: too few values: they tell as much as 50"
            " independent ones, and it takes 1,000; about 1,000 requests more would probably decide it"
        ],
    )
    assert only(summary).needed == 1000
    none = judged([{"metric": "ttft", "max": "1s"}], [])
    assert verdict(none) == ("Inconclusive", ["ttft p99 in stage c1 is open for <= 1 s: there are no values"])


def drifting(count: int, to: float) -> list[float]:
    """Times that go evenly from 0.1 s to another one, within 10 % of it."""
    return [each * (1 + (to / 0.1 - 1) * number / count) for number, each in enumerate(jittered(count))]


@pytest.mark.parametrize(
    ("to_s", "objective", "kept"),
    [
        (0.1, {"metric": "ttft", "statistic": "p50", "max": "500ms"}, True),  # steady
        (0.3, {"metric": "ttft", "statistic": "p50", "max": "500ms"}, None),  # would it stay so low?
        (0.3, {"metric": "ttft", "statistic": "mean", "max": "500ms"}, None),
        (0.3, {"metric": "ttft", "statistic": "mean", "max": "50ms"}, False),  # it only gets worse
        (0.02, {"metric": "ttft", "statistic": "mean", "max": "500ms"}, True),  # it only gets better
        (0.02, {"metric": "ttft", "statistic": "mean", "max": "20ms"}, None),
        (0.3, {"metric": "request_throughput", "min": 1}, None),
        (0.3, {"metric": "request_throughput", "min": 1000}, False),
        (0.02, {"metric": "request_throughput", "min": 1}, True),
        (0.3, {"metric": "failed_share", "max": "5%"}, None),
        (0.3, {"metric": "ttft", "statistic": "mean", "min": "1ms"}, None),  # nobody knows which way that goes
        (0.3, {"metric": "output_tokens", "statistic": "mean", "max": 100}, True),  # says nothing of tokens
    ],
)
def test_a_stage_that_never_became_steady_leaves_open_what_a_longer_one_might_decide_otherwise(
    judged: Stages, to_s: float, objective: dict[str, Any], kept: bool | None
) -> None:
    summary = judged([objective], answers(drifting(1000, to_s), tokens=2))
    result = only(summary)
    assert result.kept is kept
    words = "the stage was not steady: latencies were still"
    assert result.reason.startswith(words) is (kept is None)
    if kept is None:
        assert words in verdict(summary)[1][0]


@pytest.mark.parametrize(("count", "to_s"), [(400, 0.3), (1000, 0.105)])
def test_few_requests_and_small_changes_leave_a_verdict_alone(judged: Stages, count: int, to_s: float) -> None:
    objective = {"metric": "ttft", "statistic": "mean", "max": "500ms"}
    assert only(judged([objective], answers(drifting(count, to_s), tokens=2))).kept is True


def test_a_bound_within_the_interval_leaves_it_open(judged: Stages) -> None:
    summary = judged([P90 | {"max": "108ms"}], answers(jittered(1000)))
    (reason,) = verdict(summary)[1]
    assert "for <= 108 ms: the bound lies within what it may be" in reason


@pytest.mark.parametrize(
    ("low", "high", "words"),
    [
        (0.1, 0.2, "100.0 to 200.0 ms"),
        (0.9, 1.2, "900.0 ms to 1.200 s"),
        (0.1, None, "at least 100.0 ms"),
        (None, 0.1, "at most 100.0 ms"),
        (None, None, "too few values for an interval"),
    ],
)
def test_an_interval_in_words(low: float | None, high: float | None, words: str) -> None:
    result = ObjectiveResult(
        metric="ttft", statistic="p99", stage="c1", bound="<= 1 s", value=0.1, kept=None, low=low, high=high
    )
    assert interval_in_words(result) == words


def test_the_summary_is_json_without_infinities(judged: Stages) -> None:
    found = judged([{"metric": "ttft", "max": 1}], answers([0.1] * 50, failed=range(50)))
    json.dumps(found.model_dump(), allow_nan=False)
    assert verdict(found)[0] == "Failed"


@pytest.mark.parametrize(
    ("state", "is_intended", "is_told"),
    [("cold", False, False), ("partly_warm", False, True), ("warm", False, True), ("warm", True, False)],
)
def test_a_verdict_of_a_warm_cache_says_so(judged: Stages, state: Any, is_intended: bool, is_told: bool) -> None:
    cache = PromptCache(state=state, source="usage", share=0.6, is_intended=is_intended)
    found = judged([KEPT], answers([0.1] * 200))
    stages: list[StageSummary] = [found.stages[0].model_copy(update={"prompt_cache": cache})]
    found = verdict(found.model_copy(update={"stages": stages}))
    words = f"stage c1 measured a {state.replace('_', ' ')} prefix cache: 60% of prompt tokens were in it"
    assert found == ("Passed", [words] if is_told else [])
