"""`runner.replicas: auto` at the command line: as many runners as the load needs and the machine can feed."""

from typing import Any

import pytest

from perfbench_api.resource import PerfBenchmark, SpecError
from perfbench_runner.cli.replicas import decided
from perfbench_runner.load.shares import refuse_idle_runners
from perfbench_runner.run import calibrate, cpus


def benchmark(stage: dict[str, Any], replicas: int | str = "auto") -> PerfBenchmark:
    spec = {
        "target": {"url": "http://x", "model": "m"},
        "load": {"stages": [stage]},
        "runner": {"replicas": replicas, "workers": 1},
    }
    return PerfBenchmark.read({"metadata": {"name": "x"}, "spec": spec})


def measure(monkeypatch: pytest.MonkeyPatch, requests_per_s: float, cpu_count: float) -> list[int]:
    """What is measured here, of how many workers; and how often it was."""
    asked: list[int] = []

    def ceiling(_: Any, mock: Any, seconds: float, workers: int) -> calibrate.Ceiling:
        asked.append(workers)
        return calibrate.Ceiling(requests_per_s=requests_per_s, events_per_s=0.0, streams=0.0, is_lower_bound=False)

    monkeypatch.setattr(calibrate, "ceiling", ceiling)
    monkeypatch.setattr(cpus, "available_cpus", lambda: cpu_count)
    return asked


@pytest.mark.parametrize(
    ("rate", "cpu_count", "runners", "text"),
    [
        (700, 16.0, 1, "auto is 1"),
        (2100, 16.0, 3, "auto is 3"),
        (11_200, 16.0, 8, "needs 16 runners like one here, and the CPUs of this machine feed 8"),
        (11_200, 0.5, 1, "feed 1"),
    ],
)
def test_auto_is_what_the_load_needs_and_no_more_than_the_machine_feeds(
    rate: int,
    cpu_count: float,
    runners: int,
    text: str,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    asked = measure(monkeypatch, 1000.0, cpu_count)
    assert decided(benchmark({"rate": rate, "duration": "1m"})).spec.runner.replicas == runners
    assert asked == [1]
    assert text in " ".join(capsys.readouterr().err.split())


@pytest.mark.parametrize(
    ("stage", "replicas"), [({"concurrency": 1, "requests": 9}, "auto"), ({"rate": 9000, "duration": "1m"}, 3)]
)
def test_nothing_is_measured_where_nothing_follows_from_it(
    stage: dict[str, Any], replicas: int | str, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked = measure(monkeypatch, 1000.0, 16.0)
    assert decided(benchmark(stage, replicas)).spec.runner.replicas == (1 if replicas == "auto" else replicas)
    assert asked == []


def test_a_machine_that_is_too_busy_to_measure_says_so(monkeypatch: pytest.MonkeyPatch) -> None:
    measure(monkeypatch, 0.0, 16.0)
    with pytest.raises(SpecError, match="give a number"):
        decided(benchmark({"rate": 9000, "duration": "1m"}))


def test_who_does_not_decide_it_refuses_auto() -> None:
    found = benchmark({"rate": 9, "duration": "1m"})
    with pytest.raises(SpecError, match=r"runner\.replicas: auto"):
        refuse_idle_runners(found.spec.load, found.spec.runner.replicas)
