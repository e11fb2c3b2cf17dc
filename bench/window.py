#!/usr/bin/env python3
"""Throughputs over our window against the truth of a simulated server: bench/window.py [--repeats N].

A closed loop is simulated (lanes, each with one request after the other), its rows are given to the functions that
summarise a results file, and both throughputs are compared with what the server can do: lanes / mean latency of the
answers that it gave in that run, and that times their mean number of tokens. Printed are the mean errors over the
repeats in percent, of our window and of the overall figures (first sent to last end) that other tools report.
Exits with 1 if an error of our window is over `--within`.
"""

import argparse
import heapq
import sys
from collections import Counter
from collections.abc import Callable, Iterator
from typing import NamedTuple

import numpy as np

from perfbench_runner.results.quantiles import Array
from perfbench_runner.results.rows import NUMBERS, Ints, Rows
from perfbench_runner.results.throughput import overall_throughput, window_throughput
from perfbench_runner.results.windows import Span, StageTimes, Units, window


class Answer(NamedTuple):
    """What the server does with a request."""

    ttft_s: float
    itl_s: float
    tokens: int

    @property
    def latency_s(self) -> float:
        """From sent to the last token."""
        return self.ttft_s + self.itl_s * (self.tokens - 1)


Draw = Callable[[np.random.Generator], Answer]
SHAPES: dict[str, Draw] = {
    "constant (lock-step)": lambda _: Answer(0.3, 0.01, 17),
    "nearly constant": lambda rng: Answer(0.1, 0.01, max(2, round(rng.normal(50, 5)))),
    "normal, CV 0.3": lambda rng: Answer(0.1, 0.01, max(2, round(rng.normal(60, 20)))),
    "lognormal, CV 0.6": lambda rng: Answer(0.1, 0.01, max(2, round(rng.lognormal(3.8, 0.6)))),
    "exponential TTFT": lambda rng: Answer(rng.exponential(0.3), 0.01, 20),
    "exponential tokens": lambda rng: Answer(0.05, 0.01, max(2, round(rng.exponential(60)))),
}
GAP_S = 0.0005
"""From the end of an answer to the lane's next request."""


def simulate(draw: Draw, lanes: int, requests: int, rng: np.random.Generator) -> tuple[Rows, list[Answer]]:
    """Rows as a results file has them."""
    free = [(rng.uniform(0, 0.002), lane) for lane in range(lanes)]
    heapq.heapify(free)
    answers, starts = [], np.empty(requests)
    for number in range(requests):
        starts[number], lane = heapq.heappop(free)
        answers.append(draw(rng))
        heapq.heappush(free, (starts[number] + answers[-1].latency_s + rng.exponential(GAP_S), lane))
    columns = {name: np.zeros(requests) for name in NUMBERS}
    columns |= {
        "id": np.arange(requests, dtype=np.float64),
        "success": np.ones(requests),
        "start_time": starts,
        "completed_time": starts + [answer.latency_s for answer in answers],
        "first_chunk_latency": np.array([answer.ttft_s for answer in answers]),
        "completion_tokens": np.array([float(answer.tokens) for answer in answers]),
        "chunks": np.array([float(answer.tokens) for answer in answers]),
    }
    nothing: Counter[str] = Counter()
    rows = Rows(columns, np.zeros(requests, dtype=np.bool_), np.zeros(requests, dtype=np.int64), nothing, nothing)
    return rows, answers


def errors(draw: Draw, lanes: int, requests: int, rng: np.random.Generator) -> list[float]:
    """Relative errors of requests and tokens per second, over our window and overall."""
    rows, answers = simulate(draw, lanes, requests, rng)
    mean_s = float(np.mean([answer.latency_s for answer in answers])) + GAP_S
    truth = (lanes / mean_s, lanes * float(np.mean([answer.tokens for answer in answers])) / mean_s)
    starts, ends = rows["start_time"], rows["completed_time"]
    overall = Span(float(starts.min()), float(ends.max()), "overall")
    span = window(lanes, requests, StageTimes(0.0, None, None), Units(starts, ends), starts, overall)

    def gaps(ids: Ints) -> Iterator[tuple[int, Array]]:
        for index, number in enumerate(ids.tolist()):
            yield index, np.full(answers[number].tokens - 1, answers[number].itl_s)

    found, _ = window_throughput(rows, span, gaps)
    whole = overall_throughput(rows, overall.duration_s)
    values = [one for each in (found, whole) for one in (each.request_throughput_rps, each.output_token_throughput_tps)]
    return [(value or 0.0) / true - 1 for value, true in zip(values, truth * 2, strict=True)]


def main() -> int:
    """Print the table."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--repeats", type=int, default=200)
    parser.add_argument("--within", type=float, default=0.5, help="percent, at 25 requests a lane and more")
    arguments = parser.parse_args()
    print("| load | lanes/requests | requests/s | tokens/s | overall: requests/s | tokens/s |")
    print("| --- | --- | --- | --- | --- | --- |")
    is_good = True
    for name, draw in SHAPES.items():
        rng = np.random.default_rng(1)
        for lanes, requests in ((8, 40), (8, 200), (8, 800), (20, 2000)):
            repeats = max(10, arguments.repeats * 200 // requests)
            found = np.mean([errors(draw, lanes, requests, rng) for _ in range(repeats)], axis=0) * 100
            print(
                f"| {name} | {lanes}/{requests} | " + " | ".join(f"{error:+.1f}" for error in found) + " |", flush=True
            )
            is_good &= requests < 25 * lanes or bool((np.abs(found[:2]) <= arguments.within).all())
    return 0 if is_good else 1


if __name__ == "__main__":
    sys.exit(main())
