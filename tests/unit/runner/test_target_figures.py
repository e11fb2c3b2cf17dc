"""Figures by target: each is of the requests that went to it, the stage's are of all together."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml
from test_load_as_asked import add, answer, stage

from perfbench_api.outcome import Outcome
from perfbench_api.sections import Objective
from perfbench_runner.results.figures import summarise
from perfbench_runner.results.objectives import Judging, broken_in_words
from perfbench_runner.results.store import Store
from perfbench_runner.run.conclude import compact

TARGETS: list[dict[str, Any]] = [{"name": "old"}, {"name": "new", "model": "m2"}]
SPEC: dict[str, Any] = {"target": {"model": "m"}, "targets": TARGETS, "confidence": 0.9}


def filled(folder: Path, spec: dict[str, Any], **names: Any) -> Store:
    made = Store(folder, "none")
    made.set_run(manifest=yaml.safe_dump({"spec": spec}))
    stage(made, {"rate": 1, "requests": 800}, deadline=None)
    for number in range(800):
        is_new = number % 2 == 1
        data = answer(number * 1.0, 4, 1.2 if is_new else 0.9 + number % 3 * 0.1)
        data.model = "m2" if is_new else "m"
        workload = ["chat", "batch"][number // 2 % 2] if names.get("workloads") else None
        add(made, data, target="new" if is_new else "old", prompt_id=1 + number // 2, workload=workload)
    made.commit()
    return made


@pytest.fixture
def store(tmp_path: Path) -> Iterator[Store]:
    made = filled(tmp_path, SPEC)
    yield made
    made.db.close()


def test_each_target_has_its_own_figures(store: Store) -> None:
    (found,) = summarise(store.db)
    old, new = found.targets
    assert [each.name for each in (old, new)] == ["old", "new"]
    assert [each.requests.total for each in (old, new, found)] == [400, 400, 800]
    assert [each.share for each in (old, new)] == [0.5, 0.5]
    assert (old.ttft_s.p50, new.ttft_s.p50) == (1.0, 1.2)
    assert found.workloads == []


def test_a_prompt_that_both_get_is_no_repetition(store: Store) -> None:
    (found,) = summarise(store.db)
    assert found.prompts is not None
    assert (found.prompts.distinct, found.prompts.repeated) == (400, 0)


def test_a_prompt_that_the_warm_up_sent_to_one_target_is_new_to_the_other(store: Store) -> None:
    for prompt_id, target in ((1, "old"), (2, "old"), (1, "new")):
        store.add_warmup_prompt(prompt_id, target)
    (found,) = summarise(store.db)
    assert found.prompts is not None
    assert (found.prompts.distinct, found.prompts.repeated) == (400, 3)


def test_answers_are_compared_with_the_model_of_their_own_target(store: Store) -> None:
    (found,) = summarise(store.db)
    assert found.answers is not None
    assert found.answers.other_model == 0
    assert not any("model" in note for note in found.notes)


def test_targets_are_compared_with_the_confidence_of_the_run(store: Store) -> None:
    (found,) = summarise(store.db)
    (comparison,) = found.comparisons
    assert (comparison.baseline, comparison.target, comparison.confidence) == ("old", "new", 0.9)
    ttft = next(each for each in comparison.differences if (each.metric, each.statistic) == ("ttft", "p50"))
    assert (ttft.baseline, ttft.value, ttft.is_seen) == (1.0, 1.2, True)
    assert ttft.low is not None
    assert ttft.low > 0.0


def test_an_objective_of_a_target_is_judged_by_its_requests_alone(store: Store) -> None:
    bound = {"metric": "ttft", "statistic": "p50", "max": 1.15}
    each = [Objective.model_validate(bound | part) for part in ({}, {"target": "old"}, {"target": "new"})]
    judging = Judging(each, 0.95)
    summarise(store.db, judge=judging)
    assert [result.target for result in judging.results] == [None, "old", "new"]
    assert [result.kept for result in judging.results][1:] == [True, False]
    assert "in target new of stage s0, not <=" in broken_in_words(judging.results[2])


def test_workloads_are_of_all_targets_together_and_judged_by_what_each_was_asked(tmp_path: Path) -> None:
    workloads = [{"name": "chat"}, {"name": "batch", "model": "lora", "request": {"minTokens": 9}}]
    made = filled(tmp_path, SPEC | {"workloads": workloads}, workloads=True)
    (found,) = summarise(made.db)
    assert [each.requests.total for each in (*found.workloads, *found.targets)] == [400, 400, 400, 400]
    assert found.answers is not None
    assert (found.answers.other_model, found.answers.too_short) == (400, 400)
    old, new = found.targets
    assert [(each.name, each.requests.total, each.share) for each in old.workloads] == [
        ("chat", 200, 0.5),
        ("batch", 200, 0.5),
    ]
    assert [each.ttft_s.p50 for each in (*old.workloads, *new.workloads)] == [1.0, 1.0, 1.2, 1.2]
    made.db.close()


def test_an_objective_of_a_workload_of_a_target_is_judged_by_those_requests_alone(tmp_path: Path) -> None:
    made = filled(tmp_path, SPEC | {"workloads": [{"name": "chat"}, {"name": "batch"}]}, workloads=True)
    bound = {"metric": "ttft", "statistic": "p50", "max": 1.15, "workload": "chat"}
    each = [Objective.model_validate(bound | part) for part in ({"target": "old"}, {"target": "new"}, {})]
    judging = Judging(each, 0.95)
    summarise(made.db, judge=judging)
    assert [(result.workload, result.target, result.kept) for result in judging.results][:2] == [
        ("chat", "old", True),
        ("chat", "new", False),
    ]
    assert "in workload chat of target new of stage s0, not <=" in broken_in_words(judging.results[1])
    made.db.close()


def test_a_run_of_one_target_has_no_such_figures(tmp_path: Path) -> None:
    made = filled(tmp_path, {"target": {"model": "m"}})
    (found,) = summarise(made.db)
    assert (found.targets, found.comparisons) == ([], [])
    made.db.close()


def test_a_status_has_few_figures_of_each_target_and_what_is_beyond_doubt(store: Store) -> None:
    (found,) = summarise(store.db)
    told = compact(found)
    assert told["targets"]["new"] == {
        "requests": 400,
        "failed": 0,
        "request_throughput_rps": pytest.approx(0.5, rel=0.01),
        "ttft_p99_s": 1.2,
        "e2e_latency_p99_s": 4.2,
    }
    assert told["differences"][0].startswith("TTFT p50 of new is 200.0 ms (")
    outcome = Outcome(outcome="succeeded", stages=[{**told, "name": f"s{number}"} for number in range(9)])
    assert b"lower than that of old" in outcome.message_bytes() or b"higher than that of old" in outcome.message_bytes()
