"""How well the figure of `until` is known of a stage that it did not end: of all its requests, from the results file."""

from collections.abc import Callable, Iterator
from dataclasses import replace
from math import exp
from pathlib import Path
from random import Random
from typing import Any

import pytest

from perfbench_api.sections.until import Until
from perfbench_plugins.benchmark_data import BenchmarkData
from perfbench_runner.results.figures import summarise
from perfbench_runner.results.precision import (
    Done,
    Known,
    in_words,
    known,
    known_of_gaps,
    known_of_steps,
    known_rate,
    part_of_gaps,
    steps_of,
)
from perfbench_runner.results.result import Result
from perfbench_runner.results.store import Store


@pytest.fixture
def results(tmp_path: Path) -> Iterator[Store]:
    made = Store(tmp_path)
    yield made
    made.db.close()


def answers(count: int) -> list[Result]:
    """In the order in which they were sent: every seventh takes ten times as long, so that it ends after later ones."""
    random, found = Random(count), list[Result]()
    for number in range(count):
        ttft_s = round(0.05 * exp(0.3 * random.gauss(0, 1)), 6) * (10 if number % 7 == 3 else 1)
        gaps_s = [round(0.02 * exp(0.3 * random.gauss(0, 1)), 6) for _ in range(random.randrange(1, 9))]
        took_s, began_s = ttft_s + sum(gaps_s), 0.1 * number
        data = BenchmarkData(
            success=True,
            start_time=began_s,
            completed_time=began_s + took_s,
            query_latency=took_s,
            first_chunk_latency=ttft_s,
            time_per_output_token=sum(gaps_s) / len(gaps_s),
            prompt_tokens=7,
            completion_tokens=1 + len(gaps_s),
            inter_chunk_latency=gaps_s,
            is_stream=True,
        )
        data.tidy()
        found.append(Result(stage=0, seq=number, shard=0, scheduled_s=began_s - 0.01, data=data))
    return found


FIGURES: dict[str, Callable[[list[Result]], Known]] = {
    "ttft": lambda sent: known([one.data.first_chunk_latency or 0.0 for one in sent], 0.9),
    "tpot": lambda sent: known([one.data.time_per_output_token or 0.0 for one in sent], 0.9),
    "e2e_latency": lambda sent: known([one.data.query_latency or 0.0 for one in sent], 0.9),
    "scheduled_latency": lambda sent: known([one.scheduled_latency_s for one in sent], 0.9),
    "itl": lambda sent: known_of_gaps([steps_of(one.data.inter_chunk_latency or []) for one in sent], 0.9),
    "request_throughput": lambda sent: known_rate([Done(one.data.completed_time, 1.0) for one in sent]),
    "output_token_throughput": lambda sent: known_rate(
        [Done(one.data.completed_time, one.data.completion_tokens or 0) for one in sent]
    ),
    "input_token_throughput": lambda sent: known_rate([Done(one.data.completed_time, 7.0) for one in sent]),
    "total_token_throughput": lambda sent: known_rate(
        [Done(one.data.completed_time, 7.0 + (one.data.completion_tokens or 0)) for one in sent]
    ),
}


def until_of(metric: str, within: float = 0.001) -> Until:
    quantile = {} if metric.endswith("_throughput") else {"statistic": "p90"}
    return Until.model_validate({"metric": metric, "within": within} | quantile)


def notes_of(store: Store, stored: list[Result], until: Until, **plan: Any) -> list[str]:
    whole = {"concurrency": 8, "requests": 9999, "until": until.model_dump(by_alias=True, mode="json")}
    store.set_stage(0, "c8", whole | plan)
    store.begin_stage(0, 0.0, None)
    for one in stored:
        store.add(one)
    store.commit()
    (stage,) = summarise(store.db)
    return [note for note in stage.notes if "until" in note or "is known" in note]


@pytest.mark.parametrize("metric", FIGURES)
@pytest.mark.parametrize("count", [200, 1234])
def test_it_is_of_all_requests_in_the_order_of_sending(results: Store, metric: str, count: int) -> None:
    """However they were stored: as each ended, and of several workers or runners in turns."""
    sent, until = answers(count), until_of(metric)
    stored = Random(1).sample(sent, count)
    (note,) = notes_of(results, stored, until)
    found = FIGURES[metric](sent)
    assert note == (
        f"ended before {until.figure} was known to what was asked (until: ±0.1%):"
        f" {in_words(found, count, until.figure)}"
    )
    assert 0.001 < found.half_width < 2.0


@pytest.mark.parametrize(
    ("metric", "count"), [("ttft", 0), ("ttft", 1), ("ttft", 199), ("itl", 199), ("request_throughput", 3)]
)
def test_of_few_requests_nothing_is_known(results: Store, metric: str, count: int) -> None:
    until = until_of(metric)
    assert notes_of(results, answers(count), until) == [
        f"too few requests to say how well {until.figure} is known (until: ±0.1%)"
    ]


@pytest.mark.parametrize("metric", FIGURES)
def test_failed_cut_and_ramped_requests_are_not_of_it(results: Store, metric: str) -> None:
    sent = answers(400)
    others = []
    for one in answers(90):
        kind = one.seq % 3
        data = replace(one.data, success=kind == 0, failure=("", "timeout", "unfinished")[kind])
        others.append(replace(one, data=data, excluded="ramp_up" if kind == 0 else None))
    (note,) = notes_of(results, [*others, *sent], until_of(metric))
    assert in_words(FIGURES[metric](sent), 400, until_of(metric).figure) in note


def test_a_figure_that_all_requests_know_is_not_said_to_be_unknown(results: Store) -> None:
    (note,) = notes_of(results, answers(1000), until_of("ttft", within=0.9))
    assert note.startswith("after 1,000 requests ttft p90 is known to ±")
    assert note.endswith("(until: ±90.0%), which was seen too late to end the stage")


def test_a_stage_that_ended_early_says_what_it_ended_for(results: Store) -> None:
    ending = "ended since after 230 requests ttft p90 is known to ±0.1%"
    assert notes_of(results, answers(240), until_of("ttft"), ending=ending) == [ending]


@pytest.mark.parametrize("requests", [10, 11, 19, 200, 1234])
def test_tenths_of_requests_are_as_equal_as_they_can_be(requests: int) -> None:
    parts = [part_of_gaps(number, requests) for number in range(requests)]
    assert parts == sorted(parts)
    sizes = [parts.count(part) for part in range(10)]
    assert max(sizes) - min(sizes) <= 1
    assert [sum(sizes[:part]) for part in range(10)] == [part * requests // 10 for part in range(10)]


def test_of_no_gaps_at_all_nothing_is_known() -> None:
    assert known_of_steps([], 0.5).is_tail_too_thin
