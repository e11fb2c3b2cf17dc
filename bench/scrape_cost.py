"""What live metrics cost: the fold of one request of 64 tokens, and one scrape. Both are the control process's.

python bench/scrape_cost.py
"""

import sys
from time import perf_counter

from perfbench_api.resource import PerfBenchmark
from perfbench_plugins.benchmark_data import BenchmarkData
from perfbench_runner.observe.prometheus import Metrics
from perfbench_runner.results.result import Result

REQUESTS, TOKENS, STAGES = 5000, 64, 4
LIMIT_US = 40.0


def result(number: int) -> Result:
    """One of many requests, none like the other."""
    gaps = [0.01 + 1e-6 * ((number * 31 + token * 17) % 4001) for token in range(TOKENS - 1)]
    data = BenchmarkData(
        success=True,
        start_time=float(number),
        completed_time=number + 0.75,
        query_latency=0.75,
        first_chunk_latency=0.05 + 1e-5 * (number % 997),
        time_per_output_token=0.011,
        inter_chunk_latency=gaps,
        prompt_tokens=100,
        completion_tokens=TOKENS,
    )
    return Result(number % STAGES, number, 0, number - 0.0002, data)


def metrics() -> Metrics:
    stages = [{"concurrency": 2**number, "requests": 1} for number in range(STAGES)]
    benchmark = PerfBenchmark.read(
        {"metadata": {"name": "cost"}, "spec": {"target": {"mock": {}}, "load": {"stages": stages}}}
    )
    return Metrics(benchmark, "mock")


def main() -> int:
    """Print both costs; the exit status is 1 where the fold is too slow."""
    made, results = metrics(), [result(number) for number in range(REQUESTS)]
    began_s = perf_counter()
    for one in results:
        made.add(one)
    fold_us = (perf_counter() - began_s) / REQUESTS * 1e6
    began_s = perf_counter()
    text, _ = made.render("text/plain; version=0.0.4")
    render_ms = (perf_counter() - began_s) * 1e3
    print(f"fold: {fold_us:.1f} us a request of {TOKENS} tokens (limit {LIMIT_US:.0f})")
    print(f"scrape: {render_ms:.1f} ms for {STAGES} stages, {len(text) / 1e3:.0f} kB")
    return int(fold_us > LIMIT_US)


if __name__ == "__main__":
    sys.exit(main())
