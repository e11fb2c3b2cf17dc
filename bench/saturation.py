"""How often is an endpoint taken to be over-saturated (`guards.overSaturation`) that is not, and how soon one that is?

    bench/saturation.py [--runs 200]

Simulated: Poisson arrivals, 20 a second, for ten minutes, at eight servers with exponential service whose limit is 20 / load; and
an endpoint without any limit whose answers take a minute on average (exponential) or exactly, which fills up for a long time.
"""

import argparse
from collections.abc import Callable, Iterator
from heapq import heapreplace
from random import Random
from statistics import median

from perfbench_runner.load.saturation import Count, Saturation

RATE, LENGTH_S, TICK_S, SERVERS = 20.0, 600.0, 0.25, 8


def queue(load: float) -> Callable[[Random], Iterator[tuple[float, float]]]:
    """Times of arrival and of answer."""

    def draw(random: Random) -> Iterator[tuple[float, float]]:
        free, now_s = [0.0] * SERVERS, 0.0
        while True:
            now_s += random.expovariate(RATE)
            end_s = max(now_s, free[0]) + random.expovariate(RATE / load / SERVERS)
            heapreplace(free, end_s)
            yield now_s, end_s

    return draw


def unlimited(service: Callable[[Random], float]) -> Callable[[Random], Iterator[tuple[float, float]]]:
    def draw(random: Random) -> Iterator[tuple[float, float]]:
        now_s = 0.0
        while True:
            now_s += random.expovariate(RATE)
            yield now_s, now_s + service(random)

    return draw


ENDPOINTS = {
    **{f"load {load:g}": queue(load) for load in (0.7, 0.8, 0.9, 0.95, 1.05, 1.1, 1.2, 1.5, 3.0)},
    "no limit, answers of 60 s, exponential": unlimited(lambda random: random.expovariate(1 / 60)),
    "no limit, answers of exactly 60 s": unlimited(lambda random: 60.0),
}


def stopped_s(draws: Iterator[tuple[float, float]]) -> float | None:
    """When it was taken to be over-saturated; None for never."""
    due, answers = [], []
    for at_s, end_s in draws:
        if at_s > LENGTH_S:
            break
        due.append(at_s)
        answers.append(end_s)
    answers.sort()
    saturation, sent, answered = Saturation(), 0, 0
    for tick in range(1, int(LENGTH_S / TICK_S)):
        now_s = tick * TICK_S
        while sent < len(due) and due[sent] <= now_s:
            sent += 1
        while answered < len(answers) and answers[answered] <= now_s:
            answered += 1
        if saturation.add(Count(now_s, sent, answered)):
            return now_s
    return None


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--runs", type=int, default=200)
    given = parser.parse_args()
    print("| endpoint | taken to be over-saturated within 10 min | after, median s |")
    print("| --- | --- | --- |")
    for name, draw in ENDPOINTS.items():
        found = [stopped_s(draw(Random(f"{name}/{seed}"))) for seed in range(given.runs)]
        times = [at_s for at_s in found if at_s is not None]
        print(f"| {name} | {len(times)} of {given.runs} | {f'{median(times):.0f}' if times else '-'} |", flush=True)


if __name__ == "__main__":
    main()
