"""How many runners a benchmark gets, and whether they are enough, by what the operator's settings say that one carries. Pure."""

from math import ceil

from perfbench_api.capacity import USUAL, Carried, Expected, runners_for, undersized
from perfbench_api.resource import PerfBenchmark, Spec
from perfbench_api.sections import Request
from perfbench_api.sections.runner import AUTO
from perfbench_operator.settings import Settings

TOKENS = 64
"""Of the answers that `runner_ceiling` is about."""


def decided(benchmark: PerfBenchmark, settings: Settings) -> PerfBenchmark:
    """The benchmark with a number in place of `runner.replicas: auto`."""
    spec = benchmark.spec
    if spec.runner.replicas != AUTO:
        return benchmark
    runners = runners_for(spec, Carried(settings.runner_ceiling, TOKENS), _expected(spec))
    runner = spec.runner.model_copy(update={"replicas": runners})
    return benchmark.model_copy(update={"spec": spec.model_copy(update={"runner": runner})})


def too_few(benchmark: PerfBenchmark, settings: Settings) -> str:
    """Why its runners are too few for its load; empty where they are enough."""
    return undersized(benchmark.spec, Carried(settings.runner_ceiling, TOKENS), _expected(benchmark.spec))


def _expected(spec: Spec) -> Expected:
    """As of an endpoint of which nothing is known, but for the answers' length where requests bound it.

    Of several workloads it is the mean, by their weights.
    """
    kinds = [(each.weight, each.request or spec.request) for each in spec.workloads] or [(1, spec.request)]
    tokens = sum(weight * _tokens(request) for weight, request in kinds) / sum(weight for weight, _ in kinds)
    return USUAL._replace(output_tokens=ceil(tokens))


def _tokens(request: Request) -> int:
    most = request.max_tokens
    length = most[1] if isinstance(most, list) else most
    return USUAL.output_tokens if length is None else min(USUAL.output_tokens, length)
