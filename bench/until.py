"""Does a stage that ends by precision (`until`) give what was asked for? 200 runs on processes whose figure is known.

    bench/until.py [PROCESS ...] [--runs 200] [--within 0.05] [--statistic p99]

Each run draws requests in the order in which the engine looks at them and stops as the engine would; its figure is compared with
the true one, which comes from the distribution itself, or from four million draws. Stated: how many runs are within what was
asked for, and how many requests they took.

Latencies (--statistic): I independent, lognormal; A5, A9 autoregressive with phi 0.5 and 0.9; Q7 the time in system of a queue
M/G/8 at load 0.7. Gaps between tokens (--statistic): GI 32 of each request, independent; GA a level for each request,
autoregressive with phi 0.9; GB a batching server, whose steps are longer the more requests share them, and longest where a
prompt is read. Throughputs: TO requests of an open loop, Poisson, through that queue; TC output tokens of a closed loop of
eight, whose answers' lengths are drawn; TA the same, with a speed that is autoregressive with phi 0.9 from answer to answer.
"""

import argparse
from array import array
from collections.abc import Callable, Iterator
from heapq import heapify, heapreplace
from itertools import islice
from math import exp, log, sqrt
from random import Random
from statistics import NormalDist, median
from typing import Any, NamedTuple

from perfbench_runner.results.precision import Done, Precision, of_gaps, of_quantile, of_rate, steps_of

SIGMA = 0.5
MOST = 400_000
"""The limit of requests, which every `until` has."""
GAPS = 32
"""Of each request, where they are drawn one by one."""
STEP_S, PROMPT_S, SHARED = 0.02, 0.02, 0.04
"""Of the batching server: a step of one request, what reading a prompt adds, and what each further request does, as a share."""


def levels(random: Random, phi: float) -> Iterator[float]:
    """A normal variable of mean 0 and deviation 1, each value like the one before it by phi."""
    at = random.gauss(0, 1)
    while True:
        yield at
        at = phi * at + sqrt(1 - phi**2) * random.gauss(0, 1)


def lognormal(phi: float) -> Callable[[Random], Iterator[float]]:
    """Latencies in order of sending."""
    return lambda random: (exp(SIGMA * level) for level in levels(random, phi))


def service(random: Random) -> float:
    """Lognormal with mean 1 and CV 1."""
    return exp(sqrt(log(2)) * random.gauss(0, 1) - log(2) / 2)


def visits(random: Random) -> Iterator[tuple[float, float]]:
    """When each request of a queue M/G/8 at load 0.7 comes and goes; after a warm-up."""
    free, now_s, number = [0.0] * 8, 0.0, 0
    while True:
        now_s += random.expovariate(0.7 * 8)
        end_s = max(now_s, free[0]) + service(random)
        heapreplace(free, end_s)
        number += 1
        if number > 2000:
            yield now_s, end_s


def in_system(random: Random) -> Iterator[float]:
    """Time in that queue, in order of sending."""
    return (end_s - begin_s for begin_s, end_s in visits(random))


def gaps(phi: float) -> Callable[[Random], Iterator["array[int]"]]:
    """Gaps of each request: a level that is its own, and what differs from gap to gap; both lognormal, SIGMA together."""

    def draw(random: Random) -> Iterator["array[int]"]:
        shared = sqrt(0.5) if phi else 0.0
        own = sqrt(1 - shared**2)
        for level in levels(random, phi):
            logs = (shared * level + own * random.gauss(0, 1) for _ in range(GAPS))
            yield steps_of([STEP_S * exp(SIGMA * each) for each in logs])

    return draw


def batching(random: Random) -> Iterator["array[int]"]:
    """Gaps of a server that works in steps, all requests in each: 10 come a second, of 2 tokens and more, 33 on average."""
    now_s, next_s, number = 0.0, 0.0, 0
    under_way: dict[int, tuple[int, list[float]]] = {}
    ended: dict[int, list[float]] = {}
    told = 0
    while True:
        prompts = 0
        while next_s <= now_s:
            under_way[number] = (2 + int(random.expovariate(1 / 31)), [])
            number, prompts, next_s = number + 1, prompts + 1, next_s + random.expovariate(10)
        if not under_way:
            now_s = next_s
            continue
        took_s = STEP_S * (1 + SHARED * (len(under_way) - 1)) * exp(0.05 * random.gauss(0, 1)) + prompts * PROMPT_S
        now_s += took_s
        for key, (tokens, made) in list(under_way.items()):
            made.append(took_s)
            if len(made) >= tokens:
                ended[key] = under_way.pop(key)[1][1:]  # the first token ends no gap
        while told in ended:
            yield steps_of(ended.pop(told))
            told += 1


