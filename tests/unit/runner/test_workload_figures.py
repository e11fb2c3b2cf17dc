"""Figures and objectives by workload: each is of its own requests, the stage's are of all together."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml
from test_load_as_asked import add, answer, stage

from perfbench_api.resource import PerfBenchmark
from perfbench_api.sections import Objective
from perfbench_plugins.benchmark_data import BenchmarkData
from perfbench_runner.results.figures import summarise
from perfbench_runner.results.kept import kept
from perfbench_runner.results.objectives import Judging, broken_in_words
from perfbench_runner.results.store import Store

SPEC: dict[str, Any] = {
    "target": {"model": "m"},
    "goodput": {"ttft": "1500ms"},
    "workloads": [
        {"name": "chat", "weight": 3, "request": {"minTokens": 5}},
        {"name": "batch", "model": "lora", "dataset": {"measureCache": True}},
        {"name": "none"},
    ],
}


@pytest.fixture
def store(tmp_path: Path) -> Iterator[Store]:
    """A closed loop of one lane: 30 short answers of one workload, 10 long ones of another, nothing of a third."""
    made = Store(tmp_path, "none")
    made.set_run(manifest=yaml.safe_dump({"spec": SPEC}))
    stage(made, {"concurrency": 1, "requests": 40})
    for number in range(40):
        is_chat = number % 4 != 3
        data = answer(number * 10.0, 4 if is_chat else 8, 1.0 if is_chat else 2.0, itl=0.1 if is_chat else 0.5)
        data.model = "m"
        add(made, data, workload="chat" if is_chat else "batch")
    yield made
    made.db.close()


def summed(store: Store, *objectives: dict[str, Any]) -> tuple[Any, Judging]:
    store.commit()
    judging = Judging([Objective.model_validate(each) for each in objectives], 0.95)
    (found,) = summarise(store.db, judge=judging)
    return found, judging


def test_each_workload_has_its_own_figures(store: Store) -> None:
    found, _ = summed(store)
    chat, batch, none = found.workloads
    assert [each.name for each in found.workloads] == ["chat", "batch", "none"]
    assert [each.requests.total for each in found.workloads] == [30, 10, 0]
    assert [each.share for each in found.workloads] == [0.75, 0.25, 0.0]
    assert [each.weight for each in found.workloads] == [3, 1, 1]
    assert (chat.ttft_s.p50, batch.ttft_s.p50, none.ttft_s.p50) == (1.0, 2.0, None)
    assert (chat.itl_s.max, batch.itl_s.max) == (0.1, 0.5)
    assert (chat.itl_s.count, batch.itl_s.count, found.itl_s.count) == (90, 70, 160)
    assert (chat.output_tokens.mean, batch.output_tokens.mean) == (4, 8)
    assert (chat.goodput.share, batch.goodput.share, found.goodput.share) == (1.0, 0.0, 0.75)


@pytest.mark.parametrize(
    ("common", "own", "shares", "limits_s", "missed"),
    [
        ({"ttft": 1.5}, {"batch": {"ttft": 3}}, (1.0, 1.0, 1.0), {}, {"ttft": 0}),
        ({"ttft": 1.5}, {"batch": {"e2eLatency": 1}}, (0.75, 1.0, 0.0), {}, {"ttft": 0, "e2e_latency": 10}),
        ({}, {"batch": {"ttft": 1.5, "tpot": 9}}, (0.75, None, 0.0), {}, {"ttft": 10, "tpot": 0}),
        ({}, {"chat": {"tpot": 0.05, "ttft": 9}}, (0.25, 0.0, None), {}, {"tpot": 30, "ttft": 0}),
        ({"ttft": 0.5}, {"none": {"ttft": 0.5, "tpot": 0.1}}, (0.0, 0.0, 0.0), {"ttft": 0.5}, {"ttft": 40, "tpot": 0}),
    ],
)
def test_goodput_is_by_the_limits_of_each_workload(
    store: Store, common: Any, own: Any, shares: tuple[float, Any, Any], limits_s: Any, missed: Any
) -> None:
    workloads = [each | ({"goodput": own[each["name"]]} if each["name"] in own else {}) for each in SPEC["workloads"]]
    spec = SPEC | {"goodput": common, "workloads": workloads}
    store.set_run(manifest=yaml.safe_dump({"spec": spec}))
    found, _ = summed(store)
    parts = [each.goodput and each.goodput.share for each in found.workloads[:2]]
    assert (found.goodput.share, *parts) == shares
    assert (found.goodput.limits_s, found.goodput.missed) == (limits_s, missed)
    target = {"url": "http://x", "model": "m"}
    limits = PerfBenchmark.read({"metadata": {"name": "x"}, "spec": spec | {"target": target}}).spec.limits
    objective = Objective(metric="goodput_share", min=0.9)
    counted = kept(store.db, 0, objective, 0, limits)
    assert sum(good for good, _ in counted) / len(counted) == shares[0]
    of_chat = kept(store.db, 0, objective.model_copy(update={"workload": "chat"}), 0, limits)
    assert sum(good for good, _ in of_chat) / 30 == (1.0 if shares[1] is None else shares[1])


def test_an_objective_on_goodput_is_judged_by_the_limits_of_each_workload(store: Store) -> None:
    workloads = [each | {"goodput": {"ttft": "3s"}} if each["name"] == "batch" else each for each in SPEC["workloads"]]
    store.set_run(manifest=yaml.safe_dump({"spec": SPEC | {"workloads": workloads}}))
    for number in range(40, 800):
        is_chat = number % 4 != 3
        add(store, answer(number * 10.0, 4, 1.0 if is_chat else 2.0), workload="chat" if is_chat else "batch")
    objectives = [{"metric": "goodput_share", "min": "90%", **of} for of in ({}, {"workload": "batch"})]
    _, judging = summed(store, *objectives, {"metric": "goodput_rate", "min": "0.05"})
    assert [each.value for each in judging.results[:2]] == [1.0, 1.0]
    assert judging.results[0].kept
    assert judging.results[2].value == pytest.approx(0.1, rel=0.05)


def test_workloads_add_up_to_the_stage(store: Store) -> None:
    found, _ = summed(store)
    for name in ("request_throughput_rps", "output_token_throughput_tps", "total_token_throughput_tps"):
        assert sum(getattr(each, name) for each in found.workloads) == pytest.approx(getattr(found, name))
    assert sum(each.requests.succeeded for each in found.workloads) == found.requests.succeeded == 40


def test_answers_are_compared_with_what_their_own_workload_asked_for(store: Store) -> None:
    found, _ = summed(store)
    chat, batch, _ = found.workloads
    assert (chat.answers.too_short, batch.answers.too_short, found.answers.too_short) == (30, 0, 30)
    assert (chat.answers.other_model, batch.answers.other_model, found.answers.other_model) == (0, 10, 10)
    assert any("not of 'lora'" in note for note in batch.notes)
    assert not any("model" in note for note in [*found.notes, *chat.notes])
    assert (chat.prompt_cache.is_intended, batch.prompt_cache.is_intended) == (False, True)
    assert not found.prompt_cache.is_intended


@pytest.mark.parametrize("metric", ["ttft", "itl"])
def test_an_objective_of_a_workload_is_judged_by_its_requests_alone(store: Store, metric: str) -> None:
    bound = {"metric": metric, "statistic": "p50", "max": 1.5 if metric == "ttft" else 0.3}
    for number in range(40, 400):
        data = answer(number * 10.0, 4, 1.0, itl=0.1)
        add(
            store,
            data if number % 2 else answer(number * 10.0, 8, 2.0, itl=0.5),
            workload=["batch", "chat"][number % 2],
        )
    _, judging = summed(store, bound, bound | {"workload": "chat"}, bound | {"workload": "batch"})
    whole, chat, batch = judging.results
    assert [each.workload for each in judging.results] == [None, "chat", "batch"]
    assert (chat.kept, batch.kept) == (True, False)
    assert whole.value is not None
    assert "in workload batch of stage s0, not <=" in broken_in_words(batch)


def test_unsent_requests_are_those_of_their_workload(tmp_path: Path) -> None:
    store = Store(tmp_path, "none")
    store.set_run(manifest=yaml.safe_dump({"spec": SPEC}))
    stage(store, {"rate": 1, "duration": "40s", "maxConcurrency": 1}, deadline=40.0)
    for number in range(4):
        add(store, answer(number * 10.0), workload="chat")
    for number, workload in enumerate(["chat", "batch", "batch"]):
        store.add_unsent(0, 10 + number, 30.0, 40.0, workload)
    found, _ = summed(store)
    assert [each.requests.unsent for each in found.workloads] == [1, 2, 0]
    assert found.requests.unsent == 3
    store.db.close()


def test_a_search_counts_the_requests_of_an_objectives_workload(store: Store) -> None:
    store.settle()
    objective = Objective(metric="ttft", statistic="p90", max=1.5, workload="batch")
    assert kept(store.db, 0, objective, 0) == [(0, 1)] * 10
    assert kept(store.db, 0, objective, 20) == [(0, 1)] * 5
    assert len(kept(store.db, 0, Objective(metric="ttft", max=1.5), 20)) == 20


def test_a_run_of_one_workload_has_no_such_figures(tmp_path: Path) -> None:
    store = Store(tmp_path, "none")
    stage(store, {"concurrency": 1, "requests": 1})
    add(store, BenchmarkData(success=True, start_time=0.0, completed_time=1.0, query_latency=1.0))
    found, _ = summed(store)
    assert found.workloads == []
    store.db.close()
