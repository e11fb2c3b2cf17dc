"""Several targets in a manifest: what each has for itself, and what is refused before any load."""

from typing import Any

import pytest

from perfbench_api.resource import PerfBenchmark, SpecError

A: dict[str, Any] = {"name": "a", "url": "http://a/v1"}
B: dict[str, Any] = {
    "name": "b",
    "url": "http://b/v1",
    "model": "m-b",
    "readTimeout": "7s",
    "headers": [{"name": "X", "value": "1"}],
}

TTFT: dict[str, Any] = {"metric": "ttft", "max": 1}


def read(*targets: dict[str, Any], **spec: Any) -> PerfBenchmark:
    data = {"target": {"model": "m", "connectTimeout": "3s"}, "targets": list(targets)} | spec
    return PerfBenchmark.read({"metadata": {"name": "b"}, "spec": data})


def test_a_target_has_what_it_gives_and_the_rest_of_the_common_one() -> None:
    a, b = (part.target for part in read(A, B).spec.parts())
    assert (a.url, b.url) == ("http://a/v1", "http://b/v1")
    assert (a.model, b.model) == ("m", "m-b")
    assert (a.connect_timeout, b.connect_timeout) == (3.0, 3.0)
    assert (a.read_timeout, b.read_timeout) == (300.0, 7.0)
    assert (len(a.headers), len(b.headers)) == (0, 1)


def test_what_is_written_again_with_all_defaults_means_the_same() -> None:
    first = read(A, B)
    again = PerfBenchmark.read(first.dump())
    assert [part.target for part in again.spec.parts()] == [part.target for part in first.spec.parts()]


def test_an_address_takes_the_place_of_any_other() -> None:
    targets = (A, {"name": "s", "service": {"name": "x", "port": 80}}, {"name": "m", "mock": {}}, {"name": "base"})
    url, service, mock, base = (
        part.target for part in read(*targets, target={"url": "http://base", "model": "m"}).spec.parts()
    )
    assert (url.url, base.url) == ("http://a/v1", "http://base")
    assert (service.url, mock.url) == (None, None)
    assert service.service is not None
    assert mock.mock is not None


def test_a_mock_needs_no_model() -> None:
    parts = read({"name": "a", "mock": {}}, {"name": "b", "mock": {"ttft": "9ms"}}, target={}).spec.parts()
    assert [part.target.model for part in parts] == ["mock", "mock"]


def test_what_they_have_in_common_need_not_be_given() -> None:
    spec = PerfBenchmark.read({"metadata": {"name": "b"}, "spec": {"targets": [A | {"model": "m"}, B]}}).spec
    assert [(part.target.url, part.target.model) for part in spec.parts()] == [
        ("http://a/v1", "m"),
        ("http://b/v1", "m-b"),
    ]
    with pytest.raises(SpecError, match=r"^spec\.target: nothing to measure; give url, service or mock$"):
        PerfBenchmark.read({"metadata": {"name": "b"}, "spec": {}})


def test_kinds_are_of_each_target_each_workload() -> None:
    spec = read(A, B, workloads=[{"name": "chat"}, {"name": "lora", "model": "l"}]).spec
    assert [(part.target.url, part.target.model) for part in spec.parts()] == [
        ("http://a/v1", "m"), ("http://a/v1", "l"), ("http://b/v1", "m-b"), ("http://b/v1", "l"),
    ]  # fmt: skip
    assert spec.models == "m, l, m-b"


