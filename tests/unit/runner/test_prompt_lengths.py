"""Time to first token by the length of the prompt, and objectives on it. Of requests that failed the length is not known."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from pydantic import ValidationError
from test_load_as_asked import add, answer, cut, stage

from perfbench_api.sections import Objective
from perfbench_plugins.benchmark_data import BenchmarkData
from perfbench_runner.results.figures import summarise
from perfbench_runner.results.objectives import Judging, broken_in_words, open_in_words
from perfbench_runner.results.store import Store
from perfbench_runner.results.summary import ObjectiveResult, StageSummary

LENGTHS = {50: 0.1, 900: 0.5, 5000: 2.0}
"""Prompts of so many tokens, and their time to first token."""


@pytest.fixture
def store(tmp_path: Path) -> Iterator[Store]:
    """600 requests, each length in turn."""
    made = Store(tmp_path, "none")
    stage(made, {"rate": 1, "requests": 600})
    for number in range(600):
        tokens = list(LENGTHS)[number % 3]
        ttft_s = LENGTHS[tokens] * (1 + (number * 7919 % 100) / 1000)
        add(made, answer(float(number), ttft=ttft_s, itl=0.01, prompt_tokens=tokens))
    yield made
    made.db.close()


def failed(start: float) -> BenchmarkData:
    return BenchmarkData(failure="http_500", error="no", start_time=start, completed_time=start + 0.1)


def judged(store: Store, *objectives: dict[str, Any]) -> tuple[StageSummary, list[ObjectiveResult]]:
    store.commit()
    judging = Judging([Objective.model_validate({"metric": "ttft"} | each) for each in objectives], 0.95)
    (found,) = summarise(store.db, judge=judging)
    return found, judging.results


def test_the_summary_has_it_by_powers_of_two(store: Store) -> None:
    add(store, failed(700.0))
    found = judged(store)[0].ttft_by_prompt
    assert found is not None
    assert [(each.from_tokens, each.to_tokens, each.ttft_s.count) for each in found.ranges] == [
        (32, 64, 200), (512, 1024, 200), (4096, 8192, 200),
    ]  # fmt: skip
    assert [each.ttft_s.min for each in found.ranges] == pytest.approx(list(LENGTHS.values()))
    assert found.unknown == 1


@pytest.mark.parametrize("tokens", [100, None])
def test_prompts_of_one_length_or_of_none_are_not_told_apart(tmp_path: Path, tokens: int | None) -> None:
    store = Store(tmp_path, "none")
    stage(store, {"rate": 1, "requests": 5})
    for number in range(5):
        add(store, answer(float(number), prompt_tokens=tokens))
    assert judged(store)[0].ttft_by_prompt is None
    store.db.close()


@pytest.mark.parametrize(
    ("within", "bound", "kept"),
    [
        ({"to": 512}, 0.12, True),
        ({"to": 512}, 0.09, False),
        ({"from": 512, "to": 1024}, 0.6, True),
        ({"from": 512, "to": 1024}, 0.4, False),
        ({"from": 1024}, 2.5, True),
        ({"from": 50, "to": 51}, 0.12, True),
        ({"from": 0, "to": 1024}, 0.12, False),
    ],
)
@pytest.mark.parametrize("statistic", ["p50", "p90", "mean"])
def test_a_bound_is_judged_by_prompts_of_its_range(
    store: Store, within: dict[str, int], bound: float, kept: bool, statistic: str
) -> None:
    _, (found,) = judged(store, {"statistic": statistic, "max": bound, "promptTokens": within})
    if within != {"from": 0, "to": 1024} or statistic != "p50":
        assert found.kept is kept, found
    assert found.prompt_tokens is not None
    assert found.prompt_tokens.to_tokens == within.get("to")


def test_no_prompt_of_a_range_leaves_it_open(store: Store) -> None:
    _, (found,) = judged(store, {"statistic": "p50", "max": 1, "promptTokens": {"from": 100_000}})
    assert (found.kept, found.value, found.reason) == (None, None, "no prompt was so long")
    assert "ttft p50 of prompts of 100,000 tokens and more in stage s0 is open" in open_in_words(found)


@pytest.mark.parametrize(
    ("failures", "bound", "kept"),
    [(0, 0.12, True), (5, 0.12, True), (60, 0.12, None), (60, 0.09, False), (0, 0.09, False)],
)
def test_requests_that_failed_may_be_of_any_length(
    store: Store, failures: int, bound: float, kept: bool | None
) -> None:
    """Five of 205 leave a p90 as it is; sixty of 260 would break it, if their prompts were short."""
    for number in range(failures):
        add(store, failed(float(number * (600 // failures))))
    _, (found,) = judged(store, {"statistic": "p90", "max": bound, "promptTokens": {"to": 512}})
    assert found.kept is kept, found
    if kept is None:
        assert (
            "60 requests failed, were cut off or never sent: whether their prompts were so long is not known"
            in found.reason
        )
        assert found.value is not None
        assert found.value < 0.12
    if kept is False:
        assert "ttft p90 of prompts of fewer than 512 tokens is" in broken_in_words(found)


def test_what_was_cut_off_early_enough_may_have_been_fast(store: Store) -> None:
    """A hundred that had their first token at once and were cut off later: without them the bound is broken."""
    for number in range(1000):
        add(store, cut(float(number % 600), float(number % 600) + 5, ttft=0.01))
    _, (found,) = judged(store, {"statistic": "p50", "max": 0.09, "promptTokens": {"to": 512}})
    assert found.kept is None


def test_prompts_that_nobody_counted_leave_it_open(store: Store) -> None:
    add(store, answer(700.0, prompt_tokens=None))
    _, (found,) = judged(store, {"statistic": "p50", "max": 1, "promptTokens": {"to": 512}})
    assert found.kept is None
    assert found.reason.startswith("nobody counted the prompts of 1 requests")


@pytest.mark.parametrize(
    ("objective", "problem"),
    [
        ({"metric": "itl", "max": 1, "promptTokens": {"to": 5}}, "promptTokens: goes with ttft"),
        ({"metric": "failed_share", "max": "1%", "promptTokens": {"to": 5}}, "promptTokens: goes with ttft"),
        ({"metric": "ttft", "statistic": "max", "max": 1, "promptTokens": {"to": 5}}, "percentiles and the mean"),
        ({"metric": "ttft", "min": 1, "promptTokens": {"to": 5}}, "promptTokens: goes with max alone"),
        ({"metric": "ttft", "max": 1, "promptTokens": {}}, "says nothing; give from, to, or both"),
        (
            {"metric": "ttft", "max": 1, "promptTokens": {"from": 5, "to": 5}},
            "no prompt has 5 tokens or more and fewer than 5",
        ),
    ],
)
def test_what_cannot_be_judged_is_refused(objective: dict[str, Any], problem: str) -> None:
    with pytest.raises(ValidationError, match=problem):
        Objective.model_validate(objective)
