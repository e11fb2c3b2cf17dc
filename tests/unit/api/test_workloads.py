"""Mixed traffic in a manifest: what each workload asks for, and what is refused before any load."""

from typing import Any

import pytest

from perfbench_api.resource import PerfBenchmark, SpecError

CHAT: dict[str, Any] = {"name": "chat", "weight": 3, "request": {"maxTokens": 8}}
BATCH: dict[str, Any] = {"name": "batch", "dataset": {"name": "random"}, "model": "lora-a", "apiArgs": {"a": 1}}


def read(**spec: Any) -> PerfBenchmark:
    data = {"target": {"url": "http://x", "model": "m"}} | spec
    return PerfBenchmark.read({"metadata": {"name": "b"}, "spec": data})


def test_a_spec_without_workloads_is_its_only_part() -> None:
    spec = read().spec
    assert spec.parts() == [spec]
    assert spec.parts()[0] is spec


def test_a_workload_has_what_it_gives_and_the_rest_of_the_spec() -> None:
    spec = read(workloads=[CHAT, BATCH], dataset={"name": "longalpaca"}, request={"maxTokens": 99}).spec
    chat, batch = spec.parts()
    assert (chat.dataset.name, chat.request.max_tokens, chat.target.model) == ("longalpaca", 8, "m")
    assert (batch.dataset.name, batch.request.max_tokens, batch.target.model) == ("random", 99, "lora-a")
    assert (chat.target.api_args, batch.target.api_args) == (None, {"a": 1})
    assert batch.target.url == chat.target.url == "http://x"
    assert (spec.models, spec.datasets) == ("m, lora-a", "longalpaca, random")
    assert PerfBenchmark.read(read(workloads=[CHAT, BATCH]).dump()).spec.workloads[1].model == "lora-a"


def test_limits_of_a_workload_replace_those_of_the_spec() -> None:
    spec = read(
        workloads=[CHAT, BATCH | {"goodput": {"e2eLatency": "9s"}}], goodput={"ttft": "500ms", "tpot": 0.04}
    ).spec
    usual = {"ttft": 0.5, "tpot": 0.04}
    assert spec.limits == {None: usual, "chat": usual, "batch": {"e2e_latency": 9.0}}
    assert [part.goodput.limits for part in spec.parts()] == [usual, {"e2e_latency": 9.0}]
    assert read(goodput={"ttft": 1}).spec.limits == {None: {"ttft": 1.0}}
    share = {"metric": "goodput_share", "min": "90%"}
    own = [CHAT | {"goodput": {"ttft": 1}}, BATCH]
    for workload in ({}, {"workload": "chat"}):
        assert read(workloads=own, objectives=[share | workload]).spec.goodput.limits == {}


@pytest.mark.parametrize(
    ("spec", "problem"),
    [
        ({"workloads": [CHAT, CHAT]}, "workloads[1].name: two workloads are named 'chat'; give each its own name"),
        ({"workloads": [CHAT | {"weight": 0}]}, "workloads[0].weight: input should be greater than or equal to 1"),
        ({"workloads": [CHAT | {"weight": -1}]}, "workloads[0].weight: input should be greater than or equal to 1"),
        ({"workloads": [CHAT | {"weight": 0.5}]}, "workloads[0].weight: input should be a valid integer"),
        ({"workloads": [{"weight": 1}]}, "workloads[0].name: missing"),
        ({"workloads": [{"name": "a b"}]}, "workloads[0].name: string should match pattern"),
        ({"workloads": [CHAT | {"datset": {}}]}, "workloads[0].datset: unknown field; did you mean 'dataset'?"),
        (
            {"workloads": [BATCH], "dataset": {"name": "openqa", "offset": 3}},
            "dataset: no workload would use it, since each has its own; leave it out",
        ),
        (
            {"workloads": [CHAT], "request": {"maxTokens": 3}},
            "request: no workload would use it, since each has its own; leave it out",
        ),
        (
            {"workloads": [CHAT | {"goodput": {"ttft": 1}}], "goodput": {"ttft": 2}},
            "goodput: no workload would use it, since each has its own; leave it out",
        ),
        (
            {
                "workloads": [CHAT | {"goodput": {"ttft": 1}}, BATCH],
                "objectives": [{"metric": "goodput_share", "min": 0.9, "workload": "batch"}],
            },
            "objectives[0]: goodput_share needs limits; give some, such as goodput: {ttft: 500ms}",
        ),
        (
            {"workloads": [CHAT, BATCH | {"request": {"nChoices": 2}}]},
            "workloads: nChoices differs between them",
        ),
        (
            {"objectives": [{"metric": "ttft", "max": 1, "workload": "chat"}]},
            "objectives[0].workload: no workload is named 'chat'; there are no workloads",
        ),
        (
            {"workloads": [CHAT, BATCH], "objectives": [{"metric": "ttft", "max": 1, "workload": "chta"}]},
            "objectives[0].workload: no workload is named 'chta'; there are chat, batch",
        ),
    ],
)
def test_what_cannot_be_meant_is_refused(spec: dict[str, Any], problem: str) -> None:
    with pytest.raises(SpecError) as refused:
        read(**spec)
    assert any(problem in line for line in refused.value.problems), refused.value.problems
