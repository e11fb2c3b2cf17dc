"""Runners that are too few, or beside their target: told before there are figures, and `runner.replicas: auto`."""

from typing import Any

import pytest
import yaml
from bodies import body, conditions, observed, running
from memory import Memory, fill, reconcile, reconciler

from perfbench_api.resource import PerfBenchmark
from perfbench_api.sections import Target
from perfbench_operator.objects.address import service_of
from perfbench_operator.objects.sizing import decided, too_few
from perfbench_operator.settings import Settings, SettingsError
from perfbench_operator.status.compute import compute

SETTINGS = Settings(runner_ceiling=1000.0)
SHORT = {"request": {"maxTokens": 64}, "load": {"stages": [{"rate": 3500, "duration": "1m"}]}}
"""Needs five runners of 1,000 requests/s at 70 % of that."""
LONG = {"request": {"maxTokens": 128}, "load": {"stages": [{"rate": 3500, "duration": "1m"}]}}
"""Of twice as many tokens, and so twice as many runners."""


def read(spec: dict[str, Any], replicas: int | str) -> PerfBenchmark:
    return PerfBenchmark.read(body({**spec, "runner": {"replicas": replicas}}))


MIXED = {
    "workloads": [
        {"name": "chat", "weight": 3, "request": {"maxTokens": 32}},
        {"name": "batch", "request": {"maxTokens": 416}},
    ],
    "load": SHORT["load"],
}
"""Of 3 x 32 and 256 tokens, which is the most that is expected: 88 on average."""


@pytest.mark.parametrize(("spec", "runners"), [(SHORT, 5), (LONG, 10), (MIXED, 7)])
def test_auto_follows_what_one_runner_carries(spec: dict[str, Any], runners: int) -> None:
    found = decided(read(spec, "auto"), SETTINGS)
    assert found.spec.runner.replicas == runners
    assert too_few(found, SETTINGS) == ""
    assert too_few(read(spec, runners - 1), SETTINGS)


@pytest.mark.parametrize("replicas", [1, 3, 16])
def test_a_number_is_left_as_it_is(replicas: int) -> None:
    assert decided(read(SHORT, replicas), SETTINGS).spec.runner.replicas == replicas


@pytest.mark.parametrize("value", ["0", "-1", "inf", "nan", "many"])
def test_a_ceiling_that_is_none_stops_the_operator(value: str) -> None:
    with pytest.raises(SettingsError, match="PERFBENCH_RUNNER_CEILING"):
        Settings.read({"PERFBENCH_RUNNER_CEILING": value})


async def test_the_operator_makes_as_many_runners_as_auto_needs_and_they_know_how_many_they_are() -> None:
    cluster = Memory(body({**SHORT, "runner": {"replicas": "auto"}}))
    await reconcile(cluster, runner_ceiling=1000.0)
    jobs = {name: item["spec"] for (kind, name), item in cluster.objects.items() if kind == "Job"}
    assert (jobs["chat-0a1b2c3d"]["completions"], jobs["chat-0a1b2c3d-w"]["completions"]) == (1, 4)
    manifest = yaml.safe_load(cluster.objects["ConfigMap", "chat-0a1b2c3d"]["data"]["manifest.yaml"])
    assert manifest["spec"]["runner"]["replicas"] == 5


async def test_too_few_runners_are_a_condition_and_no_failure() -> None:
    cluster = Memory(body({**SHORT, "runner": {"replicas": 3}}))
    for _ in range(2):
        await reconcile(cluster, runner_ceiling=1000.0)
    (found,) = [one for one in cluster.body["status"]["conditions"] if one["type"] == "Undersized"]
    assert (found["status"], found["reason"]) == ("True", "TooFewRunners")
    assert "needs 5 runners" in found["message"]
    assert cluster.body["status"]["phase"] == "Pending"


def test_what_is_enough_has_no_condition() -> None:
    assert not {"Undersized", "SharesNode"} & conditions(compute(observed(pods=[running()]))).keys()


@pytest.mark.parametrize(
    ("target", "service"),
    [
        ({"service": {"name": "llama"}}, ("models", "llama")),
        ({"service": {"name": "llama", "namespace": "other"}}, ("other", "llama")),
        ({"url": "http://llama:8000/v1"}, ("models", "llama")),
        ({"url": "http://llama.other:8000"}, ("other", "llama")),
        ({"url": "http://llama.other.svc"}, ("other", "llama")),
        ({"url": "http://llama.other.svc.cluster.local."}, ("other", "llama")),
        ({"url": "http://10.0.0.1:8000"}, None),
        ({"url": "http://[::1]:8000"}, None),
        ({"url": "http://localhost:8000"}, None),
        ({"url": "https://api.models.example/v1"}, None),
        ({"mock": {}}, None),
    ],
)
def test_a_target_s_service_is_found_by_its_name(target: dict[str, Any], service: tuple[str, str] | None) -> None:
    assert service_of(Target.model_validate({"model": "m", **target}), "models") == service


async def test_a_runner_beside_its_target_is_told_of_and_asked_for_once() -> None:
    cluster = Memory(body({"target": {"url": "http://llama:8000", "model": "m"}}))
    cluster.target_nodes = {"node", "other"}
    process = reconciler(cluster)
    await process.reconcile(("models", "chat"))
    cluster.runner = running()
    fill(process.cache, "Pod", [cluster.runner])
    for _ in range(3):
        await process.reconcile(("models", "chat"))
    (found,) = [one for one in cluster.body["status"]["conditions"] if one["type"] == "SharesNode"]
    assert (found["status"], found["reason"]) == ("True", "RunnerBesideTarget")
    assert "on node node:" in found["message"]
    assert cluster.calls.count("read EndpointSlices") == 1


@pytest.mark.parametrize(
    ("target", "nodes"),
    [
        ({"url": "http://llama:8000", "model": "m"}, {"elsewhere"}),
        ({"url": "http://llama:8000", "model": "m"}, set()),
        ({"url": "https://api.models.example/v1", "model": "m"}, {"node"}),
    ],
    ids=["another node", "nobody knows", "no Service"],
)
async def test_a_runner_by_itself_is_not_told_of(target: dict[str, Any], nodes: set[str]) -> None:
    cluster = Memory(body({"target": target}))
    cluster.target_nodes = nodes
    await reconcile(cluster)
    cluster.runner = running()
    await reconcile(cluster)
    assert "SharesNode" not in [one["type"] for one in cluster.body["status"]["conditions"]]
