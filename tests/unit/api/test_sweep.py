"""One entry of `stages` with several values is one stage for each of them, with a name and all other fields of its own."""

from typing import Any

import pytest

from perfbench_api import crd
from perfbench_api.resource import PerfBenchmark, SpecError


def read(*stages: Any, **more: Any) -> PerfBenchmark:
    spec = {"target": {"mock": {}}, "load": {"stages": list(stages)}, **more}
    return PerfBenchmark.read({"metadata": {"name": "a"}, "spec": spec})


@pytest.mark.parametrize(
    ("entry", "titles"),
    [
        ({"concurrency": [1, 2, 4, 8], "requests": 9}, ["c1", "c2", "c4", "c8"]),
        ({"concurrency": [3], "requests": 9}, ["c3"]),
        ({"rate": [0.5, 2], "requests": 9}, ["r0.5", "r2"]),
        ({"rate": {"from": 1, "to": 32, "steps": 6, "scale": "log"}, "duration": "9s"}, ["r1", "r2", "r4", "r8", "r16", "r32"]),
        ({"rate": {"from": 1, "to": 5, "steps": 3}, "duration": "9s"}, ["r1", "r3", "r5"]),
        ({"rate": {"from": 16, "to": 1, "steps": 5, "scale": "log"}, "duration": "9s"}, ["r16", "r8", "r4", "r2", "r1"]),
        ({"rate": {"from": 1, "to": 10, "steps": 4, "scale": "log"}, "duration": "9s"}, ["r1", "r2.154", "r4.642", "r10"]),
        ({"concurrency": {"from": 1, "to": 4, "steps": 8}, "requests": 9}, ["c1", "c2", "c3", "c4"]),
        ({"concurrency": {"from": 1, "to": 16, "steps": 5, "scale": "log"}, "requests": 9}, ["c1", "c2", "c4", "c8", "c16"]),
        ({"name": "sweep", "concurrency": [1, 16], "requests": 9}, ["sweep-c1", "sweep-c16"]),
        ({"name": "one", "concurrency": 16, "requests": 9}, ["one"]),
    ],
)  # fmt: skip
def test_an_entry_is_as_many_stages_as_it_has_values(entry: dict[str, Any], titles: list[str]) -> None:
    made = read(entry)
    stages = made.spec.load.stages
    assert [stage.title for stage in stages] == titles
    assert all((stage.requests, stage.duration) in ((9, None), (None, 9.0)) for stage in stages)
    assert PerfBenchmark.read(made.dump()).dump() == made.dump(), "what is written out is read alike"


def test_other_entries_stay_in_their_place() -> None:
    made = read({"rate": 9, "requests": 1}, {"concurrency": [1, 2], "requests": 1}, {"rate": 8, "requests": 1})
    assert [stage.title for stage in made.spec.load.stages] == ["r9", "c1", "c2", "r8"]


def test_an_objective_can_name_one_of_them() -> None:
    objective = {"metric": "ttft", "max": "1s", "stage": "sweep-c16"}
    made = read({"name": "sweep", "concurrency": [1, 16], "requests": 9}, objectives=[objective])
    assert made.spec.objectives[0].stage == "sweep-c16"


@pytest.mark.parametrize(
    ("entry", "line"),
    [
        ({"concurrency": [], "requests": 9}, "spec.load: stages[0].concurrency: an empty list; give one value or several"),
        ({"concurrency": [True, 2], "requests": 9}, "spec.load: stages[0].concurrency: [True, 2] has a value that is no number"),
        ({"concurrency": [1, "x"], "requests": 9}, "spec.load: stages[0].concurrency: [1, 'x'] has a value that is no number"),
        ({"concurrency": [1, 0], "requests": 9}, "spec.load.stages[1].concurrency: input should be greater than or equal to 1"),
        ({"concurrency": [2, 2], "requests": 9}, "spec: load.stages: two stages are named 'c2'; give each its own name"),
        ({"concurrency": [1, 2]}, "spec.load.stages[0]: has no end; give requests or duration"),
        ({"concurrency": [1], "rate": [2], "requests": 9}, "spec.load: stages[0]: concurrency and rate exclude each other"),
        ({"rate": {"from": 1, "to": 5}, "requests": 9}, "spec.load: stages[0].rate.steps: field required; write {from: 1"),
        ({"rate": {"from": 1, "to": 5, "step": 3}, "requests": 9}, "spec.load: stages[0].rate.steps: field required"),
        ({"rate": {"from": 0, "to": 5, "steps": 3}, "requests": 9}, "spec.load: stages[0].rate.from: input should be greater"),
        ({"rate": {"from": 5, "to": 5, "steps": 3}, "requests": 9}, "spec.load: stages[0].rate: from and to are both 5"),
        ({"rate": {"from": 1, "to": 5, "steps": 3, "by": 1}, "requests": 9}, "spec.load: stages[0].rate.by: unknown field"),
    ],
)  # fmt: skip
def test_what_is_wrong_is_said_with_its_place(entry: dict[str, Any], line: str) -> None:
    with pytest.raises(SpecError) as caught:
        read(entry)
    assert caught.value.problems[0].startswith(line)


def test_more_stages_than_a_run_may_have_are_refused() -> None:
    with pytest.raises(SpecError, match="64"):
        read({"concurrency": list(range(1, 66)), "requests": 1})


@pytest.mark.parametrize("name", ["concurrency", "rate"])
def test_the_definition_takes_a_number_and_what_stands_for_several(name: str) -> None:
    spec = crd.definition()["spec"]["versions"][0]["schema"]["openAPIV3Schema"]["properties"]["spec"]
    field = spec["properties"]["load"]["properties"]["stages"]["items"]["properties"][name]
    assert field.keys() == {"description", "x-kubernetes-preserve-unknown-fields"}
    assert "a list, or {from, to, steps, scale}" in field["description"]
