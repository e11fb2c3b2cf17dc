"""Several targets before any load: what plugins see of each, where its requests go, and its secrets."""

from itertools import islice
from typing import Any

import orjson
import pytest

from perfbench_api.resource import PerfBenchmark, SpecError
from perfbench_runner.run import secrets
from perfbench_runner.run.prepare import prepare
from perfbench_runner.run.roles import load_digest
from perfbench_runner.shard.request import PreparedRequest
from perfbench_runner.shard.shard import transports

A: dict[str, Any] = {"name": "a", "url": "http://127.0.0.1:1"}
B: dict[str, Any] = {"name": "b", "url": "http://127.0.0.1:2", "model": "m-b"}
ONE, OTHER = "sk-first-0123456789abcdef", "sk-other-fedcba9876543210"


def benchmark(*targets: dict[str, Any], **spec: Any) -> PerfBenchmark:
    data = {"target": {"model": "m"}, "targets": list(targets), "load": {"randomSeed": 5}}
    return PerfBenchmark.read({"metadata": {"name": "b"}, "spec": data | spec})


def prompts(requests: list[PreparedRequest]) -> list[Any]:
    return [orjson.loads(each.body)["messages"] for each in requests]  # type: ignore[arg-type]  # no conversations


@pytest.mark.parametrize(
    ("weights", "workloads"), [((1, 1), []), ((3, 1), []), ((1, 1), ["chat", "batch"]), ((1, 2), ["x", "y", "z"])]
)
def test_all_targets_get_the_same_prompts_in_the_same_order(weights: tuple[int, int], workloads: list[str]) -> None:
    targets = [each | {"weight": weight} for each, weight in zip((A, B), weights, strict=True)]
    kinds = [{"name": name, "weight": 1 + number} for number, name in enumerate(workloads)]
    prepared = prepare(benchmark(*targets, workloads=kinds, dataset={"name": "random"}), {})
    prepared.feed.start_at(0)
    found = list(islice(iter(prepared.feed.__next__, None), 48))
    of = [[each for each in found if prepared.feed.kinds[each.kind].target == name] for name in ("a", "b")]
    assert [len(own) for own in of] == [48 * weight // sum(weights) for weight in weights]
    common = min(len(own) for own in of)
    one, other = (prompts(own[:common]) for own in of)
    assert one == other
    assert len({str(prompt) for prompt in one}) == common
    models = [{orjson.loads(each.body)["model"] for each in own} for own in of]  # type: ignore[arg-type]
    assert models == [{"m"}, {"m-b"}]


def test_every_kind_goes_to_its_own_target() -> None:
    prepared = prepare(
        benchmark(A, B | {"keepAlive": False, "readTimeout": "7s"}, workloads=[{"name": "c"}, {"name": "d"}]), {}
    )
    kinds = [(kind.target, kind.workload) for kind in prepared.feed.kinds]
    assert kinds == [("a", "c"), ("a", "d"), ("b", "c"), ("b", "d")]
    wirings = prepared.wiring.all
    assert [each.url for each in wirings] == [
        *["http://127.0.0.1:1/v1/chat/completions"] * 2, *["http://127.0.0.1:2/v1/chat/completions"] * 2,
    ]  # fmt: skip
    assert ["Connection" in each.headers for each in wirings] == [False, False, True, True]
    one, same, other, again = transports(wirings, 0)
    assert one is same
    assert other is again
    assert one is not other
    assert other.limits.read_s == 7.0


def test_each_target_has_its_own_key() -> None:
    prepared = prepare(benchmark(A, B | {"apiKey": {"env": "B_KEY"}}), {"PERFBENCH_API_KEY": ONE, "B_KEY": OTHER})
    one, other = prepared.wiring.all
    assert [each.headers["Authorization"] for each in (one, other)] == [f"Bearer {ONE}", f"Bearer {OTHER}"]
    assert prepared.manifest["spec"]["target"]["apiKey"] == {"env": "PERFBENCH_API_KEY"}
    assert prepared.manifest["spec"]["targets"][1]["apiKey"]["env"] == "B_KEY"


def test_secrets_of_targets_are_kept_as_variables_of_their_own() -> None:
    targets = [
        each | {"headers": [{"name": "X-Api-Key", "value": key}], "proxy": f"http://u:{key}@127.0.0.1:3"}
        for each, key in ((A, ONE), (B, OTHER))
    ]
    kept = secrets.manifest(benchmark(*targets), has_key=False)
    assert ONE not in str(kept)
    assert OTHER not in str(kept)
    values = [each["headers"][0]["value"] for each in kept["spec"]["targets"]]
    assert len({value for value in values if value.startswith("${PERFBENCH_HEADER_")}) == 2
    env = {value[2:-1]: key for value, key in zip(values, (ONE, OTHER), strict=True)}
    found = secrets.resolved(PerfBenchmark.read(kept), env).spec.targets
    assert [each.headers[0].value for each in found if each.headers] == [ONE, OTHER]


@pytest.mark.parametrize(
    ("target", "problem"),
    [
        ({"name": "x", "url": "http://127.0.0.1:3", "api": "opnai"}, "target x: spec.target.api:"),
        ({"name": "x", "service": {"name": "s", "port": 80}}, "target x: spec.target.service: works in a cluster only"),
        ({"name": "x", "url": "http://127.0.0.1:3", "apiKey": {"env": "NOT_THERE"}}, "target x: spec.target.apiKey"),
        ({"name": "x", "url": "http://127.0.0.1:3", "tls": {"ca": {"file": "/no"}}}, "target x: spec.target.tls.ca"),
    ],
)
def test_what_is_wrong_with_a_target_is_told_before_any_load(target: dict[str, Any], problem: str) -> None:
    with pytest.raises(ValueError) as refused:  # noqa: PT011  # of several kinds
        prepare(benchmark(A, target), {})
    assert problem in str(refused.value)


def test_recorded_times_cannot_be_shared_out() -> None:
    with pytest.raises(SpecError, match="has no recorded times"):
        prepare(benchmark(A, B, load={"stages": [{"arrival": "recorded"}]}), {})


def test_runners_that_share_out_differently_are_not_of_one_run() -> None:
    assert load_digest(benchmark(A, B).spec) != load_digest(benchmark(A, B | {"weight": 2}).spec)


@pytest.mark.parametrize("start", [0, 1, 2, 5, 31])
@pytest.mark.parametrize("workloads", [[], ["chat", "batch"]])
def test_side_by_side_each_round_has_one_request_to_each_target_with_one_prompt(
    start: int, workloads: list[str]
) -> None:
    targets = [A, B, {"name": "c", "url": "http://127.0.0.1:3"}]
    kinds = [{"name": name, "weight": 1 + number} for number, name in enumerate(workloads)]
    load = {"randomSeed": 5, "split": "sideBySide", "stages": [{"rate": 9, "requests": 90}]}
    feed = prepare(benchmark(*targets, workloads=kinds, dataset={"name": "random"}, load=load), {}).feed
    assert feed.together == 3
    feed.start_at(start)
    orders = set()
    for _ in range(12):
        found = [next(feed) for _ in range(3)]
        orders.add(tuple(feed.kinds[each.kind].target for each in found))
        assert {each.prompt_id for each in found} == {found[0].prompt_id}
    assert all(set(order) == {"a", "b", "c"} for order in orders)
    assert len(orders) > 2  # none is always first
