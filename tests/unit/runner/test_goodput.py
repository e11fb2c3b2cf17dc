"""Goodput: requests that kept all limits of a single request, as DistServe and vLLM's bench define it."""

import json
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import yaml

from perfbench_api.resource import PerfBenchmark, SpecError
from perfbench_api.sections import Objective
from perfbench_plugins.benchmark_data import BenchmarkData
from perfbench_runner.results.figures import summarise
from perfbench_runner.results.goodput import NOT_STREAMED
from perfbench_runner.results.objectives import Judging
from perfbench_runner.results.result import Result
from perfbench_runner.results.store import Store
from perfbench_runner.results.summary import ObjectiveResult, StageSummary

Measured = Callable[..., tuple[StageSummary, list[ObjectiveResult]]]


def answer(start_s: float, ttft_s: float | None, tpot_s: float | None, tokens: int = 11, **more: Any) -> BenchmarkData:
    """A succeeded answer, if nothing else is said."""
    latency_s = (0.5 if ttft_s is None else ttft_s) + (tpot_s or 0.0) * (tokens - 1)
    data = BenchmarkData(
        **{
            "success": True,
            "is_stream": ttft_s is not None,
            "start_time": start_s,
            "completed_time": start_s + latency_s,
            "query_latency": latency_s,
            "first_chunk_latency": ttft_s,
            "time_per_output_token": tpot_s,
            "prompt_tokens": 10,
            "completion_tokens": tokens,
            **more,
        }
    )
    data.tidy()
    return data


@pytest.fixture
def measured(tmp_path: Path) -> Iterator[Measured]:
    made: list[Store] = []

    def measured(
        goodput: dict[str, Any],
        answers: list[BenchmarkData],
        *objectives: dict[str, Any],
        unsent: int = 0,
        late_s: float = 0.0,
    ) -> tuple[StageSummary, list[ObjectiveResult]]:
        store = Store(tmp_path)
        made.append(store)
        store.set_run(manifest=yaml.safe_dump({"spec": {"target": {"mock": {}}, "goodput": goodput}}))
        store.set_stage(0, "r", {"rate": 10, "duration": "100s"})
        store.begin_stage(0, 0.0, 100.0)
        for seq, data in enumerate(answers):
            store.add(Result(stage=0, seq=seq, shard=0, scheduled_s=data.start_time - late_s, data=data))
        store.end_stage(0, 100.0, 0.0)
        for number in range(unsent):
            store.db.execute(
                "INSERT INTO unsent (stage, seq, scheduled_time, until_time) VALUES (0, ?, 99.0, 100.0)",
                (10_000 + number,),
            )
        store.commit()
        judging = Judging([Objective.model_validate(each) for each in objectives], 0.95)
        (stage,) = summarise(store.db, judge=judging)
        return stage, judging.results

    yield measured
    for store in made:
        store.db.close()


GOOD, SLOW_FIRST, SLOW_REST = (0.2, 0.02), (0.9, 0.02), (0.2, 0.09)
BOTH = {"ttft": "500ms", "tpot": "40ms"}


@pytest.mark.parametrize(
    ("goodput", "good", "missed"),
    [
        (BOTH, 1, {"ttft": 1, "tpot": 1}),
        ({"ttft": "500ms"}, 2, {"ttft": 1}),
        ({"tpot": "40ms"}, 2, {"tpot": 1}),
        ({"e2eLatency": "500ms"}, 1, {"e2e_latency": 2}),
        ({"scheduledLatency": "1s"}, 1, {"scheduled_latency": 2}),
        ({"ttft": "200ms"}, 2, {"ttft": 1}),
    ],
)
def test_a_good_request_keeps_all_limits(
    measured: Measured, goodput: dict[str, str], good: int, missed: dict[str, int]
) -> None:
    answers = [answer(number, *times) for number, times in enumerate((GOOD, SLOW_FIRST, SLOW_REST))]
    stage, _ = measured(goodput, answers, late_s=0.5)
    assert stage.goodput is not None
    assert (stage.goodput.good, stage.goodput.total, stage.goodput.missed) == (good, 3, missed)
    assert stage.goodput.share == pytest.approx(good / 3)
    assert stage.goodput.rate_rps == pytest.approx(good / 100)
    assert stage.goodput.output_token_throughput_tps == pytest.approx(good * 11 / 100)