@pytest.mark.parametrize(
    ("targets", "spec", "problem"),
    [
        ([], {}, "spec.target: nothing to measure; give url, service or mock"),
        ([A, {"name": "b"}], {"target": {}}, "targets[1]: nothing to measure; give url, service or mock"),
        ([A, {"name": "b"}], {}, "targets[1]: nothing to measure; give url, service or mock"),
        ([A, A], {}, "targets[1].name: two targets are named 'a'; give each its own name"),
        ([A, B | {"mock": {}}], {}, "targets[1]: url and mock exclude each other; give one of them"),
        ([A, B | {"url": "b:80"}], {}, "targets[1]: url 'b:80' has no scheme; write http://b:80 or https://b:80"),
        ([A, B | {"headers": B["headers"] * 2}], {}, "targets[1]: headers: x is given twice; each is sent once"),
        ([A | {"weight": 0}], {}, "targets[0].weight: input should be greater than or equal to 1"),
        ([A | {"modle": "x"}], {}, "targets[0].modle: unknown field; did you mean 'model'?"),
        ([A, B], {"load": {"search": {"rate": {"from": 1, "to": 9}}}}, "load.search: finds how much one target carries"),
        ([A, B], {"objectives": [TTFT | {"target": "c"}]}, "objectives[0].target: no target is named 'c'; there are a, b"),
        (
            [A, B],
            {"workloads": [{"name": "w"}], "objectives": [TTFT | {"target": "a", "workload": "v"}]},
            "objectives[0].workload: no workload is named 'v'; there are w",
        ),
        ([A, B], {"target": {"model": "m", "metrics": [{"url": "http://x"}]}}, "target.metrics: figures of the servers"),
    ],
)  # fmt: skip
def test_what_cannot_be_meant_is_refused(targets: list[Any], spec: dict[str, Any], problem: str) -> None:
    with pytest.raises(SpecError) as refused:
        read(*targets, **spec)
    assert any(problem in line for line in refused.value.problems), refused.value.problems


OPEN: dict[str, Any] = {"rate": 4, "duration": "9s"}


@pytest.mark.parametrize(
    ("targets", "load", "problem"),
    [
        ([], {"stages": [OPEN]}, "load.split: sideBySide is of several targets, and there are none; give targets"),
        ([A, B | {"weight": 2}], {"stages": [OPEN]}, "load.split: sideBySide sends to each target equally often"),
        (
            [A, B],
            {"stages": [OPEN, {"concurrency": 2, "requests": 9}]},
            "load.stages[1]: a closed loop that ends by count",
        ),
        (
            [A, B],
            {"stages": [{"concurrency": 2, "requests": 9, "duration": "9s"}]},
            "load.stages[0]: a closed loop that ends by count",
        ),
        ([A, B], {"stages": [{"arrival": "recorded"}]}, "load.stages[0]: times that are given one by one"),
        ([A, B], {"stages": [{"timestamps": {"path": "x.csv"}}]}, "load.stages[0]: times that are given one by one"),
        (
            [A, B],
            {"stages": [OPEN | {"maxConcurrency": 3}]},
            "load.stages[0].maxConcurrency: one limit for all targets",
        ),
        ([A, B], {}, "load.stages[0]: a closed loop that ends by count"),
    ],
)
def test_what_cannot_be_sent_side_by_side_is_refused(targets: list[Any], load: dict[str, Any], problem: str) -> None:
    with pytest.raises(SpecError) as refused:
        read(*targets, target={"url": "http://x", "model": "m"}, load=load | {"split": "sideBySide"})
    assert any(problem in line for line in refused.value.problems), refused.value.problems


def test_targets_of_equal_weight_are_sent_to_side_by_side_at_any_rate() -> None:
    ramp = {"profile": {"ramp": {"from": 1, "to": 9}}, "duration": "9s"}
    stages = [OPEN, ramp, {"rate": 3, "arrival": "constant", "requests": 7}]
    assert read(A, B, load={"split": "sideBySide", "stages": stages}).spec.side_by_side == 2


def test_lanes_side_by_side_are_at_each_target() -> None:
    spec = read(A, B, load={"split": "sideBySide", "stages": [{"concurrency": 3, "duration": "9s"}, OPEN]}).spec
    assert [stage.at_each(spec.side_by_side).concurrency for stage in spec.load.stages] == [6, None]
    by_weight = read(A, B, load={"stages": [{"concurrency": 3, "duration": "9s"}]}).spec
    assert by_weight.load.stages[0].at_each(by_weight.side_by_side).concurrency == 3
