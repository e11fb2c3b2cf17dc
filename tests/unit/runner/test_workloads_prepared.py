"""Workloads before any load: what plugins see of each, its secrets, and what is refused."""

from pathlib import Path
from typing import Any

import pytest
import yaml

from perfbench_api.resource import PerfBenchmark, SpecError
from perfbench_runner.cli import manifest
from perfbench_runner.run import secrets
from perfbench_runner.run.kinds import kinds_of
from perfbench_runner.run.prepare import prepare
from perfbench_runner.run.roles import load_digest

ONE, OTHER = "sk-first-0123456789abcdef", "sk-other-fedcba9876543210"
CHAT, BATCH = {"name": "chat", "weight": 3}, {"name": "batch", "model": "lora"}


def benchmark(*workloads: dict[str, Any], **spec: Any) -> PerfBenchmark:
    data = {"target": {"url": "http://127.0.0.1:1", "model": "m"}, "workloads": list(workloads)}
    data |= {"load": {"randomSeed": 5}}
    return PerfBenchmark.read({"metadata": {"name": "b"}, "spec": data | spec})


def test_plugins_see_each_workload_as_if_it_were_the_only_one() -> None:
    own = {
        "name": "own",
        "apiArgs": {"tokenize_prompt_for": "x"},
        "request": {"maxTokens": 7},
        "dataset": {"offset": 2},
    }
    one, other, third = kinds_of(benchmark(CHAT, BATCH, own | {"apiArgs": {}}), lambda _: ("key", {}))
    assert [kind.names.workload for kind in (one, other, third)] == ["chat", "batch", "own"]
    assert [kind.arguments.model for kind in (one, other, third)] == ["m", "lora", "m"]
    assert [kind.arguments.max_tokens for kind in (one, other, third)] == [2048, 2048, 7]
    assert [kind.arguments.dataset_offset for kind in (one, other, third)] == [0, 0, 2]
    assert one.feed.dataset is not other.feed.dataset
    assert all(kind.arguments.api_key for kind in (one, other))


def test_each_workload_has_a_seed_of_its_own_by_its_name() -> None:
    first = {
        kind.names.workload: kind.arguments.random_seed
        for kind in kinds_of(benchmark(CHAT, BATCH), lambda _: (None, {}))
    }
    again = {
        kind.names.workload: kind.arguments.random_seed
        for kind in kinds_of(benchmark(BATCH, CHAT), lambda _: (None, {}))
    }
    other = benchmark(CHAT, BATCH, load={"randomSeed": 6})
    assert first == again
    assert len({*first.values(), *(kind.arguments.random_seed for kind in kinds_of(other, lambda _: (None, {})))}) == 4


def test_one_workload_alone_is_what_it_was() -> None:
    (kind,) = kinds_of(benchmark(), lambda _: (None, {}))
    assert (kind.names.workload, kind.arguments.random_seed) == (None, 5)


def test_secrets_of_workloads_are_kept_as_the_variables_they_come_from() -> None:
    workloads = [
        each | {"request": {"extraArgs": {"access_token": token}}}
        for each, token in ((CHAT, ONE), (BATCH | {"name": "aRef"}, OTHER))
    ]
    kept = secrets.manifest(benchmark(*workloads), has_key=False)
    assert ONE not in str(kept)
    assert OTHER not in str(kept)
    tokens = [each["request"]["extraArgs"]["access_token"] for each in kept["spec"]["workloads"]]
    assert all(token.startswith("${PERFBENCH_") for token in tokens)
    env = {token[2:-1]: value for token, value in zip(tokens, (ONE, OTHER), strict=True)}
    assert len(env) == 2
    found = secrets.resolved(PerfBenchmark.read(kept), env).spec.workloads
    assert [(each.request.extra_args or {})["access_token"] for each in found if each.request] == [ONE, OTHER]


def test_a_variable_that_is_not_there_is_told_with_its_workload() -> None:
    workload = CHAT | {"apiArgs": {"a": "${NOT_THERE}"}, "dataset": {"args": {"b": "${NOT_THERE}"}}}
    with pytest.raises(SpecError) as refused:
        secrets.resolved(benchmark(BATCH, workload), {})
    assert [problem.partition(":")[0] for problem in refused.value.problems] == [
        "spec.workloads[1].dataset.args.b", "spec.workloads[1].apiArgs.a",
    ]  # fmt: skip


@pytest.mark.parametrize(
    ("workload", "problem"),
    [
        ({"name": "x", "dataset": {"name": "opnqa"}}, "workload x: spec.dataset.name:"),
        ({"name": "x", "dataset": {"path": "/not/there.jsonl"}}, "workload x: "),
        ({"name": "x", "apiArgs": {"nothing": 1}}, "workload x: spec.target.apiArgs.nothing: unknown field"),
    ],
)
def test_what_is_wrong_with_a_workload_is_told_before_any_load(workload: dict[str, Any], problem: str) -> None:
    with pytest.raises(ValueError) as refused:  # noqa: PT011  # of several kinds
        prepare(benchmark(CHAT, workload), {})
    assert problem in str(refused.value)


def test_a_seed_given_as_a_flag_is_that_of_all_requests(tmp_path: Path) -> None:
    data = benchmark(CHAT | {"request": {"maxTokens": 3}}, BATCH | {"request": {"maxTokens": 4}}).dump()
    for each in (data["spec"], *data["spec"]["workloads"]):
        each.get("request", {}).pop("seed", None)
    (tmp_path / "b.yaml").write_text(yaml.safe_dump(data))
    found = manifest.load(tmp_path / "b.yaml", seed=9).spec
    assert found.load.random_seed == 9
    assert [part.request.seed for part in found.parts()] == [9, 9]


def test_runners_that_mix_differently_are_not_of_one_run() -> None:
    same = [load_digest(benchmark(CHAT, BATCH, load={"randomSeed": seed}).spec) for seed in (1, 2)]
    assert same[0] == same[1]
    assert load_digest(benchmark(CHAT | {"weight": 2}, BATCH).spec) not in same
    assert load_digest(benchmark().spec) not in same
