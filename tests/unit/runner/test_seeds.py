"""Each run draws a seed of its own unless it is given one, and says which."""

import pytest

from perfbench_api.resource import PerfBenchmark
from perfbench_runner.run.prepare import SEEDS, prepare, with_seed


def benchmark(**load: int) -> PerfBenchmark:
    target = {"url": "http://127.0.0.1:9", "model": "m"}
    return PerfBenchmark.read({"metadata": {"name": "a"}, "spec": {"target": target, "load": load}})


def test_a_run_without_a_seed_draws_one_and_leaves_the_manifest_as_it_was() -> None:
    given = benchmark()
    found = with_seed(given, lambda below: below - 1)
    assert (found.spec.load.random_seed, given.spec.load.random_seed) == (SEEDS - 1, None)


@pytest.mark.parametrize("seed", [0, 7])
def test_a_seed_that_is_given_stays(seed: int) -> None:
    assert with_seed(benchmark(randomSeed=seed), lambda below: 99).spec.load.random_seed == seed


def test_two_runs_send_different_prompts_and_the_same_again_by_their_seed() -> None:
    runs = [prepare(benchmark(), {}) for _ in range(2)]
    bodies = [run.feed.first_bodies() for run in runs]
    assert bodies[0] != bodies[1]
    again = prepare(benchmark(randomSeed=runs[0].benchmark.spec.load.random_seed or 0), {})
    assert again.feed.first_bodies() == bodies[0]
    assert runs[0].arguments.random_seed == runs[0].benchmark.spec.load.random_seed
