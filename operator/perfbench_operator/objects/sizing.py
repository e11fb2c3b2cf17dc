"""How many runners a benchmark gets, and whether they are enough, by what the operator's settings say that one carries. Pure."""

from perfbench_api.capacity import Carried, expected_of, runners_for, undersized
from perfbench_api.resource import PerfBenchmark
from perfbench_api.sections.runner import AUTO
from perfbench_operator.settings import Settings

TOKENS = 64
"""Of the answers that `runner_ceiling` is about."""


def decided(benchmark: PerfBenchmark, settings: Settings) -> PerfBenchmark:
    """The benchmark with a number in place of `runner.replicas: auto`."""
    spec = benchmark.spec
    if spec.runner.replicas != AUTO:
        return benchmark
    runners = runners_for(spec, Carried(settings.runner_ceiling, TOKENS), expected_of(spec))
    runner = spec.runner.model_copy(update={"replicas": runners})
    return benchmark.model_copy(update={"spec": spec.model_copy(update={"runner": runner})})


def too_few(benchmark: PerfBenchmark, settings: Settings) -> str:
    """Why its runners are too few for its load; empty where they are enough."""
    return undersized(benchmark.spec, Carried(settings.runner_ceiling, TOKENS), expected_of(benchmark.spec))
