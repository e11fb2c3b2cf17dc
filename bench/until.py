"""Does a stage that ends by precision (`until`) give what was asked for? 200 runs on processes whose quantile is known.

    bench/until.py [PROCESS ...] [--runs 200] [--within 0.05] [--statistic p99]

Each run draws latencies in order of sending and stops as the engine would; its quantile is compared with the true one, which
comes from ten million draws, or from the distribution itself. Stated: how many runs are within what was asked for, and how many
requests they took. Processes: independent lognormal; autoregressive with phi 0.5 and 0.9; a queue M/G/8 at load 0.7.
"""

import argparse
from collections.abc import Callable, Iterator
from heapq import heapreplace
from math import exp, sqrt
from random import Random
from statistics import NormalDist, median

from perfbench_runner.load.precision import of_quantile

SIGMA = 0.5
MOST = 400_000
"""The limit of requests, which every `until` has."""


def independent(random: Random) -> Iterator[float]:
    while True:
        yield exp(SIGMA * random.gauss(0, 1))


def autoregressive(phi: float) -> Callable[[Random], Iterator[float]]:
    def draw(random: Random) -> Iterator[float]:
        at = random.gauss(0, 1)
        while True:
            yield exp(SIGMA * at)
            at = phi * at + sqrt(1 - phi**2) * random.gauss(0, 1)

    return draw


def queue(random: Random) -> Iterator[float]:
    """Time in system of M/G/8, lognormal service of CV 1 and mean 1, load 0.7; after a warm-up."""
    sigma = sqrt(0.6931471805599453)
    free, now_s = [0.0] * 8, 0.0
    number = 0
    while True:
        now_s += random.expovariate(0.7 * 8)
        begin_s = max(now_s, free[0])
        end_s = begin_s + exp(sigma * random.gauss(0, 1) - sigma**2 / 2)
        heapreplace(free, end_s)
        number += 1
        if number > 2000:
            yield end_s - now_s


PROCESSES = {"I": independent, "A5": autoregressive(0.5), "A9": autoregressive(0.9), "Q7": queue}


def truth(name: str, p: float) -> float:
    if name != "Q7":
        return exp(SIGMA * NormalDist().inv_cdf(p))
    draws = PROCESSES[name](Random("truth"))
    values = sorted(next(draws) for _ in range(4_000_000))
    return values[int(p * len(values))]


def run(name: str, seed: int, p: float, within: float) -> tuple[float, int, bool]:
    """The quantile at the stop, how many requests it took, and whether it stopped by precision."""
    draws, precision, values = PROCESSES[name](Random(f"{name}/{seed}")), of_quantile(p, within), list[float]()
    while len(values) < MOST:
        values.append(next(draws))
        if precision.is_due(len(values)) and precision.look(values) and precision.known is not None:
            return precision.known.value, len(values), True
    return sorted(values)[int(p * len(values))], len(values), False


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("processes", nargs="*", default=list(PROCESSES))
    parser.add_argument("--runs", type=int, default=200)
    parser.add_argument("--within", type=float, default=0.05)
    parser.add_argument("--statistic", default="p99")
    given = parser.parse_args()
    p = float(given.statistic.removeprefix("p").replace("_", ".")) / 100
    print(
        f"| process | true {given.statistic} | runs within {given.within:.0%} | ended by precision | requests, median and most |"
    )
    print("| --- | --- | --- | --- | --- |")
    for name in given.processes:
        true = truth(name, p)
        found = [run(name, seed, p, given.within) for seed in range(given.runs)]
        good = sum(abs(value / true - 1) <= given.within for value, _, _ in found) / len(found)
        ended = sum(is_precise for _, _, is_precise in found) / len(found)
        counts = [count for _, count, _ in found]
        print(
            f"| {name} | {true:.3f} | {good:.1%} | {ended:.0%} | {median(counts):,.0f}, {max(counts):,} |", flush=True
        )


if __name__ == "__main__":
    main()