def test_failed_unfinished_and_unsent_requests_are_not_good(measured: Measured) -> None:
    answers = [
        answer(1.0, *GOOD),
        answer(2.0, 0.2, None, success=False, failure="timeout"),
        answer(3.0, 0.2, None, success=False, failure="unfinished"),
    ]
    stage, _ = measured(BOTH, answers, unsent=5)
    assert stage.goodput is not None
    assert (stage.goodput.good, stage.goodput.total, stage.goodput.missed) == (1, 8, {"ttft": 0, "tpot": 0})


def test_an_answer_of_one_token_has_no_time_between_tokens_to_miss(measured: Measured) -> None:
    stage, _ = measured(BOTH, [answer(1.0, 0.2, None, tokens=1)])
    assert stage.goodput is not None
    assert stage.goodput.good == 1


@pytest.mark.parametrize("limit", ["ttft", "tpot"])
def test_without_streaming_it_is_not_known_and_says_why(measured: Measured, limit: str) -> None:
    objective = {"metric": "goodput_share", "min": 0.9}
    stage, results = measured({limit: "1s"}, [answer(n, None, None) for n in range(3)], objective)
    assert stage.goodput is not None
    assert (stage.goodput.share, stage.goodput.rate_rps, stage.goodput.reason) == (None, None, NOT_STREAMED)
    assert [(each.kept, each.reason) for each in results] == [(None, NOT_STREAMED)]


def test_without_limits_there_is_none(measured: Measured) -> None:
    stage, _ = measured({}, [answer(1.0, *GOOD)])
    assert stage.goodput is None
    json.dumps(stage.model_dump())


@pytest.mark.parametrize(
    ("objective", "kept"),
    [
        ({"metric": "goodput_share", "min": "90%"}, True),
        ({"metric": "goodput_share", "min": "97%"}, False),
        ({"metric": "goodput_share", "min": "95%"}, None),
        ({"metric": "goodput_share", "min": "100%"}, False),
        ({"metric": "goodput_share", "max": "97%"}, True),
        ({"metric": "goodput_rate", "min": 8}, True),
        ({"metric": "goodput_rate", "min": 9.9}, False),
    ],
)
def test_objectives_bound_share_and_rate(measured: Measured, objective: dict[str, Any], kept: bool | None) -> None:
    """One in twenty is slow; 999 requests in 100 s."""
    drawn = np.random.default_rng(1).uniform(0.9, 1.1, 999).tolist()
    answers = [answer(n * 0.1, (0.9 if n % 20 == 7 else 0.2) * drawn[n], 0.02) for n in range(999)]
    stage, (result,) = measured(BOTH, answers, objective)
    assert result.kept is kept, result
    assert stage.goodput is not None
    assert result.value == (stage.goodput.share if "share" in result.metric else stage.goodput.rate_rps)
    if objective.get("min") != "100%":
        assert result.low is not None
        assert result.high is not None
        assert result.low < result.value < result.high


def test_good_ones_that_come_all_at_once_are_no_share_of_all(measured: Measured) -> None:
    """A server that is slow for one half of a stage: what the next stage brings is not known."""
    answers = [answer(n * 0.1, *(SLOW_FIRST if n > 900 else GOOD)) for n in range(999)]
    _, (result,) = measured(BOTH, answers, {"metric": "goodput_share", "min": "85%"})
    assert result.kept is None


@pytest.mark.parametrize("metric", ["goodput_share", "goodput_rate"])
def test_an_objective_on_it_needs_limits(metric: str) -> None:
    spec: dict[str, Any] = {"target": {"mock": {}}, "objectives": [{"metric": metric, "min": 0.5}]}
    manifest = {"apiVersion": "perfbench.io/v1alpha1", "kind": "PerfBenchmark", "metadata": {"name": "a"}, "spec": spec}
    with pytest.raises(SpecError, match=f"{metric} needs limits; give some, such as goodput:"):
        PerfBenchmark.read(manifest)
    spec["goodput"] = {"ttft": "500ms"}
    assert PerfBenchmark.read(manifest).spec.goodput.limits == {"ttft": 0.5}