def open_ends(random: Random) -> Iterator[Done]:
    """Requests that leave the queue, in the order in which they do."""
    pending = list[float]()
    for begin_s, end_s in visits(random):
        pending.append(end_s)
        if len(pending) >= 400:  # sooner than any of them ends, nobody leaves who is not among them
            pending.sort()
            while pending and pending[0] <= begin_s:
                yield Done(pending.pop(0), 1.0)


def closed_ends(phi: float) -> Callable[[Random], Iterator[Done]]:
    """Output tokens of eight lanes: each answer has 20 to 180, and takes 10 ms for each, by a speed that may wander."""

    def draw(random: Random) -> Iterator[Done]:
        tokens = [random.randrange(20, 181) for _ in range(8)]
        lanes = [(0.01 * count, lane) for lane, count in enumerate(tokens)]
        heapify(lanes)
        for level in levels(random, phi):
            at_s, lane = lanes[0]
            yield Done(at_s, float(tokens[lane]))
            tokens[lane] = random.randrange(20, 181)
            slower = exp(0.3 * level - 0.3**2 / 2) if phi else 1.0
            heapreplace(lanes, (at_s + 0.01 * tokens[lane] * slower, lane))

    return draw


class Process(NamedTuple):
    """What is drawn, and what is to be known of it."""

    draw: Callable[[Random], Iterator[Any]]
    kind: str
    """quantile, gaps or rate."""
    truth: float | None
    """Of a rate; of a quantile that of the lognormal's median. None: by simulation."""


PROCESSES = {
    "I": Process(lognormal(0), "quantile", 1.0),
    "A5": Process(lognormal(0.5), "quantile", 1.0),
    "A9": Process(lognormal(0.9), "quantile", 1.0),
    "Q7": Process(in_system, "quantile", None),
    "GI": Process(gaps(0), "gaps", STEP_S),
    "GA": Process(gaps(0.9), "gaps", STEP_S),
    "GB": Process(batching, "gaps", None),
    "TO": Process(open_ends, "rate", 0.7 * 8),
    "TC": Process(closed_ends(0), "rate", 800.0),
    "TA": Process(closed_ends(0.9), "rate", 800.0),
}


def truth(process: Process, p: float) -> float:
    """The true figure."""
    if process.truth is not None:
        return process.truth * (1.0 if process.kind == "rate" else exp(SIGMA * NormalDist().inv_cdf(p)))
    draws = process.draw(Random("truth"))
    if process.kind == "gaps":
        steps = sorted(step for of_one in islice(draws, 200_000) for step in of_one)
        return exp((steps[int(p * len(steps))] + 0.5) * log(1.005)) / 1e6
    values = sorted(islice(draws, 4_000_000))
    return float(values[int(p * len(values))])


def precision_of(kind: str, p: float, within: float) -> Precision[Any]:
    """What ends such a stage."""
    return of_rate(within) if kind == "rate" else (of_gaps if kind == "gaps" else of_quantile)(p, within)


def run(name: str, seed: int, p: float, within: float) -> tuple[float | None, int]:
    """The figure at the stop, None where it was not known in the end; and how many requests it took."""
    process = PROCESSES[name]
    precision, values = precision_of(process.kind, p, within), list[Any]()
    for value in islice(process.draw(Random(f"{name}/{seed}")), MOST):
        values.append(value)
        if precision.is_due(len(values)) and precision.look(values) and precision.known is not None:
            return precision.known.value, len(values)
    return None, len(values)


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument(
        "processes", nargs="*", metavar="PROCESS", help=f"of {', '.join(PROCESSES)}; all if none is given"
    )
    parser.add_argument("--runs", type=int, default=200)
    parser.add_argument("--within", type=float, default=0.05)
    parser.add_argument("--statistic", default="p99")
    given = parser.parse_args()
    p = float(given.statistic.removeprefix("p").replace("_", ".")) / 100
    print(
        f"| process | true value | ended by precision | of these within {given.within:.0%} | requests, median and most |"
    )
    print("| --- | --- | --- | --- | --- |")
    for name in given.processes or PROCESSES:
        true = truth(PROCESSES[name], p)
        found = [run(name, seed, p, given.within) for seed in range(given.runs)]
        ended = [value for value, _ in found if value is not None]
        good = sum(abs(value / true - 1) <= given.within for value in ended)
        counts = [count for _, count in found]
        print(
            f"| {name} | {true:.4g} | {len(ended)} of {len(found)} | {good} | {median(counts):,.0f}, {max(counts):,} |",
            flush=True,
        )


if __name__ == "__main__":
    main()
